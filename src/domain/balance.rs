//! The choice among the endpoints of an Integration.
//!
//! # Which endpoints are asked at all
//!
//! 1. An endpoint whose circuit is due for a trial, of a priority that is in use or better: one request, or it would
//!    never be found well again while another serves.
//! 2. The endpoints of the lowest priority that has one fit to serve: not Unhealthy, circuit closed.
//! 3. When none is fit, the breaker alone decides: Unhealthy ones whose breaker admits, lowest priority first.
//!
//! An endpoint of weight 0 is never asked. On a retry, the endpoint that was just tried is left out wherever another
//! is fit.
//!
//! # Which of them is chosen
//!
//! *RoundRobin* is smooth and weighted (nginx's algorithm). *LeastLoaded* draws two by weight and takes the first,
//! unless it is clearly more loaded than the second: latency (peak EWMA) x requests under way, relative to its weight.
//! So weights hold among equals, and a slow endpoint gives way. *ConsistentHash* is in [`hash`]; a request without a key
//! is *LeastLoaded*'s.
//!
//! No call allocates or locks.

use std::time::{Duration, Instant};

use super::breaker::Gate;
use super::plan::EndpointPlan;
use crate::api::integration::BalancePolicy;

pub use hash::Key;

mod hash;

/// More endpoints than a plan can have (16).
const MAX_ENDPOINTS: usize = 64;

/// The largest weight a plan can have, so that no sum of weights overflows whatever a plan says.
const MAX_WEIGHT: u32 = 1000;

/// After this long a measurement counts for a third (1/e) of what it did; what is unknown is taken for the better of
/// the two that are compared.
const MEMORY: Duration = Duration::from_secs(10);

/// How much more loaded the first draw must be for the second to be taken instead. Endpoints that are equally fast
/// differ by chance, and weights must hold among them: with answer times as uneven as an exponential distribution, 2
/// moves an eighth of the traffic, 3 less than a tenth.
const CLEARLY: f64 = 3.0;

/// What is known of an endpoint at the moment of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its breaker, from [`Breaker::gate`](super::breaker::Breaker::gate).
    pub gate: Gate,
    /// A probe says so. Passive health is not meant: it follows the circuit, which `gate` says better, and without
    /// traffic it would never change.
    pub unhealthy: bool,
}

/// Random numbers for one choice, uniform over all of `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(pub u32, pub u32);

/// Chooses among the endpoints of one plan.
#[derive(Clone, Debug)]
pub struct Balancer {
    policy: BalancePolicy,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    weight: u32,
    priority: u8,
    /// Its name, hashed: where it stands in a plan does not say which keys are its own.
    name: Key,
    /// Requests under way.
    in_flight: u32,
    /// Peak EWMA of the latency in nanoseconds, and when it was last brought up to date.
    latency: Option<(f64, Instant)>,
    /// Until then another is preferred; see [`Balancer::avoid`].
    avoid_until: Option<Instant>,
    /// Smooth weighted round robin: what this endpoint has saved up.
    credit: i64,
}

/// A set of endpoints, by index.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    fn without(self, index: Option<usize>) -> Self {
        index.map_or(self, |index| Self(self.0 & !(1 << index)))
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn len(self) -> u32 {
        self.0.count_ones()
    }

    fn first(self) -> Option<usize> {
        (!self.is_empty()).then(|| self.0.trailing_zeros() as usize)
    }
}

impl Balancer {
    /// A balancer over `endpoints`, in the plan's order: an endpoint is known by its index from here on.
    pub fn new(policy: BalancePolicy, endpoints: &[EndpointPlan]) -> Self {
        let endpoints = endpoints.iter().take(MAX_ENDPOINTS).map(|endpoint| Endpoint {
            weight: endpoint.weight.min(MAX_WEIGHT),
            priority: endpoint.priority,
            name: Key::of([endpoint.name.as_bytes()]),
            in_flight: 0,
            latency: None,
            avoid_until: None,
            credit: 0,
        });
        Self {
            policy,
            endpoints: endpoints.collect(),
        }
    }

    /// The index of the endpoint to ask, or `None` when no breaker lets anything through.
    ///
    /// `standing` tells of the endpoint with an index; `tried` is the one that a retry was just refused by.
    /// `key` is what *ConsistentHash* goes by, if the request has it.
    pub fn choose(
        &mut self,
        standing: impl Fn(usize) -> Standing,
        tried: Option<usize>,
        key: Option<Key>,
        draw: Draw,
        now: Instant,
    ) -> Option<usize> {
        let candidates = self.candidates(standing, tried.filter(|tried| *tried < self.endpoints.len()), now);
        match (self.policy, key) {
            _ if candidates.len() < 2 => candidates.first(),
            (BalancePolicy::ConsistentHash, Some(key)) => self.hashed(candidates, key),
            (BalancePolicy::LeastLoaded | BalancePolicy::ConsistentHash, _) => self.least_loaded(candidates, draw, now),
            (BalancePolicy::RoundRobin, _) => self.round_robin(candidates),
        }
    }

    /// An attempt to this endpoint begins.
    pub fn begin(&mut self, index: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.in_flight = endpoint.in_flight.saturating_add(1);
        }
    }

    /// An attempt to this endpoint ended. `latency` is the time until the head of a usable answer; `None` for what
    /// failed or was given up, which says nothing of speed: an endpoint that refuses quickly is not a fast one.
    pub fn end(&mut self, index: usize, latency: Option<Duration>, now: Instant) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        let Some(latency) = latency else { return };
        // Not 0: everything would be infinitely slower.
        let sample = latency.as_secs_f64().max(1e-6);
        let estimate = match endpoint.latency {
            // A peak is believed at once, an improvement slowly (Finagle's peak EWMA).
            Some((old, then)) if sample < old => sample + (old - sample) * fading(then, now),
            _ => sample,
        };
        endpoint.latency = Some((estimate, now));
    }

    /// An attempt to this endpoint took at least so long, and was given up then for another that was faster.
    pub fn note(&mut self, index: usize, at_least: Duration, now: Instant) {
        self.begin(index);
        self.end(index, Some(at_least), now);
    }

    /// Leaves this endpoint alone until then, while another is fit. For what no breaker counts and no probe has seen: its
    /// address was refused. It is asked again after that, because names come to mean other addresses.
    pub fn avoid(&mut self, index: usize, until: Instant) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.avoid_until = Some(until);
        }
    }

    /// Requests under way to this endpoint.
    pub fn in_flight(&self, index: usize) -> u32 {
        self.endpoints.get(index).map_or(0, |endpoint| endpoint.in_flight)
    }

    fn candidates(&self, standing: impl Fn(usize) -> Standing, tried: Option<usize>, now: Instant) -> Set {
        let (mut fit, mut due, mut admitting) = (Set(0), Set(0), Set(0));
        for (index, endpoint) in self
            .endpoints
            .iter()
            .enumerate()
            .filter(|(_, endpoint)| endpoint.weight > 0)
        {
            let Standing { gate, unhealthy } = standing(index);
            let unhealthy = unhealthy || endpoint.avoid_until.is_some_and(|until| now < until);
            let bit = 1 << index;
            match gate {
                Gate::Shut => continue,
                Gate::Flows if !unhealthy => fit.0 |= bit,
                Gate::TrialDue if !unhealthy => due.0 |= bit,
                Gate::Flows | Gate::TrialDue => {}
            }
            admitting.0 |= bit;
        }
        let others = fit.without(tried);
        let fit = if others.is_empty() { fit } else { others };
        // A retry is no trial: its caller has met one failure already.
        if tried.is_none()
            && let Some(active) = self.lowest_priority(fit)
        {
            let due = Set(due.0 & self.of_priority(due, |priority| priority <= active).0);
            if let Some(first) = due.first() {
                return Set(1 << first);
            }
        }
        let set = if fit.is_empty() {
            let others = admitting.without(tried);
            if others.is_empty() { admitting } else { others }
        } else {
            fit
        };
        self.lowest_priority(set)
            .map_or(Set(0), |lowest| self.of_priority(set, |priority| priority == lowest))
    }

    fn lowest_priority(&self, set: Set) -> Option<u8> {
        self.members(set).map(|(_, endpoint)| endpoint.priority).min()
    }

    fn of_priority(&self, set: Set, wanted: impl Fn(u8) -> bool) -> Set {
        self.members(set)
            .filter(|(_, endpoint)| wanted(endpoint.priority))
            .fold(Set(0), |set, (index, _)| Set(set.0 | 1 << index))
    }

    fn members(&self, set: Set) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.endpoints
            .iter()
            .enumerate()
            .filter(move |(index, _)| set.contains(*index))
    }

    fn least_loaded(&self, candidates: Set, Draw(first, second): Draw, now: Instant) -> Option<usize> {
        let first = self.draw(candidates, first)?;
        let second = self.draw(candidates.without(Some(first)), second)?;
        let (a, b) = (&self.endpoints[first], &self.endpoints[second]);
        let mean = f64::midpoint(f64::from(a.weight), f64::from(b.weight));
        // What neither has shown is equal; what one has shown fades towards the better of the two, so that an endpoint
        // that was slow is asked again.
        let best = match (a.latency, b.latency) {
            (Some((a, _)), Some((b, _))) => a.min(b),
            (Some((one, _)), None) | (None, Some((one, _))) => one,
            (None, None) => 1.0,
        };
        let load = |endpoint: &Endpoint| {
            let latency = endpoint
                .latency
                .map_or(best, |(latency, then)| best + (latency - best) * fading(then, now));
            latency * (1.0 + f64::from(endpoint.in_flight) * mean / f64::from(endpoint.weight))
        };
        Some(if load(a) > CLEARLY * load(b) { second } else { first })
    }

    /// One of `set`, each with a chance in proportion to its weight.
    fn draw(&self, set: Set, random: u32) -> Option<usize> {
        let total: u64 = self.members(set).map(|(_, endpoint)| u64::from(endpoint.weight)).sum();
        let mut left = (u64::from(random) * total) >> 32;
        self.members(set)
            .find(|(_, endpoint)| {
                let here = left < u64::from(endpoint.weight);
                left = left.saturating_sub(u64::from(endpoint.weight));
                here
            })
            .map(|(index, _)| index)
    }

    fn round_robin(&mut self, candidates: Set) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            if !candidates.contains(index) {
                continue;
            }
            let weight = i64::from(endpoint.weight);
            endpoint.credit += weight;
            total += weight;
            if best.is_none_or(|(_, credit)| endpoint.credit > credit) {
                best = Some((index, endpoint.credit));
            }
        }
        let (index, _) = best?;
        self.endpoints[index].credit -= total;
        Some(index)
    }
}

/// What is left of a measurement of `then` at `now`, 1 to 0.
fn fading(then: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(then).as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests;
