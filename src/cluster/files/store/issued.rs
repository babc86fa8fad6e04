//! What is issued: Secrets of ours, in memory and in the state directory.

use std::path::PathBuf;

use super::{Shared, Store, lock};
use crate::cluster::files::FilesError;
use crate::cluster::files::manifest::Values;
use crate::cluster::files::state;
use crate::cluster::{Change, ClusterError, Held, Keep};
use crate::domain::key::Key;

impl Store {
    /// A store that keeps what is issued in `directory`, and has what was kept there.
    pub fn with_state(directory: PathBuf) -> Result<Self, FilesError> {
        let (directory, secrets) = state::State::open(directory)?;
        let shared = Shared {
            directory: Some(directory),
            ..Shared::default()
        };
        {
            let mut state = lock(&shared.state);
            for (key, secret) in secrets {
                state.version += 1;
                let held = stored(Held::of(secret), &key, state.version);
                state.issued.insert(key, held);
            }
        }
        Ok(Self {
            shared: std::sync::Arc::new(shared),
        })
    }

    /// Whether what is issued is kept beyond the end of the process.
    pub fn keeps_issued(&self) -> bool {
        self.shared.directory.is_some()
    }

    pub(super) fn issued(&self, key: &Key) -> Option<Held> {
        lock(&self.shared.state).issued.get(key).cloned()
    }

    /// Whether what is stored under `key` is `before`.
    pub(super) fn check_issued(&self, key: &Key, before: Option<&Held>) -> Result<(), ClusterError> {
        let version = |held: &Held| held.version.clone();
        if self.issued(key).as_ref().map(version) == before.map(version) {
            return Ok(());
        }
        Err(ClusterError::Conflict {
            kind: "Secret",
            key: key.clone(),
        })
    }

    pub(super) async fn put_issued(&self, secret: &Keep, before: Option<&Held>) -> Result<Held, ClusterError> {
        let _alone = self.shared.issuing.lock().await;
        self.check_issued(&secret.key, before)?;
        if let Some(directory) = self.shared.directory.clone() {
            let (key, manifest) = (secret.key.clone(), secret.manifest());
            on_disk("write", &secret.key, move || directory.save(&key, &manifest)).await?;
        }
        let mut state = lock(&self.shared.state);
        state.version += 1;
        let held = stored(Held::of(secret.manifest()), &secret.key, state.version);
        state.issued.insert(secret.key.clone(), held.clone());
        drop(state);
        self.shared.outbox.put(Change::Secret(secret.key.clone()));
        Ok(held)
    }

    pub(super) async fn remove_issued(&self, key: &Key, held: &Held) -> Result<(), ClusterError> {
        let _alone = self.shared.issuing.lock().await;
        if self.issued(key).is_none() {
            return Ok(());
        }
        self.check_issued(key, Some(held))?;
        if let Some(directory) = self.shared.directory.clone() {
            let path = key.clone();
            on_disk("delete", key, move || directory.remove(&path)).await?;
        }
        lock(&self.shared.state).issued.remove(key);
        self.shared.outbox.put(Change::Secret(key.clone()));
        Ok(())
    }
}

/// Waits for the disk without making the runtime wait.
async fn on_disk(
    verb: &'static str,
    key: &Key,
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), ClusterError> {
    let failed = |detail: String| ClusterError::Failed {
        verb,
        kind: "Secret",
        key: key.clone(),
        detail,
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("the write was broken off".into())),
    }
}

/// What a server sets.
fn stored(held: Held, key: &Key, version: u64) -> Held {
    Held {
        uid: format!("issued-{key}"),
        version: version.to_string(),
        ..held
    }
}

/// A Secret of a file: nobody's, as far as we know.
pub(super) fn foreign(version: u64, values: &Values) -> Held {
    Held {
        uid: String::new(),
        version: version.to_string(),
        owner: None,
        annotations: std::collections::BTreeMap::new(),
        values: values
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
            .collect(),
    }
}
