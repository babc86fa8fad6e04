//! The same with a real API server between: a layer on the client fails the n-th write, the process dies of it, and the
//! next one finds what there is.

use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate::api::credential::Credential;
use tidegate::api::integration::Integration;

use crate::support::apiserver::{self, Place, eventually};
use crate::support::fault::{Fault, Faults};
use crate::support::manifests;
use crate::support::scoped::ControlPlane;

/// Longer than anything here takes.
const DEADLINE: u64 = 60;
/// After so many calls a control plane that has just started has looked at everything.
const LOOKED: usize = 25;

async fn apply<K>(place: &Place, manifest: Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
    let parameters = PatchParams::apply("a-person").force();
    place
        .api::<K>()
        .patch(&name, &parameters, &Patch::Apply(manifest))
        .await
        .unwrap();
}

async fn create(place: &Place) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payments-key"}, "stringData": {"key": "first"},
    });
    apply::<Secret>(place, secret).await;
    apply::<Credential>(place, manifests::credential(&place.namespace)).await;
    apply::<Integration>(place, manifests::integration(&place.namespace, "payments-api")).await;
}

async fn edit(place: &Place) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payments-key"}, "stringData": {"key": "second"},
    });
    apply::<Secret>(place, secret).await;
    let mut manifest = manifests::integration(&place.namespace, "payments-api");
    manifest["spec"]["workers"] = json!({"replicas": 3});
    manifest["spec"]["access"] = json!({"namespaces": ["checkout"]});
    apply::<Integration>(place, manifest).await;
}

/// Everything that the control plane has made or written here, without what no two runs have in common.
async fn objects(place: &Place) -> String {
    async fn of<K>(place: &Place, all: &mut Vec<Value>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        for object in place.api::<K>().list(&ListParams::default()).await.unwrap() {
            // Of two runs no two authorities are the same.
            if ["tidegate-ca", "payments-key", "default"].contains(&object.name_any().as_str())
                && K::kind(&()) != "Credential"
            {
                continue;
            }
            let mut object = serde_json::to_value(object).unwrap();
            if let Some(plan) = object.pointer("/data/plan.json").and_then(Value::as_str) {
                use base64::Engine;
                let text = base64::engine::general_purpose::STANDARD.decode(plan).unwrap();
                object["data"] = serde_json::from_slice(&text).unwrap();
                // Two edits side by side make one plan or two.
                object["data"]["revision"] = Value::Null;
            }
            mask(&mut object);
            all.push(object);
        }
    }
    let mut all = Vec::new();
    of::<Integration>(place, &mut all).await;
    of::<Credential>(place, &mut all).await;
    of::<Secret>(place, &mut all).await;
    of::<ServiceAccount>(place, &mut all).await;
    of::<NetworkPolicy>(place, &mut all).await;
    of::<Service>(place, &mut all).await;
    of::<PodDisruptionBudget>(place, &mut all).await;
    of::<Deployment>(place, &mut all).await;
    let uid = place
        .api::<Integration>()
        .get("payments-api")
        .await
        .unwrap()
        .uid()
        .unwrap();
    serde_json::to_string_pretty(&all)
        .unwrap()
        .replace(&place.namespace, "NAMESPACE")
        .replace(&uid, "UID")
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match name.as_str() {
                    "since"
                    | "lastTransitionTime"
                    | "lastRotationTime"
                    | "creationTimestamp"
                    | "resourceVersion"
                    | "uid"
                    | "secretVersion"
                    | "managedFields"
                    | "clusterIP"
                    | "clusterIPs"
                    | "tidegate.dev/applied" => *value = Value::Null,
                    _ => mask(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// What is stored when all has come to rest, after a step in which nothing fails.
async fn rest(place: &Place) -> String {
    eventually(DEADLINE, || async {
        let before = objects(place).await;
        // Longer than a status may be held back.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let after = objects(place).await;
        if before == after {
            Ok(after)
        } else {
            Err(super::difference(&before, &after))
        }
    })
    .await
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Whether everything is there already when the step begins.
    edits: bool,
    write: usize,
    fault: Fault,
}

/// Runs one case; says whether the write was made at all.
async fn run(case: Case, reference: &str) -> bool {
    let place = apiserver::namespace("faults").await;
    create(&place).await;
    if case.edits {
        let plane = ControlPlane::start(&place, place.client.clone());
        settled(&place).await;
        plane.kill().await;
        edit(&place).await;
    }
    let faults = Faults::at_write(case.write, case.fault);
    let plane = ControlPlane::start(&place, faults.place(&place).await.client.clone());
    let failed = eventually(DEADLINE, || async {
        if faults.writes() >= case.write {
            return Ok(true);
        }
        if objects(&place).await == reference {
            Ok(false)
        } else {
            Err("neither".to_owned())
        }
    })
    .await;
    // Time for what was written to be there, and none to put it right.
    tokio::task::yield_now().await;
    plane.kill().await;
    if !failed {
        return false;
    }

    let plane = ControlPlane::start(&place, place.client.clone());
    eventually(DEADLINE, || async {
        let found = objects(&place).await;
        if found == reference {
            Ok(())
        } else {
            Err(format!("{case:?}: {}", super::difference(reference, &found)))
        }
    })
    .await;
    plane.stop().await;

    let counted = Faults::none();
    let plane = ControlPlane::start(&place, counted.place(&place).await.client.clone());
    eventually(DEADLINE, || async {
        if counted.calls() >= LOOKED {
            Ok(())
        } else {
            Err(format!("{} calls", counted.calls()))
        }
    })
    .await;
    plane.stop().await;
    assert_eq!(counted.writes(), 0, "{case:?}: a further run");
    true
}

/// Waits until the first step is done.
async fn settled(place: &Place) {
    eventually(DEADLINE, || async {
        let integration = place.api::<Integration>().get("payments-api").await.unwrap();
        let credential = place.api::<Credential>().get("payments-key").await.unwrap();
        let accepted = integration.status.is_some_and(|status| {
            status
                .conditions
                .iter()
                .any(|it| it.type_ == "CredentialsReady" && it.reason == "CredentialsReady")
        });
        let revised = credential.status.is_some_and(|status| status.revision == Some(1));
        let made = place
            .api::<Deployment>()
            .get_opt("payments-api-worker")
            .await
            .unwrap()
            .is_some();
        if accepted && revised && made {
            Ok(())
        } else {
            Err("not settled".to_owned())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn intermediate_every_write_to_the_api_server_fails_once() {
    for edits in [false, true] {
        let place = apiserver::namespace("faults-reference").await;
        create(&place).await;
        let plane = ControlPlane::start(&place, place.client.clone());
        settled(&place).await;
        if edits {
            edit(&place).await;
        }
        let reference = rest(&place).await;
        plane.stop().await;
        // No step takes more writes than this; those that it does not take end their case early.
        let cases =
            (1..=14).flat_map(|write| [Fault::NotSent, Fault::AnswerLost].map(|fault| Case { edits, write, fault }));
        let runs = stream::iter(cases)
            .map(|case| run(case, &reference))
            .buffer_unordered(4);
        let failed = runs.filter(|failed| std::future::ready(*failed)).count().await;
        println!("{failed} runs, each with another write to the API server that failed");
        assert!(
            failed >= if edits { 8 } else { 16 },
            "only {failed} writes were made to fail"
        );
    }
}
