//! The step that the previous value is at.

use super::due::{due, earliest, gives_way, soonest};
use super::{Next, Observed, Step, Waiting, after};
use crate::domain::rotation::policy::Policy;

/// The previous value, as long as it is kept.
pub(super) fn previous(policy: &Policy, observed: &Observed<'_>) -> Option<Next> {
    let record = observed.record?;
    let previous = record.previous.as_ref()?;
    let now = observed.now;
    let expired = previous.not_after.is_some_and(|end| end <= now);
    let due = due(policy, observed);
    // A third value does not come while there are two that only we could take away. But neither a worker that never comes
    // round nor a provider that revokes nothing is a reason to lose the value in use.
    let free = due.is_some_and(|reason| {
        let gives_way = gives_way(policy, record, reason, now).is_some_and(|at| at <= now);
        !policy.revokes || expired || gives_way
    });
    let confirmed = match previous.confirmed {
        Some(confirmed) => confirmed,
        None if observed.adopted && !policy.overlap.is_zero() && !expired => {
            return Some(Next::at_once(Step::Confirm, None));
        }
        None if observed.adopted || expired => now,
        // Where nothing is to be revoked, a next value simply takes the place of the previous one.
        None => return (!free).then(|| Next::wait(Waiting::Workers, None, earliest(policy, observed))),
    };
    let over = after(confirmed, policy.overlap) <= now || expired;
    // A third value must not come while there are two: the overlap ends early.
    let hurry = policy.revokes && due.is_some();
    if over || hurry {
        return match previous.next_attempt.filter(|next| now < *next) {
            Some(_) if free => None,
            Some(next) => {
                let wake = soonest(Some(next), earliest(policy, observed));
                Some(Next::wait(Waiting::Backoff, None, wake))
            }
            None => Some(Next::at_once(Step::Retire, None)),
        };
    }
    if due.is_some() {
        return None;
    }
    let end = after(confirmed, policy.overlap);
    let wake = soonest(Some(end), earliest(policy, observed));
    Some(Next::wait(Waiting::Overlap, None, wake))
}
