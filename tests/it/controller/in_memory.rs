//! The reconcilers over both ports in memory, with paused time: what they decide, write and tell.

use std::time::Duration;

use serde_json::json;
use tidegate::api::condition::{Condition, ConditionStatus, kind};
use tidegate::api::credential::CredentialStatus;
use tidegate::api::integration::{CircuitState, IntegrationStatus};
use tidegate::domain::key::Key;
use tidegate::fleet::FleetError;
use tokio::time::sleep;

use crate::support::manifests::{credential, integration, shop};
use crate::support::memory::{Process, World, clock};

/// Long enough for everything that is going to happen without a resync.
const SETTLED: Duration = Duration::from_secs(60);

/// A running controller on a world where an Integration is Ready with its Credential.
async fn running() -> (World, Process, Key, Key) {
    let world = World::default();
    let (secret, credential_key, key) = shop();
    world.apply_secret(&secret, &[("key", "first")]);
    world.apply_credential(credential("shop"));
    world.apply_integration(integration("shop", "payments-api"));
    let process = Process::start(&world);
    sleep(SETTLED).await;
    let status = status(&world, &key);
    assert_eq!(
        told(&status.conditions, kind::READY),
        (ConditionStatus::True, "Ready".into()),
        "{status:#?}"
    );
    world.take_writes();
    world.take_notices();
    (world, process, key, credential_key)
}

fn status(world: &World, key: &Key) -> IntegrationStatus {
    world.integration(key).unwrap().status.unwrap()
}

fn credential_status(world: &World, key: &Key) -> CredentialStatus {
    world.credential(key).unwrap().status.unwrap_or_default()
}

fn told(conditions: &[Condition], kind: &str) -> (ConditionStatus, String) {
    let condition = conditions.iter().find(|condition| condition.type_ == kind);
    condition.map_or((ConditionStatus::Unknown, "absent".into()), |it| {
        (it.status, it.reason.clone())
    })
}

fn is(status: ConditionStatus, reason: &str) -> (ConditionStatus, String) {
    (status, reason.to_owned())
}

use ConditionStatus::{False, True};

#[tokio::test(start_paused = true)]
async fn an_applied_integration_becomes_ready_with_everything_in_its_status() {
    let (world, process, key, credential_key) = running().await;
    let status = status(&world, &key);
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.address.as_deref(), Some("http://payments-api.shop.svc"));
    assert_eq!(status.circuit, Some(CircuitState::Closed));
    assert_eq!(status.endpoints_healthy.as_deref(), Some("1/1"));
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
    assert_eq!(status.plan_revision, Some(1));
    assert_eq!(status.credentials[0].revision, 1);
    for kind in [
        kind::ACCEPTED,
        kind::CREDENTIALS_READY,
        kind::PROGRAMMED,
        kind::ENDPOINTS_HEALTHY,
        kind::CIRCUIT_CLOSED,
    ] {
        assert_eq!(told(&status.conditions, kind).0, True, "{kind}");
    }
    for kind in [kind::RECONCILING, kind::STALLED] {
        assert_eq!(told(&status.conditions, kind).1, "absent");
    }
    assert_eq!(world.injected(&key).as_deref(), Some("first"));

    let status = credential_status(&world, &credential_key);
    assert_eq!((status.observed_generation, status.revision), (Some(1), Some(1)));
    assert_eq!(told(&status.conditions, kind::READY), is(True, "Usable"));
    assert_eq!(told(&status.conditions, kind::PROPAGATED), is(True, "Propagated"));
    assert_eq!(told(&status.conditions, kind::ISSUING), is(False, "Idle"));
    assert_eq!(
        (status.consumers[0].name.as_str(), status.consumers[0].revision),
        ("payments-api", 1)
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn idle_writes_nothing_however_long() {
    let (world, process, ..) = running().await;
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(world.take_writes(), [""; 0]);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing_and_tells_nothing() {
    let (world, process, ..) = running().await;
    process.stop().await;
    let process = Process::start(&world);
    sleep(SETTLED).await;
    assert_eq!(world.take_writes(), [""; 0]);
    assert_eq!(world.take_notices(), []);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_told_with_one_write_when_workers_adopt_it_at_once() {
    let (world, process, key, _) = running().await;
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["timeouts"] = json!({"request": "7s"});
    world.apply_integration(manifest);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        world.take_writes(),
        [
            "workload of shop/payments-api",
            "status of Integration shop/payments-api"
        ]
    );
    let status = status(&world, &key);
    assert_eq!((status.observed_generation, status.plan_revision), (Some(2), Some(2)));
    assert_eq!(told(&status.conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_workers_are_slow_to_adopt_is_told_in_two_steps_without_a_wait() {
    let (world, process, key, _) = running().await;
    world.manual_workers(true);
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["timeouts"] = json!({"request": "7s"});
    world.apply_integration(manifest);
    sleep(Duration::from_secs(1)).await;
    let before = status(&world, &key);
    assert_eq!(before.observed_generation, Some(2));
    assert_eq!(told(&before.conditions, kind::READY), is(False, "PlanNotAdopted"));
    assert_eq!(told(&before.conditions, kind::RECONCILING), is(True, "PlanNotAdopted"));
    world.adopt(&key);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edited_secret_reaches_the_workers_at_once_and_counts_up() {
    let (world, process, key, credential_key) = running().await;
    world.apply_secret(&credential_key, &[("key", "second")]);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.injected(&key).as_deref(), Some("second"));
    assert_eq!(credential_status(&world, &credential_key).revision, Some(2));
    sleep(SETTLED).await;
    let status = credential_status(&world, &credential_key);
    assert_eq!(status.consumers[0].revision, 2);
    assert_eq!(told(&status.conditions, kind::PROPAGATED), is(True, "Propagated"));
    let reasons: Vec<&str> = world.take_notices().iter().map(|notice| notice.reason).collect();
    assert_eq!(reasons, ["Rotated"]);
    process.stop().await;
}

/// Waits until `is_so`, in steps of paused time; says how long it took.
async fn time_until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let start = tokio::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SETTLED, "{what}: not within {SETTLED:?}");
        sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

/// Rotations in a row, each right after writes that are about something else: the value is what matters, and those who
/// wait for it to be told (`kubectl wait --for=condition=Propagated`, or the revisions of a status) matter next.
#[tokio::test(start_paused = true)]
async fn every_rotation_in_a_row_is_live_and_told_within_a_fifth_of_a_second() {
    let (world, process, key, credential_key) = running().await;
    for number in 2..8 {
        // Something that nobody waits for was written just now.
        let circuit = [CircuitState::Open, CircuitState::Closed][number % 2];
        world.turn(&key, 0, circuit, clock()());
        sleep(Duration::from_millis(50)).await;
        let (value, revision) = (format!("value-{number}"), i64::try_from(number).unwrap());
        world.apply_secret(&credential_key, &[("key", &value)]);
        let live = time_until("live", || world.injected(&key).as_ref() == Some(&value)).await;
        let told_by_integration = time_until("told by the Integration", || {
            status(&world, &key).credentials[0].revision == revision
        });
        let told_by_integration = live + told_by_integration.await;
        let propagated = time_until("Propagated", || {
            let status = credential_status(&world, &credential_key);
            status.revision == Some(revision) && told(&status.conditions, kind::PROPAGATED).0 == True
        });
        let propagated = told_by_integration + propagated.await;
        let all = [live, told_by_integration, propagated];
        let most = Duration::from_millis(200);
        assert!(all.iter().all(|time| *time <= most), "rotation {number}: {all:?}");
    }
    process.stop().await;
}

/// What an Integration fails with for its own reasons has its backoff, and a rotation is not to sit it out.
#[tokio::test(start_paused = true)]
async fn a_rotation_does_not_wait_for_the_backoff_of_an_integration() {
    let (world, process, key, credential_key) = running().await;
    world.refuse_workloads(Some(|key| FleetError::Refused {
        kind: "Deployment",
        key,
        detail: "exceeded quota".into(),
    }));
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["timeouts"] = json!({"request": "7s"});
    world.apply_integration(manifest);
    sleep(10 * SETTLED).await;
    world.refuse_workloads(None);
    world.apply_secret(&credential_key, &[("key", "second")]);
    let live = time_until("live", || world.injected(&key).as_deref() == Some("second")).await;
    assert!(live <= Duration::from_millis(200), "{live:?}");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_written_again_with_the_same_value_is_no_rotation() {
    let (world, process, key, credential_key) = running().await;
    world.apply_secret(&credential_key, &[("key", "first"), ("other", "x")]);
    sleep(SETTLED).await;
    assert_eq!(credential_status(&world, &credential_key).revision, Some(1));
    assert_eq!(world.plan(&key).unwrap().revision, 1);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nobody_uses_wakes_nobody() {
    let (world, process, ..) = running().await;
    let reads = world.reads();
    for number in 0..100 {
        world.apply_secret(&Key::new("shop", format!("other-{number}")), &[("key", "x")]);
    }
    sleep(SETTLED).await;
    assert_eq!(world.reads(), reads);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_named_and_mends_when_it_appears() {
    let world = World::default();
    let (secret, credential_key, key) = shop();
    world.apply_credential(credential("shop"));
    world.apply_integration(integration("shop", "payments-api"));
    let process = Process::start(&world);
    sleep(SETTLED).await;
    let found = credential_status(&world, &credential_key);
    assert_eq!(told(&found.conditions, kind::READY), is(False, "SecretNotFound"));
    assert_eq!(told(&found.conditions, kind::RECONCILING).0, True);
    let found = status(&world, &key);
    assert_eq!(
        told(&found.conditions, kind::CREDENTIALS_READY),
        is(False, "CredentialNotReady")
    );
    assert_eq!(told(&found.conditions, kind::READY), is(False, "CredentialNotReady"));
    assert_eq!(told(&found.conditions, kind::ACCEPTED).0, True);
    // Workers are there, and answer that they have no credential, rather than nobody answering.
    assert_eq!(world.plan(&key).unwrap().credentials[0].material, None);

    world.apply_secret(&secret, &[("key", "first")]);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(world.injected(&key).as_deref(), Some("first"));
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    assert_eq!(
        told(&credential_status(&world, &credential_key).conditions, kind::READY).0,
        True
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_goes_changes_the_conditions_and_not_the_traffic() {
    let (world, process, key, credential_key) = running().await;
    world.delete_secret(&credential_key);
    sleep(SETTLED).await;
    assert_eq!(
        told(&credential_status(&world, &credential_key).conditions, kind::READY).1,
        "SecretNotFound"
    );
    assert_eq!(
        told(&status(&world, &key).conditions, kind::READY),
        is(False, "CredentialNotReady")
    );
    assert_eq!(
        world.injected(&key).as_deref(),
        Some("first"),
        "the last good value keeps serving"
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_missing_in_its_secret_stalls_the_credential() {
    let (world, process, _, credential_key) = running().await;
    world.apply_secret(&credential_key, &[("kee", "first")]);
    sleep(SETTLED).await;
    let status = credential_status(&world, &credential_key);
    assert_eq!(told(&status.conditions, kind::READY), is(False, "KeyMissing"));
    assert_eq!(told(&status.conditions, kind::STALLED).0, True);
    assert_eq!(told(&status.conditions, kind::RECONCILING).1, "absent");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_credential_is_withdrawn_at_once() {
    let (world, process, key, credential_key) = running().await;
    world.delete_credential(&credential_key);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.injected(&key), None);
    sleep(SETTLED).await;
    assert_eq!(
        told(&status(&world, &key).conditions, kind::CREDENTIALS_READY),
        is(False, "CredentialNotFound")
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_withdrawn_even_from_an_integration_that_is_not_accepted() {
    let (world, process, key, credential_key) = running().await;
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["endpoints"][0]["url"] = "https://elsewhere.example.com".into();
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    assert_eq!(
        told(&status(&world, &key).conditions, kind::ACCEPTED),
        is(False, "HostNotAllowed")
    );
    assert_eq!(world.injected(&key).as_deref(), Some("first"));
    world.delete_credential(&credential_key);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.injected(&key), None);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_allowed_stalls_and_the_last_good_plan_keeps_serving() {
    let (world, process, key, credential_key) = running().await;
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["endpoints"][0]["url"] = "https://elsewhere.example.com".into();
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::ACCEPTED), is(False, "HostNotAllowed"));
    assert_eq!(told(&found.conditions, kind::STALLED), is(True, "HostNotAllowed"));
    assert_eq!(world.plan(&key).unwrap().endpoints[0].url, "https://api.example.com/v1");
    assert_eq!(
        world.take_writes(),
        ["status of Integration shop/payments-api"],
        "nothing is programmed"
    );

    let mut manifest = credential("shop");
    manifest["spec"]["allowedHosts"] = json!(["api.example.com", "elsewhere.example.com"]);
    world.apply_credential(manifest);
    sleep(SETTLED).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    assert_eq!(
        credential_status(&world, &credential_key).revision,
        Some(1),
        "another host is no other value"
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn certificates_that_appear_later_mend_the_integration() {
    let world = World::default();
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["credentialRefs"] = json!([]);
    manifest["spec"]["tls"] = json!({"caRef": {"kind": "ConfigMap", "name": "roots", "key": "ca.crt"}});
    let key = world.apply_integration(manifest);
    let process = Process::start(&world);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::ACCEPTED), is(False, "RefNotFound"));
    assert_eq!(told(&found.conditions, kind::RECONCILING), is(True, "RefNotFound"));
    assert_eq!(world.plan(&key), None);
    let ca = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()])
        .unwrap()
        .cert
        .pem();
    world.apply_config_map(&Key::new("shop", "roots"), &[("ca.crt", &ca)]);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_stalls_and_is_looked_at_again() {
    let world = World::default();
    world.refuse_workloads(Some(|key| FleetError::NameTaken { kind: "Service", key }));
    let (secret, _, key) = shop();
    world.apply_secret(&secret, &[("key", "first")]);
    world.apply_credential(credential("shop"));
    world.apply_integration(integration("shop", "payments-api"));
    let process = Process::start(&world);
    sleep(SETTLED).await;
    assert_eq!(
        told(&status(&world, &key).conditions, kind::ACCEPTED),
        is(False, "AddressTaken")
    );
    assert_eq!(
        told(&status(&world, &key).conditions, kind::STALLED),
        is(True, "AddressTaken")
    );
    world.refuse_workloads(None);
    sleep(2 * SETTLED).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_refuses_is_told_and_tried_again() {
    let world = World::default();
    world.refuse_workloads(Some(|key| FleetError::Refused {
        kind: "Deployment",
        key,
        detail: "exceeded quota".into(),
    }));
    let (secret, _, key) = shop();
    world.apply_secret(&secret, &[("key", "first")]);
    world.apply_credential(credential("shop"));
    world.apply_integration(integration("shop", "payments-api"));
    let process = Process::start(&world);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::PROGRAMMED), is(False, "WorkersNotReady"));
    let message = &found
        .conditions
        .iter()
        .find(|it| it.type_ == kind::PROGRAMMED)
        .unwrap()
        .message;
    assert!(message.contains("exceeded quota"), "{message}");
    let writes = world.take_writes();
    assert!(writes.len() <= 3, "failing identically is told once: {writes:?}");
    let refused = world
        .take_notices()
        .iter()
        .filter(|notice| notice.reason == "Refused")
        .count();
    assert_eq!(refused, 1);
    world.refuse_workloads(None);
    sleep(3 * SETTLED).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_to_an_integration_that_works_shows_as_reconciling() {
    let (world, process, key, _) = running().await;
    let mut manifest = integration("shop", "payments-api");
    manifest["metadata"]["annotations"] = json!({"tidegate.dev/reconcile": "1"});
    world.refuse_workloads(Some(|key| FleetError::Refused {
        kind: "Deployment",
        key,
        detail: "exceeded quota".into(),
    }));
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::READY), is(True, "Ready"));
    assert_eq!(told(&found.conditions, kind::RECONCILING), is(True, "Refused"));
    assert_eq!(found.handled, None);
    world.refuse_workloads(None);
    sleep(3 * SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::RECONCILING).1, "absent");
    assert!(found.handled.is_some());
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn secrets_that_cannot_be_read_are_no_news_about_what_works_and_are_told_of_what_does_not() {
    let (world, process, key, _) = running().await;
    world.unreadable_secrets(true);
    let mut manifest = integration("shop", "payments-api");
    manifest["metadata"]["annotations"] = json!({"tidegate.dev/reconcile": "1"});
    world.apply_integration(manifest.clone());
    sleep(SETTLED).await;
    assert_eq!(world.take_writes(), [""; 0]);
    manifest["spec"]["timeouts"] = json!({"request": "7s"});
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(
        told(&found.conditions, kind::ACCEPTED),
        is(ConditionStatus::Unknown, "Forbidden")
    );
    assert_eq!(told(&found.conditions, kind::RECONCILING), is(True, "Forbidden"));
    assert_eq!(world.take_writes().len(), 1, "failing identically is told once");
    world.unreadable_secrets(false);
    sleep(5 * SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::READY), is(True, "Ready"));
    assert_eq!(found.handled.unwrap().reconcile.as_deref(), Some("1"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_is_told_of_and_stops_nothing_else() {
    let (world, process, key, _) = running().await;
    world.break_integration(&key);
    let mut other = integration("shop", "other-api");
    other["spec"]["credentialRefs"] = json!([]);
    let other = world.apply_integration(other);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(told(&found.conditions, kind::ACCEPTED), is(False, "InvalidSpec"));
    assert_eq!(told(&found.conditions, kind::STALLED), is(True, "InvalidSpec"));
    assert_eq!(
        world.injected(&key).as_deref(),
        Some("first"),
        "what runs keeps running"
    );
    assert_eq!(told(&status(&world, &other).conditions, kind::READY), is(True, "Ready"));
    world.take_writes();
    sleep(20 * SETTLED).await;
    assert_eq!(world.take_writes(), [""; 0]);
    world.apply_integration(integration("shop", "payments-api"));
    sleep(SETTLED).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_integration_is_left_alone_and_still_reported_on() {
    let (world, process, key, credential_key) = running().await;
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["suspend"] = true.into();
    manifest["spec"]["endpoints"][0]["url"] = "https://api.example.com/v2".into();
    world.apply_integration(manifest.clone());
    world.apply_secret(&credential_key, &[("key", "second")]);
    sleep(SETTLED).await;
    assert_eq!(world.plan(&key).unwrap().revision, 1);
    let found = status(&world, &key);
    assert_eq!(found.observed_generation, Some(2));
    assert_eq!(told(&found.conditions, kind::PROGRAMMED), is(False, "PlanNotAdopted"));
    world.turn(&key, 0, CircuitState::Open, clock()());
    sleep(SETTLED).await;
    assert_eq!(status(&world, &key).circuit, Some(CircuitState::Open));
    manifest["spec"]["suspend"] = false.into();
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    assert_eq!(world.injected(&key).as_deref(), Some("second"));
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_credential_keeps_its_value_until_it_goes_on() {
    let (world, process, key, credential_key) = running().await;
    let mut manifest = credential("shop");
    manifest["spec"]["suspend"] = true.into();
    world.apply_credential(manifest);
    world.apply_secret(&credential_key, &[("key", "second")]);
    sleep(SETTLED).await;
    assert_eq!(world.injected(&key).as_deref(), Some("first"));
    assert_eq!(credential_status(&world, &credential_key).revision, Some(1));
    world.apply_credential(credential("shop"));
    sleep(SETTLED).await;
    assert_eq!(world.injected(&key).as_deref(), Some("second"));
    assert_eq!(credential_status(&world, &credential_key).revision, Some(2));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_is_written_at_once_and_flapping_costs_a_write_in_five_seconds() {
    let (world, process, key, _) = running().await;
    world.turn(&key, 0, CircuitState::Open, clock()());
    sleep(Duration::from_millis(50)).await;
    let found = status(&world, &key);
    assert_eq!(found.circuit, Some(CircuitState::Open));
    assert_eq!(found.endpoints[0].circuit.workers.open, 1);
    assert!(found.endpoints[0].circuit.next_trial_time.is_some());
    assert_eq!(told(&found.conditions, kind::CIRCUIT_CLOSED), is(False, "CircuitOpen"));
    assert_eq!(
        told(&found.conditions, kind::READY),
        is(True, "Ready"),
        "the provider's state is not ours"
    );

    let reads = world.reads();
    for turn in 0..200 {
        let state = [CircuitState::HalfOpen, CircuitState::Open][turn % 2];
        world.turn(&key, 0, state, clock()());
        sleep(Duration::from_millis(100)).await;
    }
    let writes = world.take_writes().len();
    assert!((2..=6).contains(&writes), "{writes} writes in 20 s");
    assert!(world.reads() - reads < 100, "{} reads in 20 s", world.reads() - reads);
    world.turn(&key, 0, CircuitState::Closed, clock()());
    sleep(Duration::from_secs(6)).await;
    assert_eq!(status(&world, &key).circuit, Some(CircuitState::Closed));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_next_trial_causes_no_write_of_its_own() {
    let (world, process, key, _) = running().await;
    let now = clock();
    world.turn(&key, 0, CircuitState::Open, now());
    sleep(Duration::from_secs(6)).await;
    world.take_writes();
    // A later trial, with nothing else changed, and a reason to look.
    world.report(&key, 0, |report| {
        report.endpoints[0].circuit.next_trial = Some(now() + Duration::from_secs(90));
    });
    world.report(&key, 1, |report| report.endpoints[0].message = "chatter".into());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.take_writes(), [""; 0]);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn transitions_are_told_as_events() {
    let (world, process, key, _) = running().await;
    let reasons = || {
        world
            .take_notices()
            .iter()
            .map(|notice| (notice.warning, notice.reason))
            .collect::<Vec<_>>()
    };
    world.turn(&key, 0, CircuitState::Open, clock()());
    sleep(SETTLED).await;
    assert_eq!(reasons(), [(true, "CircuitOpened")]);
    world.turn(&key, 0, CircuitState::HalfOpen, clock()());
    sleep(SETTLED).await;
    assert_eq!(reasons(), []);
    world.turn(&key, 0, CircuitState::Closed, clock()());
    sleep(SETTLED).await;
    assert_eq!(reasons(), [(false, "CircuitClosed")]);
    world.report(&key, 0, |report| report.credentials[0].rejected_status = Some(401));
    sleep(SETTLED).await;
    assert_eq!(reasons(), [(true, "CredentialRejected")]);
    assert_eq!(
        told(&status(&world, &key).conditions, kind::READY),
        is(False, "CredentialRejected")
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_votes_unknown_and_does_not_unprogram_the_integration() {
    let (world, process, key, _) = running().await;
    world.set_worker(&key, 1, true, false);
    sleep(SETTLED).await;
    let found = status(&world, &key);
    assert_eq!(found.circuit, Some(CircuitState::Unknown));
    assert_eq!(found.endpoints[0].circuit.workers.unknown, 1);
    assert_eq!(told(&found.conditions, kind::READY), is(True, "Ready"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_worker_that_is_not_heard_of_is_waited_for_and_then_told_of() {
    let (world, process, key, _) = running().await;
    process.kill().await;
    world.set_worker(&key, 1, true, false);
    let process = Process::start(&world);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.take_writes(), [""; 0]);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(status(&world, &key).circuit, Some(CircuitState::Unknown));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn requests_by_annotation_are_echoed_when_they_are_carried_out() {
    let (world, process, key, credential_key) = running().await;
    world.manual_workers(true);
    let mut manifest = integration("shop", "payments-api");
    manifest["metadata"]["annotations"] =
        json!({"tidegate.dev/reset-circuit": "now", "tidegate.dev/reconcile": "please"});
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    let handled = status(&world, &key).handled.unwrap();
    assert_eq!(
        (handled.reset_circuit, handled.reconcile.as_deref()),
        (None, Some("please"))
    );
    world.adopt(&key);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        status(&world, &key).handled.unwrap().reset_circuit.as_deref(),
        Some("now")
    );

    world.take_notices();
    let mut manifest = credential("shop");
    manifest["metadata"]["annotations"] = json!({"tidegate.dev/rotate": "1"});
    world.apply_credential(manifest);
    sleep(SETTLED).await;
    assert_eq!(
        credential_status(&world, &credential_key)
            .handled
            .unwrap()
            .rotate
            .as_deref(),
        Some("1")
    );
    assert_eq!(world.take_notices()[0].reason, "NothingToRotate");
    process.stop().await;
}

/// An annotation may be far longer than what the CRD lets a status repeat.
#[tokio::test(start_paused = true)]
async fn a_long_request_is_echoed_as_far_as_the_status_has_room() {
    let (world, process, key, credential_key) = running().await;
    let long = "x".repeat(300);
    let mut manifest = integration("shop", "payments-api");
    manifest["metadata"]["annotations"] = json!({"tidegate.dev/reset-circuit": long, "tidegate.dev/reconcile": long});
    world.apply_integration(manifest);
    let mut manifest = credential("shop");
    manifest["metadata"]["annotations"] = json!({"tidegate.dev/rotate": long});
    world.apply_credential(manifest);
    sleep(SETTLED).await;
    let handled = status(&world, &key).handled.unwrap();
    assert_eq!(handled.reset_circuit.as_deref(), Some(&long[..256]));
    assert_eq!(handled.reconcile.as_deref(), Some(&long[..256]));
    let rotated = credential_status(&world, &credential_key).handled.unwrap().rotate;
    assert_eq!(rotated.as_deref(), Some(&long[..256]));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_integration_that_is_being_deleted_is_not_programmed_again() {
    let (world, process, key, _) = running().await;
    world.delete_integration(&key);
    let mut manifest = integration("shop", "payments-api");
    manifest["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z".into();
    world.apply_integration(manifest);
    sleep(SETTLED).await;
    assert_eq!(world.plan(&key), None);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_integration_leaves_its_credential_without_a_consumer() {
    let (world, process, key, credential_key) = running().await;
    world.delete_integration(&key);
    sleep(SETTLED).await;
    assert_eq!(credential_status(&world, &credential_key).consumers, []);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_integration_made_anew_under_the_same_name_is_another_one() {
    let (world, process, key, _) = running().await;
    world.delete_integration(&key);
    world.apply_integration(integration("shop", "payments-api"));
    sleep(SETTLED).await;
    assert_eq!(told(&status(&world, &key).conditions, kind::READY), is(True, "Ready"));
    assert_eq!(
        world.plan(&key).unwrap().uid,
        world.integration(&key).unwrap().metadata.uid.unwrap()
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_under_way() {
    let world = World::default();
    let (secret, _, key) = shop();
    world.apply_secret(&secret, &[("key", "first")]);
    world.apply_credential(credential("shop"));
    world.apply_integration(integration("shop", "payments-api"));
    world.latency(Duration::from_secs(1), 1);
    let process = Process::start(&world);
    sleep(Duration::from_millis(10)).await;
    process.stop().await;
    assert_eq!(status(&world, &key).observed_generation, Some(1));
}
