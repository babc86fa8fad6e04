//! The little of a Pod that is wanted to follow a worker. A whole Pod is some ten kilobytes, and there are thousands.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

use super::names::LABEL_UID;
use crate::api::LABEL_INTEGRATION;
use crate::domain::key::Key;

/// A Pod, with no more of it than is looked at. Every field may be missing, so that no Pod can stop the watch.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkerPod {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// A worker, as its Pod says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The Integration it works for.
    pub integration: Key,
    /// UID of that Integration, which is also in the name of its certificate.
    pub integration_uid: Arc<str>,
    /// Name of the Pod.
    pub name: Arc<str>,
    /// UID of the Pod.
    pub uid: Arc<str>,
    /// Where it is; `None` until it is placed on a node.
    pub address: Option<IpAddr>,
    /// It takes traffic.
    pub ready: bool,
}

impl WorkerPod {
    /// The worker that runs in this Pod; `None` where the Pod is none of ours, or has ended and is merely not deleted.
    pub fn worker(&self) -> Option<Worker> {
        let ended = matches!(self.status.phase.as_deref(), Some("Failed" | "Succeeded"));
        let labels = self.metadata.labels.as_ref()?;
        let ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
        (!ended).then_some(())?;
        Some(Worker {
            integration: Key::new(&**self.metadata.namespace.as_ref()?, &**labels.get(LABEL_INTEGRATION)?),
            integration_uid: labels.get(LABEL_UID)?.as_str().into(),
            name: self.metadata.name.as_deref()?.into(),
            uid: self.metadata.uid.as_deref()?.into(),
            address: self.status.pod_ip.as_deref().and_then(|address| address.parse().ok()),
            ready: self.metadata.deletion_timestamp.is_none() && self.status.conditions.iter().any(ready),
        })
    }

    /// Namespace and name, which tell it from all others that exist at the same time.
    pub fn key(&self) -> Key {
        Key::new(
            self.metadata.namespace.as_deref().unwrap_or_default(),
            self.metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl Resource for WorkerPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": "shop", "name": "payments-api-worker-1", "uid": "pod-uid",
                "labels": {"tidegate.dev/integration": "payments-api", "tidegate.dev/uid": "integration-uid"},
            },
            "spec": {"containers": [{"name": "worker", "image": "i"}]},
            "status": {
                "phase": "Running", "podIP": "10.1.2.3",
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
            },
        })
    }

    fn worker(pod: Value) -> Option<Worker> {
        serde_json::from_value::<WorkerPod>(pod).unwrap().worker()
    }

    #[test]
    fn worker_is_what_the_pod_says() {
        let expected = Worker {
            integration: Key::new("shop", "payments-api"),
            integration_uid: "integration-uid".into(),
            name: "payments-api-worker-1".into(),
            uid: "pod-uid".into(),
            address: Some([10, 1, 2, 3].into()),
            ready: true,
        };
        assert_eq!(worker(pod()), Some(expected));
    }

    #[test]
    fn pod_that_is_not_there_yet_has_no_address() {
        let mut pending = pod();
        pending["status"] = json!({"phase": "Pending"});
        let pending = worker(pending).unwrap();
        assert_eq!((pending.address, pending.ready), (None, false));
    }

    #[test]
    fn pod_that_is_going_is_not_ready_and_one_that_ended_is_gone() {
        let mut going = pod();
        going["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:00Z");
        assert!(!worker(going).unwrap().ready);
        for phase in ["Failed", "Succeeded"] {
            let mut ended = pod();
            ended["status"]["phase"] = json!(phase);
            assert_eq!(worker(ended), None);
        }
    }

    #[test]
    fn pod_without_our_labels_is_none_of_ours() {
        for label in ["tidegate.dev/integration", "tidegate.dev/uid"] {
            let mut foreign = pod();
            foreign["metadata"]["labels"].as_object_mut().unwrap().remove(label);
            assert_eq!(worker(foreign), None);
        }
        assert_eq!(worker(json!({})), None);
        let mut odd = pod();
        odd["status"]["podIP"] = json!("not an address");
        assert_eq!(worker(odd).unwrap().address, None);
    }
}
