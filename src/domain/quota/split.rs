//! Who has which share of a rate limit.
//!
//! Each worker is told `of`: it has one part of `of`, 0 is none. What all of them may hold sums up to 1 at most, at every
//! moment, whatever is lost on the way:
//!
//! - What a worker may hold is the larger one of what it said last and what it is being told.
//! - The aim is equal shares, one part of as many as there are workers, but never of fewer than are wanted: so there is
//!   room for one that is about to come, and what workers hold stays right when the controller is away and one is
//!   replaced.
//! - A share is made smaller at any time, and larger only when what others may hold leaves room for it. Those who are in
//!   the way are told first; one that cannot be reached keeps its share until it is gone.
//! - A worker that is gone (its Pod does not exist any more) holds nothing.
//! - Where shares were so small that the burst did not suffice for all, they grow only an interval after somebody went,
//!   because the capacity of those who are gone may have been used in that interval.
//!
//! One that nobody told anything, because the controller is away, waits for a while and then takes a share that is
//! smaller than those of its peers (`worker::layer::quota`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::plan::RateLimitPlan;

/// Sums of shares are exact to this.
const EXACT: f64 = 1e-9;

/// The shares of the workers of one Integration.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// Absent: there is no rate limit, and nothing to tell.
    terms: Option<Terms>,
    holders: BTreeMap<Arc<str>, Holder>,
    may_grow: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    wanted: u32,
    burst: u32,
    interval: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    /// It has said what it was told; before that, only what another controller may have told it is known.
    heard: bool,
    /// What it said or confirmed last, `None` if it was never told anything.
    said: Option<u32>,
    /// What it is being told, or was when the connection was lost.
    telling: Option<u32>,
}

impl Split {
    /// The promise, and how many workers there are to be. Says whether that is new.
    pub fn want(&mut self, plan: Option<&RateLimitPlan>, now: Instant) -> bool {
        let terms = plan.map(|plan| Terms {
            wanted: plan.workers.max(1),
            burst: plan.burst,
            interval: plan.interval,
        });
        let changed = self.terms != terms;
        if changed {
            self.keep_small(now);
        }
        self.terms = terms;
        changed
    }

    /// A worker exists.
    pub fn see(&mut self, worker: &Arc<str>) {
        self.holders.entry(worker.clone()).or_default();
    }

    /// A worker does not exist any more.
    pub fn lose(&mut self, worker: &str, now: Instant) {
        if self.holders.contains_key(worker) {
            self.keep_small(now);
            self.holders.remove(worker);
        }
    }

    /// A worker says what it was told last, `None` if nothing.
    pub fn hear(&mut self, worker: &str, of: Option<u32>) {
        if let Some(holder) = self.holders.get_mut(worker)
            && holder.telling.is_none()
        {
            holder.heard = true;
            holder.said = of;
        }
    }

    /// What `worker` is to be told now, if anything. It may hold that from here on.
    pub fn tell(&mut self, worker: &str, now: Instant) -> Option<u32> {
        let terms = self.terms?;
        let holder = *self.holders.get(worker)?;
        let said = holder.said;
        let aim = self.aim(terms);
        let has = said.unwrap_or(0);
        if !holder.heard || holder.telling.is_some() || said == Some(aim) {
            return None;
        }
        let next = if has > 0 && has < aim {
            aim
        } else {
            let others = self.holders.iter().filter(|(name, _)| name.as_ref() != worker);
            let others: f64 = others.map(|(_, other)| other.may_hold(terms.wanted)).sum();
            let fits = others + part(aim) <= 1.0 + EXACT;
            // One that has nothing begins with an empty bucket, whatever was done before it.
            let waits = has > 0 && self.may_grow.is_some_and(|then| now < then);
            match said {
                _ if fits && !waits => aim,
                None => 0,
                Some(_) => return None,
            }
        };
        self.holders.get_mut(worker)?.telling = Some(next);
        Some(next)
    }

    /// The connection to `worker` is lost: it may have got what it was being told, or not.
    pub fn disconnect(&mut self, worker: &str) {
        if let Some(holder) = self.holders.get_mut(worker)
            && let Some(telling) = holder.telling.take()
        {
            let said = holder.said.unwrap_or(0);
            let larger = if part(telling) > part(said) { telling } else { said };
            holder.said = Some(larger);
        }
    }

    /// `worker` has confirmed what it was told.
    pub fn confirm(&mut self, worker: &str, of: u32) {
        if let Some(holder) = self.holders.get_mut(worker) {
            *holder = Holder {
                heard: true,
                said: Some(of),
                telling: None,
            };
        }
    }

    /// When shares may grow that may not now.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        self.terms?;
        self.may_grow.filter(|then| *then > now)
    }

    /// There is nobody to tell, and nothing.
    pub fn is_over(&self) -> bool {
        self.terms.is_none() && self.holders.is_empty()
    }

    /// What all workers may hold together, from 0 to 1.
    #[cfg(test)]
    pub fn held(&self) -> f64 {
        let wanted = self.terms.map_or(1, |terms| terms.wanted);
        self.holders.values().map(|holder| holder.may_hold(wanted)).sum()
    }

    fn aim(&self, terms: Terms) -> u32 {
        u32::try_from(self.holders.len()).unwrap_or(u32::MAX).max(terms.wanted)
    }

    /// Shares that were so small that the burst did not suffice for all grow only an interval from now.
    fn keep_small(&mut self, now: Instant) {
        if let Some(terms) = self.terms
            && self.aim(terms) > terms.burst.saturating_add(1)
        {
            self.may_grow = Some(now + terms.interval);
        }
    }
}

impl Holder {
    fn may_hold(self, wanted: u32) -> f64 {
        let said = if self.heard {
            self.said.map_or(0.0, part)
        } else {
            part(wanted)
        };
        said.max(self.telling.map_or(0.0, part))
    }
}

fn part(of: u32) -> f64 {
    if of == 0 { 0.0 } else { 1.0 / f64::from(of) }
}
