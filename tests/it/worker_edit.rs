//! What a new plan changes, and what it must not: a plan is edited under traffic.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tidegate::api::integration::{BreakerMode, CircuitState, Health, TrippedBy};
use tidegate::domain::key::Key;
use tidegate::domain::plan::{Material, Plan};
use tidegate::domain::secret::SecretValue;
use tokio::sync::Semaphore;

use crate::support::dataplane::{Dataplane, api_key, plan, problem};
use crate::support::provider::{Provider, Reply, answer, eventually};

/// The next revision of `plan`, changed.
fn edited(plan: &Plan, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = plan.clone();
    plan.revision += 1;
    change(&mut plan);
    plan
}

async fn open(worker: &Dataplane) {
    for _ in 0..5 {
        worker.get("/").await;
    }
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
}

fn failing(provider: &Provider) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.retries.limit = 0;
    plan
}

#[tokio::test]
async fn an_edit_of_something_else_leaves_an_open_circuit_open() {
    let provider = Provider::start(|_| async { 500 }).await;
    let first = failing(&provider);
    let worker = Dataplane::start([first.clone()]);
    open(&worker).await;
    let before = worker.endpoint(|_| true).await;
    worker.adopt(edited(&first, |plan| plan.retries.limit = 2)).await;
    assert_eq!(
        worker.endpoint(|_| true).await,
        before,
        "state, times and health stay as they were"
    );
    assert_eq!(problem(&worker.get("/").await), Some("circuit-open"));
    assert_eq!(provider.seen().len(), 5);
}

#[tokio::test]
async fn another_url_and_another_uid_are_another_endpoint() {
    let provider = Provider::start(|_| async { 500 }).await;
    let healed = Provider::start(|_| async { 200 }).await;
    let first = failing(&provider);
    for change in [
        Box::new(|plan: &mut Plan, url: String| plan.endpoints[0].url = url) as Box<dyn Fn(&mut Plan, String)>,
        Box::new(|plan: &mut Plan, url: String| {
            plan.uid = "uid-2".to_owned();
            plan.endpoints[0].url = url;
        }),
    ] {
        let worker = Dataplane::start([first.clone()]);
        open(&worker).await;
        worker.adopt(edited(&first, |plan| change(plan, healed.url("")))).await;
        assert_eq!(worker.endpoint(|_| true).await.circuit.state, CircuitState::Closed);
        assert_eq!(worker.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn a_reset_closes_the_circuit_once_and_is_echoed() {
    let provider = Provider::start(|_| async { 500 }).await;
    let first = failing(&provider);
    let worker = Dataplane::start([first.clone()]);
    open(&worker).await;
    let second = edited(&first, |plan| plan.reset_circuit = Some("now".to_owned()));
    worker.adopt(second.clone()).await;
    let report = worker
        .report(|report| report.reset_circuit.as_deref() == Some("now"))
        .await;
    assert_eq!(report.endpoints[0].circuit.state, CircuitState::Closed);
    assert_eq!(report.endpoints[0].health, Health::Unknown);
    open(&worker).await;
    worker.adopt(edited(&second, |plan| plan.retries.limit = 1)).await;
    assert_eq!(
        worker.endpoint(|_| true).await.circuit.state,
        CircuitState::Open,
        "the same token asks once"
    );
}

#[tokio::test]
async fn a_circuit_can_be_forced_and_let_go() {
    let provider = Provider::start(|_| async { 200 }).await;
    let first = plan(&[provider.url("")]);
    let worker = Dataplane::start([first.clone()]);
    let forced = edited(&first, |plan| plan.breaker.mode = BreakerMode::ForcedOpen);
    worker.adopt(forced.clone()).await;
    let report = worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
    assert_eq!(
        (report.circuit.tripped_by, report.circuit.next_trial),
        (Some(TrippedBy::Forced), None)
    );
    let refused = worker.get("/").await;
    assert_eq!(problem(&refused), Some("circuit-open"));
    assert!(!refused.headers().contains_key("retry-after"), "nobody knows when");
    worker
        .adopt(edited(&forced, |plan| plan.breaker.mode = BreakerMode::Automatic))
        .await;
    assert_eq!(worker.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_new_credential_is_on_the_next_request_and_on_the_same_connection() {
    let provider = Provider::start(|_| async { 200 }).await;
    let mut first = plan(&[provider.url("")]);
    first.credentials = vec![api_key(1, "old")];
    let worker = Dataplane::start([first.clone()]);
    assert_eq!(worker.get("/").await.status(), 200);
    worker
        .adopt(edited(&first, |plan| plan.credentials = vec![api_key(2, "new")]))
        .await;
    assert_eq!(worker.get("/").await.status(), 200);
    let keys: Vec<_> = provider
        .seen()
        .iter()
        .map(|seen| seen.header("x-api-key").unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["old", "new"]);
    assert_eq!(provider.connections(), 1);
    let report = worker.credential(|_| true).await;
    assert_eq!((report.name.as_str(), report.revision), ("key", 2));
}

#[tokio::test]
async fn what_a_connection_carries_itself_is_not_shared_over_a_change() {
    let provider = Provider::start_tls(false, |_| async { 200 }).await;
    let mut first = plan(&[provider.url("")]);
    first.tls.ca_pem.clone_from(&provider.ca_pem);
    first.tls.server_name = Some("provider.test".to_owned());
    let worker = Dataplane::start([first.clone()]);
    assert_eq!(worker.get("/").await.status(), 200);
    worker
        .adopt(edited(&first, |plan| {
            plan.tls.server_name = Some("other.test".to_owned());
        }))
        .await;
    assert_eq!(problem(&worker.get("/").await), Some("upstream-unreachable"));
}

#[tokio::test]
async fn a_credential_that_the_provider_rejects_is_reported_until_it_is_accepted() {
    let accepted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let accepts = accepted.clone();
    let provider = Provider::start(move |_| {
        let status = if accepts.load(std::sync::atomic::Ordering::SeqCst) {
            404
        } else {
            401
        };
        async move { status }
    })
    .await;
    let mut first = plan(&[provider.url("")]);
    first.credentials = vec![api_key(1, "old")];
    let worker = Dataplane::start([first.clone()]);
    for _ in 0..30 {
        assert_eq!(worker.get("/").await.status(), 401);
    }
    worker
        .credential(|credential| credential.rejected_status == Some(401))
        .await;
    assert_eq!(
        worker.endpoint(|_| true).await.circuit.state,
        CircuitState::Closed,
        "never the breaker"
    );
    // Another plan of the same revision knows it still; another revision does not.
    let second = edited(&first, |plan| plan.retries.limit = 1);
    worker.adopt(second.clone()).await;
    assert_eq!(worker.credential(|_| true).await.rejected_status, Some(401));
    worker
        .adopt(edited(&second, |plan| plan.credentials = vec![api_key(2, "new")]))
        .await;
    assert_eq!(worker.credential(|_| true).await.rejected_status, None);
    worker.get("/").await;
    worker
        .credential(|credential| credential.rejected_status == Some(401))
        .await;
    accepted.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(worker.get("/").await.status(), 404);
    worker
        .credential(|credential| credential.rejected_status.is_none())
        .await;
}

#[tokio::test]
async fn a_credential_without_a_value_or_for_another_host_stops_the_call_here() {
    let provider = Provider::start(|_| async { 200 }).await;
    let mut without = plan(&[provider.url("")]);
    without.credentials = vec![api_key(1, "x")];
    without.credentials[0].material = None;
    let mut elsewhere = plan(&[provider.url("")]);
    elsewhere.credentials = vec![api_key(1, "x")];
    elsewhere.credentials[0].allowed_hosts = vec!["api.example.com".to_owned()];
    let mut unfit = plan(&[provider.url("")]);
    unfit.credentials = vec![api_key(1, "x")];
    unfit.credentials[0].material = Some(Material::Header {
        name: "x-api-key".to_owned(),
        value: SecretValue::new("two\nlines"),
    });
    for plan in [without, elsewhere, unfit] {
        let worker = Dataplane::start([plan]);
        let response = worker.get("/").await;
        assert_eq!(
            (problem(&response), response.status().as_u16()),
            (Some("credential-unavailable"), 503)
        );
        assert!(!String::from_utf8_lossy(response.body()).contains("two"));
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_plan_that_cannot_be_used_changes_nothing() {
    let provider = Provider::start(|_| async { 200 }).await;
    let first = plan(&[provider.url("")]);
    let worker = Dataplane::start([first.clone()]);
    assert_eq!(worker.get("/").await.status(), 200);
    for change in [
        Box::new(|plan: &mut Plan| plan.endpoints[0].url = "ftp://x".to_owned()) as Box<dyn Fn(&mut Plan)>,
        Box::new(|plan| plan.format += 1),
        Box::new(|plan| {
            plan.endpoints[0].url = "https://127.0.0.1".to_owned();
            plan.tls.ca_pem = Some("no certificate".to_owned());
        }),
    ] {
        worker.serve([edited(&first, change)]);
        assert_eq!(worker.get("/").await.status(), 200);
        assert_eq!(worker.report(|_| true).await.plan_revision, 1);
    }
}

#[tokio::test]
async fn integrations_come_and_go_by_their_names() {
    let provider = Provider::start(|_| async { 200 }).await;
    let shop = plan(&[provider.url("/shop")]);
    let mut bank = plan(&[provider.url("/bank")]);
    bank.integration = Key::new("bank", "api");
    let worker = Dataplane::start([shop.clone(), bank]);
    for (host, path) in [
        ("api.shop", "/shop/"),
        ("api.bank.svc.cluster.local:80", "/bank/"),
        ("api.bank.localhost", "/bank/"),
    ] {
        assert_eq!(
            worker.call(Request::get("/").header("host", host), "").await.status(),
            200
        );
        assert_eq!(provider.seen().last().unwrap().uri, path);
    }
    assert_eq!(problem(&worker.get("/").await), Some("unknown-integration"));
    worker.serve([shop]);
    eventually("the end of the other", || worker.reports().len() == 1).await;
    assert_eq!(worker.get("/").await.status(), 200);
    let gone = worker.call(Request::get("/").header("host", "api.bank"), "").await;
    assert_eq!(
        (problem(&gone), gone.status().as_u16()),
        (Some("unknown-integration"), 404)
    );
}

#[tokio::test]
async fn a_call_under_way_ends_under_the_plan_that_it_began_with() {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let provider = Provider::start(move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            answer(200, "old")
        }
    })
    .await;
    let first = plan(&[provider.url("")]);
    let worker = Arc::new(Dataplane::start([first.clone()]));
    let calling = worker.clone();
    let call = tokio::spawn(async move { calling.get("/").await });
    eventually("the call", || provider.seen().len() == 1).await;
    worker
        .adopt(edited(&first, |plan| {
            plan.endpoints[0].url = "http://127.0.0.1:9".to_owned();
        }))
        .await;
    go.add_permits(1);
    assert_eq!(call.await.unwrap().body(), "old");
}

#[tokio::test]
async fn places_that_are_taken_count_after_an_edit() {
    let provider = Provider::start(|_| async { Reply::Silence }).await;
    let mut first = plan(&[provider.url("")]);
    first.concurrency.max_in_flight = 1;
    first.concurrency.max_pending = 0;
    let worker = Arc::new(Dataplane::start([first.clone()]));
    let calling = worker.clone();
    let call = tokio::spawn(async move { calling.get("/").await });
    eventually("the call", || provider.seen().len() == 1).await;
    let response = worker.get("/").await;
    assert_eq!(
        (problem(&response), response.status().as_u16()),
        (Some("overloaded"), 503)
    );
    assert_eq!(response.headers()["retry-after"], "1");
    worker
        .adopt(edited(&first, |plan| plan.timeouts.request = Duration::from_secs(20)))
        .await;
    assert_eq!(problem(&worker.get("/").await), Some("overloaded"));
    call.abort();
}
