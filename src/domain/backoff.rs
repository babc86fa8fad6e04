//! How long to wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

/// The wait before retry number `retry` (1 is the first): a random part of `base` doubled with each retry, never more
/// than `max`.
///
/// Full jitter spreads retries of many callers best and costs the least total work ("Exponential Backoff And Jitter",
/// AWS Architecture Blog, 2015). `random` is uniform in [0, 1); what lies outside is clamped.
pub fn delay(retry: u32, base: Duration, max: Duration, random: f64) -> Duration {
    let doublings = retry.saturating_sub(1).min(31);
    let ceiling = base.saturating_mul(1 << doublings).min(max);
    let share = if random.is_finite() {
        random.clamp(0.0, 1.0)
    } else {
        1.0
    };
    ceiling.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn the_ceiling_doubles_until_the_maximum() {
        let ceilings: Vec<u128> = (1..=8).map(|retry| delay(retry, BASE, MAX, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn the_whole_range_below_the_ceiling_is_used() {
        assert_eq!(delay(3, BASE, MAX, 0.0), Duration::ZERO);
        assert_eq!(delay(3, BASE, MAX, 0.5), Duration::from_millis(400));
    }

    #[test]
    fn extreme_arguments_neither_overflow_nor_exceed_the_maximum() {
        for random in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            assert!(delay(u32::MAX, Duration::MAX, MAX, random) <= MAX);
        }
        assert_eq!(delay(0, BASE, MAX, 1.0), BASE);
    }

    proptest::proptest! {
        #[test]
        fn no_wait_is_longer_than_its_ceiling(retry: u32, base: u64, max: u64, random in 0.0..1.0) {
            let (base, max) = (Duration::from_nanos(base), Duration::from_nanos(max));
            let wait = delay(retry, base, max, random);
            proptest::prop_assert!(wait <= max);
            proptest::prop_assert!(wait <= delay(retry, base, max, 1.0));
        }
    }
}
