//! What the workers of an Integration report, counted over all of them: the status of each endpoint, the circuit, and
//! whether the plan has arrived.
//!
//! Who has a vote: a worker that takes traffic, that reports, or that has reported and is lost. A worker that is still
//! starting has none, or every rollout would show as Unknown. A vote without a report is Unknown: what a lost worker
//! sees now is not known.

use std::sync::Arc;

use jiff::Timestamp;

use super::health::{EndpointReport, Report};
use super::status::Finding;
use crate::api::condition::{ConditionStatus, kind};
use crate::api::integration::{CircuitState, CredentialInUse, EndpointStatus, Health, IntegrationStatus, TrippedBy};

mod adoption;
mod endpoint;

pub use adoption::{consumer, refused};

/// What is known of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its unique name.
    pub name: Arc<str>,
    /// It takes traffic.
    pub ready: bool,
    /// It is connected, so that [`Worker::report`] is what it sees now.
    pub connected: bool,
    /// Its last report, of whenever.
    pub report: Option<Arc<Report>>,
}

/// The Integration that the workers work for, as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its UID; reports about a namesake do not count.
    pub uid: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Names of the endpoints of the plan that is programmed, or of the spec while there is none.
    pub endpoints: &'a [String],
    /// Name and revision of each credential of that plan.
    pub credentials: &'a [(String, i64)],
}

/// A Credential whose current revision the provider refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Name of the Credential.
    pub credential: String,
    /// 401 or 403.
    pub status: u16,
}

/// What all workers together come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Workers that exist.
    pub replicas: i32,
    /// Workers that take traffic.
    pub ready_replicas: i32,
    /// The newest plan that every ready worker runs; `None` where one of them has never said.
    pub plan_revision: Option<i64>,
    /// The revision of each credential that every ready worker uses.
    pub credentials: Vec<CredentialInUse>,
    /// Credentials whose current revision the provider refuses.
    pub rejected: Vec<Rejection>,
    /// The token of the last reset that every ready worker has carried out.
    pub reset_circuit: Option<String>,
    /// Every endpoint, in the order of the subject.
    pub endpoints: Vec<EndpointStatus>,
    /// Worst over the endpoints.
    pub circuit: CircuitState,
    /// Healthy endpoints of all: `1/2`.
    pub endpoints_healthy: String,
    /// `Programmed`, `EndpointsHealthy` and `CircuitClosed`.
    pub findings: [Finding; 3],
}

impl Worker {
    /// Its last report, if it is about this Integration and not about a namesake.
    fn said(&self, uid: &str) -> Option<&Report> {
        self.report.as_deref().filter(|report| report.uid == uid)
    }

    /// What it sees now.
    fn sees(&self, uid: &str) -> Option<&Report> {
        self.said(uid).filter(|_| self.connected)
    }

    fn has_vote(&self, uid: &str) -> bool {
        self.ready || self.said(uid).is_some()
    }
}

/// Counts. `stored` is the status as it is written, from which the time of the last change of each endpoint is kept.
pub fn aggregate(
    workers: &[Worker],
    subject: Subject<'_>,
    stored: Option<&IntegrationStatus>,
    now: Timestamp,
) -> Picture {
    let uid = subject.uid;
    let voters: Vec<&Worker> = workers.iter().filter(|worker| worker.has_vote(uid)).collect();
    let endpoints: Vec<EndpointStatus> = subject
        .endpoints
        .iter()
        .map(|name| {
            let votes: Vec<Option<&EndpointReport>> = voters
                .iter()
                .map(|worker| {
                    worker
                        .sees(uid)?
                        .endpoints
                        .iter()
                        .find(|endpoint| endpoint.name == *name)
                })
                .collect();
            let before = stored.and_then(|status| status.endpoints.iter().find(|endpoint| endpoint.name == *name));
            endpoint::count(name, &votes, before, now)
        })
        .collect();
    let reported = voters.iter().any(|worker| worker.sees(uid).is_some());
    let ready: Vec<&Worker> = workers.iter().filter(|worker| worker.ready).collect();
    let healthy = endpoints
        .iter()
        .filter(|endpoint| endpoint.health == Health::Healthy)
        .count();
    Picture {
        replicas: count(workers.len()),
        ready_replicas: count(ready.len()),
        plan_revision: adoption::plan_revision(&ready, uid),
        credentials: adoption::credentials(&ready, subject),
        rejected: adoption::rejected(&voters, subject),
        reset_circuit: adoption::reset_circuit(&ready, uid),
        circuit: endpoints
            .iter()
            .map(|endpoint| endpoint.circuit.state)
            .max()
            .unwrap_or_default(),
        endpoints_healthy: format!("{healthy}/{}", endpoints.len()),
        findings: [
            adoption::programmed(&ready, workers.len(), subject),
            endpoints_healthy(&endpoints, reported),
            circuit_closed(&endpoints, reported),
        ],
        endpoints,
    }
}

fn endpoints_healthy(endpoints: &[EndpointStatus], reported: bool) -> Finding {
    let of = |health| names(endpoints, |endpoint| endpoint.health == health);
    let (unhealthy, unknown) = (of(Health::Unhealthy), of(Health::Unknown));
    let (status, reason, message) = if !unhealthy.is_empty() && unhealthy.len() == endpoints.len() {
        (
            ConditionStatus::False,
            "AllUnhealthy",
            "no endpoint is healthy".to_owned(),
        )
    } else if !unhealthy.is_empty() {
        (
            ConditionStatus::False,
            "SomeUnhealthy",
            format!("unhealthy: {}", unhealthy.join(", ")),
        )
    } else if !reported {
        (ConditionStatus::Unknown, "NoReport", "no worker reports".to_owned())
    } else if !unknown.is_empty() {
        (
            ConditionStatus::Unknown,
            "NotYetKnown",
            format!("not yet known: {}", unknown.join(", ")),
        )
    } else {
        (
            ConditionStatus::True,
            "AllHealthy",
            "every endpoint is healthy".to_owned(),
        )
    };
    Finding {
        kind: kind::ENDPOINTS_HEALTHY,
        status,
        reason,
        message,
    }
}

fn circuit_closed(endpoints: &[EndpointStatus], reported: bool) -> Finding {
    let of = |state| names(endpoints, |endpoint| endpoint.circuit.state == state);
    let (open, half_open, unknown) = (
        of(CircuitState::Open),
        of(CircuitState::HalfOpen),
        of(CircuitState::Unknown),
    );
    let forced = names(endpoints, |endpoint| {
        endpoint.circuit.tripped_by == Some(TrippedBy::Forced)
    });
    let (status, reason, message) = if !forced.is_empty() {
        (
            ConditionStatus::False,
            "Forced",
            format!("forced open: {}", forced.join(", ")),
        )
    } else if !open.is_empty() {
        (
            ConditionStatus::False,
            "CircuitOpen",
            format!("open: {}", open.join(", ")),
        )
    } else if !half_open.is_empty() {
        (
            ConditionStatus::False,
            "CircuitHalfOpen",
            format!("half open: {}", half_open.join(", ")),
        )
    } else if !reported {
        (ConditionStatus::Unknown, "NoReport", "no worker reports".to_owned())
    } else if !unknown.is_empty() {
        (
            ConditionStatus::Unknown,
            "NotYetKnown",
            format!("a worker does not report on: {}", unknown.join(", ")),
        )
    } else {
        (
            ConditionStatus::True,
            "AllClosed",
            "every circuit of every worker is closed".to_owned(),
        )
    };
    Finding {
        kind: kind::CIRCUIT_CLOSED,
        status,
        reason,
        message,
    }
}

fn names(endpoints: &[EndpointStatus], wanted: impl Fn(&EndpointStatus) -> bool) -> Vec<&str> {
    endpoints
        .iter()
        .filter(|endpoint| wanted(endpoint))
        .map(|endpoint| endpoint.name.as_str())
        .collect()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
