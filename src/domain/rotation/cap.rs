//! How often issues may follow each other: the generic cell rate algorithm, whose account is kept with the value.

use std::time::Duration;

use jiff::Timestamp;

use super::next::{SKEW, after, before};
use super::{Attempt, Policy, Record};

/// How many issues in a row are paid for in advance.
pub(super) const BURST: u32 = 6;
/// What one issue costs of time, at most.
pub(super) const COST: Duration = Duration::from_secs(600);

/// What one issue costs: so much that the usual pace is well below the cap.
pub fn cost(policy: &Policy, record: Option<&Record>) -> Duration {
    (policy.period(record) / 3).clamp(Duration::from_secs(1), COST)
}

/// Until when issuing is paid for after one more issue.
pub fn pay(policy: &Policy, record: Option<&Record>, now: Timestamp) -> Timestamp {
    let cost = cost(policy, record);
    // What is ahead by more was paid at other costs, or by a clock that was wrong: it must not be carried on for ever.
    let ahead = after(now, cost * BURST);
    let paid = record.map_or(now, |record| record.paid_until.clamp(now, ahead));
    after(paid, cost)
}

/// The same after one more issue for an attempt that is given up: what that one paid stays paid.
pub fn pay_again(policy: &Policy, record: Option<&Record>, given_up: &Attempt, now: Timestamp) -> Timestamp {
    let cost = cost(policy, record);
    after(given_up.paid_until.clamp(now, after(now, cost * BURST)), cost)
}

/// From when on another value may be issued, by the account of the one in use; `last` is when that was issued, as the
/// status tells.
pub(super) fn allowed(policy: &Policy, record: &Record, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let cost = cost(policy, Some(record));
    let sane = after(now, SKEW);
    // The account may have been run up while an issue cost more: before a value's lifetime was known, or with another
    // spec. A value of a minute would expire many times over before that is paid off. Hence one issue each `cost` is
    // always allowed, which is all that the account allows in the long run.
    let issued = Some(record.issued).filter(|issued| *issued <= sane);
    let issued = issued.or(last.filter(|last| *last <= sane));
    let by_issue = issued.map_or(Timestamp::MIN, |issued| after(issued, cost));
    by_issue.min(before(record.paid_until, cost * BURST))
}

/// From when on the provider may be asked for a further candidate: it took the place of one that was given up, so that
/// nobody looked at the account when it was staged.
pub(super) fn allowed_again(policy: &Policy, record: Option<&Record>, attempt: &Attempt) -> Timestamp {
    let cost = cost(policy, record);
    let by_account = before(attempt.paid_until, cost * (BURST + 1));
    by_account.min(after(attempt.created, cost))
}
