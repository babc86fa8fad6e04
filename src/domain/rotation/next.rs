//! The one step to take next, and why.

use std::time::Duration;

use jiff::Timestamp;

use super::policy::{Class, Policy};
use super::{Attempt, Phase, Reason, Record};

/// No call to a provider takes longer; whoever made one that is older is not waiting for its answer any more.
pub const CALL: Duration = Duration::from_secs(30);
/// After the last call that an earlier process may have made, this passes before another one is made where two at a time
/// would do harm.
const ALONE: Duration = Duration::from_secs(CALL.as_secs() + 5);
/// How long after it was first used a value that replaces itself may be used once more: the providers that have such a
/// grace period give 60 s (Cognito) or less.
pub const GRACE: Duration = Duration::from_secs(60);
/// A value is not used in its last second: providers round.
pub const LAST: Duration = Duration::from_secs(1);
/// How many issues in a row are paid for in advance.
const BURST: u32 = 6;
/// What one issue costs of time, at most.
const COST: Duration = Duration::from_secs(600);
/// First wait before a value that was refused right after it was issued is replaced; it doubles.
const REJECTION: Duration = Duration::from_secs(30);
/// Longest such wait.
const REJECTION_MAX: Duration = Duration::from_secs(6 * 3600);
/// Refusals of a new value by its test after which another candidate is made.
pub const POISONED: u32 = 3;

/// What is known now.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The value in use, as the issued Secret has it.
    pub record: Option<&'a Record>,
    /// The issued Secret holds what its kind needs.
    pub usable: bool,
    /// The value on its way, as the pending Secret has it.
    pub attempt: Option<&'a Attempt>,
    /// When the last rotation was, as the status tells.
    pub last: Option<Timestamp>,
    /// What the value is made from, as a hash.
    pub sources: &'a str,
    /// The `tidegate.dev/rotate` annotation.
    pub rotate: Option<&'a str>,
    /// The last one that was carried out, as the status tells.
    pub handled: Option<&'a str>,
    /// The status with which the provider refuses the value in use.
    pub refused: Option<u16>,
    /// Every ready worker that uses the Credential uses the value in use.
    pub adopted: bool,
    /// The time of day.
    pub now: Timestamp,
}

/// The one step to take next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be done.
    Idle,
    /// Write the intent down.
    Stage(Reason),
    /// Ask the provider, or make the value, and save it.
    Act,
    /// Try the value.
    Test,
    /// Make the value the one in use.
    Publish,
    /// Write down that every worker uses the value in use.
    Confirm,
    /// Take the previous value away.
    Retire,
    /// Remove the pending Secret of a value that is published.
    Clean,
    /// Give the attempt up, and take away what it may have made.
    Abandon(Abandoned),
    /// The answer was lost for good: say that a person has to authorise anew, and ask no more.
    Lose,
    /// Wait.
    Wait(Waiting),
}

/// Why an attempt is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// The spec or a source is another one since.
    Outdated,
    /// The value expired before it was published.
    Expired,
    /// The provider refuses it.
    Poisoned,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The next try after a failure.
    Backoff,
    /// An edit: nothing else helps, or hardly.
    Edit,
    /// The answer to a call that an earlier process may have under way.
    Call,
    /// Workers that do not use the value in use yet.
    Workers,
    /// The end of the overlap.
    Overlap,
    /// A window.
    Window,
    /// The cap on issues.
    Cap,
}

/// The step, why a value is replaced, and when to look again though nothing is heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The step.
    pub step: Step,
    /// Why the value is replaced, if it is.
    pub reason: Option<Reason>,
    /// When to look again; `None`: when something changes.
    pub wake: Option<Timestamp>,
}

impl Next {
    fn at_once(step: Step, reason: Option<Reason>) -> Self {
        let wake = None;
        Self { step, reason, wake }
    }

    fn wait(waiting: Waiting, reason: Option<Reason>, until: Option<Timestamp>) -> Self {
        Self {
            step: Step::Wait(waiting),
            reason,
            wake: until,
        }
    }
}

/// The next step. The first that matches wins: what is under way is finished before anything new begins, the previous
/// value goes before there is a third one, and of the reasons for a new value the most urgent is told.
pub fn next(policy: &Policy, observed: &Observed<'_>) -> Next {
    under_way(policy, observed)
        .or_else(|| previous(policy, observed))
        .unwrap_or_else(|| fresh(policy, observed))
}

/// An attempt that was begun.
fn under_way(policy: &Policy, observed: &Observed<'_>) -> Option<Next> {
    let attempt = observed.attempt?;
    let reason = Some(attempt.reason);
    let at_once = |step| Some(Next::at_once(step, reason));
    let now = observed.now;
    let other_sources = attempt.sources != observed.sources;
    if observed
        .record
        .is_some_and(|record| record.revision >= attempt.revision)
    {
        return at_once(Step::Clean);
    }
    if attempt.spec != policy.spec {
        return at_once(Step::Abandon(Abandoned::Outdated));
    }
    // What was sent was made from the old ones, and a permanent failure may be mended by the new ones.
    let permanent = attempt.failed.as_ref().is_some_and(|failed| failed.permanent);
    if other_sources && attempt.sends > 0 && (policy.follows_sources || permanent) {
        return at_once(Step::Abandon(Abandoned::Outdated));
    }
    let minted = attempt.minted.as_ref();
    if minted
        .and_then(|minted| minted.not_after)
        .is_some_and(|end| ends(end) <= now)
    {
        return at_once(Step::Abandon(Abandoned::Expired));
    }
    // Another call may be under way: it was begun, and how it ended was not written down.
    let unheard = attempt.phase == Phase::Intent
        && attempt
            .sent
            .is_some_and(|sent| attempt.failed.as_ref().is_none_or(|failed| failed.last < sent));
    if unheard && matches!(policy.class, Class::Replaced | Class::Chained) {
        let until = after(attempt.sent.unwrap_or(now), ALONE);
        if now < until {
            return Some(Next::wait(Waiting::Call, reason, Some(until)));
        }
    }
    if let Some(failed) = &attempt.failed
        && !unheard
    {
        let pressed = is_pressed(observed) && attempt.requested.as_deref() != observed.rotate;
        if !pressed && !other_sources && now < failed.next {
            let waiting = if failed.permanent {
                Waiting::Edit
            } else {
                Waiting::Backoff
            };
            let until = Some(failed.next).filter(|next| *next < Timestamp::MAX);
            return Some(Next::wait(waiting, reason, until));
        }
    }
    match attempt.phase {
        Phase::Intent if policy.class == Class::Chained && attempt.sends > 0 => {
            let in_grace = attempt.sent.is_some_and(|sent| now <= after(sent, GRACE));
            at_once(if attempt.sends == 1 && in_grace {
                Step::Act
            } else {
                Step::Lose
            })
        }
        Phase::Intent => at_once(Step::Act),
        Phase::Minted if policy.tests => {
            let refusals = attempt
                .failed
                .as_ref()
                .filter(|failed| failed.permanent)
                .map_or(0, |it| it.times);
            at_once(if refusals >= POISONED {
                Step::Abandon(Abandoned::Poisoned)
            } else {
                Step::Test
            })
        }
        Phase::Minted | Phase::Tested => at_once(Step::Publish),
    }
}

/// The previous value, as long as it is kept.
fn previous(policy: &Policy, observed: &Observed<'_>) -> Option<Next> {
    let record = observed.record?;
    let previous = record.previous.as_ref()?;
    let now = observed.now;
    let expired = previous.not_after.is_some_and(|end| end <= now);
    let due = due(policy, observed);
    let confirmed = match previous.confirmed {
        Some(confirmed) => confirmed,
        None if observed.adopted && !policy.overlap.is_zero() && !expired => {
            return Some(Next::at_once(Step::Confirm, None));
        }
        None if observed.adopted || expired => now,
        None => {
            // Where nothing is to be revoked, a next value simply takes the place of the previous one.
            let blocks = due.is_none() || policy.revokes;
            return blocks.then(|| Next::wait(Waiting::Workers, None, earliest(policy, observed)));
        }
    };
    let over = after(confirmed, policy.overlap) <= now || expired;
    // A third value must not come while there are two: the overlap ends early.
    let hurry = policy.revokes && due.is_some();
    if over || hurry {
        return Some(match previous.next_attempt.filter(|next| now < *next) {
            Some(next) => Next::wait(Waiting::Backoff, None, Some(next)),
            None => Next::at_once(Step::Retire, None),
        });
    }
    match due {
        Some(_) => None,
        None => {
            let end = after(confirmed, policy.overlap);
            let wake = earliest(policy, observed).map_or(end, |other| other.min(end));
            Some(Next::wait(Waiting::Overlap, None, Some(wake)))
        }
    }
}

/// Nothing is under way: is there a reason to begin?
fn fresh(policy: &Policy, observed: &Observed<'_>) -> Next {
    let now = observed.now;
    let Some(reason) = due(policy, observed) else {
        let wake = earliest(policy, observed);
        return Next {
            step: Step::Idle,
            reason: None,
            wake,
        };
    };
    if matches!(reason, Reason::NearingExpiry | Reason::IntervalElapsed) {
        let opens = policy.opens(now);
        let expires = observed.record.and_then(|record| record.not_after);
        // A window that opens too late to renew in is no reason to let a value expire.
        let in_time = expires.is_none_or(|expires| after(opens, ALONE) < expires);
        if opens > now && in_time {
            return Next::wait(Waiting::Window, Some(reason), Some(opens));
        }
    }
    let allowed = match observed.record {
        Some(record) => Some(before(record.paid_until, cost(policy, Some(record)) * BURST)),
        // Where the issued Secret was removed, the account went with it, and whoever removes it again and again must not
        // make us issue again and again.
        None => observed.last.map(|last| after(last, replacement(policy.class))),
    };
    if let Some(allowed) = allowed.filter(|allowed| now < *allowed) {
        return Next::wait(Waiting::Cap, Some(reason), Some(allowed));
    }
    Next::at_once(Step::Stage(reason), Some(reason))
}

/// Why a new value is wanted now, if it is.
fn due(policy: &Policy, observed: &Observed<'_>) -> Option<Reason> {
    let now = observed.now;
    let Some(record) = observed.record else {
        return match (policy.has_first, is_pressed(observed)) {
            (false, _) => Some(Reason::Missing),
            (true, true) => Some(Reason::Requested),
            (true, false) => (observed.refused == Some(401) && policy.replaces_rejected).then_some(Reason::Rejected),
        };
    };
    let rejected = observed.refused == Some(401) && policy.replaces_rejected && now >= replaceable(record);
    [
        (!observed.usable, Reason::Missing),
        (record.spec != policy.spec, Reason::SpecChanged),
        (
            policy.follows_sources && record.sources != observed.sources,
            Reason::SourceChanged,
        ),
        (is_pressed(observed), Reason::Requested),
        (rejected, Reason::Rejected),
        (record.not_after.is_some_and(|end| ends(end) <= now), Reason::Expired),
        (
            record.not_after.is_some() && policy.renewal(record).is_some_and(|at| at <= now),
            Reason::NearingExpiry,
        ),
        (
            policy.renewal(record).is_some_and(|at| at <= now),
            Reason::IntervalElapsed,
        ),
    ]
    .into_iter()
    .find_map(|(holds, reason)| holds.then_some(reason))
}

/// A user asks for a rotation that was not carried out yet.
fn is_pressed(observed: &Observed<'_>) -> bool {
    let done = observed.record.and_then(|record| record.requested.as_deref());
    observed.rotate.is_some() && observed.rotate != done && observed.rotate != observed.handled
}

/// From when on a value may be replaced because it is refused: at once, and ever later where its predecessors were
/// replaced for the same reason.
fn replaceable(record: &Record) -> Timestamp {
    match record.rejections {
        0 => record.issued,
        times => after(
            record.issued,
            REJECTION.saturating_mul(1 << times.min(16)).min(REJECTION_MAX),
        ),
    }
}

/// When something is due though nothing happens.
fn earliest(policy: &Policy, observed: &Observed<'_>) -> Option<Timestamp> {
    let record = observed.record?;
    let rejected = (observed.refused == Some(401) && policy.replaces_rejected).then(|| replaceable(record));
    let end = record.not_after.map(ends);
    [policy.renewal(record), policy.retirement(record), end, rejected]
        .into_iter()
        .flatten()
        .filter(|at| *at > observed.now)
        .min()
}

/// Least time from a rotation to the issue of what takes the place of an issued Secret that was removed.
fn replacement(class: Class) -> Duration {
    Duration::from_secs(match class {
        Class::Free | Class::Ours => 10,
        Class::Added | Class::Replaced | Class::Chained => 120,
    })
}

/// What one issue costs: so much that the usual pace is well below the cap.
pub fn cost(policy: &Policy, record: Option<&Record>) -> Duration {
    (policy.period(record) / 3).clamp(Duration::from_secs(1), COST)
}

/// Until when issuing is paid for after one more issue.
pub fn pay(policy: &Policy, record: Option<&Record>, now: Timestamp) -> Timestamp {
    let paid = record.map_or(now, |record| record.paid_until.max(now));
    after(paid, cost(policy, record))
}

/// The last instant at which a value that ends at `end` is used.
fn ends(end: Timestamp) -> Timestamp {
    before(end, LAST)
}

fn after(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}
