//! Stored objects on a Kubernetes API server.
//!
//! Reads are live and typed; watches ([`watch`]) are metadata only. Every call has a deadline, because kube sets none:
//! on a connection that has silently died a read would hang for ever (kube-rs/kube#1796).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::Status;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Change, Cluster, ClusterError, Data, Held, Keep, Notice};
use crate::api::credential::{Credential, CredentialStatus};
use crate::api::integration::{Integration, IntegrationStatus};
use crate::api::{GROUP, MANAGER_CREDENTIAL, MANAGER_INTEGRATION, VERSION};
use crate::domain::key::Key;

pub mod address;
pub mod connect;
mod data;
mod held;
pub mod installed;
pub mod lease;
mod watch;

/// For one call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Changes that may wait before a watch is made to wait.
const BACKLOG: usize = 1024;

/// The store on an API server.
pub struct Kubernetes {
    client: Client,
    recorder: Recorder,
    changes: Mutex<Option<mpsc::Receiver<Change>>>,
}

impl Kubernetes {
    /// Starts watching, with a client that may wait for long answers, and reads and writes through `client`. `instance`
    /// is who we are in events, usually the Pod's name. The watches end with `stop`.
    pub fn start(client: Client, watching: Client, instance: String, stop: &CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        watch::start(&watching, &sender, stop);
        let reporter = Reporter {
            controller: "tidegate-controller".into(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            changes: Mutex::new(Some(receiver)),
        }
    }

    /// Reads one of our own resources; what does not decode is told with what is known of it.
    async fn read<K>(&self, key: &Key) -> Result<Option<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let call = Call {
            verb: "get",
            kind: kind_of::<K>(),
            key,
        };
        let resource = kube::api::ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let Some(object) = call.run(api.get_opt(&key.name)).await? else {
            return Ok(None);
        };
        let (uid, generation) = (object.metadata.uid.clone(), object.metadata.generation);
        let status = object.data.get("status").cloned().unwrap_or_default();
        let value = serde_json::to_value(object).map_err(|error| call.failed(error.to_string()))?;
        serde_path_to_error::deserialize(value)
            .map(Some)
            .map_err(|error| ClusterError::Undecodable {
                kind: call.kind,
                key: key.clone(),
                uid: uid.unwrap_or_default(),
                generation: generation.unwrap_or_default(),
                status: Box::new(status),
                detail: format!("`{}` {}", error.path(), must(error.inner())),
            })
    }

    /// Writes a whole status under one field manager: what it held before and does not hold now goes.
    async fn write_status<K>(
        &self,
        key: &Key,
        uid: &str,
        manager: &str,
        status: impl Serialize + Send,
    ) -> Result<(), ClusterError>
    where
        K: Resource<DynamicType = ()>,
    {
        let call = Call {
            verb: "patch",
            kind: kind_of::<K>(),
            key,
        };
        let resource = kube::api::ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        // The UID is a precondition: a namesake made since we read must not get the status of the one that went.
        let patch = serde_json::json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": key.name, "namespace": key.namespace, "uid": uid },
            "status": status,
        });
        // Forced: nobody else has a say in this status, and a conflict would only leave it stale.
        let parameters = PatchParams::apply(manager).force();
        call.run(api.patch_status(&key.name, &parameters, &Patch::Apply(&patch)))
            .await
            .map(drop)
    }
}

impl Cluster for Kubernetes {
    fn changes(&self) -> mpsc::Receiver<Change> {
        let taken = self.changes.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Asked a second time, the stream is one that has ended.
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    async fn integration(&self, key: &Key) -> Result<Option<Integration>, ClusterError> {
        self.read(key).await
    }

    async fn credential(&self, key: &Key) -> Result<Option<Credential>, ClusterError> {
        self.read(key).await
    }

    async fn secret(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        let call = Call {
            verb: "get",
            kind: "Secret",
            key,
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        Ok(call.run(api.get_opt(&key.name)).await?.and_then(data::of_secret))
    }

    async fn config_map(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        let call = Call {
            verb: "get",
            kind: "ConfigMap",
            key,
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.namespace);
        Ok(call.run(api.get_opt(&key.name)).await?.map(data::of_config_map))
    }

    async fn write_integration_status(
        &self,
        key: &Key,
        uid: &str,
        status: &IntegrationStatus,
    ) -> Result<(), ClusterError> {
        self.write_status::<Integration>(key, uid, MANAGER_INTEGRATION, status)
            .await
    }

    async fn write_credential_status(
        &self,
        key: &Key,
        uid: &str,
        status: &CredentialStatus,
    ) -> Result<(), ClusterError> {
        self.write_status::<Credential>(key, uid, MANAGER_CREDENTIAL, status)
            .await
    }

    async fn held(&self, key: &Key) -> Result<Option<Held>, ClusterError> {
        held::read(&self.client, key).await
    }

    async fn keep(&self, secret: &Keep, before: Option<&Held>) -> Result<Held, ClusterError> {
        held::keep(&self.client, secret, before, false).await
    }

    async fn rehearse(&self, secret: &Keep, before: Option<&Held>) -> Result<(), ClusterError> {
        held::keep(&self.client, secret, before, true).await.map(drop)
    }

    async fn discard(&self, key: &Key, held: &Held) -> Result<(), ClusterError> {
        held::discard(&self.client, key, held).await
    }

    async fn set_finalizer(&self, key: &Key, credential: &Credential, present: bool) -> Result<(), ClusterError> {
        held::set_finalizer(&self.client, key, credential, present).await
    }

    async fn publish(&self, notice: Notice) {
        let reference = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(notice.regarding.kind.to_owned()),
            namespace: Some(notice.regarding.key.namespace.to_string()),
            name: Some(notice.regarding.key.name.to_string()),
            uid: Some(notice.regarding.uid),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_owned(),
            action: notice.action.to_owned(),
            note: Some(bounded(notice.note)),
            secondary: None,
        };
        let key = notice.regarding.key;
        match tokio::time::timeout(DEADLINE, self.recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%key, reason = notice.reason, %error, "an event could not be published"),
            Err(_) => tracing::warn!(%key, reason = notice.reason, "an event could not be published in time"),
        }
    }
}

/// A note as the API takes it: 1 kB at most, or the whole event is refused.
fn bounded(mut note: String) -> String {
    const NOTE_MAX: usize = 1024;
    const CUT: &str = "…";
    if note.len() > NOTE_MAX {
        let end = (0..=NOTE_MAX - CUT.len()).rev().find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or_default());
        note.push_str(CUT);
    }
    note
}

/// The kind as users write it.
fn kind_of<K: Resource<DynamicType = ()>>() -> &'static str {
    // Both kinds are generated from literals, so this borrows.
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "object",
    }
}

/// One call, as errors tell of it.
#[derive(Clone, Copy)]
struct Call<'a> {
    verb: &'static str,
    kind: &'static str,
    key: &'a Key,
}

impl Call<'_> {
    /// Waits for `call` no longer than its deadline.
    async fn run<T>(self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ClusterError> {
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(ClusterError::Forbidden {
                verb: self.verb,
                kind: self.kind,
                key: self.key.clone(),
            }),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(ClusterError::Conflict {
                kind: self.kind,
                key: self.key.clone(),
            }),
            Ok(Err(error)) => Err(self.failed(tell(&error))),
            Err(_) => Err(ClusterError::Timeout {
                verb: self.verb,
                kind: self.kind,
                key: self.key.clone(),
                seconds: DEADLINE.as_secs(),
            }),
        }
    }

    /// The same for a call that sends secrets: of what the server says, only its code and reason are told, for the rest
    /// may quote what was sent.
    async fn run_quietly<T>(self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ClusterError> {
        let mut refused = None;
        let quiet = async {
            call.await.map_err(|error| match error {
                kube::Error::Api(mut status) => {
                    refused = why_refused(&status);
                    status.message = "the API server refuses it".into();
                    kube::Error::Api(status)
                }
                other => other,
            })
        };
        let done = self.run(quiet).await;
        if let (Err(_), Some(why)) = (&done, refused) {
            return Err(ClusterError::Refused {
                verb: self.verb,
                kind: self.kind,
                key: self.key.clone(),
                why,
            });
        }
        match done {
            // What was to be replaced is gone.
            Err(ClusterError::Failed { detail, .. }) if detail.starts_with("404 ") && self.verb == "patch" => {
                Err(ClusterError::Conflict {
                    kind: self.kind,
                    key: self.key.clone(),
                })
            }
            other => other,
        }
    }

    fn failed(self, detail: String) -> ClusterError {
        ClusterError::Failed {
            verb: self.verb,
            kind: self.kind,
            key: self.key.clone(),
            detail,
        }
    }
}

/// What a decoder expected. What it found instead stays where it is: a message of serde quotes it first.
fn must(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind("expected ") {
        Some(start) => format!("must be {}", &message[start + "expected ".len()..]),
        None if message.starts_with("missing field") => message,
        None => "has a value that is not allowed".to_owned(),
    }
}

/// What went wrong, in a line without anything that was sent: a decoder's message may quote what it read.
fn tell(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => tell_status(status),
        kube::Error::SerdeError(_) => "the answer does not decode".to_owned(),
        other => other.to_string().chars().take(256).collect(),
    }
}

/// Why a write is refused for another reason than our rights; all of these are 403 as well.
fn why_refused(status: &Status) -> Option<&'static str> {
    if status.code != 403 {
        return None;
    }
    let says = |what: &str| status.message.contains(what);
    if says("exceeded quota") || says("failed quota") {
        Some("a ResourceQuota of the namespace does not allow it; raise it, or remove what is not needed")
    } else if says("being terminated") {
        Some("the namespace is being deleted")
    } else if says("cannot ") {
        None
    } else {
        Some("an admission policy does not allow it; see what it wants")
    }
}

fn tell_status(status: &Status) -> String {
    let message: String = status.message.chars().take(256).collect();
    format!("{} {}: {message}", status.code, status.reason)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_decode_is_named_by_field_and_not_quoted() {
        let spec =
            |spec| json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Integration", "metadata": {}, "spec": spec});
        let cases = [
            (
                spec(json!({"endpoints": "canary"})),
                "`spec.endpoints` must be a sequence",
            ),
            (
                spec(json!({"endpoints": [], "protocol": "canary"})),
                "`spec.protocol` must be one of `HTTP`, `GraphQL`, `GRPC`, `WebSocket`",
            ),
            (
                spec(json!({"endpoints": [{"name": "canary"}]})),
                "`spec.endpoints[0]` missing field `url`",
            ),
            (
                spec(json!({"endpoints": [], "timeouts": {"request": "canary"}})),
                "`spec.timeouts.request` has a value that is not allowed",
            ),
        ];
        for (object, expected) in cases {
            let error = serde_path_to_error::deserialize::<_, Integration>(object).unwrap_err();
            assert_eq!(format!("`{}` {}", error.path(), must(error.inner())), expected);
        }
    }
}
