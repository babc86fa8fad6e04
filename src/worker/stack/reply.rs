//! The answer of a call: passed on from the provider, or made here.

use std::sync::Arc;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderName, HeaderValue, Response};
use tokio::time::Instant;

use super::Stack;
use crate::api::integration::HealthReason;
use crate::domain::breaker::Guard;
use crate::worker::body::Broken;
use crate::worker::body::answer::{Answer, End, Ended};
use crate::worker::endpoint::Endpoint;
use crate::worker::hop;
use crate::worker::kept::Resumed;
use crate::worker::layer::admit::Place;
use crate::worker::layer::authenticate::withdraw;
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
    /// Absent when the body has been read already.
    pub lease: Option<Lease>,
    pub guard: Guard<Arc<Standing>>,
    pub load: Load,
    pub endpoint: Arc<Endpoint>,
}

impl Reply {
    pub(super) fn pass_on(self, mut call: Call, place: Place) -> Response<AnswerBody> {
        let Self {
            response,
            lease,
            guard,
            load,
            endpoint,
        } = self;
        // The stack that asked, which a call that goes on with a newer credential did not begin in.
        let stack = load.stack.clone();
        let (mut head, body) = response.into_parts();
        dress(&mut head, &stack, &endpoint, &call);
        call.answered(head.status);
        call.endpoint = Some(endpoint);
        let end = Finish {
            call,
            lease,
            guard,
            load,
            _place: place,
        };
        let (limit, idle) = (stack.plan.limits.response_body, stack.plan.timeouts.idle);
        Response::from_parts(head, Answer::provider(body, limit, idle, end))
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
    head.headers.insert(ATTEMPTS, HeaderValue::from(call.attempts));
    if let Ok(name) = HeaderValue::from_str(endpoint.name()) {
        head.headers.insert(ENDPOINT, name);
    }
    head.extensions = http::Extensions::new();
}

/// The answer to a call that failed.
pub fn rescue(mut call: Call, failure: &Failure) -> Response<AnswerBody> {
    let response = problem::answer(failure, call.is_head(), call.instance().as_deref());
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
    _place: Place,
}

impl End for Finish {
    fn end(mut self, how: Ended, bytes: u64) {
        match how {
            Ended::Whole => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
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
