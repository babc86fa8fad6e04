//! The objects, in memory: what the files say, with status, generation and changes as an API server keeps them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};

use super::manifest::{Identity, Kind, Object, Values};
use crate::api::credential::{Credential, CredentialStatus};
use crate::api::integration::{Integration, IntegrationStatus};
use crate::cluster::{Change, Cluster, ClusterError, Data, Held, Keep, Notice};
use crate::domain::key::Key;

mod issued;
mod server;

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
    places: Mutex<BTreeMap<Identity, String>>,
    outbox: Outbox,
    touched: watch::Sender<u64>,
    /// Where what is issued is kept; `None`: nowhere, it is gone with the process.
    directory: Option<super::state::State>,
    /// One write of what is issued at a time.
    issuing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Identity, Stored>,
    /// Secrets of ours: the files know nothing of them.
    issued: BTreeMap<Key, Held>,
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

    /// Says where objects stand (`file:line`), for people who read what is wrong with them.
    pub fn locate(&self, places: BTreeMap<Identity, String>) {
        *lock(&self.shared.places) = places;
    }

    /// Where an object stands, if that is known.
    fn place(&self, notice: &Notice) -> Option<String> {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == notice.regarding.kind)?;
        let key = notice.regarding.key.clone();
        lock(&self.shared.places).get(&Identity { kind, key }).cloned()
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

fn change(identity: &Identity) -> Change {
    let key = identity.key.clone();
    match identity.kind {
        Kind::Integration => Change::Integration(key),
        Kind::Credential => Change::Credential(key),
        Kind::Secret => Change::Secret(key),
        Kind::ConfigMap => Change::ConfigMap(key),
    }
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

    async fn held(&self, key: &Key) -> Result<Option<Held>, ClusterError> {
        // A Secret of a file of that name is somebody else's.
        let of_a_file = self.get(Kind::Secret, key, |stored| match &stored.object {
            Object::Secret(_, values) => Some(issued::foreign(stored.version, values)),
            _ => None,
        });
        Ok(of_a_file.or_else(|| self.issued(key)))
    }

    async fn keep(&self, secret: &Keep, before: Option<&Held>) -> Result<Held, ClusterError> {
        self.put_issued(secret, before).await
    }

    async fn rehearse(&self, secret: &Keep, before: Option<&Held>) -> Result<(), ClusterError> {
        self.check_issued(&secret.key, before)
    }

    async fn discard(&self, key: &Key, held: &Held) -> Result<(), ClusterError> {
        self.remove_issued(key, held).await
    }

    /// An object of a file is gone with the file: nobody waits for a finalizer.
    async fn set_finalizer(&self, _: &Key, _: &Credential, _: bool) -> Result<(), ClusterError> {
        Ok(())
    }

    async fn publish(&self, notice: Notice) {
        // Only where a person has to open the file.
        let file = notice.warning.then(|| self.place(&notice)).flatten();
        let Notice {
            regarding,
            warning,
            reason,
            action,
            note,
        } = notice;
        let (kind, namespace, name) = (regarding.kind, &*regarding.key.namespace, &*regarding.key.name);
        if warning {
            tracing::warn!(kind, namespace, name, reason, action, file, "{note}");
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
mod tests;
