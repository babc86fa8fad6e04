//! What is made for an Integration, and what is not touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tidegate::api::integration::{ResourceAmounts, Resources};
use tidegate::domain::plan::Plan;
use tidegate::fleet::kubernetes::Settings;
use tidegate::fleet::{Fleet, FleetError, Workload};

use super::{fleet, plan, secret, settings};
use crate::support::apiserver::{self, Place};
use crate::support::fault::{Fault, Faults};
use crate::support::sample;

/// Everything that stands in the namespace and is ours, by kind and name.
async fn objects(place: &Place) -> BTreeMap<String, Value> {
    async fn of<K>(place: &Place, found: &mut BTreeMap<String, Value>)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let ours = ListParams::default().labels("tidegate.dev/integration");
        for object in place.api::<K>().list(&ours).await.unwrap() {
            let name = format!("{} {}", K::kind(&()), object.name_any());
            found.insert(name, serde_json::to_value(object).unwrap());
        }
    }
    let mut found = BTreeMap::new();
    of::<ServiceAccount>(place, &mut found).await;
    of::<Secret>(place, &mut found).await;
    of::<NetworkPolicy>(place, &mut found).await;
    of::<Service>(place, &mut found).await;
    of::<PodDisruptionBudget>(place, &mut found).await;
    of::<Deployment>(place, &mut found).await;
    found
}

/// The resource versions of those: any write changes one.
async fn versions(place: &Place) -> BTreeMap<String, String> {
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    objects(place)
        .await
        .iter()
        .map(|(name, object)| (name.clone(), version(object)))
        .collect()
}

/// What a reader of the objects sees, without what differs between two that were made alike.
async fn wishes(place: &Place) -> BTreeMap<String, Value> {
    let mut objects = objects(place).await;
    for object in objects.values_mut() {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.retain(|name, _| ["name", "labels", "annotations", "ownerReferences"].contains(&name.as_str()));
        metadata
            .get_mut("annotations")
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("tidegate.dev/applied");
        for key in ["tls.crt", "tls.key", "ca.crt"] {
            if let Some(value) = object.pointer_mut(&format!("/data/{key}")) {
                *value = Value::Null;
            }
        }
        if let Some(spec) = object.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.retain(|name, _| !["clusterIP", "clusterIPs"].contains(&name.as_str()));
        }
    }
    objects
}

/// Names the objects that differ, and shows one of them.
fn assert_same(found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, object) in found {
        assert_eq!(object, &expected[name], "{name}");
    }
}

async fn patch<K>(place: &Place, name: &str, patch: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let params = PatchParams {
        field_manager: Some("somebody".into()),
        ..PatchParams::default()
    };
    place
        .api::<K>()
        .patch(name, &params, &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test]
async fn programming_makes_six_objects_and_a_second_time_writes_nothing() {
    let place = apiserver::namespace("fleet-idle").await;
    let fleet = fleet(&place, settings(&place));
    let workload = sample::workload(plan(&place));
    fleet.program(&workload).await.unwrap();
    let made = versions(&place).await;
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        [
            "Deployment payments-api-worker",
            "NetworkPolicy payments-api-worker",
            "PodDisruptionBudget payments-api-worker",
            "Secret payments-api-worker",
            "Service payments-api",
            "ServiceAccount payments-api-worker",
        ]
    );
    fleet.program(&workload).await.unwrap();
    assert_eq!(versions(&place).await, made);

    // Nor does another replica that takes over: all it needs to know is stored.
    let other = super::fleet(&place, settings(&place));
    other.program(&workload).await.unwrap();
    assert_eq!(versions(&place).await, made);
    let stored = other
        .programmed(&workload.plan.integration, &workload.plan.uid)
        .await
        .unwrap();
    assert_eq!(stored.as_ref(), Some(&*workload.plan));
    let namesake = other
        .programmed(&workload.plan.integration, "another-uid")
        .await
        .unwrap();
    assert_eq!(namesake, None);
}

#[tokio::test]
async fn idle_program_sends_no_write_at_all() {
    let place = apiserver::namespace("fleet-quiet").await;
    let faults = Faults::none();
    let fleet = super::fleet(&faults.place(&place).await, settings(&place));
    let workload = Workload {
        resources: Some(Resources {
            requests: Some(ResourceAmounts {
                cpu: Some("0.05".into()),
                memory: Some("1024Mi".into()),
            }),
            limits: None,
        }),
        access: vec!["web".into()],
        ..sample::workload(plan(&place))
    };
    fleet.program(&workload).await.unwrap();
    let first = faults.writes();
    assert_eq!(first, 7, "six objects and the authority");
    fleet.program(&workload).await.unwrap();
    assert_eq!(faults.writes(), first);
}

#[tokio::test]
async fn edit_of_the_plan_writes_the_secret_alone() {
    let place = apiserver::namespace("fleet-edit").await;
    let fleet = fleet(&place, settings(&place));
    fleet.program(&sample::workload(plan(&place))).await.unwrap();
    let before = versions(&place).await;
    let edited = Plan {
        revision: 8,
        generation: 4,
        reset_circuit: Some("now".into()),
        ..plan(&place)
    };
    fleet.program(&sample::workload(edited)).await.unwrap();
    let after = versions(&place).await;
    let changed: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(changed, ["Secret payments-api-worker"]);
}

#[tokio::test]
async fn what_somebody_changes_is_changed_back_and_what_somebody_adds_stays() {
    let place = apiserver::namespace("fleet-drift").await;
    let fleet = fleet(&place, settings(&place));
    let workload = sample::workload(plan(&place));
    fleet.program(&workload).await.unwrap();
    let made = wishes(&place).await;

    let name = "payments-api-worker";
    patch::<Deployment>(&place, name, json!({"spec": {"replicas": 7}})).await;
    patch::<Service>(
        &place,
        "payments-api",
        json!({"spec": {"selector": {"app": "hijacked"}}}),
    )
    .await;
    patch::<NetworkPolicy>(&place, name, json!({"spec": {"ingress": [{}]}})).await;
    patch::<Secret>(&place, name, json!({"data": {"plan.json": "e30="}})).await;
    patch::<ServiceAccount>(&place, name, json!({"automountServiceAccountToken": true})).await;
    place
        .api::<PodDisruptionBudget>()
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    let note = json!({"metadata": {"annotations": {"team": "payments"}}});
    patch::<Deployment>(&place, name, note).await;
    fleet.program(&workload).await.unwrap();

    let deployment = place.api::<Deployment>().get(name).await.unwrap();
    assert_eq!(deployment.annotations()["team"], "payments");
    patch::<Deployment>(&place, name, json!({"metadata": {"annotations": {"team": null}}})).await;
    assert_same(&wishes(&place).await, &made);
}

#[tokio::test]
async fn what_is_no_longer_wanted_goes() {
    let place = apiserver::namespace("fleet-less").await;
    let guarded = settings(&place);
    let open = Settings {
        network_policy: false,
        image_pull_policy: None,
        ..settings(&place)
    };
    let pulled = Settings {
        image_pull_policy: Some("Always".into()),
        ..guarded
    };
    let workload = sample::workload(plan(&place));
    let of = async |settings: Settings| super::fleet(&place, settings).program(&workload).await.unwrap();
    of(pulled).await;
    let image_pull_policy = async || {
        let deployment = place.api::<Deployment>().get("payments-api-worker").await.unwrap();
        deployment
            .spec
            .unwrap()
            .template
            .spec
            .unwrap()
            .containers
            .remove(0)
            .image_pull_policy
    };
    assert_eq!(image_pull_policy().await.as_deref(), Some("Always"));
    of(open.clone()).await;
    assert_eq!(
        image_pull_policy().await.as_deref(),
        Some("IfNotPresent"),
        "what the server says by itself"
    );
    assert!(
        !objects(&place)
            .await
            .keys()
            .any(|name| name.starts_with("NetworkPolicy"))
    );

    // A policy that somebody else has under that name is none of our business.
    let foreign: NetworkPolicy = serde_json::from_value(json!({
        "metadata": {"name": "payments-api-worker"}, "spec": {"podSelector": {}},
    }))
    .unwrap();
    let policies = place.api::<NetworkPolicy>();
    policies.create(&PostParams::default(), &foreign).await.unwrap();
    of(open).await;
    policies.get("payments-api-worker").await.unwrap();
}

#[tokio::test]
async fn service_of_somebody_else_stops_it_all_and_stays_as_it_is() {
    let place = apiserver::namespace("fleet-taken").await;
    let foreign: Service = serde_json::from_value(json!({
        "metadata": {"name": "payments-api"},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }))
    .unwrap();
    let services = place.api::<Service>();
    let before = services.create(&PostParams::default(), &foreign).await.unwrap();
    let fleet = fleet(&place, settings(&place));
    let error = fleet.program(&sample::workload(plan(&place))).await.unwrap_err();
    let FleetError::NameTaken { kind: "Service", key } = &error else {
        panic!("{error}");
    };
    assert_eq!(&*key.name, "payments-api");
    assert_eq!(services.get("payments-api").await.unwrap(), before);
    assert_eq!(objects(&place).await, BTreeMap::new(), "nothing was made");

    // Once it is out of the way, everything goes on.
    services.delete("payments-api", &DeleteParams::default()).await.unwrap();
    fleet.program(&sample::workload(plan(&place))).await.unwrap();
    assert_eq!(objects(&place).await.len(), 6);
}

#[tokio::test]
async fn objects_of_a_predecessor_of_the_same_name_are_waited_for() {
    let place = apiserver::namespace("fleet-again").await;
    let fleet = fleet(&place, settings(&place));
    fleet.program(&sample::workload(plan(&place))).await.unwrap();
    let before = versions(&place).await;
    let successor = Plan {
        uid: "uid-of-the-successor".into(),
        ..plan(&place)
    };
    let error = fleet.program(&sample::workload(successor)).await.unwrap_err();
    assert!(matches!(error, FleetError::Failed { .. }), "worth another try: {error}");
    assert_eq!(versions(&place).await, before);
}

#[tokio::test]
async fn pod_is_admitted_where_pod_security_is_restricted() {
    let place = apiserver::namespace("fleet-restricted").await;
    let label = json!({"metadata": {"labels": {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }}});
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces
        .patch(&place.namespace, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let everything = Settings {
        allow_loopback: true,
        denied: vec!["10.0.0.0/8".parse().unwrap()],
        extra_args: vec!["--admin=[::]:9090".into()],
        ..settings(&place)
    };
    fleet(&place, everything)
        .program(&sample::workload(plan(&place)))
        .await
        .unwrap();
    let deployment = place.api::<Deployment>().get("payments-api-worker").await.unwrap();
    let template = deployment.spec.unwrap().template;
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some("payments-api-worker-1".into()),
            ..template.metadata.unwrap()
        },
        spec: template.spec,
        status: None,
    };
    let pods = place.api::<Pod>();
    let made = pods.create(&PostParams::default(), &pod).await.unwrap();
    let volumes = made.spec.clone().unwrap().volumes.unwrap();
    assert_eq!(volumes.len(), 1, "no token was mounted: {volumes:?}");
    // So that it can be seen to fail: the same Pod with one thing more.
    let mut privileged = pod;
    privileged.metadata.name = Some("privileged".into());
    privileged.spec.as_mut().unwrap().host_network = Some(true);
    let refused = pods.create(&PostParams::default(), &privileged).await.unwrap_err();
    assert!(refused.to_string().contains("restricted"), "{refused}");
}

#[tokio::test]
async fn certificate_is_kept_over_edits() {
    let place = apiserver::namespace("fleet-cert").await;
    let fleet = fleet(&place, settings(&place));
    fleet.program(&sample::workload(plan(&place))).await.unwrap();
    let before = secret(&place, &plan(&place)).await.data.unwrap();
    let edited = Plan {
        revision: 8,
        ..plan(&place)
    };
    fleet.program(&sample::workload(edited)).await.unwrap();
    let after = secret(&place, &plan(&place)).await.data.unwrap();
    assert_ne!(before["plan.json"], after["plan.json"]);
    for key in ["tls.crt", "tls.key", "ca.crt"] {
        assert_eq!(before[key], after[key], "{key}");
    }
}

#[tokio::test]
async fn refusal_of_the_api_server_is_told_with_the_object_and_without_a_secret() {
    let place = apiserver::namespace("fleet-refused").await;
    let fleet = fleet(&place, settings(&place));
    let workload = Workload {
        resources: Some(Resources {
            requests: Some(ResourceAmounts {
                cpu: None,
                memory: Some("2Gi".into()),
            }),
            limits: Some(ResourceAmounts {
                cpu: None,
                memory: Some("1Gi".into()),
            }),
        }),
        ..sample::workload(plan(&place))
    };
    let error = fleet.program(&workload).await.unwrap_err();
    assert!(
        matches!(error, FleetError::Refused { kind: "Deployment", .. }),
        "{error}"
    );
    // Too large for a Secret.
    let huge = Plan {
        reset_circuit: Some("x".repeat(2 << 20)),
        ..plan(&place)
    };
    let error = fleet.program(&sample::workload(huge)).await.unwrap_err();
    assert!(matches!(error, FleetError::Refused { kind: "Secret", .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn fault_at_any_call_leaves_nothing_that_the_next_run_does_not_mend() {
    let clean = apiserver::namespace("fleet-fault").await;
    fleet(&clean, settings(&clean))
        .program(&sample::workload(plan(&clean)))
        .await
        .unwrap();
    let expected = anonymous(&clean, wishes(&clean).await);
    for fault in [Fault::NotSent, Fault::AnswerLost] {
        for call in 1.. {
            let place = apiserver::namespace("fleet-fault").await;
            let faults = Faults::at(call, fault);
            let workload = sample::workload(plan(&place));
            let fleet = super::fleet(&faults.place(&place).await, settings(&place));
            let first = fleet.program(&workload).await;
            if faults.calls() < call {
                first.unwrap();
                assert!(call > 10, "the loop met every call");
                break;
            }
            // What fails is told, except where the fault hit nobody: the answer of a create that is simply repeated.
            fleet.program(&workload).await.unwrap();
            assert_eq!(
                anonymous(&place, wishes(&place).await),
                expected,
                "{fault:?} at call {call}"
            );
            let before = (versions(&place).await, faults.writes());
            Arc::clone(&fleet).program(&workload).await.unwrap();
            assert_eq!(
                (versions(&place).await, faults.writes()),
                before,
                "{fault:?} at call {call}"
            );
        }
    }
}

/// The same wishes as if they had been made in one and the same namespace.
fn anonymous(place: &Place, wishes: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let plain = |value: Value| {
        let mut value = value;
        if let Some(plan) = value.pointer_mut("/data/plan.json") {
            // Holds the namespace and the UID in base64.
            *plan = Value::Null;
        }
        let text = value.to_string().replace(&place.namespace, "the-namespace");
        serde_json::from_str(&text).unwrap()
    };
    wishes.into_iter().map(|(name, value)| (name, plain(value))).collect()
}
