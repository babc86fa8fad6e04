//! Spans as a collector gets them from the real program: what they say, how they hang together, and that nothing waits
//! for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

use crate::support::program::{Program, command};
use crate::support::provider::Provider;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// A collector: takes OTLP over HTTP, and keeps it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let batches = self.0.lock().unwrap();
        let scopes = batches
            .iter()
            .flat_map(|batch| &batch.resource_spans)
            .flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn resource(&self) -> BTreeMap<String, String> {
        let batches = self.0.lock().unwrap();
        attributes(&batches[0].resource_spans[0].resource.as_ref().unwrap().attributes)
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) {
    let batch = ExportTraceServiceRequest::decode(body).unwrap();
    collector.0.lock().unwrap().push(batch);
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn manifests(url: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {{name: tides, namespace: shop}}
spec:
  endpoints: [{{name: primary, url: '{url}/base'}}]
  retries: {{limit: 2, backoff: {{base: 10ms}}, budget: {{percent: 100, minimumPerSecond: 10}}}}
  credentialRefs: [{{name: tides}}]
---
apiVersion: tidegate.dev/v1alpha1
kind: Credential
metadata: {{name: tides, namespace: shop}}
spec:
  allowedHosts: [127.0.0.1]
  apiKey: {{in: Query, name: key, secretRef: {{name: tides, key: key}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: tides, namespace: shop}}
stringData: {{key: canary-8d2f}}
"
    )
}

async fn program(provider: &Provider, environment: &[(&str, &str)]) -> Program {
    let text = manifests(&provider.url(""));
    let all = [&[("OTEL_BSP_SCHEDULE_DELAY", "100")], environment].concat();
    let program = Program::with_environment(&[("tides.yaml", &text)], "info", &all).await;
    program.ready().await;
    program
}

#[tokio::test]
async fn a_call_is_a_span_and_each_attempt_one_below_it_that_the_provider_is_told() {
    // The first attempt fails, the second is answered.
    let asked = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { 503 } else { 200 } }
    })
    .await;
    let (collector, url) = Collector::start().await;
    let program = program(&provider, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    let response = reqwest::Client::new()
        .get(format!("http://{}/v1/tides?token=canary-8d2f", program.listen))
        .header("host", "tides.shop")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tracestate", "vendor=opaque")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let spans = program
        .until("three spans arrive", async |_: &Program| {
            let spans = collector.spans();
            (spans.len() >= 3).then_some(spans)
        })
        .await;
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(
        spans
            .iter()
            .all(|span| hex(&span.trace_id) == "0af7651916cd43dd8448eb211c80319c"),
        "the caller's trace goes on"
    );
    let call = spans.iter().find(|span| span.kind == SERVER).unwrap();
    assert_eq!(
        (call.name.as_str(), hex(&call.parent_span_id)),
        ("GET", "b7ad6b7169203331".into())
    );
    let said = attributes(&call.attributes);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/tides"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("tidegate.namespace", "shop"),
        ("tidegate.integration", "tides"),
        ("tidegate.attempts", "2"),
    ] {
        assert_eq!(said.get(name).map(String::as_str), Some(value), "{name} in {said:?}");
    }
    let mut attempts: Vec<_> = spans.iter().filter(|span| span.kind == CLIENT).collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    let port = provider.url("").rsplit(':').next().unwrap().to_owned();
    for (index, (attempt, status)) in attempts.iter().zip(["503", "200"]).enumerate() {
        assert_eq!(attempt.parent_span_id, call.span_id);
        let said = attributes(&attempt.attributes);
        assert_eq!(said["url.full"], format!("http://127.0.0.1:{port}/base/v1/tides"));
        assert_eq!(
            (said["server.address"].as_str(), &said["server.port"]),
            ("127.0.0.1", &port)
        );
        assert_eq!(said["http.response.status_code"], status);
        assert_eq!(said["tidegate.endpoint"], "primary");
        let resent = (index == 1).then_some("1");
        assert_eq!(said.get("http.request.resend_count").map(String::as_str), resent);
        let failed = (index == 0).then_some("503");
        assert_eq!(said.get("error.type").map(String::as_str), failed);
        assert_eq!(
            attempt.status.as_ref().is_some_and(|status| status.code == ERROR),
            index == 0
        );
        let seen = &provider.seen()[index];
        let context = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", hex(&attempt.span_id));
        assert_eq!(seen.header("traceparent"), Some(context.as_str()));
        assert_eq!(seen.header("tracestate"), Some("vendor=opaque"));
    }
    let resource = collector.resource();
    assert_eq!(resource["service.name"], "tidegate");
    let all = format!("{spans:?} {resource:?}");
    assert!(
        !all.contains("canary-8d2f"),
        "neither the credential nor a query is told"
    );
}

#[tokio::test]
async fn what_is_refused_here_has_one_span_that_says_why() {
    let provider = Provider::start(async |_| 200).await;
    let (collector, url) = Collector::start().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_SERVICE_NAME", "edge"),
    ];
    let program = program(&provider, &environment).await;
    assert_eq!(program.call("nobody.shop", "/x").await.0, 404);
    let span = program
        .until("a span arrives", async |_: &Program| {
            collector.spans().into_iter().next()
        })
        .await;
    let said = attributes(&span.attributes);
    assert_eq!(said["http.response.status_code"], "404");
    assert_eq!(said["error.type"], "unknown-integration");
    assert!(
        span.status.is_none_or(|status| status.code != ERROR),
        "a caller's mistake is no error of a server"
    );
    assert_eq!(collector.resource()["service.name"], "edge");
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_keep_is_not_sent_and_still_passed_on() {
    let provider = Provider::start(async |_| 200).await;
    let (collector, url) = Collector::start().await;
    let mut program = program(&provider, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    reqwest::Client::new()
        .get(format!("http://{}/", program.listen))
        .header("host", "tides.shop")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
        .send()
        .await
        .unwrap();
    let passed = provider.seen()[0].header("traceparent").unwrap().to_owned();
    assert!(
        passed.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && passed.ends_with("-00"),
        "{passed}"
    );
    program.stop().await;
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn spans_that_are_left_are_sent_at_the_end() {
    let provider = Provider::start(async |_| 200).await;
    let (collector, url) = Collector::start().await;
    // Long enough for the delay not to be what sends them.
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ];
    let mut program = program(&provider, &environment).await;
    assert_eq!(program.call("tides.shop", "/").await.0, 200);
    program.stop().await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_once_and_costs_no_call() {
    const SAID: &str = "spans do not reach their collector";
    let provider = Provider::start(async |_| 200).await;
    // Bound and not listening: nothing else can take the port meanwhile.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", held.local_addr().unwrap());
    let mut program = program(&provider, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    program
        .until("it is told", async |program: &Program| {
            assert_eq!(program.call("tides.shop", "/").await.0, 200);
            program.stderr().contains(SAID).then_some(())
        })
        .await;
    // What the last call left is tried at the end, in vain too.
    assert_eq!(program.call("tides.shop", "/").await.0, 200);
    program.stop().await;
    assert_eq!(program.stderr().matches(SAID).count(), 1);
}

#[tokio::test]
async fn without_a_collector_the_callers_context_passes_untouched() {
    let provider = Provider::start(async |_| 200).await;
    let program = program(&provider, &[]).await;
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    reqwest::Client::new()
        .get(format!("http://{}/", program.listen))
        .header("host", "tides.shop")
        .header("traceparent", context)
        .send()
        .await
        .unwrap();
    assert_eq!(provider.seen()[0].header("traceparent"), Some(context));
}

#[tokio::test]
async fn a_variable_that_cannot_be_followed_ends_the_start_with_its_name() {
    let mut command = command(&["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let output = command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && told.contains("4318"),
        "{told}"
    );
}
