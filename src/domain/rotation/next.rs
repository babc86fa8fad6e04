//! The one step to take next, and why.

use std::time::Duration;

use jiff::Timestamp;

use super::policy::{Class, Policy};
use super::{Attempt, Reason, Record};

mod begun;
mod due;
mod previous;

pub use super::cap::{cost, pay, pay_again};
use due::{due, earliest, is_from_the_future, soonest};

/// No call to a provider takes longer, of any class; see [`call`].
const CALL: Duration = Duration::from_secs(30);
/// The same for a call that uses the value up which authorises it. If it dies with its process, the value can be used once
/// more in the provider's grace period alone, and the shortest ones are of half a minute.
const CALL_CHAINED: Duration = Duration::from_secs(10);
/// What may pass beside the call itself: a process that was held up for 3 s after it wrote down that it asks does not ask
/// any more, and the call is cut off one second after its time.
const BESIDE: Duration = Duration::from_secs(5);
/// How long after it was first used a value that replaces itself may be used once more: the providers that have such a
/// grace period give 60 s (Cognito) or less.
pub const GRACE: Duration = Duration::from_secs(60);
/// A value is not used in its last second: providers round.
pub const LAST: Duration = Duration::from_secs(1);
/// Refusals of a new value by its test after which another candidate is made.
pub const POISONED: u32 = 3;
/// How far the clocks of two processes may be apart. What was written down for later than this from now was written by a
/// clock that was wrong, and is not waited for: it may be a month.
pub(super) const SKEW: Duration = Duration::from_secs(300);
/// Least time until a call that was refused for good is made again though nothing was edited.
const REFUSED: Duration = Duration::from_secs(600);

/// No call of that class takes longer; whoever made one that is older is not waiting for its answer any more.
pub fn call(class: Class) -> Duration {
    if class == Class::Chained { CALL_CHAINED } else { CALL }
}

/// After the last call that an earlier process may have made, this passes before another one is made where two at a time
/// would do harm.
///
/// Two are never under way at once: whoever asks has written down when, asks within 3 s of that or not at all, and hangs
/// up [`call`] and a second later. So a process that lives has hung up before this is over, and one that is dead holds
/// nothing; a process that was stopped in the middle of its call finds the deadline passed when it goes on.
fn alone(class: Class) -> Duration {
    call(class) + BESIDE
}

/// When a call that the provider refuses for good is made again though nothing was edited: at the pace of success, and no
/// sooner than after 10 minutes. What was asked before its time is paid back. `owed` is what the refusal before it gave.
pub fn refused_until(policy: &Policy, record: Option<&Record>, owed: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let pace = refusal_pace(policy, record);
    let most = after(now, pace);
    after(owed.map_or(now, |owed| owed.clamp(now, most)), pace)
}

/// Between two calls that are refused for good.
fn refusal_pace(policy: &Policy, record: Option<&Record>) -> Duration {
    policy.period(record).max(REFUSED)
}

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
    /// Since when the first value, which somebody else wrote, is in use; `None` where there is none, or not any more.
    pub first: Option<Timestamp>,
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
    /// Give the attempt up, and take away what it may have made. What comes after it must not have its id, under which the
    /// provider may remember what was taken away; and what it paid stays paid.
    Abandon(Abandoned),
    /// The answer was lost for good: say that a person has to authorise anew, and ask no more. It is a permanent failure
    /// that is never tried again by itself, of the spec as it is now: an edit that came before is no reason to ask again.
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
    let Some(begun) = begun::begun(policy, observed) else {
        return previous::previous(policy, observed).unwrap_or_else(|| fresh(policy, observed));
    };
    if !matches!(begun.step, Step::Wait(_)) {
        return begun;
    }
    // What is waited for may take days; the previous value does not outstay its time for that.
    let previous = previous::previous(policy, observed);
    if let Some(meanwhile) = previous.filter(|it| matches!(it.step, Step::Confirm | Step::Retire)) {
        return meanwhile;
    }
    let wake = soonest(begun.wake, earliest(policy, observed));
    Next { wake, ..begun }
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
    // Something else may become due while one waits for a window or the cap.
    let wait = |waiting, until| Next::wait(waiting, Some(reason), soonest(Some(until), earliest(policy, observed)));
    let distrusted = observed.record.is_some_and(|record| is_from_the_future(record, now));
    if matches!(reason, Reason::NearingExpiry | Reason::IntervalElapsed) && !distrusted {
        let opens = policy.opens(now);
        let expires = observed.record.and_then(|record| record.not_after);
        // A window that opens too late to renew in is no reason to let a value expire.
        let in_time = expires.is_none_or(|expires| after(opens, alone(policy.class)) < expires);
        if opens > now && in_time {
            return wait(Waiting::Window, opens);
        }
    }
    let allowed = match observed.record {
        Some(record) => Some(super::cap::allowed(policy, record, observed.last, now)),
        // Where the issued Secret was removed, the account went with it, and whoever removes it again and again must not
        // make us issue again and again.
        None => observed
            .last
            .filter(|last| *last <= after(now, SKEW))
            .map(|last| after(last, replacement(policy.class))),
    };
    if let Some(allowed) = allowed.filter(|allowed| now < *allowed) {
        return wait(Waiting::Cap, allowed);
    }
    Next::at_once(Step::Stage(reason), Some(reason))
}

/// Least time from a rotation to the issue of what takes the place of an issued Secret that was removed.
fn replacement(class: Class) -> Duration {
    Duration::from_secs(match class {
        Class::Free | Class::Ours => 10,
        Class::Added | Class::Replaced | Class::Chained => 120,
    })
}

/// From when on a value that ends at `end` is not used any more.
pub fn ends(end: Timestamp) -> Timestamp {
    before(end, LAST)
}

pub(super) fn after(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

pub(super) fn before(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// In the middle of two times; the first, if they are not in order.
fn midway(from: Timestamp, to: Timestamp) -> Timestamp {
    after(
        from,
        Duration::try_from(to.duration_since(from)).unwrap_or_default() / 2,
    )
}
