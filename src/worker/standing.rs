//! How an endpoint stands: its circuit and its health, which outlive the plan they were learned under.
//!
//! An edit of retries must not close an open circuit, so this is handed from one stack to the next as long as the
//! endpoint is the same. Every change goes through [`Standing::change`], which keeps the report, the metrics and the
//! state machines in step; the wall clock is read there and nowhere else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::api::integration::{CircuitState, Health, HealthReason};
use crate::domain::balance;
use crate::domain::breaker::{Admission, Breaker, Ledger, Permit, Settings, Snapshot};
use crate::domain::classify::Outcome;
use crate::domain::health::{CircuitReport, EndpointReport};
use crate::domain::plan::ProbePlan;
use crate::domain::probing::{Finding, Probing};
use crate::telemetry::worker_metrics::{Circuit, EndpointMetrics};

use super::health::Record;
use super::report::Bulletin;

/// How an endpoint stands.
#[derive(Debug)]
pub struct Standing {
    /// The endpoint's metrics.
    pub metrics: Arc<EndpointMetrics>,
    state: Mutex<State>,
    bulletin: Arc<Bulletin>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    record: Record,
    /// Present where health is what probes say.
    probing: Option<Probing>,
    last_probe: Option<Instant>,
    consecutive_failures: u32,
    shown: Shown,
}

/// What was last shown to others.
#[derive(Clone, Debug)]
struct Shown {
    snapshot: Snapshot,
    circuit_since: Timestamp,
    next_trial: Option<Timestamp>,
    health: Health,
    reason: HealthReason,
    message: String,
    health_since: Timestamp,
}

impl Standing {
    /// Of an endpoint that nothing is known of.
    pub fn new(
        settings: Settings,
        probing: Option<Probing>,
        metrics: Arc<EndpointMetrics>,
        bulletin: Arc<Bulletin>,
    ) -> Self {
        let (now, wall) = (now(), Timestamp::now());
        let consecutive_failures = settings.consecutive_failures;
        let breaker = Breaker::new(settings, rand::random(), now);
        let mut record = Record::default();
        if probing.is_none() {
            record.circuit_changed(breaker.snapshot().state);
        }
        let snapshot = breaker.snapshot();
        metrics.show_circuit(circuit(snapshot.state));
        metrics.show_health(known(record.health));
        let shown = Shown {
            snapshot,
            circuit_since: wall,
            next_trial: snapshot.next_trial.map(|instant| timestamp(instant, now, wall)),
            health: record.health,
            reason: record.reason,
            message: record.message.clone(),
            health_since: wall,
        };
        let state = State {
            breaker,
            record,
            probing,
            last_probe: None,
            consecutive_failures,
            shown,
        };
        Self {
            metrics,
            state: Mutex::new(state),
            bulletin,
        }
    }

    /// Another plan for the same endpoint: what is known stays, as far as it still means anything.
    pub fn update(&self, settings: Settings, probes: Option<&ProbePlan>) {
        self.change(|state, now| {
            state.consecutive_failures = settings.consecutive_failures;
            state.breaker.update(settings, now);
            match (&mut state.probing, probes) {
                (Some(probing), Some(plan)) => probing.adjust(plan.unhealthy_threshold, plan.healthy_threshold),
                (None, None) => {}
                (probing, _) => {
                    *probing = probes.map(|plan| Probing::new(plan.unhealthy_threshold, plan.healthy_threshold));
                    state.record = Record::default();
                    if state.probing.is_none() {
                        state.record.circuit_changed(state.breaker.snapshot().state);
                    }
                }
            }
        });
    }

    /// Closes the circuit.
    pub fn reset(&self) {
        self.change(|state, now| state.breaker.reset(now));
    }

    /// Asks the breaker to send one attempt.
    pub fn admit(&self) -> Admission {
        self.change(|state, now| state.breaker.admit(now))
    }

    /// When it is worth asking again, as far as the breaker knows.
    pub fn next_trial(&self) -> Option<Duration> {
        let (snapshot, now) = (self.lock().breaker.snapshot(), now());
        match snapshot.state {
            CircuitState::Open => snapshot.next_trial.map(|trial| trial.saturating_duration_since(now)),
            _ => Some(Duration::ZERO),
        }
    }

    /// For the choice among endpoints.
    pub fn for_choice(&self) -> balance::Standing {
        let state = self.lock();
        balance::Standing {
            gate: state.breaker.gate(now()),
            unhealthy: state.probing.is_some() && state.record.health == Health::Unhealthy,
        }
    }

    /// An attempt was answered; the breaker knows already.
    pub fn served(&self) {
        self.change(|state, _| {
            if state.probing.is_none() {
                let circuit = state.breaker.snapshot().state;
                state.record.served(circuit);
            }
        });
    }

    /// An attempt failed, and why; to be told before the breaker is, so that what opens the circuit has a reason.
    pub fn failed(&self, why: (HealthReason, String)) {
        self.change(|state, _| {
            if state.probing.is_none() {
                let circuit = state.breaker.snapshot().state;
                state.record.failed(circuit, state.consecutive_failures, why);
            }
        });
    }

    /// The endpoint's address was refused.
    pub fn refused(&self, message: String) {
        self.change(|state, _| {
            if state.probing.is_none() {
                state.record.refused(message);
            }
        });
    }

    /// A probe found this.
    pub fn probed(&self, finding: &Finding) {
        self.change(|state, now| {
            state.last_probe = Some(now);
            if let Some(probing) = &mut state.probing {
                state.record.probed(finding, probing.observe(finding));
            }
        });
    }

    /// When the last probe ended.
    pub fn last_probe(&self) -> Option<tokio::time::Instant> {
        self.lock().last_probe.map(tokio::time::Instant::from_std)
    }

    /// For the report.
    pub fn report(&self, name: &str) -> EndpointReport {
        let state = self.lock();
        let shown = &state.shown;
        EndpointReport {
            name: name.to_owned(),
            health: shown.health,
            reason: shown.reason,
            message: shown.message.clone(),
            since: shown.health_since,
            circuit: CircuitReport {
                state: shown.snapshot.state,
                since: shown.circuit_since,
                next_trial: shown.next_trial,
                tripped_by: shown.snapshot.tripped_by,
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = now();
        let mut state = self.lock();
        let result = change(&mut state, now);
        let changed = self.show(&mut state, now);
        drop(state);
        if changed {
            self.bulletin.publish();
        }
        result
    }

    fn show(&self, state: &mut State, now: Instant) -> bool {
        let snapshot = state.breaker.snapshot();
        let circuit_changed = snapshot != state.shown.snapshot;
        if circuit_changed && state.probing.is_none() {
            state.record.circuit_changed(snapshot.state);
        }
        let record = &state.record;
        let shown = &mut state.shown;
        let health_changed = record.health != shown.health;
        if !circuit_changed && !health_changed && record.reason == shown.reason && record.message == shown.message {
            return false;
        }
        let wall = Timestamp::now();
        if circuit_changed {
            if snapshot.state != shown.snapshot.state {
                self.metrics.count_transition(circuit(snapshot.state));
            }
            shown.circuit_since = timestamp(snapshot.since, now, wall);
            shown.next_trial = snapshot.next_trial.map(|instant| timestamp(instant, now, wall));
            shown.snapshot = snapshot;
        }
        if health_changed {
            shown.health = record.health;
            shown.health_since = wall;
            self.metrics.show_health(known(record.health));
        }
        shown.reason = record.reason;
        shown.message.clone_from(&record.message);
        true
    }
}

impl Ledger for Arc<Standing> {
    fn settle(&self, permit: Permit, outcome: Outcome) {
        self.change(|state, now| state.breaker.record(permit, outcome, now));
    }
}

/// The clock of the state machines: tokio's, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// `instant` on the wall clock. It is computed once, when something changes, and kept: computed anew it would differ by
/// microseconds each time, and a report would change with every look at it.
fn timestamp(instant: Instant, now: Instant, wall: Timestamp) -> Timestamp {
    let later = jiff::SignedDuration::try_from(instant.saturating_duration_since(now)).unwrap_or_default();
    let earlier = jiff::SignedDuration::try_from(now.saturating_duration_since(instant)).unwrap_or_default();
    wall.saturating_add(later)
        .and_then(|wall| wall.saturating_sub(earlier))
        .unwrap_or(wall)
}

fn circuit(state: CircuitState) -> Circuit {
    match state {
        CircuitState::Closed | CircuitState::Unknown => Circuit::Closed,
        CircuitState::HalfOpen => Circuit::HalfOpen,
        CircuitState::Open => Circuit::Open,
    }
}

fn known(health: Health) -> Option<bool> {
    match health {
        Health::Healthy => Some(true),
        Health::Unhealthy => Some(false),
        Health::Unknown => None,
    }
}

#[cfg(test)]
mod tests;
