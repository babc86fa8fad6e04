//! What a host asked for: to be left alone for a while.
//!
//! A pause belongs to a host and not to the Integration. It is the host that asks, about itself or about us, and another
//! one that has not asked may be there for just this case; if it counts the same requests, it will say so as well.
//! Endpoints of the same host share a pause.
//!
//! A pause is prolonged and never cut short, and every length is bounded by `retries.retryAfterMax` from the moment on when
//! it is learned of. While it lasts no request is begun, so nobody is there to be told another one: a provider cannot keep
//! us away for longer than the bound without being asked again.
//!
//! Only what this worker was told itself is reported. What it heard from other workers is not, or two of them would tell
//! each other of it for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::health::Pauses;

/// The pauses that other workers were asked for, as the controller told them last.
pub type Told = watch::Receiver<Pauses>;

/// What is reported is rounded up to this: many answers that say the same within a moment are one change.
const ROUNDED: i64 = 500;

/// The pause of one host in this worker.
#[derive(Debug)]
pub struct Pause {
    base: Instant,
    /// When it ends, in milliseconds after `base`.
    until: AtomicU64,
    /// When what this worker was asked itself ends, in milliseconds since 1970.
    own: AtomicI64,
    under_way: AtomicU32,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            until: AtomicU64::new(0),
            own: AtomicI64::new(0),
            under_way: AtomicU32::new(0),
        }
    }
}

impl Pause {
    /// The host asks this worker to be left alone for `wait`. Says whether it was not paused before.
    pub fn ask(&self, wait: Duration) -> bool {
        let wait_for = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let end = Timestamp::now().as_millisecond().saturating_add(wait_for);
        let end = end.saturating_add(ROUNDED - 1) / ROUNDED * ROUNDED;
        self.own.fetch_max(end, Ordering::Relaxed);
        self.prolong(wait)
    }

    /// Another worker was asked to leave the host alone until then; `bound` is how long at most. Clocks of machines may
    /// differ, and then so do the ends, but never by more than that. Says whether it was not paused before.
    pub fn heed(&self, until: Timestamp, bound: Duration) -> bool {
        let left = until.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => self.prolong(left.min(bound)),
            _ => false,
        }
    }

    /// How long it lasts from now on; `None` if it does not.
    pub fn left(&self) -> Option<Duration> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            until => {
                let end = self.base + Duration::from_millis(until);
                Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
            }
        }
    }

    /// For the report: when what this worker was asked itself ends, if it has not.
    pub fn own(&self) -> Option<Timestamp> {
        let end = Timestamp::from_millisecond(self.own.load(Ordering::Relaxed)).ok()?;
        (end > Timestamp::now()).then_some(end)
    }

    /// A request to the host is under way, until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Requests to the host that have no answer yet.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    fn prolong(&self, wait: Duration) -> bool {
        let was = self.left().is_some();
        // Rounded up, so that the end is not before what was asked.
        let end = (self.base.elapsed() + wait).as_nanos().div_ceil(1_000_000);
        self.until
            .fetch_max(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
        !was
    }
}

/// A request that has no answer yet.
#[derive(Debug)]
pub struct UnderWay(Arc<Pause>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_as_long_as_it_was_asked_for() {
        let pause = Pause::default();
        assert_eq!(pause.left(), None);
        tokio::time::advance(SECOND / 3).await;
        assert!(pause.ask(2 * SECOND));
        assert!(pause.left() >= Some(2 * SECOND));
        tokio::time::advance(Duration::from_millis(1999)).await;
        assert!(pause.left().is_some());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(pause.left(), None);
        assert!(pause.ask(SECOND), "another one begins");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_prolonged_and_never_cut_short() {
        let pause = Pause::default();
        assert!(pause.ask(5 * SECOND));
        assert!(!pause.ask(SECOND));
        assert!(pause.left() >= Some(5 * SECOND));
        assert!(!pause.ask(9 * SECOND));
        assert!(pause.left() >= Some(9 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_were_asked_is_bounded_heeded_and_not_reported() {
        let pause = Pause::default();
        assert!(!pause.heed(Timestamp::now() - SignedDuration::from_secs(1), 60 * SECOND));
        assert_eq!(pause.left(), None);
        assert!(pause.heed(Timestamp::MAX, 60 * SECOND));
        let left = pause.left().unwrap();
        assert!(
            left > 59 * SECOND && left <= 60 * SECOND + Duration::from_millis(1),
            "{left:?}"
        );
        assert_eq!(pause.own(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_answers_that_say_the_same_are_one_report() {
        let pause = Pause::default();
        pause.ask(60 * SECOND);
        let reported = pause.own().unwrap();
        let ends: std::collections::BTreeSet<_> = (0..1000)
            .map(|_| {
                pause.ask(60 * SECOND);
                pause.own().unwrap()
            })
            .collect();
        assert!(ends.len() <= 3, "{ends:?}");
        assert!(reported > Timestamp::now() + SignedDuration::from_secs(59));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_under_way_until_its_guard_is_dropped() {
        let pause = Arc::new(Pause::default());
        let (one, two) = (pause.begin(), pause.begin());
        assert_eq!(pause.under_way(), 2);
        drop(one);
        assert_eq!(pause.under_way(), 1);
        drop(two);
        assert_eq!(pause.under_way(), 0);
    }
}
