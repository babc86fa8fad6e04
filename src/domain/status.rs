//! Conditions: what was written before and what is so now, merged into what is to be written.

use jiff::Timestamp;

use crate::api::condition::{Condition, ConditionStatus};

/// A condition as it is now; when it became so is for [`merge`] to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of [`condition::kind`](crate::api::condition::kind), but neither `Reconciling` nor `Stalled`.
    pub kind: &'static str,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// CamelCase, from the closed list of the contract.
    pub reason: &'static str,
    /// A sentence for a person; cut after 1024 characters. Never a secret, a body or a header.
    pub message: String,
}

/// How far the object is, in the words of kstatus. One of the three: `Reconciling` and `Stalled` are never both there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to do.
    Settled,
    /// Work is under way, or waits for another try.
    Reconciling {
        /// CamelCase.
        reason: &'static str,
        /// A sentence for a person.
        message: String,
    },
    /// Only an edit helps.
    Stalled {
        /// CamelCase.
        reason: &'static str,
        /// A sentence for a person.
        message: String,
    },
}

/// The conditions to write.
///
/// Findings keep the place that their kind has in `old`, new ones follow in the order given; conditions of kinds that
/// are not ours are kept as they are. Of our kinds, what is no finding any more goes. `lastTransitionTime` moves only
/// when `status` does. Applied to its own result, with a later `now`, it changes nothing.
pub fn merge(
    old: &[Condition],
    findings: &[Finding],
    progress: &Progress,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let _ = (old, findings, progress, generation, now);
    todo!()
}
