//! Every kind of answer, for every grant.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const GRANTS: [Grant; 4] = [
    Grant::ClientCredentials,
    Grant::RefreshToken,
    Grant::JWTBearer,
    Grant::TokenExchange,
];

fn answer(status: u16, content_type: Option<&str>, body: &str) -> Answer {
    Answer {
        status,
        content_type: content_type.map(str::to_owned),
        retry_after: None,
        date: None,
        took: Duration::ZERO,
        body: SecretValue::new(body),
    }
}

fn json(status: u16, body: &Value) -> Answer {
    answer(status, Some("application/json"), &body.to_string())
}

/// An outcome in one word.
fn outcome(result: &Result<Token, IssueError>) -> &'static str {
    match result {
        Ok(_) => "token",
        Err(IssueError::NotSent { .. }) => "not sent",
        Err(IssueError::Lost { .. }) => "lost",
        Err(IssueError::Unusable { .. }) => "unusable",
        Err(IssueError::Later { .. }) => "later",
        Err(IssueError::Refused { .. }) => "refused",
        Err(IssueError::Reauthorize { .. }) => "reauthorize",
    }
}

/// Reads it for every grant: `refreshing` is what comes out for a refresh token, `other` for the rest.
fn expect(answer: &Answer, refreshing: &str, other: &str) {
    for grant in GRANTS {
        let result = read(grant, "idp.example", answer);
        let expected = if grant == Grant::RefreshToken {
            refreshing
        } else {
            other
        };
        assert_eq!(outcome(&result), expected, "{grant:?}, {answer:?}: {result:?}");
        if let Err(error) = result {
            let message = error.to_string();
            assert!(message.contains("`idp.example`"), "{message}");
            assert!(!message.contains("hush"), "{message}");
        }
    }
}

#[test]
fn errors_are_told_apart_by_what_helps() {
    for (status, code, refreshing, other) in [
        (400, "invalid_request", "refused", "refused"),
        (400, "invalid_client", "refused", "refused"),
        (401, "invalid_client", "refused", "refused"),
        (400, "invalid_grant", "reauthorize", "refused"),
        (401, "invalid_grant", "reauthorize", "refused"),
        (400, "interaction_required", "reauthorize", "refused"),
        (400, "unauthorized_client", "refused", "refused"),
        (400, "unsupported_grant_type", "refused", "refused"),
        (400, "invalid_scope", "refused", "refused"),
        (400, "invalid_target", "refused", "refused"),
        (403, "access_denied", "refused", "refused"),
        (400, "hush_hush", "refused", "refused"),
        (400, "temporarily_unavailable", "later", "later"),
        (503, "temporarily_unavailable", "later", "later"),
        (400, "slow_down", "later", "later"),
        (400, "server_error", "lost", "later"),
        (500, "server_error", "lost", "later"),
        (429, "invalid_grant", "later", "later"),
        (502, "invalid_grant", "lost", "later"),
        // A status of success with an error in it.
        (200, "invalid_grant", "reauthorize", "refused"),
        (200, "hush_hush", "refused", "refused"),
    ] {
        let body = json!({ "error": code, "error_description": "hush", "error_uri": "https://hush" });
        expect(&json(status, &body), refreshing, other);
    }
}

#[test]
fn the_code_is_named_and_nothing_else_of_the_answer() {
    for (code, said) in [
        ("invalid_client", "`invalid_client` (401)"),
        ("hush_hush", "an unknown error code (401)"),
        ("invalid_client hush", "an unknown error code (401)"),
    ] {
        let body = json!({ "error": code, "error_description": "hush" });
        let error = read(Grant::ClientCredentials, "idp.example", &json(401, &body)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn without_a_code_the_status_decides() {
    for (status, refreshing, other) in [
        (101, "lost", "unusable"),
        (301, "refused", "refused"),
        (302, "refused", "refused"),
        (307, "refused", "refused"),
        (400, "refused", "refused"),
        (401, "refused", "refused"),
        (403, "refused", "refused"),
        (404, "refused", "refused"),
        (405, "refused", "refused"),
        (408, "later", "later"),
        (413, "refused", "refused"),
        (429, "later", "later"),
        (500, "lost", "later"),
        (502, "lost", "later"),
        (503, "later", "later"),
        (504, "lost", "later"),
        (599, "lost", "later"),
        (999, "lost", "later"),
    ] {
        for (content_type, body) in [
            (None, ""),
            (Some("text/html"), "<html>hush</html>"),
            (Some("application/json"), "\"hush\""),
            (Some("application/json"), "[\"invalid_grant\"]"),
            (Some("application/json"), "{\"error\": {\"code\": \"hush\"}}"),
            (Some("application/json"), "{\"hush\": "),
        ] {
            expect(&answer(status, content_type, body), refreshing, other);
        }
    }
}

#[test]
fn a_wait_that_is_asked_for_is_granted_up_to_an_hour() {
    for (asked, granted) in [
        (None, None),
        (Some(0), Some(0)),
        (Some(30), Some(30)),
        (Some(86_400), Some(3600)),
    ] {
        let answer = Answer {
            retry_after: asked.map(Duration::from_secs),
            ..answer(429, None, "")
        };
        let Err(IssueError::Later { after, .. }) = read(Grant::RefreshToken, "idp.example", &answer) else {
            panic!("{answer:?}");
        };
        assert_eq!(after, granted.map(Duration::from_secs));
    }
}

#[test]
fn a_success_that_is_none_is_never_taken_for_one() {
    let token = r#"{"access_token":"hush","token_type":"Bearer"}"#;
    for (content_type, body) in [
        (None, token),
        (Some("text/html"), token),
        (
            Some("application/x-www-form-urlencoded"),
            "access_token=hush&token_type=Bearer",
        ),
        (Some("application/json"), ""),
        (Some("application/json"), "hush"),
        (Some("application/json"), r#"["hush","Bearer",60,null,null]"#),
        (
            Some("application/json"),
            r#"{"access_token":"hush","access_token":"hush2"}"#,
        ),
        (
            Some("application/json"),
            r#"{"access_token":"hush","token_type":"Bearer"} hush"#,
        ),
        (
            Some("application/json"),
            r#"{"access_token":["hush"],"token_type":"Bearer"}"#,
        ),
        (Some("application/json"), r#"{"access_token":"hush","token_type":1}"#),
    ] {
        expect(&answer(200, content_type, body), "lost", "unusable");
    }
}

#[test]
fn a_success_without_a_usable_token_helps_nobody() {
    let long = "h".repeat(TEXT_MAX + 1);
    for body in [
        json!({}),
        json!({ "token_type": "Bearer" }),
        json!({ "access_token": null, "error": { "code": "hush" } }),
        json!({ "access_token": "", "token_type": "Bearer" }),
        json!({ "access_token": "hush hush", "token_type": "Bearer" }),
        json!({ "access_token": "hush\r\nx: y", "token_type": "Bearer" }),
        json!({ "access_token": "==", "token_type": "Bearer" }),
        json!({ "access_token": "hü", "token_type": "Bearer" }),
        json!({ "access_token": long, "token_type": "Bearer" }),
        json!({ "access_token": "hush", "expires_in": 0 }),
        json!({ "access_token": "hush", "expires_in": -1 }),
        json!({ "access_token": "hush", "expires_in": 0.5 }),
        json!({ "access_token": "hush", "expires_in": "" }),
        json!({ "access_token": "hush", "expires_in": "-1" }),
        json!({ "access_token": "hush", "expires_in": "hush" }),
        json!({ "access_token": "hush", "expires_in": true }),
        json!({ "access_token": "hush", "expires_in": [60] }),
    ] {
        expect(&json(200, &body), "lost", "refused");
    }
    // Only where the refresh token matters.
    for refresh in ["", "hush\n", "hü", &long] {
        let body = json!({ "access_token": "abc", "token_type": "Bearer", "refresh_token": refresh });
        expect(&json(200, &body), "lost", "token");
    }
}

#[test]
fn only_bearer_tokens_are_taken() {
    for (kind, said) in [
        ("DPoP", "DPoP"),
        ("dpop", "DPoP"),
        ("MAC", "mac"),
        ("N_A", "N_A"),
        ("hush", "unknown to us"),
        ("", "unknown to us"),
    ] {
        let body = json!({ "access_token": "abc", "token_type": kind });
        expect(&json(200, &body), "refused", "refused");
        let error = read(Grant::TokenExchange, "idp.example", &json(200, &body)).unwrap_err();
        assert!(error.to_string().contains(&format!("of type {said},")), "{error}");
    }
    for kind in [json!("Bearer"), json!("bearer"), json!("BEARER"), Value::Null] {
        expect(
            &json(200, &json!({ "access_token": "abc", "token_type": kind })),
            "token",
            "token",
        );
    }
}

#[test]
fn a_token_is_read_with_what_belongs_to_it() {
    for (expires_in, seconds) in [
        (Value::Null, 3600),
        (json!(1), 1),
        (json!(3599), 3599),
        (json!(3599.9), 3599),
        (json!("3599"), 3599),
        (json!("00060"), 60),
        (json!(u64::MAX), 315_360_000),
        (json!(1e300), 315_360_000),
        (json!("99999999999999999999999999"), 315_360_000),
    ] {
        let body = json!({
            "access_token": "aZ09-._~+/==", "token_type": "Bearer", "expires_in": expires_in,
            "refresh_token": "r 1", "scope": "a b", "id_token": "x.y.z", "more": { "deep": [1] },
        });
        for content_type in ["application/json", "text/json", "application/vnd.x+json"] {
            let token = read(
                Grant::RefreshToken,
                "idp.example",
                &answer(200, Some(content_type), &body.to_string()),
            );
            let expected = Token {
                access: SecretValue::new("aZ09-._~+/=="),
                refresh: Some(SecretValue::new("r 1")),
                lifetime: Duration::from_secs(seconds),
            };
            assert_eq!(token, Ok(expected), "{expires_in}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_to_some_end_and_never_repeated(
        status in 100u16..1000,
        content_type in proptest::option::of("[a-z/+]{0,20}"),
        body in "\\PC{0,60}",
        code in "[a-z_]{12,20}",
    ) {
        for body in [format!("zq{body}zq"), json!({ "error": code, "zqzq": body }).to_string()] {
            for grant in GRANTS {
                let content_type = content_type.as_deref();
                if let Err(error) = read(grant, "idp.example", &answer(status, content_type, &body)) {
                    let message = error.to_string();
                    prop_assert!(!message.contains("zq"), "{}", message);
                    prop_assert!(CODES.iter().any(|(known, _)| *known == code) || !message.contains(&code));
                }
            }
        }
    }

    #[test]
    fn a_token_that_is_taken_can_be_sent_and_lives_a_while(token in "\\PC{0,40}", expires_in in any::<f64>()) {
        let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in });
        if let Ok(read) = read(Grant::ClientCredentials, "idp.example", &json(200, &body)) {
            prop_assert_eq!(read.access.expose(), token);
            let header = format!("Bearer {}", read.access.expose());
            prop_assert!(header.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            prop_assert!((1..=u64::from(LIFETIME_MAX)).contains(&read.lifetime.as_secs()));
        }
    }
}
