//! The turn of an attempt: a pause that is over, a token of the rate limit, and an endpoint.
//!
//! All three may have to be waited for, within one bound: `rateLimit.maxWait`, or a second where there is no rate limit.

use std::time::Duration;

use tokio::time::Instant;

use super::Stack;
use super::head::Asked;
use crate::domain::balance::{self, Draw};
use crate::domain::breaker::{Admission as Gate, Gate as Opening, Permit};
use crate::domain::health::Pauses;
use crate::telemetry::worker_metrics::PausedBy;
use crate::worker::layer::quota::NoToken;
use crate::worker::problem::Failure;

/// How long an attempt waits for a provider that asked to be left alone, where no `rateLimit.maxWait` says it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Stack {
    /// Waits for a turn: the endpoint to ask, and leave to ask it. `last` is the one that was just tried.
    pub(super) async fn turn(
        &self,
        asked: &Asked,
        last: Option<usize>,
        deadline: Instant,
    ) -> Result<(usize, Permit), Failure> {
        let patience = self.quota.as_ref().map_or(PATIENCE, |quota| quota.max_wait());
        let until = deadline.min(Instant::now() + patience);
        loop {
            // QUOTA counts what the provider sees, which is attempts and not calls. It stands above the choice: an
            // endpoint that is chosen now may not be fit any more after a wait, and nobody is to wait with a breaker's
            // only permit.
            self.take_token(until).await?;
            // BALANCE chooses where to; below it everything belongs to one endpoint. BREAKER, per endpoint and inside
            // retry, sees every attempt. PAUSE is a property of an endpoint as an open circuit is, so that another one
            // is chosen where there is one. The three are asked together: a choice that one refuses is no choice.
            let failure = match self.choose(asked, last) {
                Ok(chosen) => return Ok(chosen),
                Err(failure) => failure,
            };
            self.refund_token();
            match failure {
                Failure::Paused { left } if Instant::now() + left <= until => {
                    let timer = self.metrics.rate_limit_wait.start_timer();
                    tokio::time::sleep(left).await;
                    timer.observe_duration();
                }
                failure => return Err(failure),
            }
        }
    }

    pub(super) async fn take_token(&self, until: Instant) -> Result<(), Failure> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let timer = self.metrics.rate_limit_wait.start_timer();
        let taken = quota.take_within(until).await;
        timer.observe_duration();
        taken.map_err(|NoToken(retry_after)| Failure::RateLimited { retry_after })
    }

    pub(super) fn refund_token(&self) {
        if let Some(quota) = &self.quota {
            quota.refund();
        }
    }

    /// How the endpoint stands for a choice; one that is paused is shut.
    fn standing(&self, index: usize) -> balance::Standing {
        let endpoint = &self.endpoints[index];
        let standing = endpoint.standing().for_choice();
        match endpoint.pause().left() {
            None => standing,
            Some(_) => balance::Standing {
                gate: Opening::Shut,
                ..standing
            },
        }
    }

    /// An endpoint for an attempt beside the one at `one`, where traffic flows; another than that, where there is one.
    pub(super) fn choose_beside(&self, asked: &Asked, one: usize) -> Option<(usize, Permit)> {
        let flowing = |index: usize| {
            let standing = self.standing(index);
            match standing.gate {
                Opening::Flows => standing,
                Opening::TrialDue | Opening::Shut => balance::Standing {
                    gate: Opening::Shut,
                    ..standing
                },
            }
        };
        let key = self.plan.hash_on.as_ref().and_then(|header| asked.key(header));
        let (draw, now) = (Draw(rand::random(), rand::random()), Instant::now().into_std());
        let index = self.balancer().choose(flowing, Some(one), key, draw, now)?;
        match self.endpoints[index].standing().admit() {
            Gate::Admit(permit) => Some((index, permit)),
            Gate::Refuse { .. } => None,
        }
    }

    fn choose(&self, asked: &Asked, last: Option<usize>) -> Result<(usize, Permit), Failure> {
        if self.plan.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            return Err(Failure::NoEndpoint);
        }
        let key = self.plan.hash_on.as_ref().and_then(|header| asked.key(header));
        // Between the choice and the question to the breaker another request may take the one trial there is; the next
        // choice knows.
        for _ in 0..=self.endpoints.len() {
            let now = Instant::now().into_std();
            let draw = Draw(rand::random(), rand::random());
            let standing = |index: usize| self.standing(index);
            let Some(index) = self.balancer().choose(standing, last, key, draw, now) else {
                break;
            };
            if let Gate::Admit(permit) = self.endpoints[index].standing().admit() {
                return Ok((index, permit));
            }
        }
        Err(self.nowhere())
    }

    /// Why there is no endpoint to ask, and when there is one again.
    fn nowhere(&self) -> Failure {
        let (mut pause, mut trial) = (None, None);
        for (endpoint, plan) in self.endpoints.iter().zip(&self.plan.endpoints) {
            if plan.weight == 0 {
                continue;
            }
            let soonest =
                |known: Option<Duration>, other: Duration| Some(known.map_or(other, |known| known.min(other)));
            match endpoint.pause().left() {
                Some(left) if endpoint.standing().for_choice().gate != Opening::Shut => pause = soonest(pause, left),
                _ => {
                    if let Some(next) = endpoint.standing().next_trial() {
                        trial = soonest(trial, next);
                    }
                }
            }
        }
        match pause {
            Some(left) => Failure::Paused { left },
            None => Failure::CircuitOpen { retry_after: trial },
        }
    }

    /// Whether traffic flows to an endpoint at another host than that of `tried`.
    pub(super) fn flows_elsewhere(&self, tried: usize) -> bool {
        let host = |index: usize| &self.endpoints[index].address().authority;
        (0..self.endpoints.len()).any(|index| {
            host(index) != host(tried)
                && self.plan.endpoints[index].weight > 0
                && self.standing(index).gate == Opening::Flows
        })
    }

    /// Other workers were asked to leave these hosts alone.
    pub fn heed(&self, pauses: &Pauses) {
        for endpoint in &self.endpoints {
            if let Some(until) = pauses.get(endpoint.address().authority.as_str())
                && endpoint.pause().heed(*until, self.plan.retries.retry_after_max)
            {
                endpoint.standing().metrics.count_pause(PausedBy::Worker);
            }
        }
    }
}
