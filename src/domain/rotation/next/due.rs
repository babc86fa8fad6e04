//! Whether a new value is wanted, and when one will be.

use std::time::Duration;

use jiff::Timestamp;

use super::{Observed, SKEW, after, ends, midway};
use crate::domain::rotation::policy::Policy;
use crate::domain::rotation::{Reason, Record};

/// First wait before a value that was refused right after it was issued is replaced; it doubles.
const REJECTION: Duration = Duration::from_secs(30);
/// Longest such wait.
const REJECTION_MAX: Duration = Duration::from_secs(6 * 3600);
/// How long workers, and the provider that is to take the previous value away, are given while the value in use is of no
/// use.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a new value is wanted now, if it is.
pub(super) fn due(policy: &Policy, observed: &Observed<'_>) -> Option<Reason> {
    let now = observed.now;
    let Some(record) = observed.record else {
        return match (policy.has_first, is_pressed(observed)) {
            (false, _) => Some(Reason::Missing),
            (true, true) => Some(Reason::Requested),
            (true, false) if observed.refused == Some(401) && policy.replaces_rejected => Some(Reason::Rejected),
            (true, false) => first_over(policy, observed)
                .is_some_and(|at| at <= now)
                .then_some(Reason::IntervalElapsed),
        };
    };
    let renewal = policy.renewal(record).is_some_and(|at| at <= now);
    [
        (!observed.usable, Reason::Missing),
        (record.spec != policy.spec, Reason::SpecChanged),
        (policy.follows(&record.sources, observed.sources), Reason::SourceChanged),
        (is_pressed(observed), Reason::Requested),
        (
            rejected(policy, observed, record).is_some_and(|at| at <= now),
            Reason::Rejected,
        ),
        (record.not_after.is_some_and(|end| ends(end) <= now), Reason::Expired),
        (
            record.not_after.is_some() && (renewal || is_from_the_future(record, now)),
            Reason::NearingExpiry,
        ),
        (renewal, Reason::IntervalElapsed),
    ]
    .into_iter()
    .find_map(|(holds, reason)| holds.then_some(reason))
}

/// When the interval of the first value is over, which somebody else wrote: it counts from when it came in use here.
fn first_over(policy: &Policy, observed: &Observed<'_>) -> Option<Timestamp> {
    // What was seen later than now was seen by a clock that was wrong.
    let since = observed.first.map(|since| since.min(observed.now));
    policy.interval_over(since.filter(|_| policy.has_first)?)
}

/// A user asks for a rotation that was not carried out yet.
pub(super) fn is_pressed(observed: &Observed<'_>) -> bool {
    let done = observed.record.and_then(|record| record.requested.as_deref());
    observed.rotate.is_some() && observed.rotate != done && observed.rotate != observed.handled
}

/// A value that was issued later than now: the clock was wrong then, so nothing is known of when the value really ends.
pub(super) fn is_from_the_future(record: &Record, now: Timestamp) -> bool {
    record.issued > after(now, SKEW)
}

/// From when on the value is replaced because it is refused: at once, and ever later where its predecessors were replaced
/// for the same reason.
fn rejected(policy: &Policy, observed: &Observed<'_>, record: &Record) -> Option<Timestamp> {
    if observed.refused != Some(401) || !policy.replaces_rejected {
        return None;
    }
    Some(match record.rejections {
        0 => Timestamp::MIN,
        _ if is_from_the_future(record, observed.now) => Timestamp::MIN,
        times => after(record.issued, doubled(times - 1)),
    })
}

/// [`REJECTION`] doubled `times` times, up to [`REJECTION_MAX`].
pub(super) fn doubled(times: u32) -> Duration {
    REJECTION.saturating_mul(1 << times.min(16)).min(REJECTION_MAX)
}

/// From when on the previous value holds up a new one no more: it is better that the previous one is left behind, and
/// named, than that the value in use ends.
pub(super) fn gives_way(policy: &Policy, record: &Record, reason: Reason, now: Timestamp) -> Option<Timestamp> {
    let useless = matches!(reason, Reason::Missing | Reason::Rejected | Reason::Expired);
    if is_from_the_future(record, now) {
        return Some(Timestamp::MIN).filter(|_| useless || record.not_after.is_some());
    }
    let patience = useless.then(|| after(record.issued, PATIENCE));
    soonest(patience, critical(policy, record))
}

/// When half of the time from its renewal to its end is over: what could be waited for was waited for.
fn critical(policy: &Policy, record: &Record) -> Option<Timestamp> {
    let end = ends(record.not_after?);
    Some(midway(policy.renewal(record).unwrap_or(record.issued).min(end), end))
}

/// When something is due though nothing happens.
pub(super) fn earliest(policy: &Policy, observed: &Observed<'_>) -> Option<Timestamp> {
    let Some(record) = observed.record else {
        return first_over(policy, observed).filter(|at| *at > observed.now);
    };
    let previous = record.previous.as_ref();
    let way = due(policy, observed)
        .filter(|_| previous.is_some())
        .and_then(|reason| gives_way(policy, record, reason, observed.now));
    [
        policy.renewal(record),
        policy.retirement(record),
        record.not_after.map(ends),
        rejected(policy, observed, record),
        previous.and_then(|previous| previous.not_after),
        previous.and_then(|previous| previous.next_attempt),
        way,
    ]
    .into_iter()
    .flatten()
    .filter(|at| *at > observed.now)
    .min()
}

/// The earlier one of two times, where there is one.
pub(super) fn soonest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
