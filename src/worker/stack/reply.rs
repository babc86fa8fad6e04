//! The answer of a call: passed on from the provider, or made here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use tokio::time::Instant;

use super::Stack;
use super::graphql::Reading;
use crate::api::integration::HealthReason;
use crate::domain::breaker::Guard;
use crate::domain::classify::Outcome;
use crate::domain::grpc::Code;
use crate::telemetry::worker_metrics::AttemptOutcome;
use crate::worker::body::Broken;
use crate::worker::body::answer::{Answer, End, Ended};
use crate::worker::body::outgoing::Source;
use crate::worker::endpoint::Endpoint;
use crate::worker::grpc::{self, Said};
use crate::worker::hop;
use crate::worker::kept::Resumed;
use crate::worker::layer::admit::Place;
use crate::worker::layer::authenticate::withdraw;
use crate::worker::layer::fault::Unanswered;
use crate::worker::layer::observe::Call;
use crate::worker::pool::Lease;
use crate::worker::problem::{self, Failure, TIDEGATE_ERROR};
use crate::worker::standing::Standing;

const ATTEMPTS: HeaderName = HeaderName::from_static("tidegate-attempts");
const ENDPOINT: HeaderName = HeaderName::from_static("tidegate-endpoint");

/// An answer's body.
pub type AnswerBody = Answer<Finish, Resumed>;

/// An answer of the provider, its head read.
pub(super) struct Reply {
    pub response: Response<Resumed>,
    /// The status that decides what becomes of it: what it says in gRPC, or its own.
    pub status: StatusCode,
    /// Its gRPC status, if its head has one.
    pub code: Option<Code>,
    /// It is an answer of gRPC that has not said yet what it comes to.
    pub open: Option<Open>,
    /// It answers an operation of GraphQL, and is read on its way.
    pub reading: Option<Reading>,
    /// When the caller gives the call up, if it has said so.
    pub until: Option<Instant>,
    /// The request's body, once this answer is the one to pass on.
    pub source: Option<Source>,
    /// Absent when the body has been read already.
    pub lease: Option<Lease>,
    pub guard: Guard<Arc<Standing>>,
    pub load: Load,
    pub endpoint: Arc<Endpoint>,
}

/// An answer of gRPC whose status is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// The caller gave so little time that to miss it says nothing of the endpoint.
    pub short: bool,
    /// A message has come.
    pub began: bool,
}

impl Reply {
    /// The answer to pass on, to the request whose body this is.
    pub(super) fn with(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    pub(super) fn pass_on(self, mut call: Call, place: Place) -> Response<AnswerBody> {
        let Self {
            response,
            lease,
            guard,
            load,
            endpoint,
            code,
            open,
            reading,
            until,
            source,
            status: _,
        } = self;
        // The stack that asked, which a call that goes on with a newer credential did not begin in.
        let stack = load.stack.clone();
        let (mut head, body) = response.into_parts();
        dress(&mut head, &stack, &endpoint, &call);
        call.answered(head.status);
        if let Some(code) = code {
            call.said(code);
        }
        if let Some(source) = &source {
            // Who listens to a stream of gRPC need not say anything; whether it is there still is asked otherwise.
            source.settle(open.is_some());
        }
        call.answered_by(endpoint);
        let end = Finish {
            call,
            lease,
            guard,
            load,
            open,
            reading,
            source,
            _place: place,
        };
        let (limit, idle) = (stack.plan.limits.response_body, stack.plan.timeouts.idle);
        Response::from_parts(head, Answer::provider(body, limit, idle, end).until(until))
    }
}

/// Makes the head of the provider's answer that of ours.
pub(super) fn dress(head: &mut Parts, stack: &Stack, endpoint: &Endpoint, call: &Call) {
    hop::strip(&mut head.headers);
    let sent = endpoint
        .credentials()
        .iter()
        .filter_map(|index| stack.credentials.get(*index));
    withdraw(&mut head.headers, sent);
    head.headers.remove(TIDEGATE_ERROR);
    head.headers.insert(ATTEMPTS, HeaderValue::from(call.attempts()));
    if let Ok(name) = HeaderValue::from_str(endpoint.name()) {
        head.headers.insert(ENDPOINT, name);
    }
    head.extensions = http::Extensions::new();
}

/// The answer to a call that failed.
pub fn rescue(mut call: Call, failure: &Failure) -> Response<AnswerBody> {
    let response = if call.is_grpc() {
        let (response, code) = grpc::refuse(failure);
        call.said(code);
        response
    } else {
        problem::answer(failure, call.is_head(), call.instance().as_deref())
    };
    call.answered(response.status());
    call.refused(failure.slug());
    response.map(|body| Answer::Own((!body.is_empty()).then(|| body.into())))
}

impl Reply {
    /// Makes room for another attempt: the connection, if the body can be read to its end, and the count of requests
    /// under way. The breaker knows already.
    pub async fn put_aside(&mut self) {
        if self.response.body_mut().read_ahead().await {
            if let Some(lease) = self.lease.take() {
                lease.give_back();
            }
            self.load.end();
        }
    }
}

/// Counts a request as under way at an endpoint until it is dropped.
#[derive(Debug)]
pub struct Load {
    pub(super) stack: Arc<Stack>,
    index: usize,
    latency: Option<Duration>,
    ended: bool,
}

impl Load {
    pub(super) fn begin(stack: Arc<Stack>, index: usize) -> Self {
        stack.balancer().begin(index);
        Self {
            stack,
            index,
            latency: None,
            ended: false,
        }
    }

    pub(super) fn answered(&mut self, after: Duration) {
        self.latency = Some(after);
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.stack
                .balancer()
                .end(self.index, self.latency, Instant::now().into_std());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is to be given back, and told, when the provider's answer has ended.
#[derive(Debug)]
pub struct Finish {
    call: Call,
    lease: Option<Lease>,
    guard: Guard<Arc<Standing>>,
    load: Load,
    open: Option<Open>,
    reading: Option<Reading>,
    source: Option<Source>,
    _place: Place,
}

impl Finish {
    /// The status of an answer of gRPC has come.
    fn conclude(&mut self, code: Code) {
        let Some(open) = self.open.take() else { return };
        self.call.said(code);
        let endpoint = &self.load.stack.endpoints[self.load.index];
        self.load
            .stack
            .note_answer(endpoint, &Method::POST, Said::grpc(code, open.short), &mut self.guard);
    }

    /// How the caller's side of the call broke, if it did.
    fn caller_broke(&self) -> Option<Broken> {
        self.source.as_ref().and_then(Source::broken)
    }
}

impl Finish {
    /// The answer to an operation of GraphQL has ended, `whole` or not.
    fn judge(&mut self, whole: bool) {
        let Some(reading) = self.reading.take() else { return };
        let endpoint = &self.load.stack.endpoints[self.load.index];
        if !whole {
            if reading.decides() {
                endpoint.standing().metrics.count_attempt(AttemptOutcome::Cancelled);
            }
            return;
        }
        let (verdict, failed) = reading.finish();
        self.call.judged(verdict);
        if reading.decides() {
            let said = if failed {
                Said::errors()
            } else {
                Said::http(self.call.status().unwrap_or(StatusCode::OK))
            };
            let method = self.call.method().clone();
            self.load.stack.note_answer(endpoint, &method, said, &mut self.guard);
        }
    }
}

impl End for Finish {
    fn pass(&mut self, frame: &Frame<Bytes>) {
        if let (Some(reading), Some(data)) = (&mut self.reading, frame.data_ref()) {
            reading.read(data);
        }
        let Some(open) = &mut self.open else { return };
        if let Some(trailers) = frame.trailers_ref() {
            // Without a status it is no answer of gRPC, which to a client is UNKNOWN.
            self.conclude(Code::of(trailers).unwrap_or(Code::Unknown));
        } else if !open.began && frame.data_ref().is_some_and(|data| !data.is_empty()) {
            open.began = true;
            let endpoint = &self.load.stack.endpoints[self.load.index];
            self.guard.answered(Outcome::Success);
            endpoint.standing().served();
        }
    }

    fn last_words(&mut self, broken: Broken) -> Option<HeaderMap> {
        self.open?;
        let caller = self.caller_broke().filter(|_| broken == Broken::BrokenOff);
        let failure = match (caller, broken) {
            (Some(broken), _) => Unanswered::caller(broken).failure,
            (None, Broken::TooLarge(limit)) => {
                Unanswered::too_large("the body of the provider's answer", limit).failure
            }
            (None, Broken::Late) => Failure::RequestTimeout {
                what: "the call",
                bound: self.call.started.elapsed(),
            },
            (None, Broken::Paused(bound)) => Failure::UpstreamUnreachable {
                detail: format!("the answer paused for longer than {bound:?} (`timeouts.idle`)").into(),
            },
            (None, _) => Failure::UpstreamUnreachable {
                detail: "the answer broke off".into(),
            },
        };
        let code = Code::of_refusal(failure.status());
        self.call.said(code);
        Some(grpc::told(code, failure.slug(), failure.detail()))
    }

    fn end(mut self, how: Ended, bytes: u64) {
        self.judge(how == Ended::Whole);
        if how == Ended::Whole {
            self.conclude(Code::Unknown);
        } else if let Some(open) = self.open {
            let standing = self.load.stack.endpoints[self.load.index].standing();
            standing.metrics.count_attempt(if open.began {
                AttemptOutcome::Success
            } else {
                AttemptOutcome::Cancelled
            });
        }
        match how {
            Ended::Whole => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
            // Because the caller's side broke, or is quiet as streams of gRPC may be: not the provider's doing.
            Ended::Broken(Broken::BrokenOff) if self.caller_broke().is_some() => {}
            Ended::Broken(Broken::Paused(_)) if self.open.is_some_and(|open| open.began) => {}
            // An answer that breaks off is a failure, though its head was good: who asks again because half an answer is
            // no use to him is a caller that failed. Our own limit is not the provider's doing.
            Ended::Broken(Broken::BrokenOff | Broken::Paused(_)) => {
                let why = (HealthReason::TrafficFailed, "the answer broke off".to_owned());
                self.load.stack.endpoints[self.load.index].standing().failed(why);
                self.guard.broke_off();
            }
            Ended::Broken(_) | Ended::Dropped => {}
        }
        self.load.end();
        self.call.ended(how, bytes);
    }
}
