use super::*;

fn every_failure() -> Vec<Failure> {
    vec![
        Failure::CircuitOpen {
            retry_after: Some(Duration::from_millis(2001)),
        },
        Failure::NoEndpoint,
        Failure::CredentialUnavailable {
            credential: "key".into(),
            why: "has no usable value",
        },
        Failure::Overloaded,
        Failure::RateLimited { retry_after: None },
        Failure::Paused {
            left: Duration::from_secs(3),
        },
        Failure::RequestTimeout {
            what: "the request",
            bound: Duration::from_secs(30),
        },
        Failure::UpstreamUnreachable { detail: "reset".into() },
        Failure::UpstreamProtocol {
            detail: "not HTTP".into(),
        },
        Failure::ResponseTooLarge {
            what: "the body",
            limit: 5,
        },
        Failure::AddressRefused {
            detail: "loopback".into(),
        },
        Failure::RequestTooLarge {
            what: "the body",
            limit: 5,
        },
        Failure::InvalidRequest {
            detail: "no Host".into(),
        },
        Failure::UnknownIntegration { detail: "no such host" },
    ]
}

#[test]
fn every_failure_has_the_status_of_the_contract() {
    let table: Vec<_> = every_failure()
        .iter()
        .map(|f| (f.slug(), f.status().as_u16()))
        .collect();
    assert_eq!(
        table,
        [
            ("circuit-open", 503),
            ("no-endpoint", 503),
            ("credential-unavailable", 503),
            ("overloaded", 503),
            ("rate-limited", 429),
            ("rate-limited", 429),
            ("request-timeout", 504),
            ("upstream-unreachable", 502),
            ("upstream-protocol", 502),
            ("response-too-large", 502),
            ("address-refused", 502),
            ("request-too-large", 413),
            ("invalid-request", 400),
            ("unknown-integration", 404),
        ]
    );
}

#[test]
fn an_answer_is_a_problem_document_that_names_itself_twice() {
    for failure in every_failure() {
        let response = answer(&failure, false, Some("urn:uuid:1"));
        let headers = response.headers();
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[TIDEGATE_ERROR], failure.slug());
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body["type"],
            format!("https://tidegate.dev/problems/{}", failure.slug())
        );
        assert_eq!(body["status"], response.status().as_u16());
        assert_eq!(body["instance"], "urn:uuid:1");
        assert!(body["title"].is_string() && body["detail"].is_string());
    }
}

#[test]
fn an_answer_to_head_has_the_length_but_no_body() {
    let failure = Failure::NoEndpoint;
    let full = answer(&failure, false, None);
    let head = answer(&failure, true, None);
    assert!(head.body().is_empty());
    assert_eq!(head.headers()[CONTENT_LENGTH], full.body().len().to_string());
}

#[test]
fn retry_after_is_rounded_up_to_at_least_one_second() {
    for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
        let failure = Failure::CircuitOpen {
            retry_after: Some(Duration::from_millis(milliseconds)),
        };
        assert_eq!(answer(&failure, false, None).headers()[RETRY_AFTER], seconds);
    }
    let unknown = Failure::CircuitOpen { retry_after: None };
    assert!(!answer(&unknown, false, None).headers().contains_key(RETRY_AFTER));
}
