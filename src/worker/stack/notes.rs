//! What an attempt teaches: about the endpoint, its circuit, and the credentials it carried.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::Stack;
use crate::api::integration::HealthReason;
use crate::domain::breaker::Guard;
use crate::domain::classify::{self, Ending, Fault, Outcome};
use crate::domain::health::{self, CredentialReport, Pauses, Report};
use crate::domain::pause;
use crate::telemetry::worker_metrics::{AttemptOutcome, PausedBy};
use crate::worker::credential::{Asker, Credential};
use crate::worker::endpoint::Endpoint;
use crate::worker::grpc::Said;
use crate::worker::layer::fault::Unanswered;
use crate::worker::standing::Standing;

/// An endpoint whose address was refused is left alone for this long while another is fit; names come to mean other
/// addresses.
const AVOID: Duration = Duration::from_secs(5);

impl Stack {
    pub(super) fn note_answer(
        &self,
        endpoint: &Endpoint,
        method: &Method,
        said: Said,
        guard: &mut Guard<Arc<Standing>>,
    ) {
        let outcome = if said.is_void() {
            Outcome::Nothing
        } else {
            classify::outcome(Ending::Answered(said.status))
        };
        let standing = endpoint.standing();
        let attempt = if outcome == Outcome::Failure {
            standing.failed((HealthReason::TrafficFailed, said.described()));
            AttemptOutcome::FailureStatus
        } else {
            AttemptOutcome::Success
        };
        standing.metrics.count_attempt(attempt);
        guard.answered(outcome);
        if matches!(outcome, Outcome::Success | Outcome::CallerError | Outcome::Unauthorized) {
            standing.served();
        }
        self.note_credentials(endpoint, method, said.status, Asker::Caller);
    }

    /// A request with `method` that carried the endpoint's credentials was answered.
    pub fn note_credentials(&self, endpoint: &Endpoint, method: &Method, status: StatusCode, asker: Asker) {
        // Each is to learn of it, also after one that has.
        let mut changed = false;
        for credential in self.carried(endpoint, method) {
            changed |= credential.note_answer(status, asker);
        }
        if changed {
            self.bulletin.publish();
        }
    }

    /// An answer with this status and these headers may ask for a pause.
    pub fn note_pause(&self, endpoint: &Endpoint, status: StatusCode, headers: &HeaderMap) {
        let under_way = endpoint.pause().under_way();
        let Some(asked) = pause::asked(status, headers, under_way, SystemTime::now()) else {
            return;
        };
        let wait = asked.min(self.plan.retries.retry_after_max);
        if wait.is_zero() {
            return;
        }
        if endpoint.pause().ask(wait) {
            endpoint.standing().metrics.count_pause(PausedBy::Provider);
            tracing::info!(
                namespace = &*self.plan.integration.namespace,
                integration = &*self.plan.integration.name,
                endpoint = endpoint.name(),
                host = endpoint.address().authority.as_str(),
                seconds = wait.as_secs(),
                "the provider asks to be left alone for a while",
            );
        }
        self.bulletin.publish();
    }

    /// The pauses that this worker was asked for itself.
    fn pauses(&self) -> Pauses {
        let own = self.endpoints.iter().filter_map(|endpoint| {
            let host = endpoint.address().authority.as_str();
            Some((host.to_owned(), endpoint.pause().own()?))
        });
        own.collect()
    }

    pub(super) fn note_fault(&self, index: usize, unanswered: &Unanswered, guard: &mut Guard<Arc<Standing>>) {
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
            share: self.quota.as_ref().and_then(|quota| quota.told()),
            paused_until: self.pauses(),
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
        rejected_status: credential.refusal(),
    }
}
