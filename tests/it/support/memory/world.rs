//! What is stored, and what happens to it from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tidegate::api::credential::Credential;
use tidegate::api::integration::Integration;
use tidegate::cluster::{Change, ClusterError, Data, Held, Notice};
use tidegate::domain::key::Key;
use tidegate::domain::plan::{Material, Plan};
use tidegate::domain::secret::SecretValue;
use tidegate::fleet::{FleetError, Observation, WorkerState, Workload};
use tidegate::provider::exchange::Exchange;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::faults::Behind;
use super::workers::Worker;
use super::{Fault, Ports, clock};

/// Changes and observations that may wait; more than any test makes.
const BACKLOG: usize = 100_000;

/// Everything that is stored and runs. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct World {
    pub(super) state: Arc<Mutex<State>>,
    /// A process died of a fault.
    pub died: Arc<Notify>,
    /// A process stands still.
    pub stalled: Arc<Notify>,
    /// It goes on.
    pub released: Arc<Notify>,
}

#[derive(Default)]
pub struct State {
    pub(super) version: u64,
    pub(super) integrations: BTreeMap<Key, Integration>,
    pub(super) credentials: BTreeMap<Key, Credential>,
    pub(super) secrets: BTreeMap<Key, Data>,
    pub(super) config_maps: BTreeMap<Key, Data>,
    /// Secrets that the controllers made.
    pub(super) held: BTreeMap<Key, Held>,
    /// How providers are reached.
    pub(super) exchange: Option<Arc<dyn Exchange>>,
    pub(super) undecodable: BTreeMap<Key, i64>,
    pub(super) workloads: BTreeMap<Key, Workload>,
    pub(super) workers: BTreeMap<Key, Vec<Worker>>,
    pub(super) listeners: Vec<Listener>,
    pub(super) faults: BTreeMap<usize, Fault>,
    /// Until when every call is refused.
    pub(super) throttled: Option<Instant>,
    /// Reads are behind.
    pub(super) behind: Option<Behind>,
    pub(super) writes: Vec<String>,
    pub(super) notices: Vec<Notice>,
    pub(super) reads: usize,
    /// Every read of a Secret fails.
    pub(super) unreadable: bool,
    /// The API server refuses a workload, or its name is taken.
    pub(super) refusal: Option<fn(Key) -> FleetError>,
    /// Workers do not adopt by themselves.
    pub(super) manual: bool,
    /// Watches tell of nothing.
    pub(super) silent: bool,
    /// Calls take up to this long, at random by this seed.
    pub(super) latency: Option<(Duration, u64)>,
}

pub struct Listener {
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) observations: mpsc::Sender<Observation>,
}

impl World {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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
        succeed(&mut object, before, |one, other| one.spec == other.spec, state.version);
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
        succeed(&mut object, before, |one, other| one.spec == other.spec, state.version);
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

    /// Somebody edits a Secret that a controller made.
    pub fn edit_held(&self, key: &Key, edit: impl FnOnce(&mut Held)) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let held = state.held.get_mut(key).unwrap();
        edit(held);
        held.version = version;
        state.announce(Change::Secret(key.clone()));
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
}

impl State {
    pub(super) fn announce(&mut self, change: Change) {
        if self.silent {
            return;
        }
        self.listeners
            .retain(|listener| listener.changes.try_send(change.clone()).is_ok());
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        self.listeners
            .retain(|listener| listener.observations.try_send(observation.clone()).is_ok());
    }

    pub(super) fn data(&mut self, values: &[(&str, &str)]) -> Data {
        self.version += 1;
        let value = |(key, value): &(&str, &str)| ((*key).to_owned(), Some(SecretValue::new(*value)));
        Data {
            version: self.version.to_string(),
            values: values.iter().map(value).collect(),
        }
    }

    /// Whether the controllers may read Secrets.
    pub(super) fn may_read(&self, key: &Key) -> Result<(), ClusterError> {
        if !self.unreadable {
            return Ok(());
        }
        Err(ClusterError::Forbidden {
            verb: "get",
            kind: "Secret",
            key: key.clone(),
        })
    }

    /// What is stored under `key` is `before`.
    pub(super) fn expect(&self, key: &Key, before: Option<&Held>) -> Result<(), ClusterError> {
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
    pub(super) fn collect(&mut self, key: &Key) {
        let Some(gone) = self.credentials.remove(key) else {
            return;
        };
        self.held.retain(|_, held| held.owner != gone.metadata.uid);
    }
}

fn key_of(meta: &kube::core::ObjectMeta) -> Key {
    Key::new(meta.namespace.as_deref().unwrap(), meta.name.as_deref().unwrap())
}

/// Gives an object what the API server keeps of the one that it replaces.
fn succeed<K: kube::Resource>(object: &mut K, before: Option<&K>, is_same: fn(&K, &K) -> bool, version: u64) {
    let spec_changed = before.is_none_or(|before| !is_same(before, object));
    let before = before.map(K::meta);
    let meta = object.meta_mut();
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
