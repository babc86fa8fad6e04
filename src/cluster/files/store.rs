//! The objects, in memory: what the files say, with status, generation and changes as an API server keeps them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use tokio::sync::{Notify, mpsc, watch};

use super::manifest::{Identity, Kind, Object, Values};
use crate::api::credential::{Credential, CredentialStatus};
use crate::api::integration::{Integration, IntegrationStatus};
use crate::cluster::{Change, Cluster, ClusterError, Data, Notice};
use crate::domain::key::Key;

/// How many changes may wait in the channel; what does not fit waits in the outbox, once for each object.
const CHANNEL: usize = 256;

/// Objects in memory. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    outbox: Outbox,
    touched: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Identity, Stored>,
    version: u64,
}

/// An object with the resourceVersion of its last write.
struct Stored {
    object: Object,
    version: u64,
}

/// Changes that were not told yet, each once: the reader only learns where to look.
#[derive(Default)]
struct Outbox {
    waiting: Mutex<(HashSet<Change>, VecDeque<Change>)>,
    filled: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    fn put(&self, change: Change) {
        let mut waiting = lock(&self.waiting);
        if waiting.0.insert(change.clone()) {
            waiting.1.push_back(change);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Option<Change> {
        let mut waiting = lock(&self.waiting);
        let change = waiting.1.pop_front()?;
        waiting.0.remove(&change);
        Some(change)
    }
}

impl Store {
    /// A store with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the store hold exactly these objects. Of two with the same name the first counts.
    pub fn replace(&self, objects: impl IntoIterator<Item = Object>, now: Timestamp) {
        let mut wanted = BTreeMap::new();
        for object in objects {
            wanted.entry(object.identity()).or_insert(object);
        }
        let mut state = lock(&self.shared.state);
        let gone: Vec<_> = state
            .objects
            .keys()
            .filter(|identity| !wanted.contains_key(identity))
            .cloned()
            .collect();
        let mut changed = Vec::new();
        for identity in gone {
            state.objects.remove(&identity);
            changed.push(identity);
        }
        for (identity, object) in wanted {
            if state.put(&identity, object, now) {
                changed.push(identity);
            }
        }
        drop(state);
        self.announce(changed);
    }

    /// Stores one object, new or edited.
    pub fn put(&self, object: Object, now: Timestamp) {
        let identity = object.identity();
        let changed = lock(&self.shared.state).put(&identity, object, now);
        self.announce(changed.then_some(identity));
    }

    /// Deletes one object.
    pub fn delete(&self, identity: &Identity) {
        let gone = lock(&self.shared.state).objects.remove(identity).is_some();
        self.announce(gone.then(|| identity.clone()));
    }

    /// Every Integration, by namespace and name.
    pub fn integrations(&self) -> Vec<Integration> {
        self.all(|object| match object {
            Object::Integration(object) => Some((**object).clone()),
            _ => None,
        })
    }

    /// Every Credential, by namespace and name.
    pub fn credentials(&self) -> Vec<Credential> {
        self.all(|object| match object {
            Object::Credential(object) => Some((**object).clone()),
            _ => None,
        })
    }

    /// Changes whenever anything in the store does, status included.
    pub fn touched(&self) -> watch::Receiver<u64> {
        self.shared.touched.subscribe()
    }

    fn all<T>(&self, pick: impl Fn(&Object) -> Option<T>) -> Vec<T> {
        lock(&self.shared.state)
            .objects
            .values()
            .filter_map(|stored| pick(&stored.object))
            .collect()
    }

    fn announce(&self, changed: impl IntoIterator<Item = Identity>) {
        for identity in changed {
            self.shared.outbox.put(change(&identity));
            self.shared.touched.send_modify(|count| *count += 1);
        }
    }

    fn get<T>(&self, kind: Kind, key: &Key, pick: impl Fn(&Stored) -> Option<T>) -> Option<T> {
        let identity = Identity { kind, key: key.clone() };
        lock(&self.shared.state).objects.get(&identity).and_then(pick)
    }

    fn write(&self, kind: Kind, key: &Key, write: impl FnOnce(&mut Object) -> bool) {
        let identity = Identity { kind, key: key.clone() };
        let mut state = lock(&self.shared.state);
        let version = state.version + 1;
        let Some(stored) = state.objects.get_mut(&identity) else {
            return;
        };
        if !write(&mut stored.object) {
            return;
        }
        stored.version = version;
        stored.object.set_version(version);
        state.version = version;
        drop(state);
        self.shared.touched.send_modify(|count| *count += 1);
    }
}

impl State {
    /// Stores an object as a server does; false if that changes nothing.
    fn put(&mut self, identity: &Identity, mut object: Object, now: Timestamp) -> bool {
        let version = self.version + 1;
        let before = self.objects.get(identity);
        object.take_over(identity, before.map(|stored| &stored.object), now);
        if let Some(before) = before {
            object.set_version(before.version);
            if before.object == object {
                return false;
            }
        }
        object.set_version(version);
        self.version = version;
        self.objects.insert(identity.clone(), Stored { object, version });
        true
    }
}

impl Object {
    fn metadata(&mut self) -> Option<&mut ObjectMeta> {
        match self {
            Self::Integration(object) => Some(&mut object.metadata),
            Self::Credential(object) => Some(&mut object.metadata),
            Self::Secret(..) | Self::ConfigMap(..) => None,
        }
    }

    fn set_version(&mut self, version: u64) {
        if let Some(metadata) = self.metadata() {
            metadata.resource_version = Some(version.to_string());
        }
    }

    /// Sets what a server sets: from what was stored before, or for a new object.
    fn take_over(&mut self, identity: &Identity, before: Option<&Object>, now: Timestamp) {
        let (old_metadata, same_spec) = match (&mut *self, before) {
            (Self::Integration(object), Some(Self::Integration(before))) => {
                object.status.clone_from(&before.status);
                (Some(&before.metadata), object.spec == before.spec)
            }
            (Self::Integration(object), _) => {
                let observed_generation = Some(-1);
                object.status = Some(IntegrationStatus {
                    observed_generation,
                    ..IntegrationStatus::default()
                });
                (None, false)
            }
            (Self::Credential(object), Some(Self::Credential(before))) => {
                object.status.clone_from(&before.status);
                (Some(&before.metadata), object.spec == before.spec)
            }
            (Self::Credential(object), _) => {
                let observed_generation = Some(-1);
                object.status = Some(CredentialStatus {
                    observed_generation,
                    ..CredentialStatus::default()
                });
                (None, false)
            }
            (Self::Secret(..) | Self::ConfigMap(..), _) => return,
        };
        let generation = old_metadata.and_then(|old| old.generation).unwrap_or(0) + i64::from(!same_spec);
        let created = old_metadata
            .and_then(|old| old.creation_timestamp.clone())
            .unwrap_or(Time(now));
        if let Some(metadata) = self.metadata() {
            *metadata = ObjectMeta {
                name: Some(identity.key.name.to_string()),
                namespace: Some(identity.key.namespace.to_string()),
                labels: metadata.labels.take(),
                annotations: metadata.annotations.take(),
                uid: Some(uid(identity)),
                generation: Some(generation),
                creation_timestamp: Some(created),
                ..ObjectMeta::default()
            };
        }
    }
}

fn change(identity: &Identity) -> Change {
    let key = identity.key.clone();
    match identity.kind {
        Kind::Integration => Change::Integration(key),
        Kind::Credential => Change::Credential(key),
        Kind::Secret => Change::Secret(key),
        Kind::ConfigMap => Change::ConfigMap(key),
    }
}

/// A UID that is the same in every process: FNV-1a (128 bits) of kind, namespace and name, written as a UUID of version 8
/// (RFC 9562, "custom").
fn uid(identity: &Identity) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let text = format!("{}/{}", identity.kind.name(), identity.key);
    let hash = text
        .bytes()
        .fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    let hash = hash & !(0xf << 76) & !(0x3 << 62) | (0x8 << 76) | (0x2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        hash >> 96,
        hash >> 80 & 0xffff,
        hash >> 64 & 0xffff,
        hash >> 48 & 0xffff,
        hash & 0xffff_ffff_ffff
    )
}

impl Cluster for Store {
    fn changes(&self) -> mpsc::Receiver<Change> {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        for identity in lock(&self.shared.state).objects.keys() {
            self.shared.outbox.put(change(identity));
        }
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                while let Some(change) = store.shared.outbox.take() {
                    if sender.send(change).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = store.shared.outbox.filled.notified() => (),
                    () = sender.closed() => return,
                }
            }
        });
        receiver
    }

    async fn integration(&self, key: &Key) -> Result<Option<Integration>, ClusterError> {
        Ok(self.get(Kind::Integration, key, |stored| match &stored.object {
            Object::Integration(object) => Some((**object).clone()),
            _ => None,
        }))
    }

    async fn credential(&self, key: &Key) -> Result<Option<Credential>, ClusterError> {
        Ok(self.get(Kind::Credential, key, |stored| match &stored.object {
            Object::Credential(object) => Some((**object).clone()),
            _ => None,
        }))
    }

    async fn secret(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        Ok(self.get(Kind::Secret, key, |stored| match &stored.object {
            Object::Secret(_, values) => Some(data(stored.version, values)),
            _ => None,
        }))
    }

    async fn config_map(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        Ok(self.get(Kind::ConfigMap, key, |stored| match &stored.object {
            Object::ConfigMap(_, values) => Some(data(stored.version, values)),
            _ => None,
        }))
    }

    async fn write_integration_status(
        &self,
        key: &Key,
        uid: &str,
        status: &IntegrationStatus,
    ) -> Result<(), ClusterError> {
        self.write(Kind::Integration, key, |object| match object {
            Object::Integration(object) if object.metadata.uid.as_deref() == Some(uid) => {
                let differs = object.status.as_ref() != Some(status);
                object.status = Some(status.clone());
                differs
            }
            _ => false,
        });
        Ok(())
    }

    async fn write_credential_status(
        &self,
        key: &Key,
        uid: &str,
        status: &CredentialStatus,
    ) -> Result<(), ClusterError> {
        self.write(Kind::Credential, key, |object| match object {
            Object::Credential(object) if object.metadata.uid.as_deref() == Some(uid) => {
                let differs = object.status.as_ref() != Some(status);
                object.status = Some(status.clone());
                differs
            }
            _ => false,
        });
        Ok(())
    }

    async fn publish(&self, notice: Notice) {
        let Notice {
            regarding,
            warning,
            reason,
            action,
            note,
        } = notice;
        let (kind, namespace, name) = (regarding.kind, &*regarding.key.namespace, &*regarding.key.name);
        if warning {
            tracing::warn!(kind, namespace, name, reason, action, "{note}");
        } else {
            tracing::info!(kind, namespace, name, reason, action, "{note}");
        }
    }
}

fn data(version: u64, values: &Values) -> Data {
    Data {
        version: version.to_string(),
        values: values.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest;
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn objects(limit: u32, value: &str) -> Vec<Object> {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Integration\nmetadata: {{name: a}}\nspec:\n  endpoints:\n  \
             - {{name: one, url: 'https://a.example'}}\n  retries: {{limit: {limit}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: {value}}}\n"
        );
        let reading = manifest::read(&text);
        assert_eq!(reading.problems, []);
        reading.objects.into_iter().map(|(_, object)| object).collect()
    }

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    async fn drain(changes: &mut mpsc::Receiver<Change>) -> Vec<Change> {
        let mut all = Vec::new();
        while let Ok(Some(change)) = tokio::time::timeout(std::time::Duration::from_millis(20), changes.recv()).await {
            all.push(change);
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn what_exists_is_announced_and_then_only_what_changes() {
        let store = Store::new();
        store.replace(objects(1, "x"), NOW);
        let mut changes = store.changes();
        assert_eq!(
            drain(&mut changes).await,
            [Change::Integration(key("a")), Change::Secret(key("s"))]
        );
        store.replace(objects(1, "x"), NOW);
        assert_eq!(drain(&mut changes).await, []);
        store.replace(objects(1, "y"), NOW);
        store.replace(objects(1, "z"), NOW);
        assert_eq!(drain(&mut changes).await, [Change::Secret(key("s"))]);
        store.replace(objects(1, "z").split_off(1), NOW);
        assert_eq!(drain(&mut changes).await, [Change::Integration(key("a"))]);
        assert_eq!(store.integration(&key("a")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn generation_counts_edits_of_the_spec_alone() {
        let store = Store::new();
        let mut seen = Vec::new();
        for (limit, value) in [(1, "x"), (1, "y"), (2, "y"), (2, "y")] {
            store.replace(objects(limit, value), NOW);
            let metadata = store.integration(&key("a")).await.unwrap().unwrap().metadata;
            seen.push((metadata.generation.unwrap(), metadata.resource_version.unwrap()));
        }
        let generations: Vec<_> = seen.iter().map(|(generation, _)| *generation).collect();
        assert_eq!(generations, [1, 1, 2, 2]);
        assert_eq!(seen[0].1, seen[1].1);
        assert_ne!(seen[1].1, seen[2].1);
        assert_eq!(seen[2].1, seen[3].1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_annotation_is_told_of_and_is_no_edit_of_the_spec() {
        let store = Store::new();
        store.replace(objects(1, "x"), NOW);
        let mut changes = store.changes();
        drain(&mut changes).await;
        let mut asked = objects(1, "x");
        let Object::Integration(object) = &mut asked[0] else {
            panic!()
        };
        object.metadata.annotations = Some([("tidegate.dev/reset-circuit".to_owned(), "1".to_owned())].into());
        store.replace(asked, NOW);
        assert_eq!(drain(&mut changes).await, [Change::Integration(key("a"))]);
        assert_eq!(store.integrations()[0].metadata.generation, Some(1));
    }

    #[tokio::test]
    async fn an_edit_keeps_the_status_and_a_namesake_is_not_written() {
        let store = Store::new();
        store.replace(objects(1, "x"), NOW);
        let stored = store.integration(&key("a")).await.unwrap().unwrap();
        assert_eq!(stored.status.unwrap().observed_generation, Some(-1));
        let uid = stored.metadata.uid.unwrap();
        let status = IntegrationStatus {
            observed_generation: Some(1),
            ..IntegrationStatus::default()
        };
        store
            .write_integration_status(&key("a"), "another", &status)
            .await
            .unwrap();
        assert_eq!(
            store.integrations()[0].status.as_ref().unwrap().observed_generation,
            Some(-1)
        );
        store.write_integration_status(&key("a"), &uid, &status).await.unwrap();
        store.replace(objects(2, "x"), NOW);
        assert_eq!(store.integrations()[0].status.as_ref(), Some(&status));
    }

    #[tokio::test]
    async fn a_secret_has_a_new_version_with_every_edit() {
        let store = Store::new();
        store.replace(objects(1, "x"), NOW);
        let before = store.secret(&key("s")).await.unwrap().unwrap();
        store.replace(objects(2, "x"), NOW);
        assert_eq!(store.secret(&key("s")).await.unwrap().unwrap(), before);
        store.replace(objects(2, "y"), NOW);
        let after = store.secret(&key("s")).await.unwrap().unwrap();
        assert_ne!(after.version, before.version);
        assert_eq!(after.values["k"].as_ref().unwrap().expose(), "y");
    }

    #[test]
    fn a_uid_is_a_function_of_the_name() {
        let identity = |kind, name| Identity { kind, key: key(name) };
        let one = uid(&identity(Kind::Integration, "a"));
        assert_eq!(one, uid(&identity(Kind::Integration, "a")));
        assert_ne!(one, uid(&identity(Kind::Credential, "a")));
        assert_ne!(one, uid(&identity(Kind::Integration, "b")));
        assert_eq!((one.len(), &one[14..15], one.matches('-').count()), (36, "8", 4));
    }
}
