//! Values that we issue, over time, with everything else in memory and time paused.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::ANNOTATION_ROTATE;
use tidegate::api::condition::ConditionStatus;
use tidegate::domain::key::Key;
use tokio::time::sleep;

use crate::support::manifests::integration;
use crate::support::memory::{Process, World};

fn credential(spec: Value) -> Value {
    let mut spec = spec;
    spec["allowedHosts"] = json!(["api.example.com"]);
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Credential",
        "metadata": {"name": "payments-key", "namespace": "shop"},
        "spec": spec,
    })
}

fn key() -> Key {
    Key::new("shop", "payments-key")
}

fn issued() -> Key {
    Key::new("shop", "payments-key-issued")
}

fn value(world: &World, key: &str) -> Option<String> {
    let held = world.held(&issued())?;
    held.values.get(key).map(|value| value.expose().to_owned())
}

fn revision(world: &World) -> Option<i64> {
    world.credential(&key())?.status?.revision
}

fn condition(world: &World, kind: &str) -> (ConditionStatus, String) {
    let status = world.credential(&key()).unwrap().status.unwrap();
    let condition = status.conditions.iter().find(|it| it.type_ == kind);
    let condition = condition.unwrap_or_else(|| panic!("no {kind}"));
    (condition.status, condition.reason.clone())
}

/// Whatever is to be done now is done.
async fn settle() {
    sleep(Duration::from_secs(30)).await;
}

const JWT: &str = "{\"jwt\": {\"algorithm\": \"ES256\", \"generate\": {}, \"issuer\": \"us\", \"lifetime\": \"10m\"}}";

#[tokio::test(start_paused = true)]
async fn a_token_is_made_used_by_workers_and_renewed_before_it_expires() {
    let world = World::default();
    let process = Process::start(&world);
    world.apply_credential(credential(serde_json::from_str(JWT).unwrap()));
    let integration = world.apply_integration(integration("shop", "payments-api"));
    settle().await;
    let first = value(&world, "token").expect("a token");
    assert_eq!(world.injected(&integration), Some(format!("Bearer {first}")));
    assert_eq!(condition(&world, "Ready").0, ConditionStatus::True);
    assert_eq!(revision(&world), Some(1));
    for round in 0..20 {
        sleep(Duration::from_secs(60)).await;
        let plan = world.plan(&integration).unwrap();
        let end = plan.credentials[0].not_after.unwrap();
        let left = end.duration_since(crate::support::memory::clock()());
        assert!(left.as_secs() > 60, "{left:?} left in minute {round}");
    }
    let status = world.credential(&key()).unwrap().status.unwrap();
    let revision = status.revision.unwrap();
    // 20 minutes, and a token in 6.2 to 6.6 minutes.
    assert!((4..=5).contains(&revision), "{revision}");
    assert_eq!(
        world.injected(&integration),
        Some(format!("Bearer {}", value(&world, "token").unwrap()))
    );
    assert!(world.all_held().len() == 1, "nothing is pending");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_asked_for_is_carried_out_once_and_echoed() {
    let world = World::default();
    let process = Process::start(&world);
    world.apply_credential(credential(json!({"generated": {"length": 32}})));
    settle().await;
    let first = value(&world, "value").unwrap();
    world.annotate_credential(&key(), ANNOTATION_ROTATE, "now");
    settle().await;
    let second = value(&world, "value").unwrap();
    assert_ne!(first, second);
    assert_eq!(value(&world, "previous.value").as_deref(), Some(first.as_str()));
    let status = world.credential(&key()).unwrap().status.unwrap();
    assert_eq!(status.handled.unwrap().rotate.as_deref(), Some("now"));
    assert_eq!((status.revision, status.previous.unwrap().revision), (Some(2), 1));
    sleep(Duration::from_secs(23 * 3600)).await;
    assert_eq!(value(&world, "value").as_deref(), Some(second.as_str()));
    assert!(value(&world, "previous.value").is_some());
    sleep(Duration::from_secs(2 * 3600)).await;
    assert!(value(&world, "previous.value").is_none(), "the overlap is over");
    world.take_writes();
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(world.take_writes(), [""; 0], "idle");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_value_that_was_edited_a_moment_ago_is_no_reason_to_wait_with_a_rotation() {
    let world = World::default();
    let process = Process::start(&world);
    let mut manifest = credential(json!({"apiKey": {"secretRef": {"name": "first", "key": "key"}}}));
    manifest["spec"]["rotation"] = json!({"steps": {
        "create": {"generate": {}},
        "set": {"request": {"url": "https://api.example.com/key", "body": "{{ value }}"}},
    }});
    world.apply_secret(&Key::new("shop", "first"), &[("key", "one")]);
    world.apply_credential(manifest);
    settle().await;
    world.apply_secret(&Key::new("shop", "first"), &[("key", "two")]);
    settle().await;
    world.annotate_credential(&key(), ANNOTATION_ROTATE, "now");
    sleep(Duration::from_secs(5)).await;
    // Nobody can be asked here, so the attempt fails; that there is one is the claim.
    let rotation = world.credential(&key()).unwrap().status.unwrap().rotation.unwrap();
    assert!(rotation.attempt.is_some(), "{rotation:?}");
    process.stop().await;
}
