//! Credentials whose value is in a Secret, and what is wrong with any.

use serde_json::json;

use super::super::*;

pub fn spec(kind: serde_json::Value) -> CredentialSpec {
    let mut spec = json!({"allowedHosts": ["api.example.com"]});
    spec.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

pub fn secret(values: &[(&str, &str)]) -> Values {
    values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Some(SecretValue::new(*value))))
        .collect()
}

/// The kind of place, its name, and the value.
pub fn told(material: Material) -> (&'static str, String, String) {
    match material {
        Material::Header { name, value } => ("header", name, value.expose().to_owned()),
        Material::Query { name, value } => ("query", name, value.expose().to_owned()),
        Material::Cookie { name, value } => ("cookie", name, value.expose().to_owned()),
        Material::Certificate { chain, key } => ("certificate", chain, key.expose().to_owned()),
        Material::Unsent { value } => ("unsent", String::new(), value.expose().to_owned()),
    }
}

#[test]
fn each_kind_of_credential_becomes_what_is_sent() {
    let reference = json!({"name": "s", "key": "k"});
    for (kind, data, expected) in [
        (
            json!({"apiKey": {"secretRef": reference}}),
            vec![("k", "v")],
            ("header", "x-api-key", "v"),
        ),
        (
            json!({"apiKey": {"name": "Authorization", "prefix": "Token ", "secretRef": reference}}),
            vec![("k", "v w\n")],
            ("header", "authorization", "Token v w"),
        ),
        (
            json!({"apiKey": {"in": "Query", "name": "api_Key", "secretRef": reference}}),
            vec![("k", "a&b=c\r\n")],
            ("query", "api_Key", "a&b=c"),
        ),
        (
            json!({"apiKey": {"in": "Cookie", "name": "Session", "secretRef": reference}}),
            vec![("k", "v")],
            ("cookie", "Session", "v"),
        ),
        // RFC 7617, 2 and 2.1.
        (
            json!({"basic": {"secretRef": {"name": "s"}}}),
            vec![("username", "Aladdin"), ("password", "open sesame")],
            ("header", "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ),
        (
            json!({"basic": {"secretRef": {"name": "s", "usernameKey": "u", "passwordKey": "p"}}}),
            vec![("u", "test"), ("p", "123\u{a3}\n")],
            ("header", "authorization", "Basic dGVzdDoxMjPCow=="),
        ),
        (
            json!({"basic": {"secretRef": {"name": "s"}}}),
            vec![("username", "sk_live"), ("password", "")],
            ("header", "authorization", "Basic c2tfbGl2ZTo="),
        ),
        (
            json!({"bearer": {"secretRef": reference}}),
            vec![("k", "mF_9.B5f-4.1JqM~+/==\n")],
            ("header", "authorization", "Bearer mF_9.B5f-4.1JqM~+/=="),
        ),
    ] {
        let spec = spec(kind.clone());
        assert_eq!(secret_name(&spec), Some("s"));
        let (place, name, value) = told(credential(&spec, Some(&secret(&data))).unwrap());
        assert_eq!((place, name.as_str(), value.as_str()), expected, "{kind}");
    }
}

#[test]
fn a_value_that_cannot_be_sent_is_refused_without_being_told() {
    let reference = json!({"name": "payments", "key": "token"});
    let header = json!({"apiKey": {"secretRef": reference}});
    let query = json!({"apiKey": {"in": "Query", "name": "k", "secretRef": reference}});
    let cookie = json!({"apiKey": {"in": "Cookie", "name": "k", "secretRef": reference}});
    let bearer = json!({"bearer": {"secretRef": reference}});
    let basic = json!({"basic": {"secretRef": {"name": "payments", "usernameKey": "token", "passwordKey": "other"}}});
    let long = "canary".repeat(3000);
    let mut seen = 0;
    for (kind, values) in [
        (
            &header,
            vec![
                "",
                "\n",
                "canary\n\n",
                "canary\r",
                "can\0ary",
                " canary",
                "canary ",
                "can\tary",
                "can\u{e4}ry",
                &long,
            ],
        ),
        (&query, vec!["", "canary\n\n", "can\nary", "can\u{7f}ary", &long]),
        (
            &cookie,
            vec![
                "",
                "canary;",
                "can ary",
                "\"canary\"",
                "can,ary",
                "can\\ary",
                "canary\n\n",
                &long,
            ],
        ),
        (
            &bearer,
            vec![
                "",
                "=",
                "can ary",
                "can=ary",
                "canary\n\n",
                "Bearer canary",
                "can\u{e4}ry",
                &long,
            ],
        ),
        (&basic, vec!["can:ary", "can\nary", "canary\n\n", &long]),
    ] {
        for value in values {
            let data = secret(&[("token", value), ("other", "p")]);
            let problem = credential(&spec(kind.clone()), Some(&data)).unwrap_err();
            let text = format!("{problem} {problem:?}");
            assert_eq!(problem.reason(), "InvalidSpec", "{kind} {value:?}");
            assert!(problem.stalls(), "{kind} {value:?}");
            assert!(
                text.contains("key `token` of Secret `payments` must "),
                "{kind} {value:?}: {text}"
            );
            assert!(!text.contains("can"), "{kind} {value:?}: {text}");
            seen += 1;
        }
    }
    assert_eq!(seen, 35);
}

#[test]
fn every_control_character_is_refused_everywhere() {
    let reference = json!({"name": "s", "key": "k"});
    for kind in [
        json!({"apiKey": {"secretRef": reference}}),
        json!({"apiKey": {"in": "Query", "name": "q", "secretRef": reference}}),
        json!({"apiKey": {"in": "Cookie", "name": "q", "secretRef": reference}}),
        json!({"bearer": {"secretRef": reference}}),
        json!({"basic": {"secretRef": {"name": "s", "usernameKey": "k", "passwordKey": "p"}}}),
        json!({"basic": {"secretRef": {"name": "s", "usernameKey": "p", "passwordKey": "k"}}}),
    ] {
        for control in (0..=0x1f_u8).chain([0x7f]).map(char::from) {
            for value in [format!("{control}a"), format!("a{control}b"), format!("a{control}\n")] {
                // `\r\n` is one newline.
                if value == "a\r\n" {
                    continue;
                }
                let data = secret(&[("k", &value), ("p", "p")]);
                assert!(
                    credential(&spec(kind.clone()), Some(&data)).is_err(),
                    "{kind} {value:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let bearer = spec(json!({"bearer": {"secretRef": {"name": "payments", "key": "token"}}}));
    let basic = spec(json!({"basic": {"secretRef": {"name": "payments"}}}));
    let binary: Values = [("token".to_owned(), None)].into();
    for (spec, data, reason, stalls, message) in [
        (
            &bearer,
            None,
            "SecretNotFound",
            false,
            "`spec.bearer.secretRef`: there is no Secret `payments` in this namespace that may be named here; create it or name another",
        ),
        (
            &bearer,
            Some(secret(&[("other", "canary")])),
            "KeyMissing",
            true,
            "`spec.bearer.secretRef`: Secret `payments` has no key `token`; add it or name another",
        ),
        (
            &basic,
            Some(secret(&[("username", "canary")])),
            "KeyMissing",
            true,
            "`spec.basic.secretRef`: Secret `payments` has no key `password`; add it or name another",
        ),
        (
            &bearer,
            Some(binary),
            "InvalidSpec",
            true,
            "`spec.bearer.secretRef` must name a usable value: key `token` of Secret `payments` must be text (UTF-8)",
        ),
    ] {
        let problem = credential(spec, data.as_ref()).unwrap_err();
        assert_eq!(
            (problem.reason(), problem.stalls(), problem.to_string().as_str()),
            (reason, stalls, message)
        );
    }
}

#[test]
fn whether_only_an_edit_helps_is_known_of_each_problem() {
    let message = || "m".to_owned();
    for (problem, reason, stalls) in [
        (
            CredentialProblem::IssueFailed {
                message: message(),
                permanent: true,
            },
            "IssueFailed",
            true,
        ),
        (
            CredentialProblem::IssueFailed {
                message: message(),
                permanent: false,
            },
            "IssueFailed",
            false,
        ),
        (CredentialProblem::Expired { message: message() }, "Expired", false),
        (
            CredentialProblem::ReauthorizationRequired { message: message() },
            "ReauthorizationRequired",
            true,
        ),
    ] {
        assert_eq!((problem.reason(), problem.stalls()), (reason, stalls));
        assert_eq!(problem.to_string(), "m");
    }
}

#[test]
fn what_is_issued_has_no_value_before_it_is() {
    for kind in [
        json!({"oauth2": {"grant": "ClientCredentials", "tokenURL": "https://a.example", "clientID": "c",
            "clientSecretRef": {"name": "a", "key": "b"}}}),
        json!({"jwt": {"algorithm": "ES256", "generate": {}}}),
        json!({"generated": {}}),
        json!({"certificate": {"issue": {"caSecretRef": {"name": "ca"}, "commonName": "c"}}}),
        json!({"apiKey": {}, "rotation": {"steps": {
            "create": {"request": {"url": "https://api.example.com/keys"}, "extract": {"value": ".key"}},
        }}}),
    ] {
        let spec = spec(kind.clone());
        assert_eq!(credential_spec(&spec), [], "{kind}");
        assert_eq!(secret_name(&spec), None, "{kind}");
        let problem = credential(&spec, None).unwrap_err();
        assert_eq!(
            (problem.reason(), problem.stalls(), problem.to_string().as_str()),
            ("IssueFailed", false, "no value has been issued yet"),
            "{kind}"
        );
    }
}

/// What the API server cannot tell: it does not look into claims, and knows no `allowedHosts` of a call.
#[test]
fn what_no_schema_can_say_is_said_here() {
    let jwt = |claims: serde_json::Value| json!({"jwt": {"algorithm": "HS256", "keyRef": {"name": "a", "key": "b"}, "claims": claims}});
    let steps = |url: &str, authority: Option<&str>| {
        let mut create = json!({"request": {"url": url}, "extract": {"value": ".key"}});
        if let Some(name) = authority {
            create["credentialRef"] = json!({ "name": name });
        }
        json!({"apiKey": {}, "rotation": {"steps": {"create": create}}})
    };
    let registered = |name: &str| jwt(json!({ name: 1, "tenant": 7 }));
    let many: serde_json::Map<_, _> = (0..65).map(|index| (format!("c{index}"), json!(1))).collect();
    let many_parameters: serde_json::Map<_, _> = (0..33).map(|index| (format!("c{index}"), json!("1"))).collect();
    let host = "`spec.rotation.steps.create.request.url` must have a host that `allowedHosts` allows, because no \
                `credentialRef` authorises the call";
    let claims = "`spec.jwt.claims` must not have claims that are set by other fields or by us: iss, sub, aud, exp, nbf, \
                  iat, jti";
    let window = |schedule: &str, zone: &str| {
        let window = json!({"schedule": schedule, "duration": "1h", "timeZone": zone});
        json!({"generated": {}, "rotation": {"windows": [window]}})
    };
    let schedule = "`spec.rotation.windows[0].schedule` must be five fields as in cron such as '0 2 * * *', which come \
                    about at some time, in a time zone such as 'Europe/Berlin'";
    let zone =
        "`spec.rotation.windows[0].timeZone` must be the name of a time zone such as 'Europe/Berlin' or 'Etc/UTC'";
    let mut cases = vec![
        (window("60 2 * * *", "Etc/UTC"), schedule),
        (window("0 2 30 2 *", "Etc/UTC"), schedule),
        (window("0 2 * foo *", "Etc/UTC"), schedule),
        (window("0 2 * * *", "Nowhere/Land"), zone),
        (
            jwt(json!({"a": "x".repeat(8 << 10)})),
            "`spec.jwt.claims` must be at most 8 KiB of JSON",
        ),
        (jwt(many.into()), "`spec.jwt.claims` must have at most 64 entries"),
        (
            json!({"oauth2": {"grant": "ClientCredentials", "tokenURL": "https://a.example", "clientID": "c",
                "clientSecretRef": {"name": "a", "key": "b"}, "parameters": many_parameters}}),
            "`spec.oauth2.parameters` must have at most 32 entries",
        ),
        (steps("https://other.example/keys", None), host),
        (steps("https://api.example.com.other.example", None), host),
        (steps("https://other.example?api.example.com", None), host),
    ];
    cases.extend(["iss", "sub", "aud", "exp", "nbf", "iat", "jti"].map(|name| (registered(name), claims)));
    for (kind, expected) in cases {
        let found: Vec<_> = credential_spec(&spec(kind.clone()))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, [expected], "{kind}");
    }
    for fine in [
        jwt(json!({"a": "x".repeat(8000)})),
        steps("https://api.example.com", None),
        steps("HTTPS://API.example.com:8443?id={{ attempt.id }}", None),
        steps("https://other.example/keys", Some("admin")),
        window("*/30 8-17 1,15 JAN-JUN mon", "America/Argentina/Buenos_Aires"),
    ] {
        assert_eq!(credential_spec(&spec(fine.clone())), [], "{fine}");
    }
}
