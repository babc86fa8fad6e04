//! Answers of our own: what a caller gets when there is no answer of the provider to pass on.
//!
//! Everything that can go wrong with a call is a [`Failure`]; it becomes an answer (RFC 9457) in one place, the rescue
//! layer. A detail names what the caller or the platform team can act on: never a secret, a body or a header, and of
//! addresses only what the policy refuses.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::api::PROBLEM_PREFIX;

/// Header that names the problem, for callers that do not read the body.
pub const TIDEGATE_ERROR: HeaderName = HeaderName::from_static("tidegate-error");

/// Why a call has no answer of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every endpoint that could serve has an open circuit; the nearest trial is in `retry_after`.
    CircuitOpen {
        /// Until the nearest trial.
        retry_after: Option<Duration>,
    },
    /// No endpoint may get traffic (all have weight 0).
    NoEndpoint,
    /// A credential that this Integration needs has no usable value, or may not go to the endpoint's host.
    CredentialUnavailable {
        /// Name of the Credential.
        credential: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Too many requests under way and waiting.
    Overloaded,
    /// What the provider was promised is used up (`rateLimit`).
    RateLimited {
        /// When there is an attempt free, where that is known.
        retry_after: Option<Duration>,
    },
    /// Every host that could be asked has asked to be left alone (`Retry-After`, `RateLimit`).
    Paused {
        /// Until the first of them may be asked again.
        left: Duration,
    },
    /// Not answered in time.
    RequestTimeout {
        /// What took too long.
        what: &'static str,
        /// The bound that passed.
        bound: Duration,
    },
    /// No connection, or it broke before the answer.
    UpstreamUnreachable {
        /// How.
        detail: Cow<'static, str>,
    },
    /// What came back is not the protocol.
    UpstreamProtocol {
        /// How.
        detail: Cow<'static, str>,
    },
    /// The answer is over `limits.responseBody` or `limits.headers`.
    ResponseTooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The address policy refuses to dial.
    AddressRefused {
        /// Which rule, and which address.
        detail: String,
    },
    /// The request is over `limits.requestBody` or `limits.headers`.
    RequestTooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The request is malformed, ambiguous or of a kind that is not served.
    InvalidRequest {
        /// How.
        detail: Cow<'static, str>,
    },
    /// No Integration answers to this host.
    UnknownIntegration {
        /// What to do.
        detail: &'static str,
    },
}

impl Failure {
    /// The name in `tidegate-error` and in the type URI.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => "circuit-open",
            Self::NoEndpoint => "no-endpoint",
            Self::CredentialUnavailable { .. } => "credential-unavailable",
            Self::Overloaded => "overloaded",
            Self::RateLimited { .. } | Self::Paused { .. } => "rate-limited",
            Self::RequestTimeout { .. } => "request-timeout",
            Self::UpstreamUnreachable { .. } => "upstream-unreachable",
            Self::UpstreamProtocol { .. } => "upstream-protocol",
            Self::ResponseTooLarge { .. } => "response-too-large",
            Self::AddressRefused { .. } => "address-refused",
            Self::RequestTooLarge { .. } => "request-too-large",
            Self::InvalidRequest { .. } => "invalid-request",
            Self::UnknownIntegration { .. } => "unknown-integration",
        }
    }

    /// The HTTP status of contract section 5.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::CircuitOpen { .. } | Self::NoEndpoint | Self::CredentialUnavailable { .. } | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RateLimited { .. } | Self::Paused { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::RequestTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamUnreachable { .. }
            | Self::UpstreamProtocol { .. }
            | Self::ResponseTooLarge { .. }
            | Self::AddressRefused { .. } => StatusCode::BAD_GATEWAY,
            Self::RequestTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvalidRequest { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownIntegration { .. } => StatusCode::NOT_FOUND,
        }
    }

    /// When it is worth another try, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after } => *retry_after,
            // Before the first share is told nobody knows; it is told within seconds.
            Self::RateLimited { retry_after } => retry_after.or(Some(Duration::from_secs(1))),
            Self::Paused { left } => Some(*left),
            // What sheds load now may have room in a moment; no number is better than the smallest.
            Self::Overloaded => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Whether the connection to the caller has to be closed: after what cannot be trusted to be one request, nothing
    /// that follows on the connection can be trusted to start where it seems to.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::InvalidRequest { .. } | Self::RequestTooLarge { .. })
    }

    fn title(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => "The circuit is open",
            Self::NoEndpoint => "No endpoint takes traffic",
            Self::CredentialUnavailable { .. } => "A credential is not available",
            Self::Overloaded => "Too many requests under way",
            Self::RateLimited { .. } | Self::Paused { .. } => "The rate limit is used up",
            Self::RequestTimeout { .. } => "Not answered in time",
            Self::UpstreamUnreachable { .. } => "The provider cannot be reached",
            Self::UpstreamProtocol { .. } => "The provider's answer is not HTTP",
            Self::ResponseTooLarge { .. } => "The provider's answer is too large",
            Self::AddressRefused { .. } => "The provider's address is refused",
            Self::RequestTooLarge { .. } => "The request is too large",
            Self::InvalidRequest { .. } => "The request is not valid",
            Self::UnknownIntegration { .. } => "No such Integration",
        }
    }

    /// One sentence for a person.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::CircuitOpen { .. } => {
                "every endpoint failed too often; requests are let through again after a pause".into()
            }
            Self::NoEndpoint => "every endpoint has weight 0".into(),
            Self::CredentialUnavailable { credential, why } => format!("the credential `{credential}` {why}").into(),
            Self::Overloaded => "`concurrency.maxInFlight` and `concurrency.maxPending` are used up".into(),
            Self::RateLimited { .. } => {
                "no attempt is free within `rateLimit.maxWait` and what is left of `timeouts.request`".into()
            }
            Self::Paused { .. } => "the provider has asked to be left alone for longer than an attempt may wait".into(),
            Self::RequestTimeout { what, bound } => format!("{what} took longer than {bound:?}").into(),
            Self::UpstreamUnreachable { detail }
            | Self::UpstreamProtocol { detail }
            | Self::InvalidRequest { detail } => detail.clone(),
            Self::ResponseTooLarge { what, limit } | Self::RequestTooLarge { what, limit } => {
                format!("{what} must be at most {limit} bytes").into()
            }
            Self::AddressRefused { detail } => detail.clone().into(),
            Self::UnknownIntegration { detail } => (*detail).into(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
}

/// The answer to `failure`. `head`: it answers a HEAD request, so it has no body. `instance` is a URI for this one
/// occurrence, if there is one.
pub fn answer(failure: &Failure, head: bool, instance: Option<&str>) -> Response<Vec<u8>> {
    let document = Document {
        r#type: format!("{PROBLEM_PREFIX}{}", failure.slug()),
        title: failure.title(),
        status: failure.status().as_u16(),
        detail: &failure.detail(),
        instance,
    };
    // A struct of strings and a number always serialises.
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let length = body.len();
    let mut response = Response::new(if head { Vec::new() } else { body });
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(TIDEGATE_ERROR, HeaderValue::from_static(failure.slug()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(wait) = failure.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    if failure.ends_connection() {
        // HTTP/2 knows no such header: `serve` takes it off there.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Rounded up, and at least 1: `Retry-After: 0` would invite a storm.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests;
