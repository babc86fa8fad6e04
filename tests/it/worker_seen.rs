//! What a worker tells of itself besides its reports: metrics and logs, and what is in none of them.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, LazyLock, Mutex};

use http::Request;
use prometheus::proto::MetricType;
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, span};

use crate::support::dataplane::{Dataplane, api_key, plan};
use crate::support::provider::{Provider, answer, eventually};

/// A plan under a name of its own, because metrics belong to the whole process.
fn named(name: &str, urls: &[String]) -> Plan {
    let mut plan = plan(urls);
    plan.integration = Key::new("seen", name);
    plan
}

/// The series of `integration`: name and labels without the first two, and value.
fn series(integration: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for family in prometheus::gather() {
        for metric in family.get_metric() {
            let labels: BTreeMap<_, _> = metric
                .get_label()
                .iter()
                .map(|label| (label.name().to_owned(), label.value().to_owned()))
                .collect();
            if labels.get("integration").is_some_and(|value| value == integration) {
                let mut name = family.name().to_owned();
                for (label, value) in labels
                    .iter()
                    .filter(|(label, _)| !["namespace", "integration"].contains(&label.as_str()))
                {
                    write!(name, " {label}={value}").unwrap();
                }
                let value = match family.get_field_type() {
                    MetricType::HISTOGRAM => metric.get_histogram().get_sample_count().to_string(),
                    MetricType::COUNTER => metric.get_counter().get_value().to_string(),
                    _ => metric.get_gauge().get_value().to_string(),
                };
                found.insert(name, value);
            }
        }
    }
    found
}

#[tokio::test]
async fn metrics_count_what_became_of_requests_and_attempts() {
    let provider = Provider::start(|seen| async move { if seen.uri.path() == "/bad" { 503 } else { 200 } }).await;
    let worker = Dataplane::start([named("counted", &[provider.url("")])]);
    let call = |request: http::request::Builder| worker.call(request.header("host", "counted.seen"), "");
    assert_eq!(call(Request::get("/")).await.status(), 200);
    assert_eq!(call(Request::get("/")).await.status(), 200);
    assert_eq!(call(Request::get("/bad")).await.status(), 503);
    assert_eq!(
        call(Request::builder().method("CONNECT").uri("counted.seen:80"))
            .await
            .status(),
        400
    );
    let series = series("counted");
    let value = |name: &str| series.get(name).unwrap_or_else(|| panic!("no {name} in {series:#?}"));
    assert_eq!(
        value("tidegate_requests_total code_class=2xx endpoint=e0 outcome=answered"),
        "2"
    );
    assert_eq!(
        value("tidegate_requests_total code_class=5xx endpoint=e0 outcome=answered"),
        "1"
    );
    assert_eq!(value("tidegate_attempts_total endpoint=e0 outcome=success"), "2");
    assert_eq!(value("tidegate_attempts_total endpoint=e0 outcome=failure-status"), "4");
    assert_eq!(value("tidegate_retries_total reason=status"), "3");
    assert_eq!(value("tidegate_request_duration_seconds"), "3");
    assert_eq!(value("tidegate_in_flight"), "0");
    assert_eq!(value("tidegate_circuit_state endpoint=e0 state=closed"), "1");
    assert_eq!(value("tidegate_endpoint_healthy endpoint=e0"), "1");
    worker.serve([]);
    crate::support::provider::eventually("the end of the series", || self::series("counted").is_empty()).await;
}

/// Keeps every event as text.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<String>>>);

/// A second one for as long as the process lives: while there is one alone, tracing asks the thread that comes to a place
/// in the code first whether anybody listens, and that may be a test where nobody does.
static OTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Kept::default()));

impl Kept {
    /// Keeps what this thread tells until the guard is dropped. A test's runtime has one thread, so everything that its
    /// worker does is heard.
    pub fn listen() -> (Self, DefaultGuard) {
        LazyLock::force(&OTHER);
        let kept = Self::default();
        let heard = tracing::subscriber::set_default(kept.clone());
        (kept, heard)
    }

    /// The lines of the access log so far.
    pub fn access(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let access = lines.iter().filter(|line| line.contains("tidegate::access"));
        access.cloned().collect()
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(Level::DEBUG.into())
    }
}

#[tokio::test]
async fn a_call_is_one_line_and_an_attempt_another_and_neither_has_a_secret_a_query_or_a_body() {
    let (kept, _heard) = Kept::listen();
    let provider = Provider::start(|seen| async move {
        match seen.uri.path() {
            "/bad" => answer(500, "canary-of-the-provider"),
            _ => answer(401, "canary-of-the-provider"),
        }
    })
    .await;
    let mut plan = named("logged", &[provider.url("")]);
    plan.credentials = vec![api_key(1, "canary-secret")];
    let worker = Dataplane::start_here([plan]);
    let call = |path: &str, id: &str| {
        let request = Request::post(path)
            .header("host", "logged.seen")
            .header("x-request-id", id);
        worker.call(request.header("x-mine", "canary-of-the-caller"), "canary-of-the-body")
    };
    call("/good?canary-in-the-query", "request-1").await;
    call("/bad", "request-2").await;
    let lines = kept.0.lock().unwrap().clone();
    let of = |target: &str| -> Vec<_> { lines.iter().filter(|line| line.contains(target)).cloned().collect() };
    let calls = of("tidegate::access");
    assert_eq!(calls.len(), 2, "{lines:#?}");
    for part in [
        "INFO",
        "request_id=request-1",
        "namespace=\"seen\"",
        "integration=\"logged\"",
        "endpoint=\"e0\"",
        "method=\"POST\"",
        "path=\"/good\"",
        "status=401",
        "outcome=\"answered\"",
        "attempts=1",
    ] {
        assert!(calls[0].contains(part), "{part} is not in {}", calls[0]);
    }
    assert_eq!(of("tidegate::attempt").len(), 2);
    assert!(of("tidegate::attempt")[0].starts_with("DEBUG"));
    let ours: Vec<_> = lines.iter().filter(|line| line.contains("tidegate")).collect();
    assert!(ours.iter().all(|line| !line.contains("canary")), "{ours:#?}");
    assert!(!format!("{:?}", worker.reports()).contains("canary"));
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_request_is_one_line_too() {
    let (kept, _heard) = Kept::listen();
    let worker = Dataplane::start_here([plan(&["http://127.0.0.1:1".to_owned()])]);
    let huge = "v".repeat(1 << 20);
    for (sent, status, outcome) in [
        (
            "GET / HTTP/1.1\r\nHost: api\r\nX canary: a\r\n\r\n",
            400,
            "invalid-request",
        ),
        (
            "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "invalid-request",
        ),
        (
            &format!("GET / HTTP/1.1\r\nHost: api\r\nX: canary{huge}\r\n\r\n"),
            431,
            "request-too-large",
        ),
    ] {
        kept.0.lock().unwrap().clear();
        let mut socket = tokio::net::TcpStream::connect(worker.address).await.unwrap();
        drop(socket.write_all(sent.as_bytes()).await);
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(head, format!("HTTP/1.1 {status}").as_bytes());
        eventually("a line", || !kept.access().is_empty()).await;
        let told = kept.access();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains(&format!("status={status} outcome=\"{outcome}\"")),
            "{told:?}"
        );
        assert!(!told[0].contains("canary"), "{told:?}");
    }
}

#[tokio::test]
async fn trace_context_passes_and_a_request_id_is_not_made_up_for_the_provider() {
    let provider = Provider::start(|_| async { 200 }).await;
    let worker = Dataplane::start_here([plan(&[provider.url("")])]);
    let request = Request::get("/")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("tracestate", "a=1,b=2");
    worker.call(request, "").await;
    let seen = &provider.seen()[0];
    assert_eq!(
        seen.header("traceparent"),
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    );
    assert_eq!(seen.header("tracestate"), Some("a=1,b=2"));
    assert_eq!(seen.header("x-request-id"), None);
}
