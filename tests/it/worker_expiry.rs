//! The end of a value: it is not sent in its last second, and not after it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use jiff::{SignedDuration, Timestamp};
use tidegate::api::integration::{CircuitState, Health, HealthReason};
use tidegate::domain::plan::{Plan, ProbePlan};
use tokio::sync::Semaphore;

use crate::support::clients::Authority;
use crate::support::dataplane::{Dataplane, api_key, plan, problem};
use crate::support::provider::{Provider, answer, eventually};

/// A plan whose value ends in so many milliseconds, and when its last second begins.
fn ending(provider: &Provider, in_millis: i64) -> (Plan, Timestamp) {
    let end = Timestamp::now() + SignedDuration::from_millis(in_millis);
    let mut plan = plan(&[provider.url("")]);
    plan.credentials = vec![api_key(1, "s3cret")];
    plan.credentials[0].not_after = Some(end);
    (plan, end - SignedDuration::from_secs(1))
}

/// Waits until then, and for what rounding of two clocks may cost.
async fn until(last: Timestamp) {
    let last = last + SignedDuration::from_millis(5);
    eventually("the last second", || Timestamp::now() > last).await;
}

#[tokio::test]
async fn a_value_in_its_last_second_is_not_sent_and_the_endpoint_is_not_blamed() {
    let provider = Provider::start(|_| async { 200 }).await;
    for in_millis in [990, 0, -3_600_000] {
        let (plan, _) = ending(&provider, in_millis);
        let worker = Dataplane::start([plan]);
        for _ in 0..20 {
            let response = worker.call(Request::post("/"), "order").await;
            assert_eq!(
                (problem(&response), response.status().as_u16()),
                (Some("credential-unavailable"), 503)
            );
            assert!(String::from_utf8_lossy(response.body()).contains("the credential `key` has expired"));
        }
        let report = worker.endpoint(|_| true).await;
        assert_eq!(
            (report.circuit.state, report.health),
            (CircuitState::Closed, Health::Unknown)
        );
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_value_is_sent_until_its_last_second_and_the_next_one_from_then_on() {
    let provider = Provider::start(|_| async { 200 }).await;
    let (first, last) = ending(&provider, 2_500);
    let worker = Dataplane::start([first.clone()]);
    assert_eq!(worker.get("/").await.status(), 200);
    until(last).await;
    assert_eq!(problem(&worker.get("/").await), Some("credential-unavailable"));
    assert_eq!(provider.seen().len(), 1);
    let mut second = first;
    second.revision = 2;
    second.credentials = vec![api_key(2, "next")];
    worker.adopt(second).await;
    assert_eq!(worker.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_certificate_in_its_last_second_is_not_shown_to_anybody() {
    let authority = Authority::new();
    let provider = Provider::start_mutual(false, &authority, |_| async { 200 }).await;
    let (mut plan, last) = ending(&provider, 2_500);
    plan.tls.ca_pem.clone_from(&provider.ca_pem);
    plan.tls.server_name = Some("provider.test".to_owned());
    let not_after = plan.credentials[0].not_after;
    plan.credentials = vec![authority.issue("ours").credential(1)];
    plan.credentials[0].not_after = not_after;
    let worker = Dataplane::start([plan]);
    assert_eq!(worker.get("/").await.status(), 200);
    until(last).await;
    // The connection is open still; that it was made in time does not make what it carries valid.
    let refused = worker.call(Request::trace("/"), "").await;
    assert_eq!(problem(&refused), Some("credential-unavailable"));
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn whoever_waits_for_a_connection_until_the_value_ends_does_not_send_it() {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let provider = Provider::start(move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            answer(200, "in time")
        }
    })
    .await;
    let (mut plan, _) = ending(&provider, 2_500);
    plan.connections.max_per_endpoint = 1;
    let worker = Arc::new(Dataplane::start([plan]));
    let calling = worker.clone();
    let first = tokio::spawn(async move { calling.get("/").await });
    eventually("the first call", || provider.seen().len() == 1).await;
    assert_eq!(problem(&worker.get("/").await), Some("credential-unavailable"));
    go.add_permits(1);
    assert_eq!(
        first.await.unwrap().body(),
        "in time",
        "what was sent in time is answered"
    );
    assert_eq!(provider.seen().len(), 1);
    assert_eq!(worker.endpoint(|_| true).await.circuit.state, CircuitState::Closed);
}

#[tokio::test]
async fn a_retry_that_comes_after_the_end_is_not_made() {
    let provider = Provider::start(|_| async {
        let mut response = answer(503, "later");
        response.headers_mut().insert("retry-after", "2".parse().unwrap());
        response
    })
    .await;
    let (plan, _) = ending(&provider, 2_500);
    let worker = Dataplane::start([plan]);
    let response = worker.get("/").await;
    assert_eq!(
        (response.status().as_u16(), response.body().as_ref()),
        (503, b"later".as_slice())
    );
    assert_eq!(problem(&response), None);
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn a_probe_does_not_send_what_has_expired() {
    let authority = Authority::new();
    let provider = Provider::start_mutual(false, &authority, |_| async { 200 }).await;
    // The connection shows a certificate also to a probe that is to carry no credential.
    for (certificate, use_credential) in [(false, true), (true, true), (true, false)] {
        let (mut plan, _) = ending(&provider, 0);
        if certificate {
            let not_after = plan.credentials[0].not_after;
            plan.credentials = vec![authority.issue("ours").credential(1)];
            plan.credentials[0].not_after = not_after;
        }
        plan.health_check = Some(ProbePlan {
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(5),
            unhealthy_threshold: 1,
            healthy_threshold: 1,
            path: "/healthz".to_owned(),
            method: "GET".to_owned(),
            use_credential,
            statuses: vec![(200, 299)],
            expression: None,
            service: String::new(),
        });
        let name = plan.credentials[0].name.clone();
        let worker = Dataplane::start([plan]);
        let report = worker.endpoint(|endpoint| endpoint.health != Health::Unknown).await;
        assert_eq!(
            (report.health, report.reason),
            (Health::Unhealthy, HealthReason::ProbeFailed)
        );
        assert_eq!(report.message, format!("the credential `{name}` has expired"));
    }
    assert_eq!(provider.connections(), 0);
}
