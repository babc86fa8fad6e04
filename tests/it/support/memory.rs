//! Both ports in memory: a store with the semantics of an API server that the controller relies on, and workers that
//! adopt a plan as soon as it is programmed. Any write can be made to fail, before or after it takes effect.
//!
//! A [`World`] outlives the controllers that run on it; each of them has [`Ports`] of its own, as each process has
//! connections of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate::api::FINALIZER_REVOKE;
use tidegate::api::credential::{Credential, CredentialStatus};
use tidegate::api::integration::{CircuitState, Health, HealthReason, Integration, IntegrationStatus, TrippedBy};
use tidegate::cluster::{Change, Cluster, ClusterError, Data, Held, Keep, Notice};
use tidegate::controller::{self, ControllerError};
use tidegate::domain::health::{self, CircuitReport, CredentialReport, EndpointReport, Report};
use tidegate::domain::key::Key;
use tidegate::domain::plan::{Material, Plan};
use tidegate::domain::secret::SecretValue;
use tidegate::fleet::{Fleet, FleetError, Observation, WorkerState, Workload};
use tidegate::provider::exchange::Exchange;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Changes and observations that may wait; more than any test makes.
const BACKLOG: usize = 100_000;

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer is an error and nothing was written.
    Refused,
    /// The answer is an error although it was written.
    AnswerLost,
    /// The process dies before it is written.
    DiesBefore,
    /// The process dies after it was written, without having heard of it.
    DiesAfter,
    /// The process stands still before it is written, until it is released.
    StallsBefore,
    /// It is written, and the process stands still before it hears of it, until it is released.
    StallsAfter,
}

impl Fault {
    /// All after which nobody is left who goes on.
    pub const ALL: [Self; 4] = [Self::Refused, Self::AnswerLost, Self::DiesBefore, Self::DiesAfter];
}

/// Everything that is stored and runs. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    /// A process died of a fault.
    pub died: Arc<Notify>,
    /// A process stands still.
    pub stalled: Arc<Notify>,
    /// It goes on.
    pub released: Arc<Notify>,
}

#[derive(Default)]
struct State {
    version: u64,
    integrations: BTreeMap<Key, Integration>,
    credentials: BTreeMap<Key, Credential>,
    secrets: BTreeMap<Key, Data>,
    config_maps: BTreeMap<Key, Data>,
    /// Secrets that the controllers made.
    held: BTreeMap<Key, Held>,
    /// How providers are reached.
    exchange: Option<Arc<dyn Exchange>>,
    undecodable: BTreeMap<Key, i64>,
    workloads: BTreeMap<Key, Workload>,
    workers: BTreeMap<Key, Vec<Worker>>,
    listeners: Vec<Listener>,
    faults: BTreeMap<usize, Fault>,
    writes: Vec<String>,
    notices: Vec<Notice>,
    reads: usize,
    /// Every read of a Secret fails.
    unreadable: bool,
    /// The API server refuses a workload, or its name is taken.
    refusal: Option<fn(Key) -> FleetError>,
    /// Workers do not adopt by themselves.
    manual: bool,
    /// Watches tell of nothing.
    silent: bool,
    /// Calls take up to this long, at random by this seed.
    latency: Option<(Duration, u64)>,
}

#[derive(Clone)]
struct Worker {
    name: Arc<str>,
    ready: bool,
    connected: bool,
    report: Report,
}

struct Listener {
    changes: mpsc::Sender<Change>,
    observations: mpsc::Sender<Observation>,
}

/// The ports of one process.
pub struct Ports {
    world: World,
    receivers: Mutex<(Option<mpsc::Receiver<Change>>, Option<mpsc::Receiver<Observation>>)>,
}

/// A controller that runs on a [`World`].
pub struct Process {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ControllerError>>,
}

impl Process {
    /// Starts one.
    pub fn start(world: &World) -> Self {
        Self::start_with(world, |_| ())
    }

    /// Starts one with other settings.
    pub fn start_with(world: &World, change: impl FnOnce(&mut controller::Settings)) -> Self {
        let (ports, stop) = (world.ports(), CancellationToken::new());
        let mut settings = controller::Settings {
            clock: clock(),
            ..controller::Settings::default()
        };
        if let Some(exchange) = world.state().exchange.clone() {
            settings.exchange = exchange;
        }
        change(&mut settings);
        let task = tokio::spawn(controller::run(ports.clone(), ports, settings, stop.clone()));
        Self { stop, task }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// The time of day of a test whose time is paused: it moves with tokio's.
pub fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    thread_local! {
        static START: tokio::time::Instant = tokio::time::Instant::now();
    }
    let start = START.with(|start| *start);
    Arc::new(move || Timestamp::from_second(1_800_000_000).unwrap() + start.elapsed())
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The ports of a new process, to which everything that is there is announced.
    pub fn ports(&self) -> Arc<Ports> {
        let (changes, change_receiver) = mpsc::channel(BACKLOG);
        let (observations, observation_receiver) = mpsc::channel(BACKLOG);
        let mut state = self.state();
        for key in state.integrations.keys().chain(state.undecodable.keys()) {
            changes.try_send(Change::Integration(key.clone())).unwrap();
        }
        for key in state.credentials.keys() {
            changes.try_send(Change::Credential(key.clone())).unwrap();
        }
        for key in state.secrets.keys() {
            changes.try_send(Change::Secret(key.clone())).unwrap();
        }
        for (key, workers) in &state.workers {
            for worker in workers {
                observations.try_send(worker.observation(key)).unwrap();
            }
        }
        state.listeners.push(Listener { changes, observations });
        Arc::new(Ports {
            world: self.clone(),
            receivers: Mutex::new((Some(change_receiver), Some(observation_receiver))),
        })
    }

    /// Creates or replaces an Integration, given as a manifest without status.
    pub fn apply_integration(&self, manifest: Value) -> Key {
        let mut object: Integration = serde_json::from_value(manifest).unwrap();
        let key = key_of(&object.metadata);
        let mut state = self.state();
        let before = state.integrations.get(&key);
        let spec_changed = before.is_none_or(|before| before.spec != object.spec);
        carry(
            &mut object.metadata,
            before.map(|before| &before.metadata),
            spec_changed,
            &mut state.version.clone(),
        );
        object.status = before.map_or_else(
            || serde_json::from_value(serde_json::json!({"observedGeneration": -1})).unwrap(),
            |before| before.status.clone(),
        );
        state.version += 1;
        state.undecodable.remove(&key);
        state.integrations.insert(key.clone(), object);
        state.announce(Change::Integration(key.clone()));
        key
    }

    /// Creates or replaces a Credential, given as a manifest without status.
    pub fn apply_credential(&self, manifest: Value) -> Key {
        let mut object: Credential = serde_json::from_value(manifest).unwrap();
        let key = key_of(&object.metadata);
        let mut state = self.state();
        let before = state.credentials.get(&key);
        let spec_changed = before.is_none_or(|before| before.spec != object.spec);
        carry(
            &mut object.metadata,
            before.map(|before| &before.metadata),
            spec_changed,
            &mut state.version.clone(),
        );
        object.status = before.and_then(|before| before.status.clone());
        state.version += 1;
        state.credentials.insert(key.clone(), object);
        state.announce(Change::Credential(key.clone()));
        key
    }

    /// Creates or replaces a Secret.
    pub fn apply_secret(&self, key: &Key, values: &[(&str, &str)]) {
        let mut state = self.state();
        let data = state.data(values);
        state.secrets.insert(key.clone(), data);
        state.announce(Change::Secret(key.clone()));
    }

    /// Creates or replaces a ConfigMap.
    pub fn apply_config_map(&self, key: &Key, values: &[(&str, &str)]) {
        let mut state = self.state();
        let data = state.data(values);
        state.config_maps.insert(key.clone(), data);
        state.announce(Change::ConfigMap(key.clone()));
    }

    /// Deletes a Secret.
    pub fn delete_secret(&self, key: &Key) {
        let mut state = self.state();
        state.secrets.remove(key);
        state.announce(Change::Secret(key.clone()));
    }

    /// Deletes a Credential; one with finalizers is only marked.
    pub fn delete_credential(&self, key: &Key) {
        let mut state = self.state();
        let Some(stored) = state.credentials.get_mut(key) else {
            return;
        };
        if stored.metadata.finalizers.iter().flatten().next().is_some() {
            let now = clock()();
            stored.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        } else {
            state.collect(key);
        }
        state.announce(Change::Credential(key.clone()));
    }

    /// How the controllers that start from now on reach providers.
    pub fn reach(&self, exchange: Arc<dyn Exchange>) {
        self.state().exchange = Some(exchange);
    }

    /// A Secret that a controller made.
    pub fn held(&self, key: &Key) -> Option<Held> {
        self.state().held.get(key).cloned()
    }

    /// All Secrets that controllers made, by name.
    pub fn all_held(&self) -> BTreeMap<Key, Held> {
        self.state().held.clone()
    }

    /// Sets an annotation of a Credential.
    pub fn annotate_credential(&self, key: &Key, name: &str, value: &str) {
        let mut state = self.state();
        let stored = state.credentials.get_mut(key).unwrap();
        stored
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(name.into(), value.into());
        state.announce(Change::Credential(key.clone()));
    }

    /// Deletes an Integration, and what was made for it, as garbage collection does.
    pub fn delete_integration(&self, key: &Key) {
        let mut state = self.state();
        state.integrations.remove(key);
        state.undecodable.remove(key);
        state.workloads.remove(key);
        state.announce(Change::Integration(key.clone()));
        for worker in state.workers.remove(key).unwrap_or_default() {
            state.observe(Observation {
                integration: key.clone(),
                worker: worker.name,
                state: WorkerState::Gone,
            });
        }
    }

    /// Makes an Integration undecodable until it is applied again.
    pub fn break_integration(&self, key: &Key) {
        let mut state = self.state();
        state.undecodable.insert(key.clone(), 7);
        state.announce(Change::Integration(key.clone()));
    }

    /// Makes the write of this number (the next is 0) fail, counted from now.
    pub fn fail_write(&self, number: usize, fault: Fault) {
        let mut state = self.state();
        let at = state.writes.len() + number;
        state.faults.insert(at, fault);
    }

    /// No write fails any more. Says whether one was still to fail.
    pub fn clear_faults(&self) -> bool {
        !std::mem::take(&mut self.state().faults).is_empty()
    }

    /// Whether reads of Secrets fail.
    pub fn unreadable_secrets(&self, fail: bool) {
        self.state().unreadable = fail;
    }

    /// What programming a workload fails with.
    pub fn refuse_workloads(&self, refusal: Option<fn(Key) -> FleetError>) {
        self.state().refusal = refusal;
    }

    /// Whether workers adopt a plan only when the test says so.
    pub fn manual_workers(&self, manual: bool) {
        self.state().manual = manual;
    }

    /// Makes every call take a random time up to `longest`.
    pub fn latency(&self, longest: Duration, seed: u64) {
        self.state().latency = Some((longest, seed));
    }

    /// Whether changes of objects are announced to nobody. What workers say still is.
    pub fn lose_changes(&self, lose: bool) {
        self.state().silent = lose;
    }

    /// Forgets everybody who listens: what happens from now on is not announced to any process that is there now.
    pub fn deafen(&self) {
        self.state().listeners.clear();
    }

    /// The writes since the last call, as sentences.
    pub fn take_writes(&self) -> Vec<String> {
        let mut state = self.state();
        assert!(state.faults.is_empty(), "the faults are counted by writes");
        std::mem::take(&mut state.writes)
    }

    /// The events since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.state().notices)
    }

    /// How many reads there have been.
    pub fn reads(&self) -> usize {
        self.state().reads
    }

    /// The Integration as stored.
    pub fn integration(&self, key: &Key) -> Option<Integration> {
        self.state().integrations.get(key).cloned()
    }

    /// The Credential as stored.
    pub fn credential(&self, key: &Key) -> Option<Credential> {
        self.state().credentials.get(key).cloned()
    }

    /// The plan that is programmed.
    pub fn plan(&self, key: &Key) -> Option<Plan> {
        self.state().workloads.get(key).map(|workload| (*workload.plan).clone())
    }

    /// The value of the first credential in the programmed plan.
    pub fn injected(&self, key: &Key) -> Option<String> {
        match self.plan(key)?.credentials.first()?.material.as_ref()? {
            Material::Header { value, .. } | Material::Query { value, .. } | Material::Cookie { value, .. } => {
                Some(value.expose().to_owned())
            }
            Material::Certificate { key, .. } => Some(key.expose().to_owned()),
            Material::Unsent { value } => Some(value.expose().to_owned()),
        }
    }

    /// Everything that is stored, without what no two runs have in common: times, and the resourceVersion.
    pub fn objects(&self) -> String {
        let state = self.state();
        let integrations: Vec<Value> = state.integrations.values().map(masked).collect();
        let credentials: Vec<Value> = state.credentials.values().map(masked).collect();
        let plans: Vec<Value> = state
            .workloads
            .values()
            .map(|workload| masked(&*workload.plan))
            .collect();
        serde_json::to_string_pretty(&(integrations, credentials, plans)).unwrap()
    }

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

    /// The process that calls this is no more.
    pub async fn die<T>(&self) -> T {
        self.died.notify_one();
        std::future::pending().await
    }

    /// The process that calls this stands still until it is released.
    pub async fn stall(&self) {
        self.stalled.notify_one();
        self.released.notified().await;
    }

    async fn read<T>(&self, get: impl FnOnce(&mut State) -> T) -> T {
        self.pause().await;
        let mut state = self.state();
        state.reads += 1;
        get(&mut state)
    }

    /// A write: counted, told, and perhaps made to fail.
    async fn write<T, E>(
        &self,
        what: String,
        fail: impl FnOnce() -> E,
        commit: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.pause().await;
        let fault = {
            let mut state = self.state();
            let number = state.writes.len();
            state.writes.push(what);
            state.faults.remove(&number)
        };
        match fault {
            None => commit(&mut self.state()),
            Some(Fault::Refused) => Err(fail()),
            Some(Fault::AnswerLost) => {
                let _ = commit(&mut self.state());
                Err(fail())
            }
            Some(Fault::DiesBefore) => self.die().await,
            Some(Fault::DiesAfter) => {
                let _ = commit(&mut self.state());
                self.die().await
            }
            Some(Fault::StallsBefore) => {
                self.stall().await;
                commit(&mut self.state())
            }
            Some(Fault::StallsAfter) => {
                let done = commit(&mut self.state());
                self.stall().await;
                done
            }
        }
    }

    async fn pause(&self) {
        let pause = {
            let mut state = self.state();
            let Some((longest, seed)) = &mut state.latency else {
                return;
            };
            // A linear congruential step (Knuth's MMIX) is random enough to shuffle what happens first.
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            longest.mul_f64(f64::from(u32::try_from(*seed >> 32).unwrap()) / f64::from(u32::MAX))
        };
        tokio::time::sleep(pause).await;
    }
}

impl State {
    fn announce(&mut self, change: Change) {
        if self.silent {
            return;
        }
        self.listeners
            .retain(|listener| listener.changes.try_send(change.clone()).is_ok());
    }

    fn observe(&mut self, observation: Observation) {
        self.listeners
            .retain(|listener| listener.observations.try_send(observation.clone()).is_ok());
    }

    fn data(&mut self, values: &[(&str, &str)]) -> Data {
        self.version += 1;
        let value = |(key, value): &(&str, &str)| ((*key).to_owned(), Some(SecretValue::new(*value)));
        Data {
            version: self.version.to_string(),
            values: values.iter().map(value).collect(),
            withheld: None,
        }
    }

    /// What is stored under `key` is `before`.
    fn expect(&self, key: &Key, before: Option<&Held>) -> Result<(), ClusterError> {
        let foreign = self.secrets.contains_key(key);
        let stored = self.held.get(key).map(|held| &held.version);
        if !foreign && stored == before.map(|held| &held.version) {
            return Ok(());
        }
        Err(ClusterError::Conflict {
            kind: "Secret",
            key: key.clone(),
        })
    }

    /// Removes a Credential and what it owns, as garbage collection does.
    fn collect(&mut self, key: &Key) {
        let Some(gone) = self.credentials.remove(key) else {
            return;
        };
        self.held.retain(|_, held| held.owner != gone.metadata.uid);
    }

    fn adopt(&mut self, key: &Key, workload: &Workload) {
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
    fn observation(&self, key: &Key) -> Observation {
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
        endpoints: plan.endpoints.iter().map(endpoint).collect(),
    }
}

impl Cluster for Ports {
    fn changes(&self) -> mpsc::Receiver<Change> {
        self.receivers.lock().unwrap().0.take().unwrap()
    }

    async fn integration(&self, key: &Key) -> Result<Option<Integration>, ClusterError> {
        self.world
            .read(|state| {
                let stored = state.integrations.get(key).cloned();
                let Some(generation) = state.undecodable.get(key) else {
                    return Ok(stored);
                };
                let stored = stored.unwrap();
                Err(ClusterError::Undecodable {
                    kind: "Integration",
                    key: key.clone(),
                    uid: stored.metadata.uid.unwrap(),
                    generation: *generation,
                    status: Box::new(serde_json::to_value(stored.status).unwrap()),
                    detail: "spec.protocol: unknown variant".into(),
                })
            })
            .await
    }

    async fn credential(&self, key: &Key) -> Result<Option<Credential>, ClusterError> {
        self.world.read(|state| Ok(state.credentials.get(key).cloned())).await
    }

    async fn secret(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        self.world
            .read(|state| {
                if state.unreadable {
                    return Err(ClusterError::Forbidden {
                        verb: "get",
                        kind: "Secret",
                        key: key.clone(),
                    });
                }
                let ours = || {
                    state.held.get(key).map(|held| Data {
                        version: held.version.clone(),
                        values: BTreeMap::new(),
                        withheld: Some(tidegate::cluster::OURS_ALONE),
                    })
                };
                Ok(state.secrets.get(key).cloned().or_else(ours))
            })
            .await
    }

    async fn held(&self, key: &Key) -> Result<Option<Held>, ClusterError> {
        self.world
            .read(|state| {
                let foreign = state.secrets.get(key).map(|data| Held {
                    uid: String::new(),
                    version: data.version.clone(),
                    owner: None,
                    annotations: BTreeMap::new(),
                    values: BTreeMap::new(),
                });
                Ok(state.held.get(key).cloned().or(foreign))
            })
            .await
    }

    async fn keep(&self, secret: &Keep, before: Option<&Held>) -> Result<Held, ClusterError> {
        let key = &secret.key;
        let fail = || failed("Secret", key);
        let commit = |state: &mut State| {
            state.expect(key, before)?;
            state.version += 1;
            let version = state.version.to_string();
            let held = Held {
                uid: before.map_or_else(|| format!("secret-{version}"), |before| before.uid.clone()),
                version,
                ..Held::of(secret.manifest())
            };
            state.held.insert(key.clone(), held.clone());
            state.announce(Change::Secret(key.clone()));
            Ok(held)
        };
        self.world.write(format!("Secret {key}"), fail, commit).await
    }

    async fn rehearse(&self, secret: &Keep, before: Option<&Held>) -> Result<(), ClusterError> {
        self.world.read(|state| state.expect(&secret.key, before)).await
    }

    async fn discard(&self, key: &Key, held: &Held) -> Result<(), ClusterError> {
        let fail = || failed("Secret", key);
        let commit = |state: &mut State| {
            if state.held.contains_key(key) {
                state.expect(key, Some(held))?;
                state.held.remove(key);
                state.announce(Change::Secret(key.clone()));
            }
            Ok(())
        };
        self.world.write(format!("no Secret {key}"), fail, commit).await
    }

    async fn set_finalizer(&self, key: &Key, credential: &Credential, present: bool) -> Result<(), ClusterError> {
        let fail = || failed("Credential", key);
        let commit = |state: &mut State| {
            let conflict = || ClusterError::Conflict {
                kind: "Credential",
                key: key.clone(),
            };
            let Some(stored) = state.credentials.get_mut(key) else {
                return if present { Err(conflict()) } else { Ok(()) };
            };
            if stored.metadata.uid != credential.metadata.uid {
                return Err(conflict());
            }
            stored.metadata.finalizers = present.then(|| vec![FINALIZER_REVOKE.to_owned()]);
            if !present && stored.metadata.deletion_timestamp.is_some() {
                state.collect(key);
            }
            state.announce(Change::Credential(key.clone()));
            Ok(())
        };
        self.world
            .write(format!("finalizer of Credential {key}"), fail, commit)
            .await
    }

    async fn config_map(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        self.world.read(|state| Ok(state.config_maps.get(key).cloned())).await
    }

    async fn write_integration_status(
        &self,
        key: &Key,
        uid: &str,
        status: &IntegrationStatus,
    ) -> Result<(), ClusterError> {
        let fail = || failed("Integration", key);
        let commit = |state: &mut State| match state.integrations.get_mut(key) {
            Some(stored) if stored.metadata.uid.as_deref() == Some(uid) => {
                stored.status = Some(status.clone());
                Ok(())
            }
            _ => Err(failed("Integration", key)),
        };
        self.world
            .write(format!("status of Integration {key}"), fail, commit)
            .await
    }

    async fn write_credential_status(
        &self,
        key: &Key,
        uid: &str,
        status: &CredentialStatus,
    ) -> Result<(), ClusterError> {
        let fail = || failed("Credential", key);
        let commit = |state: &mut State| match state.credentials.get_mut(key) {
            Some(stored) if stored.metadata.uid.as_deref() == Some(uid) => {
                stored.status = Some(status.clone());
                Ok(())
            }
            _ => Err(failed("Credential", key)),
        };
        self.world
            .write(format!("status of Credential {key}"), fail, commit)
            .await
    }

    async fn publish(&self, notice: Notice) {
        self.world.state().notices.push(notice);
    }
}

impl Fleet for Ports {
    fn observations(&self) -> mpsc::Receiver<Observation> {
        self.receivers.lock().unwrap().1.take().unwrap()
    }

    async fn programmed(&self, key: &Key, uid: &str) -> Result<Option<Plan>, FleetError> {
        let get = |state: &mut State| {
            let stored = state.workloads.get(key).filter(|workload| workload.plan.uid == uid);
            stored.map(|workload| (*workload.plan).clone())
        };
        Ok(self.world.read(get).await)
    }

    async fn program(&self, workload: &Workload) -> Result<(), FleetError> {
        let key = workload.plan.integration.clone();
        let refusal = self.world.state().refusal;
        if let Some(refusal) = refusal {
            return Err(refusal(key));
        }
        let fail = || FleetError::Failed {
            verb: "apply",
            kind: "Secret",
            key: key.clone(),
            detail: "injected".into(),
        };
        if self.world.state().workloads.get(&key) == Some(workload) {
            return Ok(());
        }
        let commit = |state: &mut State| {
            state.workloads.insert(key.clone(), workload.clone());
            if !state.manual {
                state.adopt(&key, workload);
            }
            Ok(())
        };
        self.world.write(format!("workload of {key}"), fail, commit).await
    }

    async fn forget(&self, _: &Key) -> Result<(), FleetError> {
        Ok(())
    }
}

fn failed(kind: &'static str, key: &Key) -> ClusterError {
    ClusterError::Failed {
        verb: "patch",
        kind,
        key: key.clone(),
        detail: "injected".into(),
    }
}

fn key_of(meta: &kube::core::ObjectMeta) -> Key {
    Key::new(meta.namespace.as_deref().unwrap(), meta.name.as_deref().unwrap())
}

/// What the API server keeps of an object that is replaced.
fn carry(
    meta: &mut kube::core::ObjectMeta,
    before: Option<&kube::core::ObjectMeta>,
    spec_changed: bool,
    version: &mut u64,
) {
    let fresh = format!("uid-{}-{version}", meta.name.as_deref().unwrap());
    meta.uid = Some(before.and_then(|before| before.uid.clone()).unwrap_or(fresh));
    let generation = before.and_then(|before| before.generation).unwrap_or(0);
    meta.generation = Some(generation + i64::from(spec_changed));
}

/// An object without times.
fn masked(object: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    mask(&mut value);
    value
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["since", "lastTransitionTime", "lastRotationTime", "nextTrialTime"] {
                if let Some(time) = fields.get_mut(name) {
                    *time = "a time".into();
                }
            }
            fields.values_mut().for_each(mask);
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}
