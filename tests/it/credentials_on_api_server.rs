//! Values that we issue, on a real API server, with a provider on a real socket.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus, kind};
use tidegate::api::credential::Credential;
use tidegate::net::Dialer;
use tidegate::net::policy::AddressPolicy;
use tidegate::provider::exchange::Network;

use crate::support::apiserver::{self, Place, eventually};
use crate::support::scoped::ControlPlane;
use crate::support::simulator::{Kind, Served, Settings, Simulator};

/// Longer than anything here takes.
const DEADLINE: u64 = 60;
const NAME: &str = "key";
const ISSUED: &str = "key-issued";

fn start(place: &Place) -> ControlPlane {
    ControlPlane::start_with(place, place.client.clone(), |settings| {
        let policy = AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        };
        settings.exchange = Arc::new(Network::new(Dialer::new(Arc::new(policy))));
    })
}

async fn create(place: &Place, name: &str, hosts: Value, mut spec: Value) {
    spec["allowedHosts"] = hosts;
    let manifest = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential", "metadata": {"name": name}, "spec": spec,
    });
    let object: Credential = serde_json::from_value(manifest).unwrap();
    place.api().create(&PostParams::default(), &object).await.unwrap();
}

async fn create_secret(place: &Place, manifest: Value) -> Secret {
    let object: Secret = serde_json::from_value(manifest).unwrap();
    place.api().create(&PostParams::default(), &object).await.unwrap()
}

/// The Credential, once it is as wanted.
async fn credential(place: &Place, name: &str, wanted: impl Fn(&Credential) -> bool) -> Credential {
    eventually(DEADLINE, || async {
        let found = place.api::<Credential>().get(name).await.unwrap();
        if wanted(&found) {
            Ok(found)
        } else {
            Err(format!("{:#?}", found.status))
        }
    })
    .await
}

fn condition(credential: &Credential, kind: &str) -> Option<Condition> {
    let conditions = credential.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|it| it.type_ == kind).cloned()
}

fn is_ready(credential: &Credential) -> bool {
    condition(credential, kind::READY).is_some_and(|it| it.status == ConditionStatus::True)
}

fn at_revision(revision: i64) -> impl Fn(&Credential) -> bool {
    move |it| {
        is_ready(it)
            && it
                .status
                .as_ref()
                .is_some_and(|status| status.revision == Some(revision))
    }
}

fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8(bytes.0.clone()).unwrap())
}

async fn merge(place: &Place, name: &str, patch: Value) {
    let api: Api<Secret> = place.api();
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn create_generated(place: &Place) {
    let spec = json!({"generated": {"length": 32}});
    create(place, NAME, json!(["api.example.com"]), spec).await;
}

async fn event(place: &Place, reason: &str) -> Event {
    eventually(DEADLINE, || async {
        let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let reasons: Vec<_> = events.iter().map(|it| it.reason.clone()).collect();
        let found = events.into_iter().find(|it| it.reason.as_deref() == Some(reason));
        found.ok_or_else(|| format!("{reasons:?}"))
    })
    .await
}

#[tokio::test]
async fn an_issued_secret_is_ours_and_keeps_what_others_put_there() {
    let place = apiserver::namespace("credential-issued").await;
    let plane = start(&place);
    create_generated(&place).await;
    let found = credential(&place, NAME, at_revision(1)).await;
    let secrets: Api<Secret> = place.api();
    let first = secrets.get(ISSUED).await.unwrap();
    assert_eq!(first.type_.as_deref(), Some("tidegate.dev/credential"));
    let [owner] = first.owner_references() else {
        panic!("{first:?}")
    };
    assert_eq!(
        (owner.kind.as_str(), Some(owner.uid.clone())),
        ("Credential", found.uid())
    );
    assert_eq!(owner.controller, Some(true));
    assert_eq!(first.labels()["app.kubernetes.io/managed-by"], "tidegate");
    assert_eq!(first.labels()["tidegate.dev/credential"], NAME);
    assert_eq!(first.annotations()["tidegate.dev/revision"], "1");
    assert!(value(&first, "previous.value").is_none());

    let stranger = json!({"metadata": {"labels": {"team": "shop"}, "annotations": {"example.com/note": "hers"}}});
    merge(&place, ISSUED, stranger).await;
    let rotate = json!({"metadata": {"annotations": {"tidegate.dev/rotate": "now"}}});
    let api: Api<Credential> = place.api();
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(rotate))
        .await
        .unwrap();
    credential(&place, NAME, at_revision(2)).await;
    let second = secrets.get(ISSUED).await.unwrap();
    assert_eq!(value(&second, "previous.value"), value(&first, "value"));
    assert_ne!(value(&second, "value"), value(&first, "value"));
    assert_eq!(second.annotations()["tidegate.dev/revision"], "2");
    assert_eq!(second.labels()["team"], "shop");
    assert_eq!(second.annotations()["example.com/note"], "hers");
    assert_eq!(event(&place, "Issued").await.type_.as_deref(), Some("Normal"));
    assert_eq!(
        event(&place, "Rotated").await.regarding.unwrap().name.as_deref(),
        Some(NAME)
    );

    let table = |arguments: &[&str]| String::from_utf8(place.kubectl(arguments).stdout).unwrap();
    let narrow = table(&["get", "credentials"]);
    for column in ["READY", "TYPE", "REVISION", "EXPIRES", "RENEWS", "AGE"] {
        assert!(narrow.contains(column), "{narrow}");
    }
    let wide = table(&["get", "tgcred", "--output", "wide"]);
    for column in ["STEP", "LAST-ROTATED", "REASON", "MESSAGE"] {
        assert!(wide.contains(column), "{wide}");
    }
    let row: Vec<&str> = wide.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..4], [NAME, "True", "Generated", "2"], "{wide}");
    plane.stop().await;
}

#[tokio::test]
async fn an_issued_secret_that_is_deleted_or_emptied_comes_back() {
    let place = apiserver::namespace("credential-back").await;
    let plane = start(&place);
    create_generated(&place).await;
    credential(&place, NAME, at_revision(1)).await;
    let secrets: Api<Secret> = place.api();
    secrets.delete(ISSUED, &DeleteParams::default()).await.unwrap();
    credential(&place, NAME, at_revision(2)).await;
    assert!(value(&secrets.get(ISSUED).await.unwrap(), "value").is_some());
    merge(&place, ISSUED, json!({"data": {"value": null}})).await;
    credential(&place, NAME, at_revision(3)).await;
    assert!(value(&secrets.get(ISSUED).await.unwrap(), "value").is_some());
    plane.stop().await;
}

#[tokio::test]
async fn a_secret_of_that_name_that_is_not_ours_is_told_and_left_alone() {
    let place = apiserver::namespace("credential-foreign").await;
    let manifest = json!({"metadata": {"name": ISSUED}, "stringData": {"value": "somebody's"}});
    let before = create_secret(&place, manifest).await;
    let plane = start(&place);
    create_generated(&place).await;
    let found = credential(&place, NAME, |it| condition(it, kind::STALLED).is_some()).await;
    let told = condition(&found, kind::READY).unwrap();
    assert_eq!(
        (told.status, told.reason.as_str()),
        (ConditionStatus::False, "InvalidSpec")
    );
    assert!(told.message.contains(ISSUED), "{}", told.message);
    let after = place.api::<Secret>().get(ISSUED).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    plane.stop().await;
}

/// A provider that adds keys, and the Credential that may.
async fn provider(place: &Place) -> (Simulator, Served, Value, Value) {
    let simulator = Simulator::new(Settings::default());
    let served = simulator.serve().await;
    let (hosts, base) = (
        json!([served.address.to_string()]),
        format!("http://{}", served.address),
    );
    create_secret(
        place,
        json!({"metadata": {"name": "admin"}, "stringData": {"token": "admin"}}),
    )
    .await;
    let bearer = json!({"bearer": {"secretRef": {"name": "admin", "key": "token"}}});
    create(place, "admin", hosts.clone(), bearer).await;
    let admin = json!({"name": "admin"});
    let steps = json!({
        "create": {
            "request": {
                "url": format!("{base}/keys"),
                "headers": {"Content-Type": "application/json"},
                "body": "{\"label\": \"{{ attempt.id }}\"}",
            },
            "credentialRef": admin,
            "extract": {"value": ".key", "id": ".id"},
        },
        "revoke": {
            "request": {"method": "DELETE", "url": format!("{base}/keys/{{{{ previous.id }}}}")},
            "credentialRef": admin,
        },
    });
    (
        simulator,
        served,
        hosts,
        json!({"bearer": {}, "rotation": {"steps": steps}}),
    )
}

#[tokio::test]
async fn a_credential_that_is_deleted_is_revoked_before_it_goes() {
    let place = apiserver::namespace("credential-revoke").await;
    let plane = start(&place);
    let (simulator, _served, hosts, spec) = provider(&place).await;
    create(&place, NAME, hosts, spec).await;
    let found = credential(&place, NAME, at_revision(1)).await;
    assert_eq!(found.finalizers(), ["tidegate.dev/revoke"]);
    let key = value(&place.api::<Secret>().get(ISSUED).await.unwrap(), "value").unwrap();
    assert!(simulator.accepts(&key));
    let credentials: Api<Credential> = place.api();
    credentials.delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually(DEADLINE, || async {
        let left = credentials.get_opt(NAME).await.unwrap();
        left.map_or(Ok(()), |it| Err(format!("{it:?}")))
    })
    .await;
    assert!(!simulator.accepts(&key));
    plane.stop().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told_before_a_provider_is_asked() {
    let place = apiserver::namespace("credential-quota").await;
    let (simulator, _served, hosts, spec) = provider(&place).await;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"secrets": "0"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
    let quotas: Api<ResourceQuota> = place.api();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    // Nobody here counts what is used, so it is said.
    let counted = json!({"status": {"hard": {"secrets": "0"}, "used": {"secrets": "0"}}});
    quotas
        .patch_status("none", &PatchParams::default(), &Patch::Merge(counted))
        .await
        .unwrap();
    let plane = start(&place);
    create(&place, NAME, hosts, spec).await;
    let failed = |it: &Credential| condition(it, kind::READY).is_some_and(|it| it.reason == "IssueFailed");
    let found = credential(&place, NAME, failed).await;
    let told = condition(&found, kind::READY).unwrap();
    assert!(told.message.contains("ResourceQuota"), "{}", told.message);
    let note = event(&place, "RotationFailed").await.note.unwrap();
    assert!(note.contains("ResourceQuota"), "{note}");
    assert!(simulator.live().iter().all(|it| it.kind != Kind::Key));
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    credential(&place, NAME, at_revision(1)).await;
    plane.stop().await;
}
