//! The layers that a call passes, and their order.
//!
//! The order stands in two functions, [`Stack::answer`] for what happens once in a call and [`Stack::attempt`] for what
//! happens in each attempt; every layer has a file of its own in `layer/` that says what it does, and a comment here
//! that says why it stands where it stands.
//!
//! They are plain functions and guards, not tower services. A stack of services costs a type for every layer and a boxed
//! future for most, and its order is read from the inside out; here a call is read from top to bottom, an error returns
//! with `?` through exactly the layers that are above it, and what must be given back (a place, a permit, a count) is a
//! guard, so that a call which is dropped in the middle gives back the same as one that ends.
//!
//! A stack belongs to one plan and never changes. A new plan makes a new stack; the old one lives until its last answer
//! has ended. What was learned under the old plan and still means something is shared between the two: see
//! [`super::table`].

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::api::integration::Protocol;
use crate::domain::balance::Balancer;
use crate::domain::breaker::{Guard, Permit};
use crate::domain::classify::Ending;
use crate::domain::grpc;
use crate::domain::plan::Plan;
use crate::telemetry::spans::AttemptSpan;
use crate::telemetry::worker_metrics::IntegrationMetrics;

use super::answered;
use super::body::Broken;
use super::body::outgoing::{Outgoing, Source};
use super::credential::Credential;
use super::endpoint::Endpoint;
use super::grpc::Said;
use super::hop;
use super::kept::Resumed;
use super::layer::admit::{Admission, NoPlace, Place};
use super::layer::fault::Unanswered;
use super::layer::observe::{Begun, Call};
use super::layer::quota::Quota;
use super::layer::retry::{Repeat, Retries};
use super::pool::{Lease, Pool, Progress, SendError};
use super::problem::Failure;
use super::report::Bulletin;

use graphql::Reading;
use head::{Asked, available};
use reply::{Load, Open, Reply};

pub use reply::{AnswerBody, rescue};

mod graphql;
mod head;
mod hedge;
mod notes;
mod renew;
mod reply;
mod turn;
mod websocket;

/// The endpoint that was tried, and what came of it.
type Tried = (usize, Result<Reply, Unanswered>);

/// The layers of one plan.
#[derive(Debug)]
pub struct Stack {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its endpoints, in its order.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Its credentials, in its order.
    pub credentials: Vec<Credential>,
    /// Concurrency.
    pub admission: Arc<Admission>,
    /// The rate limit, if there is one.
    pub quota: Option<Quota>,
    /// Retries and their budget.
    pub retries: Retries,
    /// The choice among endpoints.
    pub balancer: Mutex<Balancer>,
    /// The Integration's metrics.
    pub metrics: Arc<IntegrationMetrics>,
    /// Where reports go.
    pub bulletin: Arc<Bulletin>,
    /// The headers that credentials are put into.
    pub injected: Arc<[HeaderName]>,
}

impl Stack {
    /// Answers one call.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        // OBSERVE is outermost: it measures what every other layer rejects, and cannot see what the innermost puts in.
        let mut call = Call::begin(&request, Some(self.metrics.clone()));
        match self.reply(&mut call, request).await {
            Ok((reply, place)) if reply.opens_websocket() => reply.open_websocket(call, place),
            Ok((reply, place)) => reply.pass_on(call, place),
            // RESCUE stands right below: an error of whatever layer becomes an answer here and nowhere else, and is
            // measured like any other answer.
            Err(failure) => self.refuse_handshake(rescue(call, &failure)),
        }
    }

    async fn reply(self: &Arc<Self>, call: &mut Call, request: Request<Incoming>) -> Result<(Reply, Place), Failure> {
        // DEADLINE is above everything that waits, so that the wait for a place, every attempt and every pause between
        // them fit into it together.
        let (mut asked, body) = self.read(call.started, request)?;
        let whole = call.started + self.plan.timeouts.request;
        let deadline = asked.until().map_or(whole, |until| until.min(whole));
        // ADMIT is above retry: a call holds one place however often it is tried, and retries cannot fill the queue that
        // first attempts wait in.
        let place = self
            .admission
            .clone()
            .enter(&self.plan.concurrency, deadline)
            .await
            .map_err(|no| match no {
                NoPlace::Full => Failure::Overloaded,
                NoPlace::Late => Unanswered::deadline(deadline - call.started).failure,
            })?;
        // BODY is below admit, because an operation of GraphQL is read whole and kept, and no more of them than may be
        // under way; and above retry, which is to know what it repeats.
        let source = self.source(&mut asked, body, call.started, deadline).await?;
        call.operation = asked.operation.map(|operation| operation.kind);
        // RETRY enters everything below again, so that another attempt may choose another endpoint, is counted by the
        // breaker of that one, and has a timeout of its own.
        self.retries.note_request();
        let mut before = Before::default();
        // Another one from the moment on when the call goes on with a credential of a newer plan.
        let mut stack = self.clone();
        loop {
            let Some(body) = source.attempt() else {
                return before.give(place, BODY_GONE);
            };
            // HEDGE is the first attempt made twice: what comes of the two is one result, so everything around it is as it
            // was.
            let attempted = match stack.hedge_after(call, &asked, &source) {
                None => stack.attempt(call, &asked, body, &source, deadline, before.tried).await,
                Some(after) => stack.attempt_hedged(call, &asked, body, &source, deadline, after).await,
            };
            let (tried, result) = match attempted {
                Ok(tried) => tried,
                // Nothing was asked, so there is nothing to try again.
                Err(failure) => return before.give(place, failure),
            };
            // CREDENTIAL is beside retry and not below it: it waits without a permit of the breaker, goes on in another
            // stack, and is no retry for the limit and the budget, because the provider has not acted. It is below admit,
            // so that those who wait are under way, and no more of them than may be.
            let result = match result {
                Ok(reply) if !before.renewed && reply.is_unauthorized() && source.can_repeat() => {
                    match stack.renew(call, &asked.method, reply, deadline).await {
                        (reply, Some(next)) => {
                            before.renewed = true;
                            before.answer = Some(reply);
                            // Its endpoints are others, so there is none that was tried.
                            before.tried = None;
                            stack = next;
                            continue;
                        }
                        (reply, None) => Ok(reply),
                    }
                }
                result => result,
            };
            let (ending, headers) = match &result {
                Ok(reply) => (
                    Some(Ending::Answered(reply.status)),
                    // What one host asks for does not hold for another.
                    Some(reply.response.headers())
                        .filter(|_| reply.status.is_success() || !stack.flows_elsewhere(tried)),
                ),
                Err(unanswered) => (unanswered.fault.map(Ending::Failed), None),
            };
            let repeat = Repeat {
                repeatable: asked.repeatable,
                pushback: asked
                    .grpc
                    .and_then(|_| grpc::pushback(result.as_ref().ok()?.response.headers())),
                body: source.can_repeat(),
                elsewhere: stack.endpoints.len() > 1,
                attempts: call.attempts() - u32::from(before.renewed),
                deadline,
            };
            let wait = ending.and_then(|ending| stack.retries.again(ending, headers, repeat, &stack.metrics));
            let until = wait.map(|wait| Instant::now() + wait);
            match (result, until) {
                (Ok(reply), None) => return Ok((before.prefer(reply).with(source), place)),
                (Err(unanswered), None) => {
                    before.failure = None;
                    return before.give(place, unanswered.failure);
                }
                (Ok(mut reply), Some(until)) => {
                    reply.put_aside().await;
                    before.answer = Some(reply);
                    tokio::time::sleep_until(until).await;
                }
                (Err(unanswered), Some(until)) => {
                    before.failure = Some(unanswered.failure);
                    tokio::time::sleep_until(until).await;
                }
            }
            before.tried = Some(tried);
        }
    }

    /// One attempt: `Err` when nothing could be asked; else the endpoint that was tried, and what came of it.
    async fn attempt(
        self: &Arc<Self>,
        call: &Call,
        asked: &Asked,
        body: Outgoing,
        source: &Source,
        deadline: Instant,
        last: Option<usize>,
    ) -> Result<Tried, Failure> {
        // QUOTA, PAUSE, BALANCE and BREAKER: whether there may be another attempt now, and where to; see `turn`.
        let turn = self.turn(asked, last, deadline).await?;
        Ok(self.ask(call, asked, body, source, deadline, turn).await)
    }

    /// One attempt whose turn has come.
    async fn ask(
        self: &Arc<Self>,
        call: &Call,
        asked: &Asked,
        body: Outgoing,
        source: &Source,
        deadline: Instant,
        (index, permit): (usize, Permit),
    ) -> Tried {
        let endpoint = &self.endpoints[index];
        let started = Instant::now();
        let number = call.begin_attempt(Begun {
            endpoint: endpoint.clone(),
            at: started,
            is_trial: permit.is_trial(),
        });
        let mut guard = Guard::new(endpoint.standing().clone(), permit);
        let mut load = Load::begin(self.clone(), index);
        // ATTEMPT TIMEOUT is below the breaker, which is to learn of it, and covers connecting too.
        let bound = self.plan.timeouts.attempt;
        let until = deadline.min(started + bound);
        let progress = Progress::until(self.carried(endpoint, &asked.method).filter_map(Credential::end).min());
        let span = call.span.attempt(&asked.spanned(endpoint, number));
        let under_way = endpoint.pause().begin();
        let sent = tokio::time::timeout_at(until, self.send(endpoint, asked, body, &progress, &span)).await;
        drop(under_way);
        let result = match sent {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(unanswered)) => Err(source.broken().map_or(unanswered, Unanswered::caller)),
            Err(_) if progress.waits() => Err(Unanswered::no_connection_free()),
            Err(_) if source.waits_for_caller() => Err(Unanswered::caller(Broken::Paused(bound))),
            // What the attempts before this one left of the time may be too little to blame anybody.
            Err(_) if until == deadline && until - started < bound / 2 => {
                Err(Unanswered::deadline(deadline - call.started))
            }
            Err(_) => {
                endpoint.pool().suspect();
                Err(Unanswered::timeout(until - started))
            }
        };
        let took = started.elapsed();
        let result = match result {
            Ok((response, lease)) => {
                let short = asked
                    .grpc
                    .is_some_and(|grpc| until == deadline && grpc.is_short(bound.saturating_sub(took)));
                let reading = asked.operation.and_then(|operation| operation.reading(&response));
                let said = match asked.grpc {
                    None if reading.as_ref().is_some_and(Reading::decides) => None,
                    None => Some(Said::http(response.status())),
                    Some(_) => Said::by_head(&response, short),
                };
                let status = said.map_or(response.status(), |said| said.status);
                self.note_pause(endpoint, status, response.headers());
                if let Some(said) = said {
                    self.note_answer(endpoint, &asked.method, said, &mut guard);
                }
                load.answered(took);
                self.note_latency(status, took);
                call.log_attempt(number, endpoint.name(), &status, took);
                span.end(Ok(status));
                Ok(Reply {
                    response,
                    status,
                    code: said.and_then(|said| said.code),
                    open: (asked.grpc.is_some() && said.is_none()).then_some(Open { short, began: false }),
                    reading,
                    until: asked.until(),
                    source: None,
                    lease: Some(lease),
                    guard,
                    load,
                    endpoint: endpoint.clone(),
                })
            }
            Err(unanswered) => {
                self.note_fault(index, &unanswered, &mut guard);
                self.note_no_answer(&unanswered);
                call.log_attempt(number, endpoint.name(), &unanswered.fault, took);
                span.end(Err(unanswered.failure.slug()));
                Err(unanswered)
            }
        };
        (index, result)
    }

    /// Asks the endpoint, and waits for the head of its answer.
    async fn send(
        &self,
        endpoint: &Endpoint,
        asked: &Asked,
        body: Outgoing,
        progress: &Progress,
        span: &AttemptSpan,
    ) -> Result<(Response<Resumed>, Lease), Unanswered> {
        // AUTHENTICATE is innermost: nothing above it can log or repeat what it puts in, and what it puts in goes to the
        // endpoint that was chosen and to no other.
        let mut request = self
            .authenticated(endpoint, asked, body)
            .map_err(Unanswered::not_asked)?;
        span.put(request.headers_mut());
        // NET: the address is checked when it is dialled, below everything that could change where that is.
        let headers = self.plan.limits.headers;
        let sent = endpoint.pool().send(request, progress).await;
        let (response, lease) =
            sent.map_err(
                |error| match (&error, available(self.carried(endpoint, &asked.method))) {
                    (SendError::Late, Err(failure)) => Unanswered::not_asked(failure),
                    _ => Unanswered::send(&error, headers),
                },
            )?;
        let may_switch = self.plan.protocol == Protocol::WebSocket;
        answered::check(&response, may_switch).map_err(Unanswered::protocol)?;
        if hop::size(response.headers()) > headers {
            return Err(Unanswered::too_large("the headers of the provider's answer", headers));
        }
        let limit = self.plan.limits.response_body;
        if response.body().size_hint().lower() > limit {
            return Err(Unanswered::too_large("the body of the provider's answer", limit));
        }
        self.check_handshake(asked, &response)?;
        Ok((response.map(Resumed::from), lease))
    }

    /// The credentials that a request with `method` to `endpoint` carries, itself or by its connection.
    pub fn carried<'a>(&'a self, endpoint: &'a Endpoint, method: &'a Method) -> impl Iterator<Item = &'a Credential> {
        endpoint
            .credentials()
            .iter()
            .filter_map(|index| self.credentials.get(*index))
            .filter(|credential| credential.travels(method))
    }

    /// Lets go of the connections of the pools that are not `kept`.
    pub fn retire_pools(&self, kept: impl Fn(&Arc<Pool>) -> bool) {
        for endpoint in &self.endpoints {
            if !kept(endpoint.pool()) {
                endpoint.pool().retire();
            }
        }
    }

    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const BODY_GONE: Failure = Failure::InvalidRequest {
    detail: Cow::Borrowed("the request's body cannot be sent again"),
};

/// What the attempts before left behind.
#[derive(Default)]
struct Before {
    tried: Option<usize>,
    /// The provider's last answer.
    answer: Option<Reply>,
    /// Why the last attempt had no answer.
    failure: Option<Failure>,
    /// The call goes on with a newer credential; it does so once.
    renewed: bool,
}

impl Reply {
    fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }
}

impl Before {
    /// The answer to pass on when `last` is the last: the first 401, if the newer credential came to another.
    fn prefer(self, last: Reply) -> Reply {
        match self.answer {
            Some(first) if self.renewed && first.is_unauthorized() && last.is_unauthorized() => first,
            _ => last,
        }
    }

    /// The end of a call whose last attempt came to nothing: the provider's last answer if there is one, else the reason
    /// why an attempt failed, which says more than why another could not be made.
    fn give(self, place: Place, failure: Failure) -> Result<(Reply, Place), Failure> {
        match self.answer {
            Some(reply) => Ok((reply, place)),
            None => Err(self.failure.unwrap_or(failure)),
        }
    }
}

#[cfg(test)]
mod tests;
