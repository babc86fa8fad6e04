//! The rate limit: a promise to the provider, kept by all workers of an Integration together.
//!
//! The promise is that no window of `interval` sees more than `requests + burst` attempts, and that over long times there
//! are not more than `requests` in each. A worker has a [`Bucket`]: a token for each attempt, `capacity` of them at most,
//! and another one after each `period` (a GCRA in other words). The controller tells each worker its share, one part
//! `of` so many; see [`split`] for who is told what when.
//!
//! Why the sum keeps the promise. A bucket lets fewer than `capacity + rate * interval` attempts through in a half-open
//! window, so the capacities and rates of all may sum up to `requests + burst + 1`. A token is whole, so each worker has
//! a capacity of 1 at least; where the burst does not suffice for that, what is missing is taken off the rate. What
//! changes during a window does no harm: tokens are never given by a change, only taken, a new worker starts with none,
//! and the rates sum up to no more than they did.

use std::time::{Duration, Instant};

use super::plan::RateLimitPlan;

pub mod split;

/// What a worker may do with its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Tokens at most.
    pub capacity: u32,
    /// Time for another one, in nanoseconds.
    pub period: u128,
}

/// What one part of `of` comes to; `None` where it is nothing (`of` is 0, or there are more parts than attempts).
pub fn allowance(plan: &RateLimitPlan, of: u32) -> Option<Allowance> {
    let parts = u64::from(of);
    if parts == 0 {
        return None;
    }
    let total = u64::from(plan.requests) + u64::from(plan.burst) + 1;
    let capacity = ((u64::from(plan.burst) + 1) / parts).max(1);
    let left = total.checked_sub(capacity * parts).filter(|left| *left > 0)?;
    let rate = left.min(u64::from(plan.requests));
    if rate == 0 {
        return None;
    }
    Some(Allowance {
        capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
        // Rounded up: not a nanosecond too early.
        period: (plan.interval.as_nanos() * u128::from(parts)).div_ceil(u128::from(rate)),
    })
}

/// The tokens of one worker.
#[derive(Clone, Debug)]
pub struct Bucket {
    allowance: Option<Allowance>,
    /// What there is, in nanoseconds of the period.
    credit: u128,
    at: Instant,
}

impl Bucket {
    /// A bucket without a token, as a worker has it that does not know what was done before it began.
    pub fn empty(allowance: Option<Allowance>, now: Instant) -> Self {
        Self {
            allowance,
            credit: 0,
            at: now,
        }
    }

    /// A bucket with every token.
    pub fn full(allowance: Option<Allowance>, now: Instant) -> Self {
        Self {
            credit: allowance.map_or(0, |it| it.period * u128::from(it.capacity)),
            ..Self::empty(allowance, now)
        }
    }

    /// From now on another allowance holds. Tokens that are there stay, as far as they fit.
    pub fn adjust(&mut self, allowance: Option<Allowance>, now: Instant) {
        if allowance == self.allowance {
            return;
        }
        self.refill(now);
        self.credit = match (self.allowance, allowance) {
            (Some(old), Some(new)) => {
                let whole = self.credit / old.period;
                let part = (self.credit % old.period) * new.period / old.period;
                (whole * new.period + part).min(new.period * u128::from(new.capacity))
            }
            _ => 0,
        };
        self.allowance = allowance;
    }

    /// Takes a token, or says how long it takes until there is one; `None`: as things stand, there never is.
    pub fn take(&mut self, now: Instant) -> Result<(), Option<Duration>> {
        self.refill(now);
        let Some(Allowance { period, .. }) = self.allowance else {
            return Err(None);
        };
        if self.credit < period {
            return Err(Some(duration(period - self.credit)));
        }
        self.credit -= period;
        Ok(())
    }

    /// How long it takes until `ahead` tokens are taken and there is another one.
    pub fn wait(&self, ahead: u32, now: Instant) -> Option<Duration> {
        let allowance = self.allowance?;
        let there = self.credit_at(now);
        Some(duration(
            (allowance.period * (u128::from(ahead) + 1)).saturating_sub(there),
        ))
    }

    /// Gives a token back with which nothing was asked.
    pub fn refund(&mut self) {
        if let Some(Allowance { capacity, period }) = self.allowance {
            self.credit = (self.credit + period).min(period * u128::from(capacity));
        }
    }

    fn refill(&mut self, now: Instant) {
        self.credit = self.credit_at(now);
        self.at = self.at.max(now);
    }

    /// What there is at `now`, which may be before the last look.
    fn credit_at(&self, now: Instant) -> u128 {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        self.allowance.map_or(0, |Allowance { capacity, period }| {
            (self.credit + passed).min(period * u128::from(capacity))
        })
    }
}

fn duration(nanoseconds: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
