//! When which key is due: the decisions of the queue, without a clock and without tasks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Delay after the first failure in a row, before jitter.
const BASE: Duration = Duration::from_millis(250);
/// Longest delay between two tries of the same object, before jitter.
const MAX: Duration = Duration::from_secs(120);

/// What a wake-up is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The object itself was edited, or a value that it refers to. A backoff is void: the edit may be the cure, somebody
    /// waits for it, and there are no more runs than edits.
    Edited,
    /// Something around the object changed. It runs, but not before its backoff is over: what fails does not fail less
    /// because a neighbour is busy, and a busy neighbour would otherwise turn the backoff into a hot loop.
    Nudged,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well; run again after this time, if any.
    Done(Option<Duration>),
    /// Not well; run again after a backoff.
    Failed,
}

/// Delay before the next try after `failures` failures in a row (1 is the first).
///
/// Exponential, and between half of it and the whole by `random` (0 to 1): objects that failed together, as all do when
/// the API server is away, do not come back together.
pub fn backoff(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = BASE.saturating_mul(1 << doublings).min(MAX);
    whole.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

/// When which key is due. Every key is in it once, and runs once at a time.
#[derive(Debug)]
pub struct Schedule<K> {
    entries: HashMap<K, Entry>,
    /// Keys that are due later, earliest first; the number keeps equal times apart and in order.
    waiting: BTreeMap<(Instant, u64), K>,
    /// Keys that are due, in the order in which they became so: nobody overtakes, so nobody starves.
    ready: VecDeque<K>,
    tickets: u64,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// Failures in a row.
    failures: u32,
    /// No run before this time.
    hold: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Under [`Schedule::waiting`] with this time and ticket.
    Waiting(Instant, u64),
    /// In [`Schedule::ready`].
    Ready,
    /// Taken; to run `again` at that time, for something that happened meanwhile and that the run may have missed.
    Running { again: Option<Instant>, edited: bool },
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            tickets: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// Makes `key` due at `at`, or at the time it is due already if that is earlier.
    pub fn ask(&mut self, key: K, at: Instant, urgency: Urgency) {
        let Some(entry) = self.entries.get_mut(&key) else {
            let place = wait(&mut self.waiting, &mut self.tickets, &key, at);
            let (failures, hold) = (0, None);
            self.entries.insert(key, Entry { place, failures, hold });
            return;
        };
        if urgency == Urgency::Edited {
            entry.failures = 0;
            entry.hold = None;
        }
        let at = entry.hold.map_or(at, |hold| at.max(hold));
        match &mut entry.place {
            Place::Ready => {}
            Place::Running { again, edited } => {
                *again = Some(again.map_or(at, |again| again.min(at)));
                *edited |= urgency == Urgency::Edited;
            }
            Place::Waiting(due, ticket) => {
                if at < *due {
                    self.waiting.remove(&(*due, *ticket));
                    entry.place = wait(&mut self.waiting, &mut self.tickets, &key, at);
                }
            }
        }
    }

    /// Takes the key that has been due for longest. It counts as running until [`Schedule::end`].
    pub fn take(&mut self, now: Instant) -> Option<K> {
        self.promote(now);
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            let (again, edited) = (None, false);
            entry.place = Place::Running { again, edited };
        }
        Some(key)
    }

    /// The run of `key` ended. `random` is between 0 and 1.
    pub fn end(&mut self, key: K, ended: Ended, now: Instant, random: f64) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let Place::Running { again, edited } = entry.place else {
            return;
        };
        let next = match ended {
            Ended::Done(after) => {
                entry.failures = 0;
                entry.hold = None;
                let after = after.map(|after| now + after);
                match (again, after) {
                    (Some(again), Some(after)) => Some(again.min(after)),
                    (again, after) => again.or(after),
                }
            }
            // What failed may have been the object as it was before the edit.
            Ended::Failed if edited => Some(now),
            Ended::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                entry.hold = Some(now + backoff(entry.failures, random));
                entry.hold
            }
        };
        match next {
            // Not earlier than now, so that a key that is always asked for queues behind those that wait already.
            Some(next) => entry.place = wait(&mut self.waiting, &mut self.tickets, &key, next.max(now)),
            None => {
                self.entries.remove(&key);
            }
        }
    }

    /// When the next key becomes due; in the past if one is.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// How many keys are due and wait for a place.
    pub fn depth(&mut self, now: Instant) -> usize {
        self.promote(now);
        self.ready.len()
    }

    fn promote(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Ready;
            }
            self.ready.push_back(key);
        }
    }
}

fn wait<K: Clone>(waiting: &mut BTreeMap<(Instant, u64), K>, tickets: &mut u64, key: &K, at: Instant) -> Place {
    *tickets += 1;
    waiting.insert((at, *tickets), key.clone());
    Place::Waiting(at, *tickets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule() -> (Schedule<&'static str>, Instant) {
        (Schedule::default(), Instant::now())
    }

    #[test]
    fn a_key_asked_for_many_times_runs_once() {
        let (mut schedule, now) = schedule();
        for _ in 0..5 {
            schedule.ask("a", now, Urgency::Nudged);
        }
        assert_eq!(schedule.take(now), Some("a"));
        assert_eq!(schedule.take(now), None);
        schedule.end("a", Ended::Done(None), now, 0.0);
        assert_eq!(schedule.take(now), None);
        assert_eq!(schedule.entries.len(), 0, "a key with nothing to do is forgotten");
    }

    #[test]
    fn a_key_asked_for_while_it_runs_runs_again_afterwards_and_not_beside() {
        let (mut schedule, now) = schedule();
        schedule.ask("a", now, Urgency::Nudged);
        assert_eq!(schedule.take(now), Some("a"));
        schedule.ask("a", now, Urgency::Nudged);
        assert_eq!(schedule.take(now), None);
        schedule.end("a", Ended::Done(Some(SECOND)), now, 0.0);
        assert_eq!(schedule.take(now), Some("a"));
    }

    #[test]
    fn the_earliest_of_several_times_counts() {
        let (mut schedule, now) = schedule();
        schedule.ask("a", now + 3 * SECOND, Urgency::Nudged);
        schedule.ask("a", now + SECOND, Urgency::Nudged);
        schedule.ask("a", now + 2 * SECOND, Urgency::Nudged);
        assert_eq!(schedule.next_due(now), Some(now + SECOND));
        assert_eq!(schedule.take(now), None);
        assert_eq!(schedule.take(now + SECOND), Some("a"));
        assert_eq!(schedule.take(now + 9 * SECOND), None);
    }

    #[test]
    fn a_key_that_is_always_asked_for_lets_the_others_pass() {
        let (mut schedule, now) = schedule();
        schedule.ask("busy", now, Urgency::Edited);
        schedule.ask("quiet", now, Urgency::Nudged);
        assert_eq!(schedule.take(now), Some("busy"));
        schedule.ask("busy", now, Urgency::Edited);
        schedule.end("busy", Ended::Done(None), now, 0.0);
        assert_eq!(schedule.take(now), Some("quiet"));
        assert_eq!(schedule.take(now), Some("busy"));
    }

    #[test]
    fn a_nudge_does_not_shorten_a_backoff_and_an_edit_ends_it() {
        let (mut schedule, now) = schedule();
        schedule.ask("a", now, Urgency::Nudged);
        schedule.take(now);
        schedule.ask("a", now, Urgency::Nudged); // while it runs
        schedule.end("a", Ended::Failed, now, 1.0);
        schedule.ask("a", now, Urgency::Nudged); // afterwards
        assert_eq!(schedule.take(now), None);
        assert_eq!(schedule.next_due(now), Some(now + BASE));
        schedule.ask("a", now, Urgency::Edited);
        assert_eq!(schedule.take(now), Some("a"));
    }

    #[test]
    fn an_edit_during_a_run_that_fails_runs_at_once() {
        let (mut schedule, now) = schedule();
        schedule.ask("a", now, Urgency::Nudged);
        schedule.take(now);
        schedule.ask("a", now, Urgency::Edited);
        schedule.end("a", Ended::Failed, now, 1.0);
        assert_eq!(schedule.take(now), Some("a"));
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_a_success_starts_over() {
        let (mut schedule, mut now) = schedule();
        schedule.ask("a", now, Urgency::Nudged);
        let mut fail = |schedule: &mut Schedule<_>, ended| {
            now = now.max(schedule.next_due(now).unwrap());
            assert_eq!(schedule.take(now), Some("a"));
            schedule.end("a", ended, now, 1.0);
            schedule.next_due(now).unwrap() - now
        };
        assert_eq!(fail(&mut schedule, Ended::Failed), BASE);
        assert_eq!(fail(&mut schedule, Ended::Failed), 2 * BASE);
        assert_eq!(fail(&mut schedule, Ended::Failed), 4 * BASE);
        assert_eq!(fail(&mut schedule, Ended::Done(Some(SECOND))), SECOND);
        assert_eq!(fail(&mut schedule, Ended::Failed), BASE);
    }

    #[test]
    fn backoff_is_bounded_and_spread_over_its_upper_half() {
        for (failures, whole) in [
            (1, 0.25),
            (2, 0.5),
            (9, 64.0),
            (10, 120.0),
            (1000, 120.0),
            (u32::MAX, 120.0),
        ] {
            assert_eq!(backoff(failures, 1.0), Duration::from_secs_f64(whole), "{failures}");
            assert_eq!(
                backoff(failures, 0.0),
                Duration::from_secs_f64(whole / 2.0),
                "{failures}"
            );
        }
    }
}
