//! Puts a credential into the head of a request, after taking out whatever the caller put in its place.

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::plan::Material;

/// A credential that does not fit into a request. It says what, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The name is no header name.
    #[error("the credential's header name is not a valid header name")]
    HeaderName,
    /// The value holds characters that a header cannot carry.
    #[error("the credential's value holds characters that a header cannot carry, such as a line break at its end")]
    HeaderValue,
    /// The name is no cookie name.
    #[error("the credential's cookie name is not a valid cookie name")]
    CookieName,
    /// The value would end early as a cookie, and its rest be read as another.
    #[error("the credential's value holds a semicolon, which ends a cookie")]
    CookieValue,
    /// The request target would not be valid any more.
    #[error("the credential does not fit into the request target")]
    Target,
}

/// Injects `material`: the caller's own copies go first, so that the provider sees exactly one, ours.
pub fn inject(material: &Material, target: &mut PathAndQuery, headers: &mut HeaderMap) -> Result<(), Unfit> {
    match material {
        Material::Header { name, value } => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unfit::HeaderName)?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| Unfit::HeaderValue)?;
            value.set_sensitive(true);
            remove_lookalikes(headers, &name);
            headers.insert(name, value);
            Ok(())
        }
        Material::Query { name, value } => {
            *target = with_parameter(target, name, value.expose())?;
            Ok(())
        }
        Material::Cookie { name, value } => set_cookie(headers, name, value.expose()),
        // The connection carries the one, nothing the other.
        Material::Certificate { .. } | Material::Unsent { .. } => Ok(()),
    }
}

/// Removes every header that a provider might take for `name`: CGI-like servers read `X_Api_Key` as `X-Api-Key`.
fn remove_lookalikes(headers: &mut HeaderMap, name: &HeaderName) {
    headers.remove(name);
    if !name.as_str().contains(['-', '_']) {
        return;
    }
    let same = |other: &HeaderName| {
        let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
        other.as_str().len() == name.as_str().len()
            && other.as_str().bytes().map(fold).eq(name.as_str().bytes().map(fold))
    };
    let lookalikes: Vec<HeaderName> = headers.keys().filter(|other| same(other)).cloned().collect();
    for other in lookalikes {
        headers.remove(other);
    }
}

/// Replaces every parameter called `name` by one at the end; the others stay byte for byte, empty ones included.
fn with_parameter(target: &PathAndQuery, name: &str, value: &str) -> Result<PathAndQuery, Unfit> {
    let mut text = String::with_capacity(target.as_str().len() + name.len() + value.len() + 2);
    text.push_str(target.path());
    text.push('?');
    for pair in target
        .query()
        .into_iter()
        .filter(|query| !query.is_empty())
        .flat_map(|query| query.split('&'))
    {
        if !is_called(pair, name) {
            text.push_str(pair);
            text.push('&');
        }
    }
    text.extend(url::form_urlencoded::byte_serialize(name.as_bytes()));
    text.push('=');
    // `+` for a space is form encoding; `%20` is understood by those who read forms and by those who do not.
    for part in url::form_urlencoded::byte_serialize(value.as_bytes()) {
        text.push_str(if part == "+" { "%20" } else { part });
    }
    PathAndQuery::try_from(text).map_err(|_| Unfit::Target)
}

/// Whether a provider that decodes `pair` would see the parameter `name`.
fn is_called(pair: &str, name: &str) -> bool {
    url::form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == name)
}

/// Replaces every cookie called `name` by one; the others stay as they were, in one `Cookie` field (RFC 9113 8.2.3).
fn set_cookie(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Unfit> {
    // A cookie name is a token like a header name (RFC 6265 4.1.1), in whatever case.
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unfit::CookieName)?;
    if value.contains(';') {
        return Err(Unfit::CookieValue);
    }
    let mut line: Vec<u8> = Vec::new();
    for field in headers.get_all(COOKIE) {
        let others = field.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        for cookie in others.filter(|cookie| !cookie.is_empty()) {
            let called = cookie
                .split(|byte| *byte == b'=')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            if called != name.as_bytes() {
                line.extend_from_slice(cookie);
                line.extend_from_slice(b"; ");
            }
        }
    }
    line.extend_from_slice(name.as_bytes());
    line.push(b'=');
    line.extend_from_slice(value.as_bytes());
    let mut line = HeaderValue::from_bytes(&line).map_err(|_| Unfit::HeaderValue)?;
    line.set_sensitive(true);
    headers.insert(COOKIE, line);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::SecretValue;

    fn header(name: &str) -> Material {
        Material::Header {
            name: name.into(),
            value: SecretValue::new("ours"),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn query(target: &str, name: &str, value: &str) -> String {
        let material = Material::Query {
            name: name.into(),
            value: SecretValue::new(value),
        };
        let mut target = PathAndQuery::try_from(target).unwrap();
        inject(&material, &mut target, &mut HeaderMap::new()).unwrap();
        target.to_string()
    }

    #[test]
    fn the_provider_sees_one_header_and_it_is_ours() {
        let mut map = headers(&[
            ("X-API-Key", "a"),
            ("x-api-key", "b"),
            ("X_API_Key", "c"),
            ("x-other", "d"),
        ]);
        inject(&header("x-api-key"), &mut PathAndQuery::from_static("/"), &mut map).unwrap();
        assert_eq!(map.get_all("x-api-key").iter().collect::<Vec<_>>(), ["ours"]);
        assert!(map.get("x_api_key").is_none());
        assert_eq!(map["x-other"], "d");
    }

    #[test]
    fn an_injected_header_is_marked_sensitive() {
        let mut map = HeaderMap::new();
        inject(&header("authorization"), &mut PathAndQuery::from_static("/"), &mut map).unwrap();
        assert!(map["authorization"].is_sensitive());
        assert!(!format!("{map:?}").contains("ours"));
    }

    #[test]
    fn a_query_key_replaces_every_parameter_of_its_name_and_no_other_byte() {
        for (target, expected) in [
            ("/a", "/a?key=v"),
            ("/a?key=x", "/a?key=v"),
            ("/a?b=%2F+&key=x&c&key=y&d=1", "/a?b=%2F+&c&d=1&key=v"),
            ("/a?k%65y=x&keys=1", "/a?keys=1&key=v"),
            ("/a?", "/a?key=v"),
            ("/a?b&&c&", "/a?b&&c&&key=v"),
            ("/a?&", "/a?&&key=v"),
            ("/a?KEY=x&ke=y&key2=z&xkey=1", "/a?KEY=x&ke=y&key2=z&xkey=1&key=v"),
            ("/a?key", "/a?key=v"),
            ("/a?=key&%6b%65%79=1&b==&c=%zz", "/a?=key&b==&c=%zz&key=v"),
        ] {
            assert_eq!(query(target, "key", "v"), expected, "{target}");
        }
    }

    #[test]
    fn a_query_value_cannot_break_out_of_its_place() {
        assert_eq!(query("/", "key", "a&b=c#d e\r\n"), "/?key=a%26b%3Dc%23d%20e%0D%0A");
    }

    #[test]
    fn a_cookie_replaces_those_of_its_name_in_every_cookie_header() {
        let material = Material::Cookie {
            name: "sid".into(),
            value: SecretValue::new("ours"),
        };
        let mut map = headers(&[("cookie", "a=1; sid=x; b=2"), ("cookie", "sid=y;c=3")]);
        inject(&material, &mut PathAndQuery::from_static("/"), &mut map).unwrap();
        assert_eq!(
            map.get_all("cookie").iter().collect::<Vec<_>>(),
            ["a=1; b=2; c=3; sid=ours"]
        );
    }

    #[test]
    fn a_cookie_value_cannot_become_two_cookies() {
        for (name, value, expected) in [
            ("sid", "a; admin=1", Unfit::CookieValue),
            ("sid; x", "a", Unfit::CookieName),
            ("a=b", "a", Unfit::CookieName),
            ("", "a", Unfit::CookieName),
            ("sid", "a\r\nX: y", Unfit::HeaderValue),
        ] {
            let material = Material::Cookie {
                name: name.into(),
                value: SecretValue::new(value),
            };
            let refused = inject(&material, &mut PathAndQuery::from_static("/"), &mut HeaderMap::new());
            assert_eq!(refused, Err(expected), "{name}");
        }
    }

    #[test]
    fn a_value_with_a_line_break_is_refused_without_being_told() {
        for byte in ["\r", "\n", "\0", "\x7f"] {
            let material = Material::Header {
                name: "x".into(),
                value: SecretValue::new(format!("se{byte}cret")),
            };
            let refused = inject(&material, &mut PathAndQuery::from_static("/"), &mut HeaderMap::new()).unwrap_err();
            assert_eq!(refused, Unfit::HeaderValue);
            assert!(!refused.to_string().contains("se"), "{refused}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// What a provider reads of a query: the form decoding of the URL standard.
        fn read(target: &str) -> Vec<(String, String)> {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
        }

        proptest! {
            #[test]
            fn a_provider_reads_one_parameter_of_the_name_and_the_others_as_they_were(
                parts in proptest::collection::vec("(key|k%65y|%6Bey|other|a%20b|)(=[a-z%+&=]{0,6})?", 0..8),
                value in "\\PC{0,20}",
            ) {
                let target = format!("/p?{}", parts.join("&"));
                let injected = query(&target, "key", &value);
                let ours: Vec<_> = read(&injected).into_iter().filter(|(name, _)| name == "key").collect();
                prop_assert_eq!(ours, vec![("key".to_owned(), value)]);
                let others = |target: &str| -> Vec<String> {
                    let query = target.split_once('?').unwrap().1;
                    query.split('&').filter(|pair| !is_called(pair, "key")).map(str::to_owned).collect()
                };
                let before = if target == "/p?" { Vec::new() } else { others(&target) };
                prop_assert_eq!(others(&injected), before);
            }

            #[test]
            fn whatever_the_value_it_is_whole_in_its_header_or_refused(value in proptest::collection::vec(any::<u8>(), 0..40)) {
                let Ok(value) = String::from_utf8(value) else { return Ok(()) };
                let material = Material::Header { name: "x-key".into(), value: SecretValue::new(value.clone()) };
                let mut map = headers(&[("x_key", "theirs"), ("x-key", "theirs")]);
                match inject(&material, &mut PathAndQuery::from_static("/"), &mut map) {
                    Ok(()) => {
                        prop_assert_eq!(map.len(), 1);
                        prop_assert_eq!(map["x-key"].as_bytes(), value.as_bytes());
                    }
                    Err(unfit) => {
                        prop_assert_eq!(unfit, Unfit::HeaderValue);
                        prop_assert!(value.chars().any(|c| !c.is_ascii() || c.is_ascii_control()));
                    }
                }
            }

            #[test]
            fn a_provider_reads_one_cookie_of_the_name_and_the_others_as_they_were(
                lines in proptest::collection::vec("((sid|a|SID|sid2)=[a-z=]{0,4};? {0,2}){0,4}", 0..4),
            ) {
                let mut map = HeaderMap::new();
                for line in &lines {
                    map.append(COOKIE, HeaderValue::from_str(line).unwrap());
                }
                let read = |map: &HeaderMap| -> Vec<String> {
                    let all: Vec<_> = map.get_all(COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect();
                    all.iter().flat_map(|line| line.split(';')).map(|cookie| cookie.trim().to_owned()).filter(|cookie| !cookie.is_empty()).collect()
                };
                let before: Vec<_> = read(&map).into_iter().filter(|cookie| !cookie.starts_with("sid=")).collect();
                set_cookie(&mut map, "sid", "ours").unwrap();
                let (ours, others): (Vec<_>, Vec<_>) = read(&map).into_iter().partition(|cookie| cookie.starts_with("sid="));
                prop_assert_eq!(ours, vec!["sid=ours".to_owned()]);
                prop_assert_eq!(others, before);
            }
        }
    }
}
