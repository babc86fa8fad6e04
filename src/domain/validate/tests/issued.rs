//! Values that we issued.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::*;
use super::certificate::Authority;
use super::credential::{spec, told};

fn values(entries: &[(&str, &str)]) -> BTreeMap<String, SecretValue> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), SecretValue::new(*value)))
        .collect()
}

fn oauth2() -> serde_json::Value {
    json!({"oauth2": {"grant": "ClientCredentials", "tokenURL": "https://a.example", "clientID": "c",
        "clientSecretRef": {"name": "a", "key": "b"}}})
}

fn jwt(place: serde_json::Value) -> serde_json::Value {
    let mut jwt = json!({"algorithm": "ES256", "generate": {}});
    jwt.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
    json!({ "jwt": jwt })
}

fn with_steps(mut kind: serde_json::Value) -> serde_json::Value {
    kind["rotation"] = json!({"steps": {"create": {
        "request": {"url": "https://api.example.com/keys"}, "extract": {"value": ".key", "id": ".id"},
    }}});
    kind
}

#[test]
fn each_kind_is_read_from_its_keys_and_sent_in_its_place() {
    let reference = json!({"name": "first", "key": "k"});
    for (kind, data, expected) in [
        (
            oauth2(),
            vec![("token", "a.b"), ("refresh", "c")],
            ("header", "authorization", "Bearer a.b"),
        ),
        (
            jwt(json!({})),
            vec![("token", "a.b.c")],
            ("header", "authorization", "Bearer a.b.c"),
        ),
        (
            jwt(json!({"name": "AUTHORIZATION", "prefix": "JWT "})),
            vec![("token", "a.b.c")],
            ("header", "authorization", "JWT a.b.c"),
        ),
        (
            jwt(json!({"name": "X-Assertion"})),
            vec![("token", "a.b.c")],
            ("header", "x-assertion", "a.b.c"),
        ),
        (
            jwt(json!({"in": "Query", "name": "Assertion"})),
            vec![("token", "a.b.c")],
            ("query", "Assertion", "a.b.c"),
        ),
        (
            jwt(json!({"in": "Cookie", "name": "sid"})),
            vec![("token", "a.b.c")],
            ("cookie", "sid", "a.b.c"),
        ),
        (
            json!({"generated": {}}),
            vec![("value", "a b\n")],
            ("unsent", "", "a b\n"),
        ),
        (
            with_steps(json!({"apiKey": {"prefix": "Token ", "secretRef": reference}})),
            vec![("value", "v"), ("previous.value", "w")],
            ("header", "x-api-key", "Token v"),
        ),
        (
            with_steps(json!({"apiKey": {"in": "Query", "name": "key"}})),
            vec![("value", "v")],
            ("query", "key", "v"),
        ),
        (
            with_steps(json!({"bearer": {}})),
            vec![("value", "v=")],
            ("header", "authorization", "Bearer v="),
        ),
        (
            with_steps(json!({"basic": {"secretRef": {"name": "first", "usernameKey": "u", "passwordKey": "p"}}})),
            vec![("username", "Aladdin"), ("value", "open sesame")],
            ("header", "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ),
    ] {
        let (place, name, value) = told(issued(&spec(kind.clone()), &values(&data)).unwrap());
        assert_eq!((place, name.as_str(), value.as_str()), expected, "{kind}");
    }
}

#[test]
fn an_issued_certificate_is_a_pair() {
    let (chain, key) = Authority::new().issue();
    let spec = spec(json!({"certificate": {"issue": {"caSecretRef": {"name": "ca"}, "commonName": "c"}}}));
    let material = issued(
        &spec,
        &values(&[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", "x")]),
    )
    .unwrap();
    assert_eq!(told(material), ("certificate", chain.clone(), key));
    let (_, other) = Authority::new().issue();
    let problem = issued(&spec, &values(&[("tls.crt", &chain), ("tls.key", &other)])).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "what was issued cannot be sent: key `tls.key` of the issued Secret must be the key of the first certificate in \
         `tls.crt`, and is that of none of them"
    );
}

#[test]
fn what_cannot_be_sent_is_told_without_the_value() {
    let basic = with_steps(json!({"basic": {}}));
    for (kind, data, key, permanent) in [
        (oauth2(), vec![("access_token", "canary")], "token", false),
        (oauth2(), vec![("token", "can ary")], "token", true),
        (oauth2(), vec![("token", "")], "token", true),
        (jwt(json!({})), vec![("token", "can\nary")], "token", true),
        (
            jwt(json!({"in": "Cookie", "name": "a"})),
            vec![("token", "can;ary")],
            "token",
            true,
        ),
        (json!({"generated": {}}), vec![], "value", false),
        (
            with_steps(json!({"apiKey": {}})),
            vec![("value", " canary")],
            "value",
            true,
        ),
        (
            with_steps(json!({"bearer": {}})),
            vec![("value", "can\u{e4}ry")],
            "value",
            true,
        ),
        (basic.clone(), vec![("value", "canary")], "username", false),
        (
            basic.clone(),
            vec![("username", "can:ary"), ("value", "x")],
            "username",
            true,
        ),
        (basic, vec![("username", "x"), ("value", "can\nary")], "value", true),
    ] {
        let problem = issued(&spec(kind.clone()), &values(&data)).unwrap_err();
        let text = format!("{problem} {problem:?}");
        assert_eq!(
            (problem.reason(), problem.stalls()),
            ("IssueFailed", permanent),
            "{kind}"
        );
        assert!(text.contains(&format!("`{key}`")), "{kind}: {text}");
        assert!(!text.contains("can\\") && !text.contains("ary"), "{kind}: {text}");
    }
    let long = "a".repeat((16 << 10) + 1);
    let problem = issued(&spec(oauth2()), &values(&[("token", &long)])).unwrap_err();
    assert!(
        problem.to_string().ends_with("must be at most 16 KiB long"),
        "{problem}"
    );
}

#[test]
fn a_wrong_spec_comes_before_any_value() {
    let mut kind = oauth2();
    kind["oauth2"]["tokenURL"] = json!("http://a.example");
    let problem = issued(&spec(kind), &values(&[("token", "a")])).unwrap_err();
    assert_eq!(problem.reason(), "InvalidSpec");
}
