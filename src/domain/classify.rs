//! What an attempt means: for the breaker, and for whether it may be made again.
//!
//! The two questions are apart on purpose. A 429 is no fault of the endpoint, yet worth another try later; a 501 is a
//! failure that no retry mends.

use http::{Method, StatusCode};

use super::plan::RetryPlan;
use crate::api::integration::RetryMethods;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The provider answered.
    Answered(StatusCode),
    /// There was no answer.
    Failed(Fault),
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No connection: not resolved, not accepted, no TLS, or not in time. Nothing was sent.
    Connect,
    /// The address policy forbids the endpoint's address. Nothing was sent.
    AddressRefused,
    /// The connection broke after something may have been sent.
    Reset,
    /// No head of an answer in time.
    Timeout,
    /// What came back is not the protocol.
    Protocol,
}

/// What an attempt says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It serves.
    Success,
    /// It serves, and does not like the request.
    CallerError,
    /// It serves others and asks us to wait.
    RateLimited,
    /// It serves, and does not accept the credential.
    Unauthorized,
    /// It does not serve.
    Failure,
    /// Nothing: our own policy kept us from asking, or the caller went away before the answer.
    Nothing,
}

/// What `ending` says of the endpoint. Never is a 4xx a failure: a caller who asks for the wrong thing must not cut
/// others off.
pub fn outcome(ending: Ending) -> Outcome {
    match ending {
        Ending::Answered(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Outcome::Unauthorized,
        Ending::Answered(StatusCode::TOO_MANY_REQUESTS) => Outcome::RateLimited,
        Ending::Answered(status) if status.is_client_error() => Outcome::CallerError,
        // What is out of range is to be treated as a 5xx (RFC 9110, 15).
        Ending::Answered(status) if status.as_u16() >= 500 => Outcome::Failure,
        Ending::Answered(_) => Outcome::Success,
        Ending::Failed(Fault::AddressRefused) => Outcome::Nothing,
        Ending::Failed(Fault::Connect | Fault::Reset | Fault::Timeout | Fault::Protocol) => Outcome::Failure,
    }
}

/// Whether a request may be sent twice: its method is idempotent (RFC 9110 9.2.2), the caller made it so with an
/// `Idempotency-Key`, or the plan says that all may.
pub fn is_repeatable(method: &Method, has_idempotency_key: bool, methods: RetryMethods) -> bool {
    methods == RetryMethods::All
        || has_idempotency_key
        || [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::PUT,
            Method::DELETE,
        ]
        .contains(method)
}

/// Whether `ending` is worth another attempt. `repeatable` is the word of [`is_repeatable`] on the request.
///
/// A connection that was never made carried nothing, so any request may try another one. A refused address is refused
/// the next time too.
pub fn is_retryable(ending: Ending, repeatable: bool, plan: &RetryPlan) -> bool {
    match ending {
        Ending::Answered(status) => repeatable && plan.statuses.contains(&status.as_u16()),
        Ending::Failed(Fault::Connect) => true,
        Ending::Failed(Fault::Reset | Fault::Timeout) => repeatable,
        Ending::Failed(Fault::AddressRefused | Fault::Protocol) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::integration::IdempotencyKey;

    fn plan() -> RetryPlan {
        RetryPlan {
            limit: 3,
            backoff_base: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
            statuses: vec![408, 429, 500, 502, 503, 504],
            methods: RetryMethods::Idempotent,
            idempotency_key: IdempotencyKey::PassOn,
            hedge: None,
            retry_after_max: Duration::from_secs(60),
            budget_percent: 20,
            budget_interval: Duration::from_secs(10),
            budget_minimum_per_second: 1,
        }
    }

    #[test]
    fn no_4xx_is_a_failure_and_every_5xx_is() {
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).unwrap();
            let failure = outcome(Ending::Answered(status)) == Outcome::Failure;
            assert_eq!(failure, code >= 500, "{code}");
        }
    }

    #[test]
    fn refusals_of_the_credential_and_of_the_rate_are_told_apart() {
        for (code, expected) in [
            (200, Outcome::Success),
            (304, Outcome::Success),
            (400, Outcome::CallerError),
            (401, Outcome::Unauthorized),
            (403, Outcome::Unauthorized),
            (404, Outcome::CallerError),
            (429, Outcome::RateLimited),
        ] {
            assert_eq!(
                outcome(Ending::Answered(StatusCode::from_u16(code).unwrap())),
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn an_address_that_we_refuse_says_nothing_of_the_endpoint() {
        assert_eq!(outcome(Ending::Failed(Fault::AddressRefused)), Outcome::Nothing);
    }

    #[test]
    fn a_post_is_repeatable_only_with_a_key_or_by_order() {
        assert!(!is_repeatable(&Method::POST, false, RetryMethods::Idempotent));
        assert!(!is_repeatable(&Method::PATCH, false, RetryMethods::Idempotent));
        assert!(is_repeatable(&Method::POST, true, RetryMethods::Idempotent));
        assert!(is_repeatable(&Method::POST, false, RetryMethods::All));
        assert!(is_repeatable(&Method::DELETE, false, RetryMethods::Idempotent));
    }

    #[test]
    fn what_may_have_been_sent_is_sent_again_only_if_repeatable() {
        for fault in [Fault::Reset, Fault::Timeout] {
            assert!(!is_retryable(Ending::Failed(fault), false, &plan()));
            assert!(is_retryable(Ending::Failed(fault), true, &plan()));
        }
        assert!(is_retryable(Ending::Failed(Fault::Connect), false, &plan()));
        assert!(!is_retryable(
            Ending::Answered(StatusCode::SERVICE_UNAVAILABLE),
            false,
            &plan()
        ));
        assert!(is_retryable(
            Ending::Answered(StatusCode::SERVICE_UNAVAILABLE),
            true,
            &plan()
        ));
        assert!(!is_retryable(
            Ending::Answered(StatusCode::NOT_IMPLEMENTED),
            true,
            &plan()
        ));
        assert!(!is_retryable(Ending::Failed(Fault::AddressRefused), true, &plan()));
    }
}
