//! How often a status is written: the first change of a burst at once, then at most once in five seconds, with the
//! latest state.
//!
//! A breaker that opens after a quiet time is there at once; one that flaps costs one write in five seconds. Two things
//! do not wait, because somebody does wait for them and because there are no more of them than edits: that we have seen
//! an edit, of the object or of its value (or carried out a request), and that it has arrived: the object is Ready for
//! the first time since, and every worker runs it for the first time. Being so alone is no reason: it can flap too. For
//! the same two nothing else waits either: a breaker that opens right after an edit is there as soon as one that opens in
//! a quiet hour.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::condition::{Condition, ConditionStatus, kind};
use crate::api::integration::Handled;

use super::references::User;

/// Least time between two writes of the status of one object, where there is an API server to spare.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// What of a status decides whether it may wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outline<'a> {
    /// The generation it is about.
    pub observed_generation: Option<i64>,
    /// The requests that were carried out.
    pub handled: Option<&'a Handled>,
    /// The revision of a value; `None` for what has none.
    pub revision: Option<i64>,
    /// The newest revision, of the plan or of the value, that every worker is known to run.
    pub arrived: Option<i64>,
    /// Whether it is Ready.
    pub ready: bool,
}

impl<'a> Outline<'a> {
    /// The outline of a status of these parts.
    pub fn new(observed_generation: Option<i64>, handled: Option<&'a Handled>, conditions: &[Condition]) -> Self {
        let ready = |condition: &Condition| condition.type_ == kind::READY && condition.status == ConditionStatus::True;
        Self {
            observed_generation,
            handled,
            revision: None,
            arrived: None,
            ready: conditions.iter().any(ready),
        }
    }
}

/// The last writes of the status of one object by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The last write that nobody waited for.
    weather: Option<Instant>,
    /// The generation for which it has been Ready.
    ready_for: Option<i64>,
    /// The newest revision of which it was told that every worker runs it.
    arrived: Option<i64>,
}

/// When `new` may be written over `stored`, with this least time between two writes; not after `now`: at once.
pub fn may_write(
    interval: Duration,
    last: Option<Written>,
    stored: Outline<'_>,
    new: Outline<'_>,
    now: Instant,
) -> Instant {
    match last.and_then(|last| last.weather) {
        Some(weather) if !is_awaited(last, stored, new) => weather + interval,
        _ => now,
    }
}

/// Whether somebody waits for this write.
fn is_awaited(last: Option<Written>, stored: Outline<'_>, new: Outline<'_>) -> bool {
    let edits = |outline: Outline<'_>| (outline.observed_generation, outline.revision);
    let seen_an_edit = edits(new) != edits(stored) || new.handled != stored.handled;
    let ready_for = last.and_then(|last| last.ready_for);
    let first_ready = new.ready && !stored.ready && ready_for != new.observed_generation;
    let first_arrived = new.arrived > stored.arrived.max(last.and_then(|last| last.arrived));
    seen_an_edit || first_ready || first_arrived
}

/// The last writes.
#[derive(Debug)]
pub struct Pacing {
    interval: Duration,
    written: HashMap<User, Written>,
}

impl Pacing {
    /// Nothing written yet; `interval` is the least time between two writes of the status of one object.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            written: HashMap::new(),
        }
    }

    /// When `new` may be written over `stored`; not after `now`: at once.
    pub fn may_write(&self, user: &User, stored: Outline<'_>, new: Outline<'_>, now: Instant) -> Instant {
        may_write(self.interval, self.last(user), stored, new, now)
    }

    /// The last write of this object.
    pub fn last(&self, user: &User) -> Option<Written> {
        self.written.get(user).copied()
    }

    /// When a change that nobody waits for may be written.
    pub fn next(&self, user: &User, now: Instant) -> Instant {
        let weather = self.last(user).and_then(|last| last.weather);
        weather.map_or(now, |weather| now.max(weather + self.interval))
    }

    /// `new` was written over `stored`.
    pub fn wrote(&mut self, user: &User, stored: Outline<'_>, new: Outline<'_>, now: Instant) {
        let last = self.last(user);
        let before = last.and_then(|last| last.weather);
        let weather = if is_awaited(last, stored, new) {
            before
        } else {
            Some(now)
        };
        let ready_for = if new.ready {
            new.observed_generation
        } else {
            last.and_then(|last| last.ready_for)
        };
        let arrived = new.arrived.max(last.and_then(|last| last.arrived));
        let written = Written {
            weather,
            ready_for,
            arrived,
        };
        self.written.insert(user.clone(), written);
    }

    /// The object is gone.
    pub fn forget(&mut self, user: &User) {
        self.written.remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(generation: i64, ready: bool) -> Outline<'static> {
        Outline {
            observed_generation: Some(generation),
            handled: None,
            revision: None,
            arrived: None,
            ready,
        }
    }

    #[test]
    fn a_burst_costs_one_write_at_once_and_one_each_interval() {
        let start = Instant::now();
        let (mut last, mut writes) = (None, Vec::new());
        for tenth in 0..200 {
            let now = start + Duration::from_millis(100 * tenth);
            if may_write(INTERVAL, last, outline(1, true), outline(1, true), now) <= now {
                last = Some(Written {
                    weather: Some(now),
                    ready_for: Some(1),
                    arrived: None,
                });
                writes.push(100 * tenth);
            }
        }
        assert_eq!(writes, [0, 5000, 10_000, 15_000]);
    }

    #[test]
    fn an_edit_and_being_ready_for_the_first_time_since_do_not_wait() {
        let now = Instant::now();
        let wrote = |ready_for| {
            Some(Written {
                weather: Some(now),
                ready_for,
                arrived: None,
            })
        };
        let cases = [
            (
                "an edit is seen",
                wrote(Some(1)),
                outline(1, true),
                outline(2, false),
                now,
            ),
            (
                "ready for the first time since",
                wrote(Some(1)),
                outline(2, false),
                outline(2, true),
                now,
            ),
            (
                "not ready any more",
                wrote(Some(2)),
                outline(2, true),
                outline(2, false),
                now + INTERVAL,
            ),
            (
                "ready again",
                wrote(Some(2)),
                outline(2, false),
                outline(2, true),
                now + INTERVAL,
            ),
            (
                "something else",
                wrote(Some(2)),
                outline(2, true),
                outline(2, true),
                now + INTERVAL,
            ),
            ("nothing written yet", None, outline(2, true), outline(2, true), now),
        ];
        for (case, last, stored, new, expected) in cases {
            assert_eq!(may_write(INTERVAL, last, stored, new, now), expected, "{case}");
        }
    }

    #[test]
    fn a_request_that_was_carried_out_is_told_at_once() {
        let now = Instant::now();
        let handled = Handled {
            reconcile: Some("1".into()),
            ..Handled::default()
        };
        let (stored, last) = (
            outline(1, true),
            Some(Written {
                weather: Some(now),
                ready_for: Some(1),
                arrived: None,
            }),
        );
        let new = Outline {
            handled: Some(&handled),
            ..stored
        };
        assert_eq!(may_write(INTERVAL, last, stored, new, now), now);
    }

    #[test]
    fn what_arrives_for_the_first_time_is_told_at_once_and_what_flaps_is_paced() {
        let now = Instant::now();
        let outline = |arrived| Outline {
            arrived,
            ..outline(1, true)
        };
        let last = |arrived| {
            Some(Written {
                weather: Some(now),
                ready_for: Some(1),
                arrived,
            })
        };
        let later = now + INTERVAL;
        let cases = [
            ("every worker runs it", last(Some(1)), Some(1), Some(2), now),
            ("a worker that starts has not said", last(Some(2)), Some(2), None, later),
            ("and says what was known", last(Some(2)), None, Some(2), later),
            ("known from before the start", last(None), Some(2), Some(2), later),
            ("a worker is behind again", last(Some(2)), Some(2), Some(1), later),
            ("and catches up", last(Some(2)), Some(1), Some(2), later),
        ];
        for (case, last, stored, new, expected) in cases {
            let at = may_write(INTERVAL, last, outline(stored), outline(new), now);
            assert_eq!(at, expected, "{case}");
        }
    }

    #[test]
    fn readiness_that_flaps_is_paced_like_anything_else() {
        let (mut pacing, user) = (
            Pacing::new(INTERVAL),
            User::Integration(crate::domain::key::Key::new("shop", "a")),
        );
        let now = Instant::now();
        pacing.wrote(&user, outline(0, false), outline(1, true), now);
        pacing.wrote(&user, outline(1, true), outline(1, false), now);
        assert_eq!(
            pacing.may_write(&user, outline(1, false), outline(1, true), now),
            now + INTERVAL
        );
    }

    #[test]
    fn a_breaker_that_opens_right_after_an_edit_does_not_wait_for_it() {
        let (mut pacing, user) = (
            Pacing::new(INTERVAL),
            User::Integration(crate::domain::key::Key::new("shop", "a")),
        );
        let now = Instant::now();
        pacing.wrote(&user, outline(1, true), outline(2, false), now);
        pacing.wrote(&user, outline(2, false), outline(2, true), now);
        let later = now + Duration::from_secs(1);
        assert_eq!(
            pacing.may_write(&user, outline(2, true), outline(2, true), later),
            later
        );
    }
}
