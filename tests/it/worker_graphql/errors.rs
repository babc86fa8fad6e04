//! Errors in an answer: for the circuit, in the log, in the metrics; and that the answer passes as it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tidegate::api::integration::{CircuitState, ErrorsAreFailures, Health};
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tokio::sync::Semaphore;

use super::{graphql, post};
use crate::support::dataplane::Dataplane;
use crate::support::provider::{Body, Provider, answer, eventually, piece, streamed};
use crate::worker_seen::Kept;

const QUERY: &str = r#"{"query": "query Q {a}"}"#;

fn json(body: &'static str) -> http::Response<Body> {
    let mut response = answer(200, body);
    let kind = http::HeaderValue::from_static("application/graphql-response+json; charset=utf-8");
    response.headers_mut().insert("content-type", kind);
    response
}

fn choosing(url: String, choice: ErrorsAreFailures) -> Plan {
    let mut plan = graphql(url);
    plan.graphql.as_mut().unwrap().errors_are_failures = choice;
    plan
}

#[tokio::test]
async fn errors_open_the_circuit_as_the_choice_says() {
    use ErrorsAreFailures::{Always, Never, WithoutData};
    const PARTIAL: &str = r#"{"data": {"a": null}, "errors": [{"message": "no", "path": ["a"]}]}"#;
    const NOTHING: &str = r#"{"errors": [{"message": "no"}], "data": null}"#;
    const CALLER: &str = r#"{"errors": [{"message": "m", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}]}"#;
    for (choice, body, opens) in [
        (Never, PARTIAL, false),
        (Never, NOTHING, false),
        (WithoutData, PARTIAL, false),
        (WithoutData, NOTHING, true),
        (Always, PARTIAL, true),
        (Always, NOTHING, true),
        (Always, CALLER, false),
        (Always, r#"{"data": {"a": 1}, "errors": []}"#, false),
        (Always, r#"[{"data": {}}, {"data": {}, "errors": [{}]}]"#, true),
        (Always, "<html>", false),
    ] {
        let provider = Provider::start(move |_| async move { json(body) }).await;
        let worker = Dataplane::start([choosing(provider.url(""), choice)]);
        for _ in 0..5 {
            let response = worker.call(post("/"), QUERY).await;
            assert_eq!(
                (response.status().as_u16(), response.body().as_ref()),
                (200, body.as_bytes())
            );
        }
        let state = if opens {
            CircuitState::Open
        } else {
            CircuitState::Closed
        };
        let endpoint = worker.endpoint(|endpoint| endpoint.circuit.state == state).await;
        assert_eq!(endpoint.health == Health::Unhealthy, opens, "{choice:?} {body}");
        let refused = worker.call(post("/"), QUERY).await.status() == 503;
        assert_eq!(refused, opens, "{choice:?} {body}");
        // An answer that could not be read would say nothing.
        let asked_for = provider.seen()[0].header("accept-encoding").map(str::to_owned);
        assert_eq!(asked_for.as_deref(), (choice != Never).then_some("identity"));
    }
}

#[tokio::test]
async fn a_trial_is_decided_by_the_body_and_not_by_the_head() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let provider = Provider::start(move |_| {
        let body = if is_well.load(Ordering::SeqCst) {
            r#"{"data": {}}"#
        } else {
            r#"{"errors": [{}]}"#
        };
        async move { json(body) }
    })
    .await;
    let mut plan = choosing(provider.url(""), ErrorsAreFailures::WithoutData);
    plan.breaker.consecutive_failures = 1;
    plan.breaker.open_for = Duration::from_millis(100);
    let worker = Dataplane::start([plan]);
    worker.call(post("/"), QUERY).await;
    worker.until_trial().await;
    assert_eq!(worker.call(post("/"), QUERY).await.status(), 200);
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
    well.store(true, Ordering::SeqCst);
    worker.until_trial().await;
    worker.call(post("/"), QUERY).await;
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Closed)
        .await;
}

#[tokio::test]
async fn an_answer_passes_as_it_comes() {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let provider = Provider::start(move |_| {
        let gate = gate.clone();
        async move {
            let rest = futures::stream::once(async move {
                gate.acquire().await.unwrap().forget();
                piece(r#"1}, "errors": [{}]}"#)
            });
            let mut response = streamed(futures::stream::iter([piece(r#"{"data": {"a": "#)]).chain(rest));
            let kind = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", kind);
            response
        }
    })
    .await;
    let mut plan = choosing(provider.url(""), ErrorsAreFailures::Always);
    plan.breaker.consecutive_failures = 1;
    let worker = Dataplane::start([plan]);
    let socket = tokio::net::TcpStream::connect(worker.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = post("/")
        .header("host", "api")
        .body(Full::new(bytes::Bytes::from(QUERY)))
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, r#"{"data": {"a": "#);
    go.add_permits(1);
    body.collect().await.unwrap();
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
}

#[tokio::test]
async fn the_log_and_the_metrics_have_the_operation_and_its_errors() {
    let (kept, _heard) = Kept::listen();
    let provider = Provider::start(|_| async { json(r#"{"data": {}, "errors": [{"message": "canary"}]}"#) }).await;
    let mut plan = graphql(provider.url(""));
    plan.integration = Key::new("shop", "graphql-counted");
    let worker = Dataplane::start_here([plan]);
    for (query, operation) in [("query Canary {canary}", "query"), ("mutation {canary}", "mutation")] {
        let before = kept.access().len();
        let request = post("/").header("host", "graphql-counted");
        worker.call(request, format!(r#"{{"query": "{query}"}}"#)).await;
        eventually("a line", || kept.access().len() > before).await;
        let line = kept.access().pop().unwrap();
        assert!(line.contains(&format!("graphql_operation=\"{operation}\"")), "{line}");
        assert!(line.contains("graphql_errors=\"partial\""), "{line}");
        assert!(!line.contains("anary"), "{line}");
        let counted = prometheus::gather().iter().any(|family| {
            family.name() == "tidegate_graphql_operations_total"
                && family.get_metric().iter().any(|metric| {
                    let has = |value: &str| metric.get_label().iter().any(|label| label.value() == value);
                    has("graphql-counted") && has(operation) && has("partial")
                })
        });
        assert!(counted, "{operation}");
    }
}
