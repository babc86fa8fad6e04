//! What is sent for each grant and each way to prove who one is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::super::tests::{credential, now, ordered, secret};
use super::*;
use crate::api::credential::CredentialSpec;
use crate::provider::Sources;

const ENDPOINT: &str = "https://idp.example/Token?t=1";

fn built(spec: &CredentialSpec, sources: &Sources) -> Result<Call, IssueError> {
    ordered(spec, sources, |order| {
        prepare(spec.oauth2.as_ref().unwrap(), order)?.call(&Endpoint::parse(ENDPOINT).unwrap(), now())
    })
}

fn refusal(spec: &CredentialSpec, sources: &Sources) -> String {
    match built(spec, sources) {
        Err(IssueError::Refused { reason, message }) => {
            assert_eq!(reason, "InvalidSpec", "{message}");
            message
        }
        other => panic!("{other:?}"),
    }
}

/// The parameters of the body, sorted.
fn parameters(call: &Call) -> Vec<(String, String)> {
    let body = call.body.as_ref().unwrap();
    let mut pairs: Vec<_> = url::form_urlencoded::parse(body.expose().as_bytes())
        .into_owned()
        .collect();
    pairs.sort();
    pairs
}

fn header<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let (_, value) = call.headers.iter().find(|(there, _)| there == name)?;
    Some(value.expose())
}

fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn key_ref() -> Value {
    json!({ "name": "s", "key": "k" })
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = expected.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
    pairs.sort();
    pairs
}

#[test]
fn a_client_proves_who_it_is_as_it_is_told() {
    let sources = secret(&[("k", "p:w d\r\n")]);
    for (authentication, authorization, body) in [
        (None, Some("Basic aWQlM0ExOnAlM0F3K2Q="), &[][..]),
        (Some("Basic"), Some("Basic aWQlM0ExOnAlM0F3K2Q="), &[]),
        (Some("Post"), None, &[("client_id", "id:1"), ("client_secret", "p:w d")]),
        (Some("None"), None, &[("client_id", "id:1")]),
    ] {
        let mut oauth2 = json!({
            "grant": "ClientCredentials", "tokenURL": ENDPOINT, "clientID": "id:1", "clientSecretRef": key_ref(),
        });
        if let Some(authentication) = authentication {
            oauth2["clientAuthentication"] = json!(authentication);
        }
        let call = built(&credential(oauth2), &sources).unwrap();
        assert_eq!(header(&call, "authorization"), authorization, "{authentication:?}");
        let expected = [&[("grant_type", "client_credentials")], body].concat();
        assert_eq!(parameters(&call), pairs(&expected), "{authentication:?}");
        assert_eq!(call.method, Method::POST);
        assert_eq!(call.url.as_str(), ENDPOINT);
        assert_eq!(header(&call, "content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(header(&call, "accept"), Some("application/json"));
        assert!(call.certificate.is_none() && call.ca_pem.is_none());
    }
}

#[test]
fn a_key_signs_who_the_client_is_for_this_endpoint_and_this_attempt() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let spec = credential(json!({
        "grant": "ClientCredentials", "tokenURL": ENDPOINT, "clientID": "id",
        "clientAuthentication": "PrivateKeyJWT", "clientKeyRef": key_ref(), "scopes": ["a", "b"],
    }));
    let call = built(&spec, &secret(&[("k", &key)])).unwrap();
    let sent = parameters(&call);
    let value = |name: &str| sent.iter().find(|(there, _)| there == name).unwrap().1.clone();
    assert_eq!(value("client_id"), "id");
    assert_eq!(value("client_assertion_type"), CLIENT_ASSERTION);
    let at = now().as_second();
    let expected = json!({
        "iss": "id", "sub": "id", "aud": ENDPOINT, "iat": at, "exp": at + 300, "jti": "3f2c.1",
    });
    assert_eq!(claims(&value("client_assertion")), expected);
    assert_eq!(header(&call, "authorization"), None);
}

#[test]
fn a_bearer_assertion_is_somebody_elses_or_signed_here() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let of = |more: Value| {
        let mut oauth2 = json!({ "grant": "JWTBearer", "tokenURL": ENDPOINT, "clientAuthentication": "None" });
        oauth2
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        credential(oauth2)
    };
    let foreign = of(json!({ "subjectTokenRef": key_ref(), "clientID": "id", "parameters": { "sub": "x" } }));
    let call = built(&foreign, &secret(&[("k", "a.b.c\n")])).unwrap();
    let expected = [
        ("grant_type", JWT_BEARER),
        ("assertion", "a.b.c"),
        ("client_id", "id"),
        ("sub", "x"),
    ];
    assert_eq!(parameters(&call), pairs(&expected));

    for (parameters_given, subject) in [(json!({}), "id"), (json!({ "sub": "someone" }), "someone")] {
        let spec = of(json!({
            "clientKeyRef": key_ref(), "clientID": "id", "scopes": ["a", "b"], "parameters": parameters_given,
        }));
        let call = built(&spec, &secret(&[("k", &key)])).unwrap();
        let sent = parameters(&call);
        let names: Vec<_> = sent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["assertion", "grant_type", "scope"],
            "the assertion says who it is and for whom"
        );
        let at = now().as_second();
        let expected = json!({
            "iss": "id", "sub": subject, "aud": ENDPOINT, "iat": at, "exp": at + 300, "jti": "3f2c.1.grant",
            "scope": "a b",
        });
        assert_eq!(claims(&sent[0].1), expected);
    }
}

#[test]
fn a_token_is_exchanged_by_its_type() {
    for (parameters_given, kind) in [
        (json!({}), ACCESS_TOKEN),
        (json!({ "subject_token_type": "urn:x" }), "urn:x"),
    ] {
        let spec = credential(json!({
            "grant": "TokenExchange", "tokenURL": ENDPOINT, "clientAuthentication": "None",
            "subjectTokenRef": key_ref(), "audience": "aud", "resource": "https://r.example/",
            "scopes": ["a"], "parameters": parameters_given,
        }));
        let expected = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", "t"),
            ("subject_token_type", kind),
            ("audience", "aud"),
            ("resource", "https://r.example/"),
            ("scope", "a"),
        ];
        assert_eq!(
            parameters(&built(&spec, &secret(&[("k", "t")])).unwrap()),
            pairs(&expected)
        );
    }
}

#[test]
fn parameters_add_and_never_replace() {
    let of = |parameters: Value| {
        credential(json!({
            "grant": "ClientCredentials", "tokenURL": ENDPOINT, "clientID": "id", "clientSecretRef": key_ref(),
            "scopes": ["a"], "audience": "x", "parameters": parameters,
        }))
    };
    let sources = secret(&[("k", "x")]);
    let call = built(&of(json!({ "tenant": "t 1", "resource": "r" })), &sources).unwrap();
    let expected = [
        ("audience", "x"),
        ("grant_type", "client_credentials"),
        ("resource", "r"),
        ("scope", "a"),
        ("tenant", "t 1"),
    ];
    assert_eq!(parameters(&call), pairs(&expected));
    for name in RESERVED.into_iter().chain(["scope", "audience"]) {
        let message = refusal(&of(json!({ name: "hush" })), &sources);
        assert!(message.contains(&format!("must not have `{name}`")), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
}

#[test]
fn what_is_missing_is_named_by_its_field() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let sources = secret(&[("k", &key)]);
    for (oauth2, field) in [
        (
            json!({ "grant": "ClientCredentials", "clientSecretRef": key_ref() }),
            "clientID",
        ),
        (
            json!({ "grant": "ClientCredentials", "clientID": "id" }),
            "clientSecretRef",
        ),
        (
            json!({ "grant": "ClientCredentials", "clientID": "id", "clientAuthentication": "Post" }),
            "clientSecretRef",
        ),
        (
            json!({ "grant": "ClientCredentials", "clientID": "id", "clientAuthentication": "PrivateKeyJWT" }),
            "clientKeyRef",
        ),
        (
            json!({ "grant": "ClientCredentials", "clientID": "id", "clientAuthentication": "TLS" }),
            "clientCertificateRef",
        ),
        (
            json!({ "grant": "RefreshToken", "clientAuthentication": "None" }),
            "refreshTokenRef",
        ),
        (
            json!({ "grant": "TokenExchange", "clientAuthentication": "None" }),
            "subjectTokenRef",
        ),
        (
            json!({ "grant": "JWTBearer", "clientAuthentication": "None", "clientKeyRef": key_ref() }),
            "clientID",
        ),
        (
            json!({ "grant": "JWTBearer", "clientAuthentication": "None", "clientID": "id" }),
            "clientKeyRef",
        ),
    ] {
        let message = refusal(&credential(oauth2.clone()), &sources);
        assert!(
            message.contains(&format!("`spec.oauth2.{field}`")),
            "{oauth2}: {message}"
        );
    }
}

#[test]
fn keys_and_certificates_that_cannot_be_used_show_before_anybody_is_asked() {
    let key = KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let key = key.serialize_pem();
    let bomb = "-----BEGIN PRIVATE KEY-----\n".repeat(1 << 12);
    let of = |more: Value| {
        let mut oauth2 = json!({ "grant": "ClientCredentials", "tokenURL": ENDPOINT, "clientID": "id" });
        oauth2
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        credential(oauth2)
    };
    let signing = of(json!({ "clientAuthentication": "PrivateKeyJWT", "clientKeyRef": key_ref() }));
    for (pem, said) in [
        ("", "private key in PEM"),
        ("hush", "private key in PEM"),
        (&certificate, "private key in PEM"),
        (&bomb, "at most 64 KiB"),
    ] {
        let message = refusal(&signing, &secret(&[("k", pem)]));
        assert!(message.contains(said) && !message.contains("hush"), "{message}");
    }
    let shown = of(json!({ "clientAuthentication": "TLS", "clientCertificateRef": { "name": "s" } }));
    let call = built(&shown, &secret(&[("tls.crt", &certificate), ("tls.key", &key)])).unwrap();
    assert!(call.certificate.is_some());
    assert_eq!(
        parameters(&call),
        pairs(&[("client_id", "id"), ("grant_type", "client_credentials")])
    );
    for (chain, key) in [
        ("hush", key.as_str()),
        (&certificate, "hush"),
        (&certificate, &other),
        (&bomb, &key),
        (&certificate, &bomb),
    ] {
        let message = refusal(&shown, &secret(&[("tls.crt", chain), ("tls.key", key)]));
        assert!(
            message.contains("clientCertificateRef") && !message.contains("hush"),
            "{message}"
        );
    }
    let trusting = |pem: &str| {
        let ca = json!({ "caRef": { "kind": "Secret", "name": "s", "key": "ca" } });
        let spec = of(json!({ "clientSecretRef": key_ref(), "tls": ca }));
        built(&spec, &secret(&[("k", "x"), ("ca", pem)]))
    };
    assert_eq!(trusting(&certificate).unwrap().ca_pem, Some(certificate.clone()));
    for pem in ["", "hush", &key, &bomb.repeat(4)] {
        let Err(IssueError::Refused { message, .. }) = trusting(pem) else {
            panic!("it was taken")
        };
        assert!(message.contains("caRef") && !message.contains("hush"), "{message}");
    }
}
