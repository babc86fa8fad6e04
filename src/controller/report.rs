//! The last step of a reconcile: the status is written if it differs from what is stored and may be written now.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::condition::{Condition, ConditionStatus};
use crate::cluster::{Cluster, ClusterError};
use crate::domain::status::{Finding, Progress, merge};
use crate::fleet::Fleet;
use crate::telemetry::controller_metrics;

use super::pacing::Outline;
use super::references::User;
use super::{Context, lock};

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is as it is stored.
    Same,
    /// It was written.
    Written,
    /// It may be written at that time.
    Later(Instant),
}

/// When to look again: after `otherwise`, or as soon as what was held back may be written.
pub(super) fn again(reported: Reported, otherwise: Duration) -> Duration {
    match reported {
        Reported::Same | Reported::Written => otherwise,
        Reported::Later(at) => otherwise.min(at.saturating_duration_since(Instant::now())),
    }
}

/// An object that is stored and does not decode.
#[derive(Debug)]
pub struct Undecodable {
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its status, as far as that decodes.
    pub status: serde_json::Value,
    /// Field and reason, never a value.
    pub detail: String,
}

impl Undecodable {
    /// The object that could not be read for that reason; for another reason, the error.
    pub(super) fn of(error: ClusterError) -> Result<Self, ClusterError> {
        match error {
            ClusterError::Undecodable {
                uid,
                generation,
                status,
                detail,
                ..
            } => Ok(Self {
                uid,
                generation,
                status: *status,
                detail,
            }),
            error => Err(error),
        }
    }

    /// Its conditions: these kinds are False, and only an edit helps. What else was known of it is kept.
    pub(super) fn conditions(&self, stored: &[Condition], kinds: &[&'static str], now: Timestamp) -> Vec<Condition> {
        let (reason, message) = ("InvalidSpec", format!("the object cannot be read: {}", self.detail));
        let unusable = |kind: &&'static str| finding(kind, ConditionStatus::False, reason, message.clone());
        let findings: Vec<Finding> = kinds.iter().map(unusable).collect();
        let progress = Progress::Stalled { reason, message };
        merge(stored, &findings, &progress, self.generation, now)
    }
}

/// A condition as it is now.
pub(super) fn finding(kind: &'static str, status: ConditionStatus, reason: &'static str, message: String) -> Finding {
    Finding {
        kind,
        status,
        reason,
        message,
    }
}

impl<C: Cluster, F: Fleet> Context<C, F> {
    /// Writes a status that differs from the stored one, if it may be written now.
    pub(super) async fn write(
        &self,
        user: &User,
        stored: Outline<'_>,
        new: Outline<'_>,
        write: impl Future<Output = Result<(), ClusterError>>,
    ) -> Result<Reported, ClusterError> {
        let now = Instant::now();
        let at = lock(&self.pacing).may_write(user, stored, new, now);
        if at > now {
            return Ok(Reported::Later(at));
        }
        let written = write.await;
        controller_metrics::status_written(user.kind(), written.is_ok());
        written?;
        lock(&self.pacing).wrote(user, stored, new, Instant::now());
        Ok(Reported::Written)
    }
}
