//! Calls through a real worker to a real provider on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use http::Request;
use http_body_util::Empty;
use tidegate::api::integration::{BalancePolicy, CircuitState, Health, HealthReason, TrippedBy};

use crate::support::dataplane::{Dataplane, api_key, plan, problem};
use crate::support::provider::{Provider, Reply, answer, piece, streamed};

#[tokio::test]
async fn a_call_reaches_the_provider_with_the_credential_and_its_answer_comes_back() {
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let mut plan = plan(&[provider.url("/v1")]);
    plan.credentials = vec![api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    let request = Request::get("/things?a=%2F&b")
        .header("x-api-key", "the caller's")
        .header("x-other", "kept");
    let response = worker.call(request, "").await;
    assert_eq!(
        (response.status().as_u16(), response.body().as_ref()),
        (200, b"hello".as_slice())
    );
    assert_eq!(response.headers()["tidegate-attempts"], "1");
    assert_eq!(response.headers()["tidegate-endpoint"], "e0");
    let seen = provider.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].uri, "/v1/things?a=%2F&b");
    assert_eq!(seen[0].header("x-api-key"), Some("s3cret"));
    assert_eq!(seen[0].header("x-other"), Some("kept"));
    assert_eq!(seen[0].header("host"), Some(provider.address.to_string().as_str()));
    let report = worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
    assert_eq!(report.reason, HealthReason::TrafficSucceeded);
    assert_eq!(report.circuit.state, CircuitState::Closed);
}

#[tokio::test]
async fn failures_in_a_row_open_the_circuit_and_the_report_says_why_and_until_when() {
    let provider = Provider::start(|_| async { 500 }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.retries.limit = 0;
    let worker = Dataplane::start([plan]);
    for _ in 0..5 {
        assert_eq!(worker.get("/").await.status(), 500);
    }
    let refused = worker.get("/").await;
    assert_eq!(problem(&refused), Some("circuit-open"));
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(provider.seen().len(), 5);
    let report = worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
    assert_eq!(report.circuit.tripped_by, Some(TrippedBy::ConsecutiveFailures));
    assert_eq!(
        (report.health, report.reason),
        (Health::Unhealthy, HealthReason::TrafficFailed)
    );
    assert_eq!(report.message, "answered with status 500");
    let trial = report.circuit.next_trial.expect("an open circuit has a next trial");
    assert!(trial > jiff::Timestamp::now());
}

#[tokio::test]
async fn every_way_to_fail_counts_for_the_circuit_and_what_a_caller_asks_for_does_not() {
    let broken = || {
        let end = futures::stream::once(async {
            // The head has to be on its way before the body breaks, or there is no answer at all.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other("broken"))
        });
        Reply::from(streamed(futures::stream::iter([piece("begin")]).chain(end)))
    };
    let stalled = || streamed(futures::stream::iter([piece("begin")]).chain(futures::stream::pending())).into();
    let counts: [(&str, fn() -> Reply); 6] = [
        ("500", || Reply::from(500)),
        ("599", || Reply::from(599)),
        ("a hang-up", || Reply::Hangup),
        ("a timeout", || Reply::Silence),
        ("an answer that breaks off", broken),
        ("an answer that stalls", stalled),
    ];
    let does_not: [(&str, fn() -> Reply); 5] = [
        ("301", || Reply::from(301)),
        ("400", || Reply::from(400)),
        ("401", || Reply::from(401)),
        ("429", || Reply::from(429)),
        ("an answer over the limit", || answer(200, vec![0; 2000]).into()),
    ];
    let all = counts.map(|(what, reply)| (what, reply, CircuitState::Open));
    let all = all
        .into_iter()
        .chain(does_not.map(|(what, reply)| (what, reply, CircuitState::Closed)));
    for (what, reply, state) in all {
        let provider = Provider::start(move |_| async move { reply() }).await;
        let mut plan = plan(&[provider.url("")]);
        plan.retries.limit = 0;
        plan.breaker.consecutive_failures = 1;
        plan.limits.response_body = 1000;
        plan.timeouts.attempt = Duration::from_millis(200);
        plan.timeouts.idle = Duration::from_millis(200);
        let worker = Dataplane::start([plan]);
        // Whether the caller gets an answer is told elsewhere.
        drop(worker.send(Request::get("/").body(Empty::new()).unwrap()).await);
        assert_eq!(provider.seen().len(), 1, "{what}");
        let second = worker.send(Request::get("/").body(Empty::new()).unwrap()).await;
        let refused = second.is_ok_and(|response| problem(&response) == Some("circuit-open"));
        assert_eq!(refused, state == CircuitState::Open, "{what}");
        worker.endpoint(|endpoint| endpoint.circuit.state == state).await;
    }
}

#[tokio::test]
async fn a_failing_answer_is_tried_again_and_the_last_one_is_passed_on() {
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let provider = Provider::start(move |_| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        async move { Reply::from((503, ["first", "second", "third", "fourth"][call])) }
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let response = worker.get("/").await;
    assert_eq!(
        (response.status().as_u16(), response.body().as_ref()),
        (503, b"fourth".as_slice())
    );
    assert_eq!(response.headers()["tidegate-attempts"], "4");
    assert_eq!(
        provider.connections(),
        1,
        "a small answer that is put aside gives its connection back"
    );
}

#[tokio::test]
async fn calls_with_the_same_value_of_the_header_stay_with_one_endpoint_and_move_only_when_it_is_gone() {
    let providers = [200, 200, 200].map(|status| Provider::start(move |_| async move { status }));
    let mut providers = futures::future::join_all(providers).await;
    let mut plan = plan(&providers.iter().map(|provider| provider.url("")).collect::<Vec<_>>());
    plan.balance = BalancePolicy::ConsistentHash;
    plan.hash_on = Some("X-User".to_owned());
    let worker = Dataplane::start([plan]);
    let endpoint = async |user: usize| {
        let request = Request::get("/").header("x-user", format!("user-{user}"));
        let response = worker.call(request, "").await;
        assert_eq!(response.status(), 200);
        response.headers()["tidegate-endpoint"].to_str().unwrap().to_owned()
    };
    let mut before = Vec::new();
    for user in 0..30 {
        before.push(endpoint(user).await);
    }
    let mut used = before.clone();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 3, "{before:?}");
    for (user, before) in before.iter().enumerate() {
        assert_eq!(endpoint(user).await, *before);
    }
    drop(providers.remove(1));
    for (user, before) in before.iter().enumerate() {
        let after = endpoint(user).await;
        assert!(
            after != "e1" && (before == "e1" || after == *before),
            "{before} {after}"
        );
    }
}
