//! The workers, which adopt a plan as soon as it is programmed or when the test says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate::api::integration::{CircuitState, Health, HealthReason, TrippedBy};
use tidegate::domain::health::{self, CircuitReport, CredentialReport, EndpointReport, Report};
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tidegate::fleet::{Observation, WorkerState, Workload};

use super::World;
use super::world::State;

#[derive(Clone)]
pub struct Worker {
    pub(super) name: Arc<str>,
    pub(super) ready: bool,
    pub(super) connected: bool,
    pub(super) report: Report,
}

impl World {
    /// All workers of an Integration take the programmed plan over.
    pub fn adopt(&self, key: &Key) {
        let mut state = self.state();
        let workload = state.workloads[key].clone();
        state.adopt(key, &workload);
    }

    /// Changes what one worker reports, and tells.
    pub fn report(&self, key: &Key, worker: usize, change: impl FnOnce(&mut Report)) {
        self.worker(key, worker, |worker| change(&mut worker.report));
    }

    /// The breaker of one worker to its first endpoint turns.
    pub fn turn(&self, key: &Key, worker: usize, state: CircuitState, now: Timestamp) {
        self.report(key, worker, |report| {
            report.endpoints[0].circuit = CircuitReport {
                state,
                since: now,
                next_trial: (state == CircuitState::Open).then(|| now + Duration::from_secs(30)),
                tripped_by: (state != CircuitState::Closed).then_some(TrippedBy::ConsecutiveFailures),
            };
        });
    }

    /// One worker is ready, or not; connected, or not.
    pub fn set_worker(&self, key: &Key, worker: usize, ready: bool, connected: bool) {
        self.worker(key, worker, |worker| {
            (worker.ready, worker.connected) = (ready, connected);
        });
    }

    fn worker(&self, key: &Key, number: usize, change: impl FnOnce(&mut Worker)) {
        let mut state = self.state();
        let worker = &mut state.workers.get_mut(key).unwrap()[number];
        change(worker);
        let observation = worker.observation(key);
        state.observe(observation);
    }

    /// Announces what a worker said some time ago, as a delayed message would.
    pub fn observe(&self, observation: Observation) {
        self.state().observe(observation);
    }

    /// What is known of a worker now.
    pub fn observation(&self, key: &Key, worker: usize) -> Observation {
        self.state().workers[key][worker].observation(key)
    }
}

impl State {
    pub(super) fn adopt(&mut self, key: &Key, workload: &Workload) {
        let wanted = usize::try_from(workload.replicas).unwrap();
        let mut workers = self.workers.remove(key).unwrap_or_default();
        for gone in workers.split_off(wanted.min(workers.len())) {
            self.observe(Observation {
                integration: key.clone(),
                worker: gone.name,
                state: WorkerState::Gone,
            });
        }
        for worker in &mut workers {
            worker.report = adopted(&workload.plan, Some(&worker.report));
        }
        for number in workers.len()..wanted {
            workers.push(Worker {
                name: format!("{}-{number}", key.name).into(),
                ready: true,
                connected: true,
                report: adopted(&workload.plan, None),
            });
        }
        for worker in &workers {
            self.observe(worker.observation(key));
        }
        self.workers.insert(key.clone(), workers);
    }
}

impl Worker {
    pub(super) fn observation(&self, key: &Key) -> Observation {
        Observation {
            integration: key.clone(),
            worker: self.name.clone(),
            state: WorkerState::Present {
                ready: self.ready,
                report: self.connected.then(|| Arc::new(self.report.clone())),
            },
        }
    }
}

/// What a worker that has taken `plan` over reports; `before` is what it reported until then.
pub fn adopted(plan: &Plan, before: Option<&Report>) -> Report {
    let endpoint = |endpoint: &tidegate::domain::plan::EndpointPlan| {
        let before = before.and_then(|before| before.endpoints.iter().find(|it| it.name == endpoint.name));
        before.cloned().unwrap_or_else(|| EndpointReport {
            name: endpoint.name.clone(),
            health: Health::Healthy,
            reason: HealthReason::ProbeSucceeded,
            message: String::new(),
            since: Timestamp::UNIX_EPOCH,
            circuit: CircuitReport {
                state: CircuitState::Closed,
                since: Timestamp::UNIX_EPOCH,
                next_trial: None,
                tripped_by: None,
            },
        })
    };
    Report {
        format: health::FORMAT,
        integration: plan.integration.clone(),
        uid: plan.uid.clone(),
        plan_revision: plan.revision,
        generation: plan.generation,
        credentials: plan
            .credentials
            .iter()
            .map(|credential| CredentialReport {
                name: credential.name.clone(),
                revision: credential.revision,
                rejected_status: None,
            })
            .collect(),
        reset_circuit: plan.reset_circuit.clone(),
        share: None,
        paused_until: std::collections::BTreeMap::new(),
        endpoints: plan.endpoints.iter().map(endpoint).collect(),
    }
}
