//! The two ports of one process.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tidegate::api::FINALIZER_REVOKE;
use tidegate::api::credential::{Credential, CredentialStatus};
use tidegate::api::integration::{Integration, IntegrationStatus};
use tidegate::cluster::{Change, Cluster, ClusterError, Data, Held, Keep, Notice};
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tidegate::fleet::{Fleet, FleetError, Observation, Workload};
use tokio::sync::mpsc;

use super::World;
use super::world::State;

/// The ports of one process.
pub struct Ports {
    pub(super) world: World,
    pub(super) receivers: Mutex<(Option<mpsc::Receiver<Change>>, Option<mpsc::Receiver<Observation>>)>,
}

impl Cluster for Ports {
    fn changes(&self) -> mpsc::Receiver<Change> {
        self.receivers.lock().unwrap().0.take().unwrap()
    }

    async fn integration(&self, key: &Key) -> Result<Option<Integration>, ClusterError> {
        let fail = || failed("Integration", key);
        self.world
            .read(fail, |state| {
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
        let fail = || failed("Credential", key);
        self.world.read(fail, |state| Ok(state.seen_credential(key))).await
    }

    async fn secret(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        let fail = || failed("Secret", key);
        self.world
            .read(fail, |state| {
                state.may_read(key)?;
                Ok(state.secrets.get(key).cloned())
            })
            .await
    }

    async fn held(&self, key: &Key) -> Result<Option<Held>, ClusterError> {
        let fail = || failed("Secret", key);
        self.world
            .read(fail, |state| {
                state.may_read(key)?;
                let foreign = state.secrets.get(key).map(|data| Held {
                    uid: String::new(),
                    version: data.version.clone(),
                    owner: None,
                    annotations: BTreeMap::new(),
                    values: BTreeMap::new(),
                });
                Ok(state.seen_held(key).or(foreign))
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
        let fail = || failed("Secret", &secret.key);
        self.world.read(fail, |state| state.expect(&secret.key, before)).await
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
        let fail = || failed("ConfigMap", key);
        self.world
            .read(fail, |state| Ok(state.config_maps.get(key).cloned()))
            .await
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
            Ok(stored.map(|workload| (*workload.plan).clone()))
        };
        let fail = || FleetError::Failed {
            verb: "get",
            kind: "Secret",
            key: key.clone(),
            detail: "injected".into(),
        };
        self.world.read(fail, get).await
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
