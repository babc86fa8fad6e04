//! The whole control plane on a real API server, with workers that are played.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus, kind};
use tidegate::api::credential::Credential;
use tidegate::api::integration::{CircuitState, Integration};
use tidegate::cluster::kubernetes::lease::Lease;
use tokio::time::timeout;

use crate::support::apiserver::{self, Place, eventually};
use crate::support::manifests;
use crate::support::scoped::ControlPlane;
use crate::support::workers::Played;

/// Longer than anything here takes.
const DEADLINE: u64 = 60;
const NAME: &str = "payments-api";

async fn apply<K>(place: &Place, manifest: Value) -> K
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
    let parameters = PatchParams::apply("a-person").force();
    place
        .api::<K>()
        .patch(&name, &parameters, &Patch::Apply(manifest))
        .await
        .unwrap()
}

async fn apply_secret(place: &Place, value: &str) {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payments-key"}, "stringData": {"key": value},
    });
    apply::<Secret>(place, manifest).await;
}

async fn apply_all(place: &Place) {
    apply_secret(place, "first").await;
    apply::<Credential>(place, manifests::credential(&place.namespace)).await;
    apply::<Integration>(place, manifests::integration(&place.namespace, NAME)).await;
}

fn is(conditions: &[Condition], kind: &str, status: ConditionStatus, reason: &str) -> bool {
    conditions
        .iter()
        .any(|it| it.type_ == kind && it.status == status && it.reason == reason)
}

/// The Integration, once it is as wanted.
async fn integration(place: &Place, name: &str, wanted: impl Fn(&Integration) -> bool) -> Integration {
    eventually(DEADLINE, || async {
        let found = place.api::<Integration>().get(name).await.unwrap();
        if wanted(&found) {
            Ok(found)
        } else {
            Err(format!("{:#?}", found.status))
        }
    })
    .await
}

async fn credential(place: &Place, wanted: impl Fn(&Credential) -> bool) -> Credential {
    eventually(DEADLINE, || async {
        let found = place.api::<Credential>().get("payments-key").await.unwrap();
        if wanted(&found) {
            Ok(found)
        } else {
            Err(format!("{:#?}", found.status))
        }
    })
    .await
}

fn conditions(integration: &Integration) -> &[Condition] {
    integration
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default()
}

fn ready(integration: &Integration) -> bool {
    conditions(integration).iter().any(|it| {
        it.type_ == kind::READY
            && it.status == ConditionStatus::True
            && it.observed_generation == integration.metadata.generation
    })
}

use ConditionStatus::{False, True};

#[tokio::test]
async fn an_applied_integration_becomes_ready_with_its_workers_and_an_edit_reaches_them() {
    let place = apiserver::namespace("controller-line").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_all(&place).await;
    let worker = Played::start(&place, NAME, "worker-1").await;
    let found = integration(&place, NAME, ready).await;
    let status = found.status.unwrap();
    assert_eq!(status.circuit, Some(CircuitState::Closed));
    assert_eq!(status.endpoints_healthy.as_deref(), Some("1/1"));
    assert_eq!((status.replicas, status.ready_replicas), (Some(1), Some(1)));
    credential(&place, |it| {
        it.status.as_ref().is_some_and(|status| status.consumers.len() == 1)
    })
    .await;

    let mut edited = manifests::integration(&place.namespace, NAME);
    edited["spec"]["timeouts"] = json!({"request": "7s"});
    apply::<Integration>(&place, edited).await;
    integration(&place, NAME, |it| ready(it) && it.metadata.generation == Some(2)).await;
    assert_eq!(worker.running().timeouts.request, Duration::from_secs(7));

    apply_secret(&place, "second").await;
    let rotated = |it: &Credential| {
        let status = it.status.as_ref();
        status.is_some_and(|status| status.revision == Some(2) && status.consumers.iter().all(|it| it.revision == 2))
    };
    credential(&place, rotated).await;
    plane.stop().await;
}

#[tokio::test]
async fn an_idle_control_plane_and_its_restart_write_nothing() {
    let place = apiserver::namespace("controller-idle").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_all(&place).await;
    let _worker = Played::start(&place, NAME, "worker-1").await;
    integration(&place, NAME, ready).await;
    credential(&place, |it| {
        it.status.as_ref().is_some_and(|status| status.consumers.len() == 1)
    })
    .await;
    // What was held back of the first burst is written at most one interval later.
    let quiet = eventually(DEADLINE, || async {
        let before = versions(&place).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let after = versions(&place).await;
        if before == after {
            Ok(after)
        } else {
            Err(format!("{before:?} became {after:?}"))
        }
    })
    .await;
    plane.stop().await;
    let faults = crate::support::fault::Faults::none();
    let counted = faults.place(&place).await;
    let plane = ControlPlane::start(&place, counted.client.clone());
    eventually(DEADLINE, || async {
        // Reads of both objects, and of what they refer to.
        if faults.calls() > 10 {
            Ok(())
        } else {
            Err(format!("{} calls", faults.calls()))
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(faults.writes(), 0);
    assert_eq!(versions(&place).await, quiet);
    plane.stop().await;
}

/// Of everything that the control plane writes in this namespace.
async fn versions(place: &Place) -> Vec<String> {
    async fn of<K>(place: &Place) -> Vec<String>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let all = place.api::<K>().list(&ListParams::default()).await.unwrap();
        let version = |it: &K| format!("{} {} {:?}", K::kind(&()), it.name_any(), it.resource_version());
        all.iter().map(version).collect()
    }
    [
        of::<Integration>(place).await,
        of::<Credential>(place).await,
        of::<Secret>(place).await,
        of::<Deployment>(place).await,
        of::<Service>(place).await,
        of::<ServiceAccount>(place).await,
        of::<NetworkPolicy>(place).await,
        of::<PodDisruptionBudget>(place).await,
        of::<Event>(place).await,
    ]
    .concat()
}

#[tokio::test]
async fn a_missing_secret_is_told_with_an_event_and_mends_when_it_appears() {
    let place = apiserver::namespace("controller-secret").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply::<Credential>(&place, manifests::credential(&place.namespace)).await;
    apply::<Integration>(&place, manifests::integration(&place.namespace, NAME)).await;
    credential(&place, |it| {
        it.status
            .as_ref()
            .is_some_and(|it| is(&it.conditions, kind::READY, False, "SecretNotFound"))
    })
    .await;
    let not_ready = |it: &Integration| is(conditions(it), kind::CREDENTIALS_READY, False, "CredentialNotReady");
    integration(&place, NAME, not_ready).await;
    let told = eventually(DEADLINE, || async {
        let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let told = events
            .into_iter()
            .find(|event| event.reason.as_deref() == Some("SecretNotFound"));
        told.ok_or_else(|| "no event".to_owned())
    })
    .await;
    assert_eq!(told.type_.as_deref(), Some("Warning"));
    assert_eq!(told.regarding.unwrap().name.as_deref(), Some("payments-key"));
    apply_secret(&place, "first").await;
    integration(&place, NAME, |it| {
        is(conditions(it), kind::CREDENTIALS_READY, True, "CredentialsReady")
    })
    .await;
    plane.stop().await;
}

#[tokio::test]
async fn a_host_that_is_not_allowed_stalls_and_an_edit_mends_it() {
    let place = apiserver::namespace("controller-host").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_secret(&place, "first").await;
    apply::<Credential>(&place, manifests::credential(&place.namespace)).await;
    let mut manifest = manifests::integration(&place.namespace, NAME);
    manifest["spec"]["endpoints"][0]["url"] = "https://elsewhere.example.com".into();
    apply::<Integration>(&place, manifest).await;
    integration(&place, NAME, |it| {
        is(conditions(it), kind::STALLED, True, "HostNotAllowed")
    })
    .await;
    assert!(
        place
            .api::<Deployment>()
            .get_opt("payments-api-worker")
            .await
            .unwrap()
            .is_none()
    );
    apply::<Integration>(&place, manifests::integration(&place.namespace, NAME)).await;
    integration(&place, NAME, |it| is(conditions(it), kind::ACCEPTED, True, "Accepted")).await;
    plane.stop().await;
}

#[tokio::test]
async fn a_service_of_that_name_that_is_not_ours_stalls_and_is_left_alone() {
    let place = apiserver::namespace("controller-taken").await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "somebody-else"}},
    });
    let before: Service = apply(&place, service).await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_all(&place).await;
    integration(&place, NAME, |it| {
        is(conditions(it), kind::STALLED, True, "AddressTaken")
    })
    .await;
    let after = place.api::<Service>().get(NAME).await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    plane.stop().await;
}

#[tokio::test]
async fn everything_we_make_goes_with_its_integration() {
    let place = apiserver::namespace("controller-owner").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_all(&place).await;
    let found = integration(&place, NAME, |it| is(conditions(it), kind::ACCEPTED, True, "Accepted")).await;
    let uid = found.uid().unwrap();
    let owned = |kind: &str, references: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        // No controller manager runs here; by this reference it would collect the object.
        assert_eq!(references.len(), 1, "{kind}");
        assert_eq!(
            (references[0].kind.as_str(), references[0].uid.as_str()),
            ("Integration", uid.as_str()),
            "{kind}"
        );
    };
    let worker = "payments-api-worker";
    owned(
        "Deployment",
        place.api::<Deployment>().get(worker).await.unwrap().owner_references(),
    );
    owned(
        "Service",
        place.api::<Service>().get(NAME).await.unwrap().owner_references(),
    );
    owned(
        "Secret",
        place.api::<Secret>().get(worker).await.unwrap().owner_references(),
    );
    owned(
        "ServiceAccount",
        place
            .api::<ServiceAccount>()
            .get(worker)
            .await
            .unwrap()
            .owner_references(),
    );
    owned(
        "NetworkPolicy",
        place
            .api::<NetworkPolicy>()
            .get(worker)
            .await
            .unwrap()
            .owner_references(),
    );
    owned(
        "PodDisruptionBudget",
        place
            .api::<PodDisruptionBudget>()
            .get(worker)
            .await
            .unwrap()
            .owner_references(),
    );
    assert_eq!(found.finalizers(), [""; 0], "nothing of ours keeps it");

    place
        .api::<Integration>()
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
    // What drifts now is not made again; what belongs to an Integration that is there is, and was deleted later.
    let mut other = manifests::integration(&place.namespace, "other-api");
    other["spec"]["credentialRefs"] = json!([]);
    apply::<Integration>(&place, other).await;
    let deployments = place.api::<Deployment>();
    let other = |before: Option<String>| {
        let deployments = deployments.clone();
        eventually(DEADLINE, move || {
            let (deployments, before) = (deployments.clone(), before.clone());
            async move {
                let uid = deployments
                    .get_opt("other-api-worker")
                    .await
                    .unwrap()
                    .and_then(|it| it.uid());
                uid.filter(|uid| Some(uid) != before.as_ref())
                    .ok_or_else(|| "not made".to_owned())
            }
        })
    };
    let made = other(None).await;
    deployments.delete(worker, &DeleteParams::default()).await.unwrap();
    deployments
        .delete("other-api-worker", &DeleteParams::default())
        .await
        .unwrap();
    other(Some(made)).await;
    assert!(deployments.get_opt(worker).await.unwrap().is_none());
    plane.stop().await;
}

#[tokio::test]
async fn what_somebody_deletes_or_changes_is_made_again() {
    let place = apiserver::namespace("controller-drift").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_all(&place).await;
    integration(&place, NAME, |it| is(conditions(it), kind::ACCEPTED, True, "Accepted")).await;
    let deployments = place.api::<Deployment>();
    let before = deployments.get("payments-api-worker").await.unwrap();
    deployments
        .delete("payments-api-worker", &DeleteParams::default())
        .await
        .unwrap();
    place
        .api::<Service>()
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
    eventually(DEADLINE, || async {
        let after = deployments.get_opt("payments-api-worker").await.unwrap();
        let service = place.api::<Service>().get_opt(NAME).await.unwrap();
        if after.is_some_and(|it| it.uid() != before.uid()) && service.is_some() {
            Ok(())
        } else {
            Err("gone".into())
        }
    })
    .await;
    let zero = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments
        .patch("payments-api-worker", &PatchParams::default(), &zero)
        .await
        .unwrap();
    eventually(DEADLINE, || async {
        let replicas = deployments
            .get("payments-api-worker")
            .await
            .unwrap()
            .spec
            .unwrap()
            .replicas;
        if replicas == Some(2) {
            Ok(())
        } else {
            Err(format!("{replicas:?}"))
        }
    })
    .await;
    plane.stop().await;
}

#[tokio::test]
async fn a_lost_worker_votes_unknown_until_its_pod_is_gone() {
    let place = apiserver::namespace("controller-lost").await;
    let plane = ControlPlane::start(&place, place.client.clone());
    apply_all(&place).await;
    let _here = Played::start(&place, NAME, "worker-1").await;
    let lost = Played::start(&place, NAME, "worker-2").await;
    let circuit = |wanted| move |it: &Integration| it.status.as_ref().is_some_and(|it| it.circuit == Some(wanted));
    integration(&place, NAME, |it| ready(it) && circuit(CircuitState::Closed)(it)).await;
    lost.fall_silent();
    let found = integration(&place, NAME, circuit(CircuitState::Unknown)).await;
    assert_eq!(found.status.as_ref().unwrap().endpoints[0].circuit.workers.unknown, 1);
    assert!(ready(&found), "what it ran it still runs");
    lost.delete().await;
    integration(&place, NAME, circuit(CircuitState::Closed)).await;
    plane.stop().await;
}

#[tokio::test]
async fn a_lease_has_one_holder_and_passes_on_at_once_when_it_is_given_back() {
    let place = apiserver::namespace("controller-lease").await;
    let lease = |who: &str| {
        Lease::new(
            place.client.clone(),
            &place.namespace,
            "tidegate-controller",
            who.to_owned(),
        )
    };
    let first = lease("first").acquire().await;
    let mut second = tokio::spawn(lease("second").acquire());
    assert!(
        timeout(Duration::from_secs(3), &mut second).await.is_err(),
        "two hold it"
    );
    first.release().await;
    let held = timeout(Duration::from_secs(DEADLINE), second)
        .await
        .expect("it passes on")
        .unwrap();
    let object = place.api::<LeaseObject>().get("tidegate-controller").await.unwrap();
    assert_eq!(object.spec.unwrap().holder_identity.as_deref(), Some("second"));
    drop(held);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_taken_and_who_lost_it_hears_of_it() {
    let place = apiserver::namespace("controller-lost-lease").await;
    let lease = |who: &str| {
        Lease::new(
            place.client.clone(),
            &place.namespace,
            "tidegate-controller",
            who.to_owned(),
        )
    };
    let mut first = lease("first").acquire().await;
    // It renews in the middle of this, so that what is written next is not what it knows.
    let api = place.api::<LeaseObject>();
    let taken = json!({"spec": {"holderIdentity": "zombie", "leaseDurationSeconds": 1}});
    api.patch("tidegate-controller", &PatchParams::default(), &Patch::Merge(taken))
        .await
        .unwrap();
    let lost = timeout(Duration::from_secs(DEADLINE), first.keep())
        .await
        .expect("it is lost");
    assert!(lost.to_string().contains("zombie holds it"), "{lost}");
    let _second = timeout(Duration::from_secs(DEADLINE), lease("second").acquire())
        .await
        .expect("it expires");
}

/// Both kinds under a CRD that lets anything through, on an API server of its own: the schema of the shared one is what
/// other tests are about.
#[tokio::test]
async fn an_object_that_does_not_decode_is_told_of_and_stops_nothing_else() {
    let server = apiserver::alone().await;
    let place = &server.place;
    let definitions: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    for name in ["integrations.tidegate.dev", "credentials.tidegate.dev"] {
        let mut definition = definitions.get(name).await.unwrap();
        for version in &mut definition.spec.versions {
            version.selectable_fields = None;
            let anything = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            version.schema = Some(serde_json::from_value(anything).unwrap());
        }
        definitions
            .replace(name, &PostParams::default(), &definition)
            .await
            .unwrap();
    }
    let plane = ControlPlane::start(place, place.client.clone());
    let broken = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Integration", "metadata": {"name": "broken"},
        "spec": {"protocol": "Carrier pigeon", "endpoints": "canary-5d41402a"},
    });
    let raw: Api<kube::api::DynamicObject> = Api::namespaced_with(
        place.client.clone(),
        &place.namespace,
        &kube::api::ApiResource::erase::<Integration>(&()),
    );
    eventually(DEADLINE, || async {
        // The API server takes a moment to go by the new schema.
        let parameters = PatchParams::apply("a-person").force();
        raw.patch("broken", &parameters, &Patch::Apply(&broken))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    apply_all(place).await;
    integration(place, NAME, |it| is(conditions(it), kind::ACCEPTED, True, "Accepted")).await;
    let told = eventually(DEADLINE, || async {
        let found = raw.get("broken").await.unwrap();
        let told = found.data["status"]["conditions"].to_string();
        if told.contains("InvalidSpec") {
            Ok(told)
        } else {
            Err(told)
        }
    })
    .await;
    assert!(
        !told.contains("canary-5d41402a"),
        "what is stored is not quoted: {told}"
    );
    plane.stop().await;
}
