//! What is sent again: queries, however they come, and nothing that may not be one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use tidegate::api::integration::{IdempotencyKey, RetryMethods};
use tidegate::domain::plan::Plan;

use super::{attempts, graphql, post};
use crate::support::dataplane::Dataplane;
use crate::support::provider::{Provider, Reply, answer};

/// A provider that answers every second request.
async fn flaky(first: fn() -> Reply) -> Provider {
    let count = Arc::new(AtomicUsize::new(0));
    Provider::start(move |_| {
        let reply = match count.fetch_add(1, Ordering::SeqCst) {
            0 => first(),
            _ => answer(200, r#"{"data": {}}"#).into(),
        };
        async move { reply }
    })
    .await
}

/// Asks once; the requests that the provider saw of it.
async fn asked(change: impl FnOnce(&mut Plan), request: http::request::Builder, body: &str) -> usize {
    let provider = flaky(|| 503.into()).await;
    let mut plan = graphql(provider.url("/v1"));
    change(&mut plan);
    let worker = Dataplane::start([plan]);
    let response = worker.call(request, body.to_owned()).await;
    let seen = provider.seen();
    assert_eq!(attempts(&response), seen.len().to_string(), "{body}");
    assert_eq!(response.status(), if seen.len() == 2 { 200 } else { 503 }, "{body}");
    assert!(seen.iter().all(|seen| seen.body == body), "{body}");
    seen.len()
}

fn as_it_is(_: &mut Plan) {}

#[tokio::test]
async fn queries_are_sent_again_and_what_may_be_none_is_not() {
    for (body, count) in [
        (r#"{"query": "{a}"}"#, 2),
        (
            r#"{"query": "query Q($x: Int) {a(x: $x) {b}}", "variables": {"x": 1}}"#,
            2,
        ),
        (r##"{"query": "# mutation {a}\n{a}"}"##, 2),
        (r#"{"query": "mutation {a}"}"#, 1),
        (r##"{"query": "#\nmutation {a(x: \"query {a}\")}"}"##, 1),
        (r#"{"query": "subscription {a}"}"#, 1),
        (r#"{"query": "query A {a} mutation B {b}", "operationName": "A"}"#, 2),
        (r#"{"query": "query A {a} mutation B {b}", "operationName": "B"}"#, 1),
        (r#"{"query": "query A {a} mutation B {b}"}"#, 1),
        (
            r#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}"#,
            1,
        ),
        (r#"[{"query": "{a}"}, {"query": "{b}"}]"#, 2),
        (r#"[{"query": "{a}"}, {"query": "mutation {b}"}]"#, 1),
    ] {
        assert_eq!(asked(as_it_is, post("/"), body).await, count, "{body}");
    }
    let typed = |kind: &str| Request::post("/graphql").header("content-type", kind);
    for (kind, body, count) in [
        ("application/graphql", "{a}", 2),
        ("application/graphql; charset=utf-8", "mutation {a}", 1),
        ("Application/JSON;charset=\"UTF-8\"", r#"{"query": "{a}"}"#, 2),
        ("application/x-www-form-urlencoded", "query=%7Ba%7D", 2),
        ("application/x-www-form-urlencoded", "query=mutation+%7Ba%7D", 1),
        ("application/x-www-form-urlencoded", "id=1", 1),
    ] {
        assert_eq!(asked(as_it_is, typed(kind), body).await, count, "{kind} {body}");
    }
    for (path, count) in [
        ("/graphql?query=%7Ba%7D&variables=%7B%7D", 2),
        ("/graphql?query=query+A%7Ba%7D+mutation+B%7Bb%7D&operationName=A", 2),
        // Not what GET is for; a provider that does it all the same does it once.
        ("/graphql?query=mutation%7Ba%7D", 1),
        ("/graphql?extensions=%7B%22persistedQuery%22%3A%7B%7D%7D", 2),
        ("/health", 2),
    ] {
        assert_eq!(asked(as_it_is, Request::get(path), "").await, count, "{path}");
    }
    let options = Request::builder().method(Method::OPTIONS).uri("/graphql");
    assert_eq!(asked(as_it_is, options, "").await, 2);
}

#[tokio::test]
async fn a_key_or_an_order_makes_a_mutation_repeatable() {
    let mutation = r#"{"query": "mutation {a}"}"#;
    let keyed = post("/").header("idempotency-key", "k");
    assert_eq!(asked(as_it_is, keyed, mutation).await, 2);
    let all = |plan: &mut Plan| plan.retries.methods = RetryMethods::All;
    assert_eq!(asked(all, post("/"), mutation).await, 2);
    for (body, has_key) in [
        (mutation, true),
        (r#"{"id": "1"}"#, true),
        (r#"{"query": "{a}"}"#, false),
    ] {
        let provider = flaky(|| 503.into()).await;
        let mut plan = graphql(provider.url(""));
        plan.retries.idempotency_key = IdempotencyKey::Add;
        let worker = Dataplane::start([plan]);
        assert_eq!(worker.call(post("/"), body).await.status(), 200);
        let seen = provider.seen();
        let keys: Vec<_> = seen.iter().map(|seen| seen.header("idempotency-key")).collect();
        assert_eq!(keys[0], keys[1], "it is the same in each attempt");
        assert_eq!(keys[0].is_some(), has_key, "{body}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_only_by_a_query() {
    for (body, status, count) in [
        (r#"{"query": "{a}"}"#, 200, 2),
        (r#"{"query": "mutation {a}"}"#, 502, 1),
    ] {
        let provider = flaky(|| Reply::Hangup).await;
        let worker = Dataplane::start([graphql(provider.url(""))]);
        assert_eq!(worker.call(post("/"), body).await.status(), status);
        assert_eq!(provider.seen().len(), count);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_to_keep_arrives_whole_and_once() {
    let padding = "x".repeat(2 << 20);
    let body = format!(r#"{{"variables": {{"x": "{padding}"}}, "query": "{{a}}"}}"#);
    assert_eq!(asked(as_it_is, post("/"), &body).await, 1);
    let padding = "x".repeat(512 << 10);
    let body = format!(r#"{{"variables": {{"x": "{padding}"}}, "query": "{{a}}"}}"#);
    assert_eq!(asked(as_it_is, post("/"), &body).await, 2);
}
