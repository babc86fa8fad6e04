//! What an edit of a Credential brings about at once, and what time brings about without one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus};
use tidegate::domain::key::Key;
use tokio::time::sleep;

use crate::support::manifests::integration;
use crate::support::memory::{Process, World};
use crate::support::simulator::{Kind, Settings, Simulator};

const HOUR: Duration = Duration::from_secs(3600);

fn own() -> Key {
    Key::new("shop", "payments-key")
}

fn condition(world: &World, kind: &str) -> Option<Condition> {
    let status = world.credential(&own()).unwrap().status.unwrap_or_default();
    status.conditions.into_iter().find(|it| it.type_ == kind)
}

/// Keys that are added, by nobody's leave but that of a header.
fn steps(hosts: &[&str], authorization: &str, test: Option<&str>, more: &Value) -> Value {
    let mut steps = json!({"create": {
        "request": {
            "method": "POST", "url": "https://provider.test/keys",
            "headers": {"Authorization": authorization, "Content-Type": "application/json"},
            "body": "{\"label\": \"{{ attempt.id }}\"}",
        },
        "extract": {"value": ".key", "id": ".id"},
    }});
    if let Some(path) = test {
        let headers = json!({"Authorization": "Bearer {{ value }}"});
        steps["test"] =
            json!({"request": {"method": "GET", "url": format!("https://provider.test/{path}"), "headers": headers}});
    }
    let mut spec = json!({"allowedHosts": hosts, "bearer": {}, "rotation": {"steps": steps, "overlap": "0s"}});
    for (name, value) in more.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential",
        "metadata": {"name": "payments-key", "namespace": "shop"}, "spec": spec,
    })
}

fn world() -> (World, Simulator, Process) {
    let world = World::default();
    let simulator = Simulator::new(Settings::default());
    world.reach(Arc::new(simulator.clone()));
    let process = Process::start(&world);
    world.apply_integration(integration("shop", "payments-api"));
    (world, simulator, process)
}

fn made(simulator: &Simulator) -> usize {
    simulator.live().into_iter().filter(|it| it.kind == Kind::Key).count()
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_hosts_or_of_any_step_ends_a_wait_for_one_at_once() {
    let (world, simulator, process) = world();
    let none = json!({});
    world.apply_credential(steps(&["elsewhere.example"], "Bearer admin", None, &none));
    sleep(HOUR).await;
    let stalled = condition(&world, "Stalled").expect("Stalled");
    assert!(stalled.message.contains("allowedHosts"), "{}", stalled.message);
    assert_eq!(made(&simulator), 0);
    world.apply_credential(steps(&["provider.test"], "Bearer admin", None, &none));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(condition(&world, "Ready").unwrap().status, ConditionStatus::True);

    // Now the provider refuses, for good, and what is edited is the step after that.
    world.annotate_credential(&own(), "tidegate.dev/rotate", "one");
    simulator.set(|it| it.admin = "another".into());
    sleep(HOUR).await;
    let refused = condition(&world, "Stalled").expect("Stalled");
    simulator.set(|it| it.admin = "admin".into());
    sleep(HOUR).await;
    assert_eq!(condition(&world, "Stalled").map(|it| it.message), Some(refused.message));
    world.apply_credential(steps(&["provider.test"], "Bearer admin", Some("whoami"), &none));
    sleep(Duration::from_secs(5)).await;
    let stalled = condition(&world, "Stalled").map(|it| it.message);
    assert_eq!(stalled, None);
    let revision = world.credential(&own()).unwrap().status.unwrap().revision;
    assert_eq!(revision, Some(2));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_test_has_a_value_that_it_refused_tried_again_at_once() {
    let (world, simulator, process) = world();
    let none = json!({});
    world.apply_credential(steps(&["provider.test"], "Bearer admin", Some("nowhere"), &none));
    sleep(Duration::from_secs(10)).await;
    let stalled = condition(&world, "Stalled").expect("Stalled");
    assert!(stalled.message.contains("404"), "{}", stalled.message);
    assert_eq!(made(&simulator), 1);
    world.apply_credential(steps(&["provider.test"], "Bearer admin", Some("whoami"), &none));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(condition(&world, "Ready").unwrap().status, ConditionStatus::True);
    assert_eq!(made(&simulator), 1, "the same value");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_interval_of_a_value_that_somebody_else_wrote_begins_when_it_is_taken_up() {
    let (world, simulator, process) = world();
    simulator.seed(Kind::Key, "first-value");
    world.apply_secret(&Key::new("shop", "first"), &[("token", "first-value")]);
    let first = json!({"bearer": {"secretRef": {"name": "first", "key": "token"}}});
    let mut manifest = steps(&["provider.test"], "Bearer admin", None, &first);
    manifest["spec"]["rotation"]["interval"] = "10h".into();
    world.apply_credential(manifest);
    sleep(HOUR).await;
    let status = world.credential(&own()).unwrap().status.unwrap();
    let since = status.last_rotation_time.expect("when it was taken up");
    let renewal = status.renewal_time.expect("when its interval is over");
    let interval = renewal.duration_since(since);
    assert!(interval.as_hours() >= 9 && interval.as_hours() <= 10, "{interval}");
    sleep(4 * HOUR).await;
    process.stop().await;
    // Another process does not begin anew.
    let process = Process::start(&world);
    sleep(4 * HOUR).await;
    assert_eq!(made(&simulator), 1, "it is not over");
    sleep(HOUR + Duration::from_secs(60)).await;
    let status = world.credential(&own()).unwrap().status.unwrap();
    assert_eq!(status.revision, Some(2));
    let held = world.held(&Key::new("shop", "payments-key-issued")).expect("issued");
    assert!(simulator.accepts(held.values["value"].expose()));
    process.stop().await;
}
