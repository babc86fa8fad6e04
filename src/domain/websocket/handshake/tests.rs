use super::*;

/// The example of RFC 6455 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOOD: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

#[test]
fn the_key_of_the_rfc_is_accepted_as_the_rfc_says() {
    assert_eq!(accept(&HeaderValue::from_static(KEY)), ACCEPT);
}

#[test]
fn only_a_whole_handshake_over_http1_is_one() {
    assert_eq!(check(&Method::GET, Version::HTTP_11, &headers(&GOOD)), Ok(()));
    assert!(check(&Method::POST, Version::HTTP_11, &headers(&GOOD)).is_err());
    assert!(check(&Method::GET, Version::HTTP_10, &headers(&GOOD)).is_err());
    assert!(check(&Method::GET, Version::HTTP_2, &headers(&GOOD)).is_err());
    for (line, wrong) in [
        (0, Some("keep-alive")),
        (0, None),
        (1, Some("h2c")),
        (1, None),
        (2, Some("8")),
        (2, Some("13, 8")),
        (2, None),
        (3, Some("dGhlIHNhbXBsZQ==")),
        (3, Some("dGhlIHNhbXBsZSBub25jZQ")),
        (3, Some("")),
        (3, None),
    ] {
        let mut lines = GOOD.to_vec();
        match wrong {
            Some(value) => lines[line].1 = value,
            None => drop(lines.remove(line)),
        }
        assert!(
            check(&Method::GET, Version::HTTP_11, &headers(&lines)).is_err(),
            "{lines:?}"
        );
    }
    let mut twice = GOOD.to_vec();
    twice.push(GOOD[3]);
    assert!(check(&Method::GET, Version::HTTP_11, &headers(&twice)).is_err());
}

#[test]
fn of_extensions_only_the_one_that_is_known_is_offered() {
    for (offers, left) in [
        (&[][..], None),
        (
            &["permessage-deflate; client_max_window_bits"],
            Some("permessage-deflate; client_max_window_bits"),
        ),
        (
            &[
                "x-mux; a=1, permessage-deflate;server_no_context_takeover, permessage-deflate",
                "foo",
            ],
            Some("permessage-deflate;server_no_context_takeover, permessage-deflate"),
        ),
        (&["foo", "permessage-deflated"], None),
    ] {
        let mut asked = HeaderMap::new();
        for offer in offers {
            asked.append("sec-websocket-extensions", offer.parse().unwrap());
        }
        ask(&mut asked, HeaderValue::from_static(KEY));
        let found = asked
            .get("sec-websocket-extensions")
            .map(|value| value.to_str().unwrap());
        assert_eq!(found, left);
        assert_eq!(check(&Method::GET, Version::HTTP_11, &asked), Ok(()));
    }
}

#[test]
fn an_answer_must_fit_what_was_asked() {
    let mut asked = headers(&[("sec-websocket-extensions", "permessage-deflate")]);
    ask(&mut asked, HeaderValue::from_static(KEY));
    let mut plain = HeaderMap::new();
    ask(&mut plain, HeaderValue::from_static(KEY));
    let good = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", ACCEPT),
    ];
    let with = |extension| headers(&[&good[..], &[("sec-websocket-extensions", extension)]].concat());
    assert_eq!(agreed(&asked, &headers(&good)), Ok(false));
    assert_eq!(
        agreed(&asked, &with("permessage-deflate; server_max_window_bits=10")),
        Ok(true)
    );
    assert!(agreed(&plain, &with("permessage-deflate")).is_err());
    assert!(agreed(&asked, &with("x-mux")).is_err());
    assert!(agreed(&asked, &with("permessage-deflate, permessage-deflate")).is_err());
    assert!(agreed(&asked, &headers(&good[..2])).is_err());
    assert!(agreed(&asked, &headers(&good[1..])).is_err());
    assert!(agreed(&asked, &headers(&[good[0], ("upgrade", "h2c"), good[2]])).is_err());
    assert!(agreed(&asked, &headers(&[good[0], good[1], ("sec-websocket-accept", KEY)])).is_err());
}

#[test]
fn a_page_of_somebody_else_is_told_from_all_others() {
    let endpoints = ["api.example.com", "eu.example.com:8443"];
    for (from, expected) in [
        (None, From::Program),
        (Some("http://api.shop"), From::Here),
        (Some("http://API.shop:80"), From::Here),
        (Some("https://api.example.com"), From::There),
        (Some("https://api.example.com:443"), From::There),
        (Some("https://eu.example.com:8443"), From::There),
        (Some("https://eu.example.com"), From::Elsewhere),
        (Some("http://api.shop:8080"), From::Elsewhere),
        (Some("http://api.shop.evil.example"), From::Elsewhere),
        (Some("https://evil.example"), From::Elsewhere),
        (Some("null"), From::Elsewhere),
        (Some(""), From::Elsewhere),
    ] {
        let headers = headers(&from.map(|from| vec![("origin", from)]).unwrap_or_default());
        assert_eq!(origin(&headers, "api.shop", endpoints), expected, "{from:?}");
    }
    let twice = headers(&[("origin", "http://api.shop"), ("origin", "https://evil.example")]);
    assert_eq!(origin(&twice, "api.shop", endpoints), From::Elsewhere);
}
