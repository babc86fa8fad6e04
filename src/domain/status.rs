//! Conditions: what was written before and what is so now, merged into what is to be written.

use jiff::Timestamp;

use crate::api::condition::{Condition, ConditionStatus, kind};

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

/// Most characters of a message of ours.
const MESSAGE_MAX: usize = 1024;

/// Every kind of condition that is ours to write and to remove.
const OURS: [&str; 11] = [
    kind::READY,
    kind::RECONCILING,
    kind::STALLED,
    kind::ACCEPTED,
    kind::CREDENTIALS_READY,
    kind::PROGRAMMED,
    kind::ENDPOINTS_HEALTHY,
    kind::CIRCUIT_CLOSED,
    kind::ISSUING,
    kind::FRESH,
    kind::PROPAGATED,
];

/// The conditions to write.
///
/// Findings keep the place that their kind has in `old`, new ones follow in the order given, and `Reconciling` or
/// `Stalled` comes last; conditions of kinds that are not ours are kept as they are. Of our kinds, what is no finding any
/// more goes. `lastTransitionTime` moves only when `status` does. Applied to its own result, with a later `now`, it
/// changes nothing.
pub fn merge(
    old: &[Condition],
    findings: &[Finding],
    progress: &Progress,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut wanted: Vec<Condition> = Vec::with_capacity(findings.len() + 1);
    let progress = match progress {
        Progress::Settled => None,
        Progress::Reconciling { reason, message } => Some((kind::RECONCILING, *reason, message)),
        Progress::Stalled { reason, message } => Some((kind::STALLED, *reason, message)),
    };
    let findings = findings
        .iter()
        .map(
            |Finding {
                 kind,
                 status,
                 reason,
                 message,
             }| (*kind, *status, *reason, message),
        )
        .filter(|(found, ..)| ![kind::RECONCILING, kind::STALLED].contains(found))
        .chain(progress.map(|(kind, reason, message)| (kind, ConditionStatus::True, reason, message)));
    for (kind, status, reason, message) in findings {
        // The first finding of a kind stands: a list-map has no room for a second.
        if wanted.iter().any(|condition| condition.type_ == kind) {
            continue;
        }
        let before = old
            .iter()
            .find(|condition| condition.type_ == kind && condition.status == status);
        wanted.push(Condition {
            type_: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.chars().take(MESSAGE_MAX).collect(),
            last_transition_time: before.map_or(now, |before| before.last_transition_time),
            observed_generation: Some(generation),
        });
    }
    let mut merged: Vec<Condition> = Vec::with_capacity(old.len() + wanted.len());
    for condition in old {
        match wanted.iter().position(|wanted| wanted.type_ == condition.type_) {
            Some(place) => merged.push(wanted.remove(place)),
            None if OURS.contains(&condition.type_.as_str()) => (),
            None => merged.push(condition.clone()),
        }
    }
    merged.append(&mut wanted);
    merged
}

/// The value of a request annotation as `status.handled` repeats it: cut after 256 characters.
pub fn echo(value: &str) -> String {
    value.chars().take(256).collect()
}

#[cfg(test)]
mod tests;
