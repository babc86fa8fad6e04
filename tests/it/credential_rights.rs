//! What the API server lets the controller do, and what is told of the rest.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus, kind};
use tidegate::api::credential::Credential;
use tidegate::cluster::kubernetes::Kubernetes;
use tidegate::cluster::{Cluster, Notice, Regarding};
use tidegate::domain::key::Key;
use tokio_util::sync::CancellationToken;

use crate::support::apiserver::{self, Place, eventually};
use crate::support::scoped::ControlPlane;

/// Longer than anything here takes.
const DEADLINE: u64 = 60;
const USER: &str = "a-limited-controller";

/// A client of somebody who may do what the rules say, in this namespace.
async fn limited(place: &Place, rules: Value) -> Client {
    let role: Role = serde_json::from_value(json!({"metadata": {"name": "limited"}, "rules": rules})).unwrap();
    place.api().create(&PostParams::default(), &role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "limited"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }))
    .unwrap();
    place.api().create(&PostParams::default(), &binding).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(apiserver::kubeconfig().await).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.auth_info.impersonate = Some(USER.to_owned());
    Client::try_from(config).unwrap()
}

fn rules(secrets: &[&str]) -> Value {
    json!([
        {"apiGroups": ["tidegate.dev"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": secrets},
    ])
}

async fn create(place: &Place, name: &str, secret: &str) {
    let manifest = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential", "metadata": {"name": name},
        "spec": {"allowedHosts": ["api.example.com"], "bearer": {"secretRef": {"name": secret, "key": "token"}}},
    });
    let object: Credential = serde_json::from_value(manifest).unwrap();
    place.api().create(&PostParams::default(), &object).await.unwrap();
}

async fn ready(place: &Place, name: &str, wanted: impl Fn(&Condition) -> bool) -> Condition {
    eventually(DEADLINE, || async {
        let found = place.api::<Credential>().get(name).await.unwrap();
        let conditions = found.status.iter().flat_map(|status| &status.conditions);
        let ready = conditions.into_iter().find(|it| it.type_ == kind::READY).cloned();
        ready.filter(&wanted).ok_or_else(|| format!("{:#?}", found.status))
    })
    .await
}

async fn create_secret(place: &Place, manifest: Value) {
    let object: Secret = serde_json::from_value(manifest).unwrap();
    place.api().create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_alike_whether_or_not_the_secret_exists() {
    let place = apiserver::namespace("credential-rights").await;
    create_secret(
        &place,
        json!({"metadata": {"name": "there"}, "stringData": {"token": "t"}}),
    )
    .await;
    create(&place, "a", "there").await;
    create(&place, "b", "nowhere").await;
    let client = limited(&place, rules(&["create", "patch"])).await;
    let plane = ControlPlane::start(&place, client);
    let forbidden = |it: &Condition| it.reason == "Forbidden";
    let a = ready(&place, "a", forbidden).await;
    let b = ready(&place, "b", forbidden).await;
    assert_eq!(
        (a.status, b.status),
        (ConditionStatus::Unknown, ConditionStatus::Unknown)
    );
    assert!(a.message.contains("not allowed to get Secret"), "{}", a.message);
    assert_eq!(a.message.replace("there", "x"), b.message.replace("nowhere", "x"));
    let found = place.api::<Event>().list(&ListParams::default()).await.unwrap();
    assert!(
        found.iter().any(|it| it.reason.as_deref() == Some("Forbidden")),
        "{found:?}"
    );
    // The grant helps without an edit of the Credential.
    let roles: Api<Role> = place.api();
    let granted = json!({"rules": rules(&["get", "create", "patch"])});
    roles
        .patch("limited", &PatchParams::default(), &Patch::Merge(granted))
        .await
        .unwrap();
    ready(&place, "a", |it| it.status == ConditionStatus::True).await;
    ready(&place, "b", |it| it.reason == "SecretNotFound").await;
    plane.stop().await;
}

#[tokio::test]
async fn tokens_of_the_cluster_and_what_is_ours_are_told_of_like_what_does_not_exist() {
    let place = apiserver::namespace("credential-withheld").await;
    for (name, kind, labels) in [
        ("bootstrap", "bootstrap.kubernetes.io/token", json!({})),
        ("issued", "tidegate.dev/credential", json!({})),
        ("pending", "tidegate.dev/pending", json!({})),
        ("plan", "Opaque", json!({"app.kubernetes.io/managed-by": "tidegate"})),
    ] {
        let manifest =
            json!({"metadata": {"name": name, "labels": labels}, "type": kind, "stringData": {"token": "t"}});
        create_secret(&place, manifest).await;
    }
    let token = json!({
        "metadata": {"name": "account", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token", "stringData": {"token": "t"},
    });
    create_secret(&place, token).await;
    let names = ["absent", "bootstrap", "issued", "pending", "plan", "account"];
    for name in names {
        create(&place, &format!("of-{name}"), name).await;
    }
    let plane = ControlPlane::start(&place, place.client.clone());
    let mut told = Vec::new();
    for name in names {
        let found = ready(&place, &format!("of-{name}"), |it| it.status == ConditionStatus::False).await;
        told.push((found.reason, found.message.replace(name, "x")));
    }
    assert!(told.iter().all(|it| *it == told[0]), "{told:#?}");
    assert_eq!(told[0].0, "SecretNotFound");
    plane.stop().await;
}

#[tokio::test]
async fn an_event_with_more_to_say_than_fits_is_told_all_the_same() {
    let place = apiserver::namespace("credential-event").await;
    create(&place, "a", "nowhere").await;
    let credential = place.api::<Credential>().get("a").await.unwrap();
    let stop = CancellationToken::new();
    let cluster = Kubernetes::start(place.client.clone(), place.client.clone(), "test".into(), &stop);
    for (reason, note) in [("Orphaned", "x".repeat(5000)), ("Rotated", "é".repeat(1000))] {
        let notice = Notice {
            regarding: Regarding {
                kind: "Credential",
                key: Key::new(place.namespace.as_str(), "a"),
                uid: credential.uid().unwrap(),
            },
            warning: true,
            reason,
            action: "Revoke",
            note,
        };
        cluster.publish(notice).await;
        let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let event = events.into_iter().find(|it| it.reason.as_deref() == Some(reason));
        let note = event.expect("published").note.unwrap();
        assert!(
            note.len() > 1000 && note.len() <= 1024 && note.ends_with('…'),
            "{} bytes",
            note.len()
        );
    }
    stop.cancel();
}
