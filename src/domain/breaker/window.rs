//! A sliding window over two counters, in buckets: O(1) in time and space, and empty after a pause as long as itself.

use std::time::{Duration, Instant};

/// Buckets of a window. The window covers the running bucket and the nine before it, so an entry counts for nine to
/// ten tenths of the length.
const BUCKETS: usize = 10;

/// Two counters over the last while.
#[derive(Clone, Debug)]
pub struct Window {
    length: Duration,
    start: Instant,
    /// Number of the running bucket since `start`.
    current: u64,
    buckets: [[u32; 2]; BUCKETS],
    sums: [u64; 2],
}

impl Window {
    /// An empty window of `length`, at least 10 ns, whose buckets are counted from `now`.
    pub fn new(length: Duration, now: Instant) -> Self {
        Self {
            length,
            start: now,
            current: 0,
            buckets: [[0; 2]; BUCKETS],
            sums: [0; 2],
        }
    }

    /// Forgets what is too old at `now`. A `now` before an earlier one changes nothing.
    pub fn advance(&mut self, now: Instant) {
        let width = (self.length.as_nanos() / BUCKETS as u128).max(1);
        let elapsed = now.saturating_duration_since(self.start).as_nanos() / width;
        let bucket = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let steps = bucket.saturating_sub(self.current);
        if steps >= BUCKETS as u64 {
            self.clear();
        } else {
            for step in 1..=steps {
                let index = Self::index(self.current + step);
                for (sum, count) in self.sums.iter_mut().zip(self.buckets[index]) {
                    *sum -= u64::from(count);
                }
                self.buckets[index] = [0; 2];
            }
        }
        self.current = self.current.max(bucket);
    }

    /// Counts one of the first kind, at the time of the last [`advance`](Self::advance).
    pub fn add_first(&mut self) {
        self.add(0);
    }

    /// Counts one of the second kind.
    pub fn add_second(&mut self) {
        self.add(1);
    }

    /// How many of the first kind are in the window.
    pub fn first(&self) -> u64 {
        self.sums[0]
    }

    /// How many of the second kind are in the window.
    pub fn second(&self) -> u64 {
        self.sums[1]
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.buckets = [[0; 2]; BUCKETS];
        self.sums = [0; 2];
    }

    fn add(&mut self, kind: usize) {
        let count = &mut self.buckets[Self::index(self.current)][kind];
        // A bucket that is full stays full; the sums follow the buckets exactly.
        if let Some(next) = count.checked_add(1) {
            *count = next;
            self.sums[kind] += 1;
        }
    }

    #[allow(clippy::cast_possible_truncation)] // the remainder is below BUCKETS
    fn index(bucket: u64) -> usize {
        (bucket % BUCKETS as u64) as usize
    }
}
