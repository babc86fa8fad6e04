//! Where metadata are looked for, and how far they are believed.

use serde_json::{Value, json};

use super::super::tests::{Scripted, answer, credential};
use super::*;
use crate::provider::exchange::ExchangeError;

async fn found(
    issuer: &str,
    authentication: &str,
    answers: Vec<Result<Answer, ExchangeError>>,
) -> (Result<String, IssueError>, Vec<String>) {
    let spec = credential(json!({
        "grant": "ClientCredentials", "issuerURL": issuer, "clientAuthentication": authentication,
    }));
    let exchange = Scripted::of(answers);
    let oauth2 = spec.oauth2.as_ref().unwrap();
    let found = token_endpoint(&exchange, &spec, oauth2, issuer, None).await;
    (found.map(|endpoint| endpoint.text), exchange.urls())
}

fn metadata(issuer: &str, endpoint: &str) -> Answer {
    answer(
        200,
        &json!({ "issuer": issuer, "token_endpoint": endpoint, "scopes_supported": ["a"] }),
    )
}

#[tokio::test]
async fn the_well_known_name_goes_before_the_path_and_then_behind_it() {
    for (issuer, first, second) in [
        (
            "https://idp.example",
            "https://idp.example/.well-known/oauth-authorization-server",
            "https://idp.example/.well-known/openid-configuration",
        ),
        (
            "https://idp.example/",
            "https://idp.example/.well-known/oauth-authorization-server",
            "https://idp.example/.well-known/openid-configuration",
        ),
        (
            "https://idp.example:8443/a/b",
            "https://idp.example:8443/.well-known/oauth-authorization-server/a/b",
            "https://idp.example:8443/a/b/.well-known/openid-configuration",
        ),
        (
            "https://idp.example/a/",
            "https://idp.example/.well-known/oauth-authorization-server/a",
            "https://idp.example/a/.well-known/openid-configuration",
        ),
    ] {
        let endpoint = "https://idp.example/token";
        let (got, asked) = found(issuer, "Basic", vec![Ok(metadata(issuer, endpoint))]).await;
        assert_eq!((got.unwrap().as_str(), asked), (endpoint, vec![first.to_owned()]));
        for other in [
            Ok(answer(404, &json!({}))),
            Ok(answer(200, &json!([issuer, endpoint, null]))),
            Ok(answer(
                200,
                &json!({ "issuer": "https://other.example", "token_endpoint": endpoint }),
            )),
        ] {
            let (got, asked) = found(issuer, "Basic", vec![other, Ok(metadata(issuer, endpoint))]).await;
            assert_eq!(
                (got.unwrap().as_str(), asked),
                (endpoint, vec![first.to_owned(), second.to_owned()])
            );
        }
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_are_not_believed() {
    let issuer = "https://idp.example/a";
    for other in [
        "https://idp.example/a/",
        "https://idp.example",
        "https://IDP.example/a",
        "https://idp.example:443/a",
        "",
    ] {
        let wrong = || metadata(other, "https://idp.example/token");
        let (got, _) = found(issuer, "Basic", vec![Ok(wrong()), Ok(wrong())]).await;
        let Err(IssueError::NotSent { message, .. }) = got else {
            panic!("{other}: {got:?}")
        };
        assert!(message.contains("another issuer"), "{message}");
    }
    let (got, _) = found(
        issuer,
        "Basic",
        vec![Ok(answer(503, &json!({}))), Ok(answer(404, &json!({})))],
    )
    .await;
    let Err(IssueError::NotSent { message, .. }) = got else {
        panic!("{got:?}")
    };
    assert!(
        message.contains("status 503") && message.contains("status 404"),
        "{message}"
    );
}

#[tokio::test]
async fn whatever_fails_before_the_token_endpoint_was_not_sent() {
    for failure in [
        ExchangeError::NotSent("x".to_owned()),
        ExchangeError::Lost("x".to_owned()),
        ExchangeError::Unreadable("x".to_owned()),
    ] {
        let (got, asked) = found("https://idp.example", "Basic", vec![Err(failure)]).await;
        assert!(matches!(got, Err(IssueError::NotSent { .. })), "{got:?}");
        assert_eq!(asked.len(), 1);
    }
}

#[tokio::test]
async fn secrets_go_to_the_issuers_host_or_to_one_that_is_allowed() {
    let issuer = "https://login.example";
    for good in [
        "https://login.example/token",
        "https://login.example:9443/token",
        "https://api.example.com/token",
        "https://eu.idp.example/token",
    ] {
        let (got, _) = found(issuer, "Basic", vec![Ok(metadata(issuer, good))]).await;
        assert_eq!(got.unwrap(), good);
    }
    for bad in [
        "https://evil.example/token",
        "https://login.example.evil.example/token",
        "https://idp.example/token",
        "https://login.example@evil.example/token",
        "http://login.example/token",
        "http://127.0.0.1/token",
        "/token",
        "",
    ] {
        let (got, _) = found(issuer, "Basic", vec![Ok(metadata(issuer, bad))]).await;
        assert!(matches!(got, Err(IssueError::Refused { .. })), "{bad}: {got:?}");
    }
    let (got, _) = found(issuer, "Basic", vec![Ok(answer(200, &json!({ "issuer": issuer })))]).await;
    assert!(matches!(got, Err(IssueError::Refused { .. })), "{got:?}");
}

#[tokio::test]
async fn a_client_with_a_certificate_goes_where_certificates_are_asked_for() {
    let issuer = "https://idp.example";
    let metadata = |alias: Value| {
        let endpoint = "https://idp.example/token";
        let aliases = json!({ "token_endpoint": alias });
        vec![Ok(answer(
            200,
            &json!({ "issuer": issuer, "token_endpoint": endpoint, "mtls_endpoint_aliases": aliases }),
        ))]
    };
    let alias = "https://mtls.idp.example/token";
    for (authentication, alias, wanted) in [
        ("TLS", json!(alias), alias),
        ("TLS", Value::Null, "https://idp.example/token"),
        ("Basic", json!(alias), "https://idp.example/token"),
    ] {
        let (got, _) = found(issuer, authentication, metadata(alias)).await;
        assert_eq!(got.unwrap(), wanted);
    }
    let (got, _) = found(issuer, "TLS", metadata(json!("https://evil.example/token"))).await;
    assert!(matches!(got, Err(IssueError::Refused { .. })), "{got:?}");
}

#[tokio::test]
async fn an_issuer_that_cannot_be_one_is_not_asked() {
    for issuer in [
        "http://idp.example",
        "https://idp.example?a=b",
        "https://idp.example#a",
        "https://user@idp.example",
        "idp.example",
    ] {
        let (got, asked) = found(issuer, "Basic", vec![]).await;
        assert!(matches!(got, Err(IssueError::Refused { .. })), "{issuer}: {got:?}");
        assert!(asked.is_empty());
    }
}
