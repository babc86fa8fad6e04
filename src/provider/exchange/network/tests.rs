//! What is sent and what is read, without a network.

use http::Method;

use super::*;

const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";

fn call(url: &str, headers: &[(&'static str, &str)]) -> Call {
    Call {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), SecretValue::new(value)))
            .collect(),
        body: Some(SecretValue::new("grant_type=x")),
        ca_pem: None,
        certificate: None,
    }
}

#[test]
fn the_target_is_in_the_form_that_origins_expect() {
    for (url, uri, host, dialled, port) in [
        ("http://a.example/token", "/token", "a.example", "a.example", 80),
        ("http://a.example", "/", "a.example", "a.example", 80),
        (
            "http://a.example:80/t?b=c%20d#e",
            "/t?b=c%20d",
            "a.example",
            "a.example",
            80,
        ),
        ("http://A.example:8080/t", "/t", "a.example:8080", "a.example", 8080),
        ("http://[::1]:8080/t", "/t", "[::1]:8080", "::1", 8080),
        ("https://127.0.0.1/t", "/t", "127.0.0.1", "127.0.0.1", 443),
    ] {
        let (target, request) = prepare(&call(url, &[("accept", "application/json")])).unwrap();
        assert_eq!(request.uri().to_string(), uri, "{url}");
        assert_eq!(request.headers()[header::HOST], host, "{url}");
        assert_eq!(request.headers()[header::ACCEPT], "application/json", "{url}");
        assert_eq!((&*target.host, target.port), (dialled, port), "{url}");
        assert_eq!(target.tls.is_some(), url.starts_with("https"), "{url}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused_without_being_quoted() {
    let long = "x".repeat(1 << 17);
    for (url, headers, said) in [
        ("ftp://a.example/t", &[][..], "neither http nor https"),
        ("http://user:hush@a.example/t", &[], "user name or password"),
        ("http://a.example/t", &[("content-length", "1")], "content-length"),
        (
            "http://a.example/t",
            &[("transfer-encoding", "chunked")],
            "transfer-encoding",
        ),
        ("http://a.example/t", &[("host", "b.example")], "host"),
        ("http://a.example/t", &[("x-key", "hush\r\nx: y")], "x-key"),
        (&format!("http://a.example/{long}"), &[], "cannot be sent"),
    ] {
        let message = prepare(&call(url, headers)).err().unwrap();
        assert!(message.contains(said), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
}

#[test]
fn a_secret_header_is_marked_so_that_no_one_prints_it() {
    let call = call("http://a.example/t", &[("authorization", "Basic aHVzaA==")]);
    let (_, request) = prepare(&call).unwrap();
    assert!(!format!("{request:?}").contains("aHVzaA"), "{request:?}");
    assert!(!format!("{call:?}").contains("aHVzaA"), "{call:?}");
}

#[test]
fn the_head_is_read_as_it_is_meant() {
    let read = |headers: &[(&'static str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let ours = httpdate::parse_http_date("Sun, 06 Nov 1994 11:00:00 GMT").unwrap();
        answer(StatusCode::OK, &map, Duration::ZERO, SecretValue::new(""), ours)
    };
    for (given, wanted) in [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        (" text/html ;a=b;c", "text/html"),
        ("", ""),
    ] {
        assert_eq!(read(&[("content-type", given)]).content_type.unwrap(), wanted);
    }
    assert_eq!(read(&[]).content_type, None);
    for (headers, wanted) in [
        (&[("retry-after", "120")][..], Some(120)),
        (&[("retry-after", NOON)], Some(3600)),
        // The provider's clock is an hour ahead of ours: the wait is what it means.
        (
            &[("retry-after", NOON), ("date", "Sun, 06 Nov 1994 11:59:30 GMT")],
            Some(30),
        ),
        (&[("retry-after", "soon")], None),
        (&[], None),
    ] {
        assert_eq!(
            read(headers).retry_after.map(|wait| wait.as_secs()),
            wanted,
            "{headers:?}"
        );
    }
    assert_eq!(
        read(&[("date", NOON)]).date.unwrap().to_string(),
        "1994-11-06T12:00:00Z"
    );
    assert_eq!(read(&[("date", "noon")]).date, None);
}
