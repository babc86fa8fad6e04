//! A refused credential: a call waits for the next value, once, and only where one may come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tidegate::api::integration::CircuitState;
use tidegate::domain::key::Key;
use tidegate::domain::plan::{CredentialPlan, Plan};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::dataplane::{Dataplane, api_key, plan, problem};
use crate::support::provider::{Provider, Seen, answer, eventually};

fn renewable(revision: i64, value: &str) -> CredentialPlan {
    CredentialPlan {
        renewable: true,
        ..api_key(revision, value)
    }
}

/// A plan with a credential that is renewed, and no retries that could mend anything.
fn first(provider: &Provider) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.credentials = vec![renewable(1, "old")];
    plan.retries.limit = 0;
    plan
}

/// The plan after it, with the next value.
fn second(first: &Plan) -> Plan {
    let mut plan = first.clone();
    plan.revision += 1;
    plan.credentials = vec![renewable(2, "new")];
    plan
}

/// A provider that knows the value `new` alone.
async fn provider() -> Provider {
    Provider::start(|seen| async move { judge(&seen) }).await
}

/// The same, which takes its time with any other value: each needs a permit of `go`.
async fn gated(go: &Arc<Semaphore>) -> Provider {
    let gate = go.clone();
    Provider::start(move |seen| {
        let gate = gate.clone();
        async move {
            if seen.header("x-api-key") != Some("new") {
                gate.acquire().await.unwrap().forget();
            }
            judge(&seen)
        }
    })
    .await
}

fn judge(seen: &Seen) -> Response<crate::support::provider::Body> {
    match seen.header("x-api-key") {
        Some("new") => answer(200, seen.body.clone()),
        Some(_) => answer(401, "who are you?"),
        None => answer(400, ""),
    }
}

fn call(worker: &Arc<Dataplane>, request: http::request::Builder) -> JoinHandle<Response<Bytes>> {
    let worker = worker.clone();
    tokio::spawn(async move { worker.call(request, "the order").await })
}

async fn refused(worker: &Dataplane) {
    worker
        .credential(|credential| credential.rejected_status == Some(401))
        .await;
}

fn attempts(response: &Response<Bytes>) -> &str {
    response.headers()["tidegate-attempts"].to_str().unwrap()
}

fn values(provider: &Provider) -> Vec<String> {
    let seen = provider.seen();
    seen.iter()
        .map(|seen| seen.header("x-api-key").unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_call_that_is_refused_goes_on_with_the_next_value_whatever_its_method() {
    for method in ["POST", "GET", "PATCH", "DELETE"] {
        let provider = provider().await;
        let plan = first(&provider);
        let worker = Arc::new(Dataplane::start([plan.clone()]));
        let answered = call(&worker, Request::builder().method(method).uri("/orders?x=1"));
        // It is told before anybody has waited, or no next value would ever come.
        refused(&worker).await;
        assert!(!answered.is_finished());
        worker.adopt(second(&plan)).await;
        let response = answered.await.unwrap();
        assert_eq!(
            (response.status().as_u16(), attempts(&response)),
            (200, "2"),
            "{method}"
        );
        assert_eq!(response.body(), "the order");
        assert_eq!(values(&provider), ["old", "new"]);
        assert!(provider.seen().iter().all(|seen| seen.uri == "/orders?x=1"));
        let report = worker.report(|report| report.plan_revision == 2).await;
        assert_eq!(report.credentials[0].rejected_status, None);
        assert_eq!(report.endpoints[0].circuit.state, CircuitState::Closed);
    }
}

#[tokio::test]
async fn the_call_goes_on_where_the_next_plan_leads_and_is_counted_as_sent_again() {
    let (before, after) = (provider().await, provider().await);
    let mut plan = first(&before);
    plan.integration = Key::new("renew", "counted");
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let answered = call(&worker, Request::post("/").header("host", "counted"));
    eventually("the first attempt", || before.seen().len() == 1).await;
    let mut moved = second(&plan);
    moved.endpoints[0].name = "moved".to_owned();
    moved.endpoints[0].url = after.url("/v2");
    worker.serve([moved]);
    let response = answered.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["tidegate-endpoint"], "moved");
    assert_eq!(after.seen()[0].uri, "/v2/");
    let retries: f64 = prometheus::gather()
        .iter()
        .filter(|family| family.name() == "tidegate_retries_total")
        .flat_map(|family| family.get_metric().to_vec())
        .filter(|metric| {
            let has = |value: &str| metric.get_label().iter().any(|label| label.value() == value);
            has("counted") && has("renew") && has("credential")
        })
        .map(|metric| metric.get_counter().get_value())
        .sum();
    assert!((retries - 1.0).abs() < f64::EPSILON, "{retries}");
}

#[tokio::test]
async fn many_callers_wait_for_one_value_and_count_as_under_way() {
    let provider = provider().await;
    let mut plan = first(&provider);
    plan.concurrency.max_in_flight = 20;
    plan.concurrency.max_pending = 0;
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let waiting: Vec<_> = (0..20).map(|_| call(&worker, Request::post("/"))).collect();
    eventually("the first attempts", || provider.seen().len() == 20).await;
    refused(&worker).await;
    assert_eq!(problem(&worker.get("/").await), Some("overloaded"));
    worker.adopt(second(&plan)).await;
    for answered in waiting {
        let response = answered.await.unwrap();
        assert_eq!((response.status().as_u16(), attempts(&response)), (200, "2"));
    }
    assert_eq!(provider.seen().len(), 40);
}

#[tokio::test]
async fn a_newer_value_that_is_in_use_already_is_sent_at_once() {
    let go = Arc::new(Semaphore::new(0));
    let provider = gated(&go).await;
    let plan = first(&provider);
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let answered = call(&worker, Request::post("/"));
    eventually("the first attempt", || provider.seen().len() == 1).await;
    worker.adopt(second(&plan)).await;
    go.add_permits(1);
    let response = answered.await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (200, "2"));
    assert_eq!(
        worker.credential(|_| true).await.rejected_status,
        None,
        "it was the value before that was refused"
    );
}

#[tokio::test]
async fn without_a_next_value_the_answer_is_passed_on_while_there_is_time_left() {
    let provider = provider().await;
    let mut plan = first(&provider);
    plan.timeouts.request = Duration::from_secs(1);
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let start = Instant::now();
    let response = worker.call(Request::post("/"), "").await;
    assert_eq!((response.status().as_u16(), attempts(&response)), (401, "1"));
    assert_eq!(response.body(), "who are you?");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(900), "it did not wait");
    assert!(waited < Duration::from_secs(4), "it waited past its own deadline");
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn a_dead_credential_does_not_slow_down_every_call() {
    let go = Arc::new(Semaphore::new(6));
    let provider = gated(&go).await;
    let plan = first(&provider);
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let start = Instant::now();
    assert_eq!(worker.get("/").await.status(), 401);
    assert!(start.elapsed() >= Duration::from_secs(5), "it did not wait");
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(worker.get("/").await.status(), 401);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "they waited too");
    assert_eq!(provider.seen().len(), 6);
    // Nobody waits for a next value, but one that is there already is sent.
    let answered = call(&worker, Request::post("/"));
    eventually("another attempt", || provider.seen().len() == 7).await;
    worker.adopt(second(&plan)).await;
    go.add_permits(1);
    let response = answered.await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (200, "2"));
}

#[tokio::test]
async fn what_another_value_does_not_mend_is_passed_on_at_once() {
    // Not renewed; forbidden; a body that is gone; a TRACE, which carries no credential.
    let large = vec![7_u8; (1 << 20) + 1];
    for (status, renewed, method, body) in [
        (401, false, "POST", Bytes::new()),
        (403, true, "POST", Bytes::new()),
        (401, true, "POST", Bytes::from(large)),
        (401, true, "TRACE", Bytes::new()),
    ] {
        let provider = Provider::start(move |_| async move { status }).await;
        let mut plan = first(&provider);
        plan.credentials[0].renewable = renewed;
        let worker = Dataplane::start([plan]);
        let start = Instant::now();
        let response = worker.call(Request::builder().method(method).uri("/"), body).await;
        assert_eq!((response.status().as_u16(), attempts(&response)), (status, "1"));
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "it waited for {method} {status}"
        );
        let told = worker.credential(|_| true).await.rejected_status;
        assert_eq!(told, (method != "TRACE").then_some(status), "{method}");
    }
}

#[tokio::test]
async fn it_happens_once_and_then_the_first_answer_counts() {
    let calls = Arc::new(AtomicUsize::new(0));
    let provider = Provider::start(move |_| {
        let number = calls.fetch_add(1, Ordering::SeqCst);
        async move { answer(401, ["first", "second", "third"][number]) }
    })
    .await;
    let plan = first(&provider);
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let answered = call(&worker, Request::post("/"));
    refused(&worker).await;
    let start = Instant::now();
    worker.serve([second(&plan)]);
    let response = answered.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "it waited for a third value");
    assert_eq!((response.status().as_u16(), attempts(&response)), (401, "2"));
    assert_eq!(response.body(), "first");
    let report = worker.report(|report| report.plan_revision == 2).await;
    assert_eq!(
        (report.credentials[0].revision, report.credentials[0].rejected_status),
        (2, Some(401))
    );
}

#[tokio::test]
async fn retries_are_left_for_what_comes_after_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let provider = Provider::start(move |seen| {
        let number = calls.fetch_add(1, Ordering::SeqCst);
        async move { if number == 1 { answer(503, "") } else { judge(&seen) } }
    })
    .await;
    let mut plan = first(&provider);
    plan.retries.limit = 1;
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let answered = call(&worker, Request::get("/"));
    refused(&worker).await;
    worker.serve([second(&plan)]);
    let response = answered.await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response)), (200, "3"));
    assert_eq!(values(&provider), ["old", "new", "new"]);
}

#[tokio::test]
async fn an_edit_that_brings_no_value_or_none_that_is_valid_is_waited_past() {
    let provider = provider().await;
    let plan = first(&provider);
    let worker = Arc::new(Dataplane::start([plan.clone()]));
    let answered = call(&worker, Request::post("/"));
    refused(&worker).await;
    let mut same = plan.clone();
    same.revision = 2;
    same.timeouts.idle = Duration::from_secs(80);
    worker.adopt(same.clone()).await;
    assert_eq!(
        worker.credential(|_| true).await.rejected_status,
        Some(401),
        "the same value is refused still"
    );
    let mut expired = second(&same);
    expired.credentials[0].not_after = Some(jiff::Timestamp::now());
    worker.adopt(expired.clone()).await;
    let mut valid = second(&expired);
    valid.credentials = vec![renewable(3, "new")];
    worker.adopt(valid).await;
    assert_eq!(answered.await.unwrap().status(), 200);
    assert_eq!(values(&provider), ["old", "new"]);
}

#[tokio::test]
async fn an_integration_that_goes_is_not_waited_for_and_a_namesake_is_no_heir() {
    let provider = provider().await;
    let plan = first(&provider);
    let mut namesake = second(&plan);
    namesake.uid = "uid-2".to_owned();
    for next in [None, Some(namesake)] {
        let worker = Arc::new(Dataplane::start([plan.clone()]));
        let answered = call(&worker, Request::post("/"));
        refused(&worker).await;
        let (start, gone) = (Instant::now(), next.is_none());
        worker.serve(next);
        assert_eq!(answered.await.unwrap().status(), 401);
        assert!(
            !gone || start.elapsed() < Duration::from_secs(4),
            "it waited for nobody"
        );
    }
    assert_eq!(values(&provider), ["old", "old"]);
}
