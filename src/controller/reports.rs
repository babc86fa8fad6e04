//! What is known of the workers right now: in memory, synchronous, with one writer.
//!
//! A worker says a lot more often than anything in a status changes. What it says is kept, and only a coarse change
//! wakes a reconcile: messages and times are seen when something else makes one run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::api::integration::{CircuitState, Health, HealthReason, TrippedBy};
use crate::domain::aggregate::Worker;
use crate::domain::health::Report;
use crate::domain::key::Key;
use crate::fleet::{Observation, WorkerState};

/// What a new observation means for the Integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing that a status tells.
    Nothing,
    /// Health or a circuit changed. It shows in status, as fast as status may be written.
    Weather,
    /// A worker came or went, or another plan or credential runs. Somebody may be waiting for that.
    Adoption,
}

/// The workers of every Integration.
#[derive(Debug, Default)]
pub struct Reports {
    integrations: HashMap<Key, Workers>,
}

#[derive(Debug)]
struct Workers {
    by_name: BTreeMap<Arc<str>, Worker>,
    /// Counts up with every adoption, for those who wait for one.
    adoptions: watch::Sender<u64>,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            adoptions: watch::Sender::new(0),
        }
    }
}

impl Reports {
    /// Takes an observation in.
    pub fn observe(&mut self, observation: Observation) -> Turn {
        let workers = self.integrations.entry(observation.integration.clone()).or_default();
        let before = workers.by_name.get(&observation.worker);
        let (turn, now) = match observation.state {
            WorkerState::Present { ready, report } => {
                let connected = report.is_some();
                // The last word of a worker that is lost is kept: what it ran, it still runs.
                let report = report.or_else(|| before.and_then(|before| before.report.clone()));
                let name = observation.worker.clone();
                let now = Worker {
                    name,
                    ready,
                    connected,
                    report,
                };
                (before.map_or(Turn::Adoption, |before| turn(before, &now)), Some(now))
            }
            WorkerState::Gone => (before.map_or(Turn::Nothing, |_| Turn::Adoption), None),
        };
        match now {
            Some(now) => workers.by_name.insert(observation.worker, now),
            None => workers.by_name.remove(&observation.worker),
        };
        if turn == Turn::Adoption {
            workers.adoptions.send_modify(|count| *count += 1);
        }
        if workers.by_name.is_empty() && workers.adoptions.receiver_count() == 0 {
            self.integrations.remove(&observation.integration);
        }
        turn
    }

    /// The workers of an Integration, by name.
    pub fn of(&self, integration: &Key) -> Vec<Worker> {
        let workers = self.integrations.get(integration);
        workers
            .into_iter()
            .flat_map(|workers| workers.by_name.values())
            .cloned()
            .collect()
    }

    /// The Integration is gone, and nobody is interested in it.
    pub fn forget(&mut self, integration: &Key) {
        if self
            .integrations
            .get(integration)
            .is_some_and(|workers| workers.by_name.is_empty())
        {
            self.integrations.remove(integration);
        }
    }

    /// Changes with every adoption of this Integration.
    pub fn adoptions(&mut self, integration: &Key) -> watch::Receiver<u64> {
        self.integrations
            .entry(integration.clone())
            .or_default()
            .adoptions
            .subscribe()
    }
}

fn turn(before: &Worker, now: &Worker) -> Turn {
    let adopted = |worker: &Worker| {
        (
            worker.ready,
            worker.connected,
            worker.report.as_deref().map(Adopted::of),
        )
    };
    if adopted(before) != adopted(now) {
        return Turn::Adoption;
    }
    match (&before.report, &now.report) {
        (Some(before), Some(now)) if !same_weather(before, now) => Turn::Weather,
        _ => Turn::Nothing,
    }
}

/// What a worker runs.
#[derive(PartialEq)]
struct Adopted {
    uid: String,
    plan_revision: u64,
    generation: i64,
    credentials: Vec<(String, i64)>,
    reset_circuit: Option<String>,
    endpoints: Vec<String>,
}

impl Adopted {
    fn of(report: &Report) -> Self {
        Self {
            uid: report.uid.clone(),
            plan_revision: report.plan_revision,
            generation: report.generation,
            credentials: report
                .credentials
                .iter()
                .map(|used| (used.name.clone(), used.revision))
                .collect(),
            reset_circuit: report.reset_circuit.clone(),
            endpoints: report.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
        }
    }
}

fn same_weather(before: &Report, now: &Report) -> bool {
    weather(before).eq(weather(now)) && rejections(before).eq(rejections(now))
}

fn weather(report: &Report) -> impl Iterator<Item = (Health, HealthReason, CircuitState, Option<TrippedBy>)> {
    report.endpoints.iter().map(|endpoint| {
        let circuit = &endpoint.circuit;
        (endpoint.health, endpoint.reason, circuit.state, circuit.tripped_by)
    })
}

fn rejections(report: &Report) -> impl Iterator<Item = Option<u16>> {
    report.credentials.iter().map(|credential| credential.rejected_status)
}
