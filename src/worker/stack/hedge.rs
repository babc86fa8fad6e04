//! Hedging: a read that is late is asked for a second time, while the first goes on; the first good answer counts.
//!
//! The second attempt is a retry in all but its time: it comes out of the same budget, counts for `retries.limit`, takes a
//! token of the rate limit if one is free now, and goes to another endpoint where there is one. It never is a trial of a
//! circuit, and neither is one that is hedged: a trial that is given up because another was faster would say nothing, and
//! the circuit would stay open for it.
//!
//! The one that is given up is dropped, which closes its connection or resets its stream, and gives back its permit without
//! a word about the endpoint. How long it took until then is known all the same, and told to the choice among endpoints: or
//! one that always loses would never be found slow.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::head::Asked;
use super::{Stack, Tried};
use crate::api::integration::Protocol;
use crate::domain::breaker::Permit;
use crate::domain::classify::{self, Ending, Outcome};
use crate::telemetry::worker_metrics::AttemptOutcome;
use crate::worker::body::outgoing::{Outgoing, Source};
use crate::worker::layer::fault::Unanswered;
use crate::worker::layer::observe::Call;
use crate::worker::problem::Failure;

impl Stack {
    /// After how long the first attempt of this call is late; `None` if it is not to be hedged.
    pub(super) fn hedge_after(&self, call: &Call, asked: &Asked, source: &Source) -> Option<Duration> {
        let is_read = [Method::GET, Method::HEAD].contains(&asked.method) && source.is_empty();
        if !is_read || call.attempts() > 0 || self.plan.protocol != Protocol::HTTP {
            return None;
        }
        self.retries.hedge_after()
    }

    /// One attempt, and another one beside it when it is late.
    pub(super) async fn attempt_hedged(
        self: &Arc<Self>,
        call: &Call,
        asked: &Asked,
        body: Outgoing,
        source: &Source,
        deadline: Instant,
        after: Duration,
    ) -> Result<Tried, Failure> {
        let mut first = pin!(self.attempt(call, asked, body, source, deadline, None));
        let mut late = Instant::now() + after;
        let begun = loop {
            tokio::select! {
                biased;
                done = &mut first => return done,
                () = sleep_until(late) => {}
            }
            // What waits for its turn has not begun, and a second one would only wait behind it.
            match call.begun() {
                Some(begun) if begun.at + after <= Instant::now() => break begun,
                Some(begun) => late = begun.at + after,
                None => late = Instant::now() + after,
            }
        };
        let one = self.endpoints.iter().position(|it| Arc::ptr_eq(it, &begun.endpoint));
        let turn = match one {
            Some(one) if !begun.is_trial => self.turn_beside(asked, one).await,
            _ => None,
        };
        let (Some(one), Some(turn)) = (one, turn) else {
            return first.await;
        };
        let (other, started) = (turn.0, Instant::now());
        let mut second = pin!(self.ask(call, asked, Outgoing::empty(), source, deadline, turn));
        let done = tokio::select! {
            biased;
            first = &mut first => {
                let first = first?;
                if self.is_good(&first) {
                    self.give_up(other, started.elapsed());
                    return Ok(first);
                }
                (first, second.await)
            }
            second = &mut second => {
                if self.is_good(&second) {
                    self.give_up(one, begun.at.elapsed());
                    return Ok(second);
                }
                (second, first.await?)
            }
        };
        Ok(match done {
            // An answer that is no good is better than none.
            (before @ (_, Ok(_)), (_, Err(_))) => before,
            (_, last) => last,
        })
    }

    /// A turn for an attempt beside the one at `one`, if there is one right now.
    async fn turn_beside(&self, asked: &Asked, one: usize) -> Option<(usize, Permit)> {
        self.take_token(Instant::now()).await.ok()?;
        let turn = self.choose_beside(asked, one);
        if let Some(turn) = turn
            && self.retries.allow_hedge(&self.metrics)
        {
            return Some(turn);
        }
        self.refund_token();
        None
    }

    /// Whether this is what to pass on, without a look at the other.
    fn is_good(&self, (_, result): &Tried) -> bool {
        result.as_ref().is_ok_and(|reply| {
            let ending = Ending::Answered(reply.status);
            !classify::is_retryable(ending, true, &self.plan.retries)
        })
    }

    /// The attempt at this endpoint is given up after so long, because the other was faster.
    fn give_up(&self, index: usize, took: Duration) {
        self.retries.note_latency(took);
        self.balancer().note(index, took, Instant::now().into_std());
        let standing = self.endpoints[index].standing();
        standing.metrics.count_attempt(AttemptOutcome::Cancelled);
    }

    /// An answer with this status took so long, which says how fast the provider is, or that it has too much to do.
    pub(super) fn note_latency(&self, status: StatusCode, took: Duration) {
        match classify::outcome(Ending::Answered(status)) {
            Outcome::Success | Outcome::CallerError | Outcome::Unauthorized => {
                self.retries.note_latency(took);
                self.admission.note(Some(took), &self.metrics);
            }
            Outcome::RateLimited => self.admission.note(None, &self.metrics),
            Outcome::Failure if status == StatusCode::SERVICE_UNAVAILABLE => self.admission.note(None, &self.metrics),
            Outcome::Failure | Outcome::Nothing => {}
        }
    }

    /// An attempt had no answer; in time, that is.
    pub(super) fn note_no_answer(&self, unanswered: &Unanswered) {
        if unanswered.fault == Some(classify::Fault::Timeout) {
            self.admission.note(None, &self.metrics);
        }
    }
}
