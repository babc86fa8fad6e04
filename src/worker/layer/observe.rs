//! The outermost layer: what became of a call, in one log line and in the metrics.
//!
//! It measures rejections too, and being outermost it cannot see a credential. What it holds is a guard: a call whose
//! future is dropped, because the caller went away, is told like any other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri};
use tokio::time::Instant;

use crate::domain::graphql::Kind;
use crate::domain::graphql::answer::Verdict;
use crate::domain::grpc::Code;
use crate::telemetry::spans::CallSpan;
use crate::telemetry::worker_metrics::{IntegrationMetrics, RequestMetrics};
use crate::worker::body::answer::Ended;
use crate::worker::endpoint::Endpoint;
use crate::worker::grpc;
use crate::worker::websocket::relay;

/// Header by which callers name a request of theirs.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A call from its request to the end of its answer.
#[derive(Debug)]
pub struct Call {
    /// When the request was read.
    pub started: Instant,
    /// Its span, if spans are on.
    pub span: CallSpan,
    id: RequestId,
    method: Method,
    uri: Uri,
    /// Absent where no Integration answers to the host.
    metrics: Option<Arc<IntegrationMetrics>>,
    attempts: AtomicU32,
    last: Mutex<Option<Begun>>,
    status: Option<StatusCode>,
    grpc: bool,
    grpc_status: Option<Code>,
    /// What the operation is, where GraphQL is spoken.
    pub operation: Option<Kind>,
    verdict: Option<Verdict>,
    head_after: Option<Duration>,
    told: bool,
}

/// An attempt that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// When it began.
    pub at: Instant,
    /// It is a trial of a half-open circuit.
    pub is_trial: bool,
}

/// What a request is called in logs.
#[derive(Debug)]
enum RequestId {
    Caller(http::HeaderValue),
    Ours(u128),
}

impl RequestId {
    /// The caller's own, if it is short and plain; else a random one.
    fn of(headers: &HeaderMap) -> Self {
        let sane = |value: &&http::HeaderValue| {
            (1..=128).contains(&value.len())
                && value
                    .as_bytes()
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=~@".contains(byte))
        };
        match headers.get(X_REQUEST_ID).filter(sane) {
            Some(value) => Self::Caller(value.clone()),
            None => Self::Ours(rand::random()),
        }
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(value) => f.write_str(value.to_str().unwrap_or_default()),
            Self::Ours(number) => write_uuid(f, *number),
        }
    }
}

/// A new random UUID (RFC 9562 5.4).
pub fn random_uuid() -> String {
    RequestId::Ours(rand::random()).to_string()
}

/// As a random UUID is written (RFC 9562 5.4).
fn write_uuid(f: &mut std::fmt::Formatter<'_>, random: u128) -> std::fmt::Result {
    let number = (random & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    write!(
        f,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

impl Call {
    /// `request` was read. `metrics` are those of the Integration that answers, if one does.
    pub fn begin<B>(request: &Request<B>, metrics: Option<Arc<IntegrationMetrics>>) -> Self {
        if let Some(metrics) = &metrics {
            metrics.in_flight.inc();
        }
        Self {
            started: Instant::now(),
            span: CallSpan::begin(request, metrics.as_ref().map(|metrics| metrics.key())),
            id: RequestId::of(request.headers()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            metrics,
            attempts: AtomicU32::new(0),
            last: Mutex::new(None),
            status: None,
            grpc: grpc::is_call(request.headers()),
            grpc_status: None,
            operation: None,
            verdict: None,
            head_after: None,
            told: false,
        }
    }

    /// Attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// An attempt begins; its number, from 1.
    pub fn begin_attempt(&self, begun: Begun) -> u32 {
        *self.last() = Some(begun);
        self.attempts.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last attempt that began.
    pub fn begun(&self) -> Option<Begun> {
        self.last().clone()
    }

    /// It is the answer of this endpoint that is passed on.
    pub fn answered_by(&self, endpoint: Arc<Endpoint>) {
        if let Some(last) = &mut *self.last() {
            last.endpoint = endpoint;
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Begun>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A URI for this one call, for problem documents; only where the id is ours, and so surely unique.
    pub fn instance(&self) -> Option<String> {
        match &self.id {
            RequestId::Ours(_) => Some(format!("urn:uuid:{}", self.id)),
            RequestId::Caller(_) => None,
        }
    }

    /// Whether the answer may have a body.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether it is a call of gRPC, which wants its answer accordingly.
    pub fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// The call came to this, as gRPC has it.
    pub fn said(&mut self, code: Code) {
        self.grpc_status = Some(code);
    }

    /// The answer to its operation said this.
    pub fn judged(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The status that it was answered with, if it was.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The head of the answer is on its way to the caller.
    pub fn answered(&mut self, status: StatusCode) {
        let after = self.started.elapsed();
        self.status = Some(status);
        self.head_after = Some(after);
        if let Some(metrics) = &self.metrics {
            metrics.duration.observe(after.as_secs_f64());
        }
    }

    /// The provider's answer has ended.
    pub fn ended(mut self, how: Ended, bytes: u64) {
        let outcome = match how {
            Ended::Whole => "answered",
            Ended::Broken(_) => "cut",
            Ended::Dropped => "cancelled",
        };
        self.tell(outcome, bytes, None);
    }

    /// The WebSocket connection that the call opened has ended.
    pub fn closed(mut self, ended: &relay::Ended) {
        self.tell(ended.end.outcome(), ended.from_provider, Some(ended));
    }

    /// The call was answered with a problem.
    pub fn refused(mut self, slug: &'static str) {
        self.tell(slug, 0, None);
    }

    /// The attempt with this number is over, at debug: `what` is a status or a fault.
    pub fn log_attempt(&self, number: u32, endpoint: &str, what: &dyn std::fmt::Debug, took: Duration) {
        tracing::debug!(
            target: "tidegate::attempt",
            request_id = %self.id,
            endpoint,
            attempt = number,
            result = ?what,
            duration_ms = milliseconds(took),
            "attempt",
        );
    }

    /// A call that was answered 401 has waited for the next value of its credential, at debug: whether it came.
    pub fn log_renewal(&self, endpoint: &str, came: bool, waited: Duration) {
        tracing::debug!(
            target: "tidegate::attempt",
            request_id = %self.id,
            endpoint,
            attempt = self.attempts(),
            came,
            duration_ms = milliseconds(waited),
            "the credential was refused; waited for the next value",
        );
    }

    fn tell(&mut self, outcome: &'static str, bytes: u64, websocket: Option<&relay::Ended>) {
        self.told = true;
        // The HTTP status of a call of gRPC says nothing: what it came to is what is counted.
        let status = self.grpc_status.map(Code::decides_as).or(self.status);
        let attempts = self.attempts();
        self.span.end(status, outcome, attempts);
        self.requests(|requests| requests.count(status, outcome));
        if let (Some(metrics), Some(kind), Some(verdict)) = (&self.metrics, self.operation, self.verdict) {
            metrics.count_operation(kind, verdict);
        }
        let key = self.metrics.as_ref().map(|metrics| metrics.key());
        let last = self.begun();
        tracing::info!(
            target: "tidegate::access",
            request_id = %self.id,
            namespace = key.map_or("", |key| &*key.namespace),
            integration = key.map_or("", |key| &*key.name),
            endpoint = last.as_ref().map_or("", |last| last.endpoint.name()),
            method = self.method.as_str(),
            path = self.uri.path(),
            status = self.status.map_or(0, |status| status.as_u16()),
            grpc_status = self.grpc_status.map(Code::name),
            graphql_operation = self.operation.map(Kind::name),
            graphql_errors = self.verdict.map(Verdict::name),
            outcome,
            attempts = self.attempts(),
            bytes,
            bytes_from_caller = websocket.map(|ended| ended.from_caller),
            close_code = websocket.map(|ended| ended.code),
            close_reason = websocket.map(|ended| tracing::field::debug(ended.end)),
            head_ms = self.head_after.map_or(0.0, milliseconds),
            duration_ms = milliseconds(self.started.elapsed()),
            "request",
        );
    }

    fn requests(&self, count: impl FnOnce(&RequestMetrics)) {
        match (&*self.last(), &self.metrics) {
            (Some(last), _) => count(&last.endpoint.standing().metrics.requests),
            (None, Some(metrics)) => count(&metrics.unplaced),
            (None, None) => count(RequestMetrics::unrouted()),
        }
    }
}

/// What came over a connection was answered with `status` before it was a request, or, being no HTTP, not at all; so
/// nothing else is known of it.
pub fn unread(status: Option<StatusCode>) {
    let outcome = match status {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => "request-too-large",
        _ => "invalid-request",
    };
    RequestMetrics::unrouted().count(status, outcome);
    tracing::info!(
        target: "tidegate::access",
        namespace = "",
        integration = "",
        status = status.map_or(0, |status| status.as_u16()),
        outcome,
        "what is no request",
    );
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.in_flight.dec();
        }
        if !self.told {
            self.tell("cancelled", 0, None);
        }
    }
}

/// With microseconds behind the point: a number that is easy to read and loses nothing that matters.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, value.parse().unwrap());
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn the_callers_request_id_is_taken_over_if_it_is_plain() {
        assert_eq!(id("req-1:2/3"), "req-1:2/3");
        for strange in ["", "a b", "a\"b", "{\"a\":1}", &"x".repeat(129)] {
            assert_ne!(id(strange), strange);
            assert_eq!(id(strange).len(), 36);
        }
    }

    #[test]
    fn an_id_of_ours_is_a_random_uuid() {
        let id = RequestId::Ours(u128::MAX).to_string();
        assert_eq!(id, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
