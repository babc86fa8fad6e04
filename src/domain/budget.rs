//! The retry budget: retries as a share of requests, so that retrying cannot multiply an outage.
//!
//! A fixed number of retries for each request triples the load on a provider that is down, and every hop multiplies
//! again. A budget bounds the sum instead: over a window, retries may be a percentage of the requests seen in it, and in
//! quiet times at least a floor (Finagle and tower add the floor, which then exceeds the share in busy times as well).
//!
//! Time is cut into ten slots, so that a look costs nothing and memory is constant; the window is exact to a tenth.

use std::time::{Duration, Instant};

const SLOTS: usize = 10;

/// Counts requests and retries over a sliding window.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u32,
    floor_per_second: u32,
    slot: Duration,
    slots: [Slot; SLOTS],
    current: usize,
    current_started: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// A budget of `percent` of the requests in the last `interval`, and at least `floor_per_second` for each second of it.
    pub fn new(percent: u32, interval: Duration, floor_per_second: u32, now: Instant) -> Self {
        Self {
            percent,
            floor_per_second,
            // A zero interval would divide by zero; the schema does not allow one.
            slot: (interval / 10).max(Duration::from_millis(1)),
            slots: [Slot::default(); SLOTS],
            current: 0,
            current_started: now,
        }
    }

    /// A request came in; retries are not requests.
    pub fn deposit(&mut self, now: Instant) {
        self.advance(now);
        self.slots[self.current].requests += 1;
    }

    /// Takes one retry out of the budget; `false` if it is used up.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.advance(now);
        let (requests, retries) = self.slots.iter().fold((0, 0), |(requests, retries), slot| {
            (requests + slot.requests, retries + slot.retries)
        });
        let floor = u128::from(self.floor_per_second) * self.slot.as_millis() * SLOTS as u128 / 1000;
        let allowed = (u128::from(requests) * u128::from(self.percent) / 100).max(floor);
        if u128::from(retries) >= allowed {
            return false;
        }
        self.slots[self.current].retries += 1;
        true
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.current_started).as_nanos() / self.slot.as_nanos();
        for _ in 0..passed.min(SLOTS as u128) {
            self.current = (self.current + 1) % SLOTS;
            self.slots[self.current] = Slot::default();
        }
        match u32::try_from(passed) {
            Ok(passed) => self.current_started += self.slot * passed,
            Err(_) => self.current_started = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn withdrawals(budget: &mut Budget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn retries_are_a_share_of_requests() {
        let start = Instant::now();
        let mut budget = Budget::new(20, INTERVAL, 1, start);
        for _ in 0..1000 {
            budget.deposit(start);
        }
        assert_eq!(withdrawals(&mut budget, start), 200);
    }

    #[test]
    fn a_quiet_client_may_still_retry() {
        let start = Instant::now();
        assert_eq!(withdrawals(&mut Budget::new(20, INTERVAL, 1, start), start), 10);
    }

    #[test]
    fn no_floor_and_no_requests_allow_nothing() {
        let start = Instant::now();
        assert_eq!(withdrawals(&mut Budget::new(20, INTERVAL, 0, start), start), 0);
    }

    #[test]
    fn requests_and_retries_leave_the_window_together() {
        let start = Instant::now();
        let mut budget = Budget::new(50, INTERVAL, 0, start);
        for _ in 0..100 {
            budget.deposit(start);
        }
        assert_eq!(withdrawals(&mut budget, start), 50);
        let later = start + INTERVAL + Duration::from_secs(1);
        assert_eq!(withdrawals(&mut budget, later), 0);
        budget.deposit(later);
        budget.deposit(later);
        assert_eq!(withdrawals(&mut budget, later), 1);
    }

    #[test]
    fn a_clock_that_stands_or_leaps_is_harmless() {
        let start = Instant::now();
        let mut budget = Budget::new(20, Duration::ZERO, 1, start);
        budget.deposit(start + Duration::from_secs(1 << 34));
        budget.deposit(start);
        let _ = budget.withdraw(start);
    }

    proptest::proptest! {
        /// However requests and retries come, no ten seconds see more retries than the share and the floor of the
        /// requests of those seconds and the second before (the window is exact to a tenth).
        #[test]
        fn no_interval_sees_more_retries_than_the_budget(steps in proptest::collection::vec((0_u64..1500, 0_usize..20, 0_usize..20), 1..60)) {
            let start = Instant::now();
            let mut budget = Budget::new(20, INTERVAL, 1, start);
            let (mut now, mut log) = (0, Vec::new());
            for (pause, requests, tries) in steps {
                now += pause;
                let at = start + Duration::from_millis(now);
                for _ in 0..requests {
                    budget.deposit(at);
                }
                let granted = (0..tries).filter(|_| budget.withdraw(at)).count();
                log.push((now, requests, granted));
            }
            // Only where one is granted: later, requests that it was granted for may have left the window before it.
            for (end, ..) in log.iter().filter(|(.., granted)| *granted > 0) {
                let within = |length: u64| log.iter().filter(move |(at, ..)| at <= end && at + length > *end);
                let retries: usize = within(9_000).map(|(.., retries)| retries).sum();
                let requests: usize = within(11_000).map(|(_, requests, _)| requests).sum();
                proptest::prop_assert!(retries <= (requests / 5).max(10), "{} of {} at {} ms", retries, requests, end);
            }
        }
    }
}
