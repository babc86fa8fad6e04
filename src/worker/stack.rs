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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::api::integration::HealthReason;
use crate::domain::balance::{Balancer, Draw};
use crate::domain::breaker::{Admission as Gate, Guard};
use crate::domain::classify::{self, Ending, Fault, Outcome};
use crate::domain::health::{self, CredentialReport, Report};
use crate::domain::plan::Plan;
use crate::telemetry::worker_metrics::{AttemptOutcome, IntegrationMetrics};

use super::body::Broken;
use super::body::answer::{Answer, End, Ended};
use super::body::outgoing::{Outgoing, Source};
use super::endpoint::Endpoint;
use super::hop;
use super::kept::Resumed;
use super::layer::admit::{Admission, NoPlace, Place};
use super::layer::authenticate::{Credential, authenticate};
use super::layer::fault::Unanswered;
use super::layer::observe::Call;
use super::layer::retry::{Repeat, Retries};
use super::pool::{Lease, Progress};
use super::problem::{self, Failure, TIDEGATE_ERROR};
use super::report::Bulletin;
use super::standing::Standing;

const ATTEMPTS: HeaderName = HeaderName::from_static("tidegate-attempts");
const ENDPOINT: HeaderName = HeaderName::from_static("tidegate-endpoint");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An endpoint whose address was refused is left alone for this long while another is fit; names come to mean other
/// addresses.
const AVOID: Duration = Duration::from_secs(5);

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

/// An answer's body.
pub type AnswerBody = Answer<Finish, Resumed>;

/// What a call asks for, without what was for our hop only.
struct Asked {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    has_key: bool,
}

/// An answer of the provider, its head read.
struct Reply {
    response: Response<Resumed>,
    /// Absent when the body has been read already.
    lease: Option<Lease>,
    guard: Guard<Arc<Standing>>,
    load: Load,
    endpoint: Arc<Endpoint>,
}

impl Stack {
    /// Answers one call.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        // OBSERVE is outermost: it measures what every other layer rejects, and cannot see what the innermost puts in.
        let mut call = Call::begin(&request, Some(self.metrics.clone()));
        match self.reply(&mut call, request).await {
            Ok((reply, place)) => self.pass_on(call, reply, place),
            // RESCUE stands right below: an error of whatever layer becomes an answer here and nowhere else, and is
            // measured like any other answer.
            Err(failure) => rescue(call, &failure),
        }
    }

    async fn reply(self: &Arc<Self>, call: &mut Call, request: Request<Incoming>) -> Result<(Reply, Place), Failure> {
        // DEADLINE is above everything that waits, so that the wait for a place, every attempt and every pause between
        // them fit into it together.
        let deadline = call.started + self.plan.timeouts.request;
        let (asked, source) = self.read(request)?;
        // ADMIT is above retry: a call holds one place however often it is tried, and retries cannot fill the queue that
        // first attempts wait in.
        let place = self
            .admission
            .enter(&self.plan.concurrency, deadline)
            .await
            .map_err(|no| match no {
                NoPlace::Full => Failure::Overloaded,
                NoPlace::Late => Unanswered::deadline(self.plan.timeouts.request).failure,
            })?;
        // RETRY enters everything below again, so that another attempt may choose another endpoint, is counted by the
        // breaker of that one, and has a timeout of its own.
        self.retries.note_request();
        let mut aside: Option<Reply> = None;
        let mut last = None;
        loop {
            let Some(body) = source.attempt() else {
                return aside.map(|reply| (reply, place)).ok_or(Failure::InvalidRequest {
                    detail: "the request's body cannot be sent again",
                });
            };
            let (tried, result) = match self.attempt(call, &asked, body, &source, deadline, last).await {
                Ok(tried) => tried,
                // Nothing was asked, so there is nothing to try again.
                Err(failure) => return aside.map(|reply| (reply, place)).ok_or(failure),
            };
            let (ending, headers) = match &result {
                Ok(reply) => (
                    Some(Ending::Answered(reply.response.status())),
                    Some(reply.response.headers()),
                ),
                Err(unanswered) => (unanswered.fault.map(Ending::Failed), None),
            };
            let repeat = Repeat {
                method: &asked.method,
                has_key: asked.has_key,
                body: source.can_repeat(),
                elsewhere: self.endpoints.len() > 1,
                attempts: call.attempts,
                deadline,
            };
            let wait = ending.and_then(|ending| self.retries.again(ending, headers, repeat, &self.metrics));
            match (result, wait) {
                (Ok(reply), None) => return Ok((reply, place)),
                (Err(unanswered), None) => return aside.map(|reply| (reply, place)).ok_or(unanswered.failure),
                (Ok(mut reply), Some(wait)) => {
                    let until = Instant::now() + wait;
                    reply.put_aside().await;
                    aside = Some(reply);
                    tokio::time::sleep_until(until).await;
                }
                (Err(_), Some(wait)) => tokio::time::sleep(wait).await,
            }
            last = Some(tried);
        }
    }

    /// One attempt: `Err` when nothing could be asked; else the endpoint that was tried, and what came of it.
    async fn attempt(
        self: &Arc<Self>,
        call: &mut Call,
        asked: &Asked,
        body: Outgoing,
        source: &Source,
        deadline: Instant,
        last: Option<usize>,
    ) -> Result<(usize, Result<Reply, Unanswered>), Failure> {
        // BALANCE chooses where to; below it everything belongs to one endpoint. BREAKER, per endpoint and inside
        // retry, sees every attempt. The two are asked together: a choice that the breaker refuses is no choice.
        let (index, permit) = self.choose(last)?;
        let endpoint = &self.endpoints[index];
        let mut guard = Guard::new(endpoint.standing().clone(), permit);
        let mut load = Load::begin(self.clone(), index);
        call.attempts += 1;
        call.endpoint = Some(endpoint.clone());
        // ATTEMPT TIMEOUT is below the breaker, which is to learn of it, and covers connecting too.
        let bound = self.plan.timeouts.attempt;
        let started = Instant::now();
        let until = deadline.min(started + bound);
        let progress = Progress::default();
        let sent = tokio::time::timeout_at(until, self.send(endpoint, asked, body, &progress)).await;
        let result = match sent {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(unanswered)) => Err(source.broken().map_or(unanswered, Unanswered::caller)),
            Err(_) if progress.waits() => Err(Unanswered::no_connection_free()),
            Err(_) if until == deadline => Err(Unanswered::deadline(self.plan.timeouts.request)),
            Err(_) => Err(source.broken().map_or(Unanswered::timeout(bound), Unanswered::caller)),
        };
        let took = started.elapsed();
        let result = match result {
            Ok((response, lease)) => {
                let status = response.status();
                self.note_answer(endpoint, status, &mut guard);
                load.answered(took);
                call.log_attempt(endpoint.name(), &status, took);
                Ok(Reply {
                    response,
                    lease: Some(lease),
                    guard,
                    load,
                    endpoint: endpoint.clone(),
                })
            }
            Err(unanswered) => {
                self.note_fault(index, &unanswered, &mut guard);
                call.log_attempt(endpoint.name(), &unanswered.fault, took);
                Err(unanswered)
            }
        };
        Ok((index, result))
    }

    /// Asks the endpoint, and waits for the head of its answer.
    async fn send(
        &self,
        endpoint: &Endpoint,
        asked: &Asked,
        body: Outgoing,
        progress: &Progress,
    ) -> Result<(Response<Resumed>, Lease), Unanswered> {
        // AUTHENTICATE is innermost: nothing above it can log or repeat what it puts in, and what it puts in goes to the
        // endpoint that was chosen and to no other.
        let request = self
            .authenticated(endpoint, asked, body)
            .map_err(Unanswered::not_asked)?;
        // NET: the address is checked when it is dialled, below everything that could change where that is.
        let headers = self.plan.limits.headers;
        let sent = endpoint.pool().send(request, progress).await;
        let (response, lease) = sent.map_err(|error| Unanswered::send(&error, headers))?;
        if hop::size(response.headers()) > headers {
            return Err(Unanswered::too_large("the headers of the provider's answer", headers));
        }
        let limit = self.plan.limits.response_body;
        if response.body().size_hint().lower() > limit {
            return Err(Unanswered::too_large("the body of the provider's answer", limit));
        }
        Ok((response.map(Resumed::from), lease))
    }

    /// Checks what is asked for against the limits, and takes off what was for our hop only.
    fn read(&self, request: Request<Incoming>) -> Result<(Asked, Source), Failure> {
        let limits = &self.plan.limits;
        if hop::size(request.headers()) > limits.headers {
            return Err(Failure::RequestTooLarge {
                what: "the request's headers",
                limit: limits.headers,
            });
        }
        if request.body().size_hint().lower() > limits.request_body {
            return Err(Failure::RequestTooLarge {
                what: "the request's body",
                limit: limits.request_body,
            });
        }
        for credential in self.credentials.iter().map(Credential::plan) {
            if credential.material.is_none() {
                return Err(Failure::CredentialUnavailable {
                    credential: credential.name.clone(),
                    why: "has no usable value",
                });
            }
        }
        let (mut head, body) = request.into_parts();
        hop::strip(&mut head.headers);
        head.headers.remove(HOST);
        // What waits for it is answered by hyper as soon as the body is read.
        head.headers.remove(EXPECT);
        if !body.is_end_stream() {
            // hyper says again how long the body is, from the body itself.
            head.headers.remove(CONTENT_LENGTH);
        }
        let has_key = head.headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty());
        let keep = self.retries.may_repeat(&head.method, has_key);
        let source = Source::new(
            body,
            limits.request_body,
            self.plan.timeouts.idle,
            keep,
            self.injected.clone(),
        );
        let target = head
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok((
            Asked {
                method: head.method,
                target,
                headers: head.headers,
                has_key,
            },
            source,
        ))
    }

    fn authenticated(&self, endpoint: &Endpoint, asked: &Asked, body: Outgoing) -> Result<Request<Outgoing>, Failure> {
        const NOT_ALLOWED: &str = "may not be sent to the endpoint's host; add the host to its `allowedHosts`";
        const UNFIT: &str = "has a value that cannot be sent in a request";
        let refuse = |credential: &str, why| Failure::CredentialUnavailable {
            credential: credential.to_owned(),
            why,
        };
        if let Some(credential) = endpoint.not_allowed() {
            return Err(refuse(credential, NOT_ALLOWED));
        }
        let address = endpoint.address();
        let mut target = address.join(&asked.target).ok_or(INVALID_TARGET)?;
        let mut headers = asked.headers.clone();
        let credentials = endpoint
            .credentials()
            .iter()
            .filter_map(|index| self.credentials.get(*index));
        authenticate(&asked.method, &mut target, &mut headers, credentials)
            .map_err(|(credential, _)| refuse(&credential, UNFIT))?;
        let mut request = Request::new(body);
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = address.with(target).ok_or(INVALID_TARGET)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn choose(&self, last: Option<usize>) -> Result<(usize, crate::domain::breaker::Permit), Failure> {
        if self.plan.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            return Err(Failure::NoEndpoint);
        }
        // Between the choice and the question to the breaker another request may take the one trial there is; the next
        // choice knows.
        for _ in 0..=self.endpoints.len() {
            let now = Instant::now().into_std();
            let draw = Draw(rand::random(), rand::random());
            let standing = |index: usize| self.endpoints[index].standing().for_choice();
            let Some(index) = self.balancer().choose(standing, last, draw, now) else {
                break;
            };
            if let Gate::Admit(permit) = self.endpoints[index].standing().admit() {
                return Ok((index, permit));
            }
        }
        let trials = self
            .endpoints
            .iter()
            .zip(&self.plan.endpoints)
            .filter(|(_, plan)| plan.weight > 0);
        let retry_after = trials
            .filter_map(|(endpoint, _)| endpoint.standing().next_trial())
            .min();
        Err(Failure::CircuitOpen { retry_after })
    }

    fn note_answer(&self, endpoint: &Endpoint, status: http::StatusCode, guard: &mut Guard<Arc<Standing>>) {
        let outcome = classify::outcome(Ending::Answered(status));
        let standing = endpoint.standing();
        let attempt = if outcome == Outcome::Failure {
            standing.failed((
                HealthReason::TrafficFailed,
                format!("answered with status {}", status.as_u16()),
            ));
            AttemptOutcome::FailureStatus
        } else {
            AttemptOutcome::Success
        };
        standing.metrics.count_attempt(attempt);
        guard.answered(outcome);
        if matches!(outcome, Outcome::Success | Outcome::CallerError | Outcome::Unauthorized) {
            standing.served();
        }
        let carried = endpoint
            .credentials()
            .iter()
            .filter_map(|index| self.credentials.get(*index));
        let mut changed = false;
        for credential in carried {
            changed |= credential.note_answer(status);
        }
        if changed {
            self.bulletin.publish();
        }
    }

    fn note_fault(&self, index: usize, unanswered: &Unanswered, guard: &mut Guard<Arc<Standing>>) {
        let standing = self.endpoints[index].standing();
        if unanswered.fault == Some(Fault::AddressRefused) {
            self.balancer().avoid(index, (Instant::now() + AVOID).into_std());
            standing.refused(unanswered.failure.detail().into_owned());
        } else if let Some(reason) = unanswered.health {
            standing.failed((reason, unanswered.failure.detail().into_owned()));
        }
        standing
            .metrics
            .count_attempt(match (unanswered.fault, unanswered.outcome) {
                (Some(Fault::Timeout), _) => AttemptOutcome::Timeout,
                (Some(_), _) => AttemptOutcome::Error,
                (None, Outcome::Success) => AttemptOutcome::Success,
                (None, _) => AttemptOutcome::Cancelled,
            });
        guard.answered(unanswered.outcome);
    }

    fn pass_on(self: &Arc<Self>, mut call: Call, reply: Reply, place: Place) -> Response<AnswerBody> {
        let Reply {
            response,
            lease,
            guard,
            load,
            endpoint,
        } = reply;
        let (mut head, body) = response.into_parts();
        hop::strip(&mut head.headers);
        head.headers.remove(TIDEGATE_ERROR);
        head.headers.insert(ATTEMPTS, HeaderValue::from(call.attempts));
        if let Ok(name) = HeaderValue::from_str(endpoint.name()) {
            head.headers.insert(ENDPOINT, name);
        }
        head.extensions = http::Extensions::new();
        call.answered(head.status);
        call.endpoint = Some(endpoint);
        let end = Finish {
            call,
            lease,
            guard,
            load,
            _place: place,
        };
        let (limit, idle) = (self.plan.limits.response_body, self.plan.timeouts.idle);
        Response::from_parts(head, Answer::provider(body, limit, idle, end))
    }

    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole picture, for whoever follows this worker.
    pub fn report(&self) -> Report {
        let plan = &self.plan;
        Report {
            format: health::FORMAT,
            integration: plan.integration.clone(),
            uid: plan.uid.clone(),
            plan_revision: plan.revision,
            generation: plan.generation,
            credentials: self.credentials.iter().map(credential_report).collect(),
            reset_circuit: plan.reset_circuit.clone(),
            endpoints: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint.standing().report(endpoint.name()))
                .collect(),
        }
    }
}

fn credential_report(credential: &Credential) -> CredentialReport {
    let plan = credential.plan();
    CredentialReport {
        name: plan.name.clone(),
        revision: plan.revision,
        rejected: credential.is_rejected(),
    }
}

const INVALID_TARGET: Failure = Failure::InvalidRequest {
    detail: "the request target is not a path",
};

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
    async fn put_aside(&mut self) {
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
struct Load {
    stack: Arc<Stack>,
    index: usize,
    latency: Option<Duration>,
    ended: bool,
}

impl Load {
    fn begin(stack: Arc<Stack>, index: usize) -> Self {
        stack.balancer().begin(index);
        Self {
            stack,
            index,
            latency: None,
            ended: false,
        }
    }

    fn answered(&mut self, after: Duration) {
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
