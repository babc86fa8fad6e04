//! What is different about a call of gRPC: how it is told, what its answer says and when, and what a refusal looks like.
//!
//! A call of gRPC is an ordinary HTTP/2 request to every layer. Its status comes in the trailers, so what an answer says of
//! the endpoint is not known with its head: it is said by the first message, which shows that somebody serves, or by the
//! status, whichever comes first; a status that is a failure is told after messages too. Only an answer that consists of a
//! head (Trailers-Only) can be followed by another attempt, because after anything else the caller has seen something.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;

use super::problem::{Failure, TIDEGATE_ERROR, whole_seconds};
use crate::domain::grpc::{self, Code};

/// Whether a request with these headers is a call of gRPC.
pub fn is_call(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| grpc::is_content_type(value.as_bytes()))
}

/// What there is to know of a call before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// When the caller gives it up, if it has said so.
    pub until: Option<Instant>,
}

impl Bounded {
    /// Reads a call that came at `started`, and takes from its headers what each attempt says anew.
    pub fn read<B>(request: &mut Request<B>, started: Instant) -> Result<Self, Failure> {
        let refuse = |detail: &'static str| Err(Failure::InvalidRequest { detail: detail.into() });
        if !is_call(request.headers()) {
            return refuse("this Integration takes calls of gRPC: their content-type is application/grpc");
        }
        if request.method() != Method::POST || request.version() < Version::HTTP_2 {
            return refuse("a call of gRPC is a POST over HTTP/2");
        }
        let until = match request.headers_mut().remove(grpc::TIMEOUT) {
            None => None,
            Some(value) => match grpc::timeout(value.as_bytes()) {
                None => return refuse("grpc-timeout is up to eight digits and one of H, M, S, m, u and n"),
                // What does not fit into an instant is further away than this process will live.
                Some(timeout) => started.checked_add(timeout),
            },
        };
        Ok(Self { until })
    }

    /// Says in the headers of an attempt what holds for it: how much of the caller's time is left, and that trailers are
    /// welcome, without which some servers send none.
    pub fn say(self, headers: &mut HeaderMap) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            if let Ok(value) = HeaderValue::try_from(grpc::written_timeout(left)) {
                headers.insert(grpc::TIMEOUT, value);
            }
        }
    }

    /// Whether the caller gave an attempt that begins now so little time, compared with `bound`, that an endpoint which
    /// does not make it is not to blame.
    pub fn is_short(self, bound: Duration) -> bool {
        self.until.is_some_and(|until| until < Instant::now() + bound / 2)
    }
}

/// What an answer says, of gRPC or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status that decides: the answer's own, or what its gRPC status means.
    pub status: StatusCode,
    /// Its gRPC status.
    pub code: Option<Code>,
    /// What is a failure are the errors in its body.
    pub errors: bool,
    /// The caller had no patience, so that a missed deadline says nothing of the endpoint.
    pub short: bool,
}

impl Said {
    /// An answer that is not gRPC's.
    pub fn http(status: StatusCode) -> Self {
        Self {
            status,
            code: None,
            errors: false,
            short: false,
        }
    }

    /// An answer of GraphQL whose errors count as a failure.
    pub fn errors() -> Self {
        Self {
            errors: true,
            ..Self::http(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }

    /// An answer of gRPC with this status.
    pub fn grpc(code: Code, short: bool) -> Self {
        Self {
            status: code.decides_as(),
            code: Some(code),
            errors: false,
            short,
        }
    }

    /// What the head of an answer to a call says; `None` if that is still to come.
    pub fn by_head<B>(response: &Response<B>, short: bool) -> Option<Self> {
        match Code::of(response.headers()) {
            Some(code) => Some(Self::grpc(code, short)),
            // Something in between has answered that knows nothing of gRPC.
            None if response.status() != StatusCode::OK => Some(Self::http(response.status())),
            None => None,
        }
    }

    /// Whether it says nothing of the endpoint, because the caller did not wait for it.
    pub fn is_void(self) -> bool {
        self.short && self.code == Some(Code::DeadlineExceeded)
    }

    /// For the endpoint's health.
    pub fn described(self) -> String {
        match self.code {
            Some(code) => format!("answered with grpc-status {}", code.name()),
            None if self.errors => "answered with errors (`graphql.errorsAreFailures`)".to_owned(),
            None => format!("answered with status {}", self.status.as_u16()),
        }
    }
}

/// The answer to a call that failed: a head that says so (Trailers-Only).
pub fn refuse(failure: &Failure) -> (Response<Vec<u8>>, Code) {
    let code = Code::of_refusal(failure.status());
    let mut response = Response::new(Vec::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.extend(told(code, failure.slug(), failure.detail()));
    if let Some(wait) = failure.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    (response, code)
}

/// A status of ours, as trailers have it.
pub fn told(code: Code, slug: &'static str, detail: Cow<'static, str>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(grpc::STATUS, HeaderValue::from(u16::from(code.number())));
    if let Ok(message) = HeaderValue::try_from(grpc::written_message(&detail)) {
        trailers.insert(grpc::MESSAGE, message);
    }
    trailers.insert(TIDEGATE_ERROR, HeaderValue::from_static(slug));
    trailers
}
