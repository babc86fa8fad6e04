//! Which plan and which credentials the workers run.
//!
//! Here the last word of a worker counts, also of one that is lost: a worker never goes back to an older plan, so what
//! it ran it still runs, or something newer. A broken connection to a worker that serves is no reason to call the
//! Integration not ready.

use super::{Rejection, Subject, Worker};
use crate::api::condition::{ConditionStatus, kind};
use crate::api::integration::CredentialInUse;
use crate::domain::health::{CredentialReport, Report};
use crate::domain::status::Finding;

/// The newest plan that every ready worker runs.
pub(super) fn plan_revision(ready: &[&Worker], uid: &str) -> Option<i64> {
    let revisions: Option<Vec<u64>> = ready
        .iter()
        .map(|worker| worker.said(uid).map(|report| report.plan_revision))
        .collect();
    i64::try_from(revisions?.into_iter().min()?).ok()
}

/// The revision of each credential that every ready worker uses; one that some ready worker does not use is left out.
pub(super) fn credentials(ready: &[&Worker], subject: Subject<'_>) -> Vec<CredentialInUse> {
    let used = |name: &str| {
        let revisions: Option<Vec<i64>> = ready.iter().map(|worker| revision(worker, subject.uid, name)).collect();
        revisions?.into_iter().min()
    };
    subject
        .credentials
        .iter()
        .filter_map(|(name, _)| {
            let (name, revision) = (name.clone(), used(name)?);
            Some(CredentialInUse { name, revision })
        })
        .collect()
}

/// Credentials whose current revision the provider refuses. That it refuses an older one is why there is a new one.
pub(super) fn rejected(voters: &[&Worker], subject: Subject<'_>) -> Vec<Rejection> {
    let refused = |name: &str, current: i64| {
        let reports = voters.iter().filter_map(|worker| worker.sees(subject.uid));
        worst(reports, |credential| {
            credential.name == name && credential.revision >= current
        })
    };
    subject
        .credentials
        .iter()
        .filter_map(|(name, revision)| {
            Some(Rejection {
                credential: name.clone(),
                status: refused(name, *revision)?,
            })
        })
        .collect()
}

/// The status with which the provider of some worker refuses this revision of a Credential now. 401 wins over 403: another
/// value mends the one, and seldom the other.
pub fn refused(workers: &[Worker], credential: &str, revision: i64) -> Option<u16> {
    let reports = workers
        .iter()
        .filter(|worker| worker.connected)
        .filter_map(|worker| worker.report.as_deref());
    worst(reports, |used| used.name == credential && used.revision == revision)
}

fn worst<'a>(reports: impl Iterator<Item = &'a Report>, is_meant: impl Fn(&CredentialReport) -> bool) -> Option<u16> {
    reports
        .flat_map(|report| &report.credentials)
        .filter(|credential| is_meant(credential))
        .filter_map(|credential| credential.rejected_status)
        .min()
}

/// The token of the last reset that every ready worker has carried out.
pub(super) fn reset_circuit(ready: &[&Worker], uid: &str) -> Option<String> {
    let mut tokens = ready
        .iter()
        .map(|worker| worker.said(uid).and_then(|report| report.reset_circuit.as_deref()));
    let first = tokens.next()??;
    tokens.all(|token| token == Some(first)).then(|| first.to_owned())
}

/// `Programmed`: every ready worker runs the plan of this generation, and at least one is ready.
pub(super) fn programmed(ready: &[&Worker], workers: usize, subject: Subject<'_>) -> Finding {
    let runs = |worker: &&&Worker| {
        worker
            .said(subject.uid)
            .is_some_and(|report| report.generation >= subject.generation)
    };
    let running = ready.iter().filter(runs).count();
    let (status, reason, message) = if ready.is_empty() {
        (
            ConditionStatus::False,
            "WorkersNotReady",
            match workers {
                0 => "there is no worker yet".to_owned(),
                1 => "the only worker is not ready".to_owned(),
                _ => format!("none of {workers} workers is ready"),
            },
        )
    } else if running < ready.len() {
        let message = format!(
            "{running} of {} ready workers run the plan of this generation",
            ready.len()
        );
        (ConditionStatus::False, "PlanNotAdopted", message)
    } else {
        (
            ConditionStatus::True,
            "Programmed",
            "every ready worker runs the plan of this generation".to_owned(),
        )
    };
    Finding {
        kind: kind::PROGRAMMED,
        status,
        reason,
        message,
    }
}

/// How a Credential is used by the workers of one Integration: the revision that every ready worker that uses it runs.
/// `None` if no ready worker uses it; 0 if one of them has never reported.
pub fn consumer(workers: &[Worker], name: &str) -> Option<i64> {
    workers
        .iter()
        .filter(|worker| worker.ready)
        .filter_map(|worker| match &worker.report {
            Some(report) => report
                .credentials
                .iter()
                .find(|used| used.name == name)
                .map(|used| used.revision),
            None => Some(0),
        })
        .min()
}

fn revision(worker: &Worker, uid: &str, name: &str) -> Option<i64> {
    worker
        .said(uid)?
        .credentials
        .iter()
        .find(|used| used.name == name)
        .map(|used| used.revision)
}
