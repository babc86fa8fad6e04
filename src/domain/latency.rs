//! How long answers take: a quantile of the recent ones.
//!
//! A histogram whose buckets grow by an eighth of an octave, so that what it says is at most an eighth too long; memory and
//! the time of a look are constant. Two of them take turns: what is said is of the last [`SPAN`] to twice that.

use std::time::{Duration, Instant};

/// How long a histogram collects.
const SPAN: Duration = Duration::from_secs(15);
/// Fewer answers say nothing.
const ENOUGH: u64 = 50;
/// Buckets in an octave.
const STEPS: usize = 8;
/// From a microsecond to more than an hour.
const BUCKETS: usize = 32 * STEPS;

/// The latencies of recent answers.
#[derive(Clone, Debug)]
pub struct Latencies {
    current: Histogram,
    before: Histogram,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Histogram {
    buckets: [u32; BUCKETS],
    total: u64,
}

impl Histogram {
    const EMPTY: Self = Self {
        buckets: [0; BUCKETS],
        total: 0,
    };
}

impl Latencies {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            current: Histogram::EMPTY,
            before: Histogram::EMPTY,
            since: now,
        }
    }

    /// An answer took so long, or was given up after so long.
    pub fn note(&mut self, latency: Duration, now: Instant) {
        self.turn(now);
        let bucket = &mut self.current.buckets[bucket(latency)];
        *bucket = bucket.saturating_add(1);
        self.current.total += 1;
    }

    /// What `percent` of the recent answers did not take longer than; `None` if there were too few.
    pub fn quantile(&mut self, percent: u64, now: Instant) -> Option<Duration> {
        self.turn(now);
        let total = self.current.total + self.before.total;
        if total < ENOUGH {
            return None;
        }
        let wanted = (total * percent).div_ceil(100);
        let mut seen = 0;
        let counts = self.current.buckets.iter().zip(&self.before.buckets);
        let found = counts
            .map(|(one, other)| u64::from(*one) + u64::from(*other))
            .position(|count| {
                seen += count;
                seen >= wanted
            });
        found.map(end)
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < SPAN {
            return;
        }
        self.before = if passed < 2 * SPAN {
            std::mem::replace(&mut self.current, Histogram::EMPTY)
        } else {
            self.current = Histogram::EMPTY;
            Histogram::EMPTY
        };
        self.since = now;
    }
}

/// Bucket `octave * STEPS + step` has what is from `2^octave * (1 + step/STEPS)` microseconds on.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = micros.ilog2();
    let step = ((u128::from(micros) * STEPS as u128) >> octave) % STEPS as u128;
    (octave as usize * STEPS + usize::try_from(step).unwrap_or(0)).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end(bucket: usize) -> Duration {
    let (octave, step) = (bucket / STEPS, bucket % STEPS);
    Duration::from_micros((((STEPS + step + 1) as u64) << octave).div_ceil(STEPS as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(latencies: impl IntoIterator<Item = Duration>) -> (Latencies, Instant) {
        let now = Instant::now();
        let mut known = Latencies::new(now);
        for latency in latencies {
            known.note(latency, now);
        }
        (known, now)
    }

    fn milliseconds(range: std::ops::Range<u64>) -> impl Iterator<Item = Duration> {
        range.map(Duration::from_millis)
    }

    #[test]
    fn few_answers_say_nothing() {
        let (mut known, now) = of(milliseconds(1..50));
        assert_eq!(known.quantile(95, now), None);
        known.note(Duration::from_millis(50), now);
        assert!(known.quantile(95, now).is_some());
    }

    #[test]
    fn a_quantile_is_at_most_an_eighth_too_long() {
        let (mut known, now) = of(milliseconds(1..1001));
        for percent in [1, 50, 95, 99, 100] {
            let exact = Duration::from_millis(10 * percent);
            let told = known.quantile(percent, now).unwrap();
            assert!(told >= exact && told <= exact.mul_f64(1.126), "{percent}: {told:?}");
        }
    }

    #[test]
    fn what_is_old_counts_no_more() {
        let (mut known, start) = of(milliseconds(1000..1100));
        let soon = start + SPAN;
        for latency in milliseconds(1..101) {
            known.note(latency, soon);
        }
        assert!(
            known.quantile(95, soon) > Some(Duration::from_secs(1)),
            "the last quarter of a minute counts"
        );
        let later = soon + SPAN;
        assert!(known.quantile(95, later) < Some(Duration::from_millis(120)));
        assert_eq!(known.quantile(95, later + 2 * SPAN), None);
    }

    proptest::proptest! {
        #[test]
        fn every_latency_has_a_bucket_that_ends_after_it(micros in 0_u64..(1 << 32)) {
            let latency = Duration::from_micros(micros);
            let end = end(bucket(latency));
            proptest::prop_assert!(end >= latency, "{:?}", end);
            proptest::prop_assert!(end <= latency.mul_f64(1.126) + Duration::from_micros(2), "{:?}", end);
        }

        #[test]
        fn no_latency_is_out_of_range(seconds: u64, nanos in 0_u32..1_000_000_000) {
            proptest::prop_assert!(bucket(Duration::new(seconds, nanos)) < BUCKETS);
        }
    }
}
