//! Calls of gRPC through a real worker, with peers of our own: what travels, what counts, what is sent again, and what a
//! refusal looks like.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate::api::integration::{BreakerMode, CircuitState, Health, HealthReason, Protocol, RetryMethods};
use tidegate::domain::plan::{Plan, ProbePlan};
use tokio::net::TcpStream;

use crate::support::dataplane::{self, Dataplane, api_key};
use crate::support::provider::{Provider, Reply, answer, piece, streamed};

mod again;
mod metadata;
mod told;

/// One message, framed.
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

fn plan(url: String) -> Plan {
    let mut plan = dataplane::plan(&[url]);
    plan.protocol = Protocol::GRPC;
    plan.retries.statuses = vec![502, 503];
    plan
}

fn trailers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in lines {
        trailers.insert(*name, value.parse().unwrap());
    }
    trailers
}

/// A head, a message, and this status in trailers.
fn ended(code: u8) -> Reply {
    let last = http_body::Frame::trailers(trailers(&[("grpc-status", &code.to_string()), ("x-last", "1")]));
    let mut response = streamed(futures::stream::iter([piece(MESSAGE), Ok(last)]));
    head(&mut response);
    response.into()
}

/// A head, and this status in trailers.
fn ended_at_once(code: u8) -> Reply {
    let last = http_body::Frame::trailers(trailers(&[("grpc-status", &code.to_string())]));
    let mut response = streamed(futures::stream::iter([Ok(last)]));
    head(&mut response);
    response.into()
}

/// This status in a head that is all there is.
fn only(code: u8, more: &[(&'static str, &str)]) -> Reply {
    let mut response = answer(200, "");
    head(&mut response);
    response.headers_mut().insert("grpc-status", u16::from(code).into());
    response.headers_mut().extend(trailers(more));
    response.into()
}

fn head<B>(response: &mut Response<B>) {
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
}

struct Answered {
    status: u16,
    head: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Answered {
    /// Its gRPC status, and whether it was in the head.
    fn code(&self) -> (u8, bool) {
        let number = |headers: &HeaderMap| Some(headers.get("grpc-status")?.to_str().unwrap().parse().unwrap());
        match (number(&self.head), self.trailers.as_ref().and_then(number)) {
            (Some(code), None) => (code, true),
            (None, Some(code)) => (code, false),
            other => panic!("there must be one status: {other:?}"),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn call(worker: &Dataplane, host: &str, more: &[(&'static str, &str)]) -> Answered {
    let socket = TcpStream::connect(worker.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let uri: Uri = format!("http://{host}/shop.Orders/Place").parse().unwrap();
    let mut request = Request::post(uri).body(Full::new(Bytes::from_static(MESSAGE))).unwrap();
    let grpc = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", grpc);
    request.headers_mut().extend(trailers(more));
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    Answered {
        status: head.status.as_u16(),
        head: head.headers,
        trailers: collected.trailers().cloned(),
        body: collected.to_bytes(),
    }
}

#[tokio::test]
async fn metadata_trailers_and_what_is_left_of_the_deadline_travel() {
    let provider = Provider::start(|_| async { ended(0) }).await;
    let mut plan = plan(provider.url("/base"));
    plan.credentials = vec![api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    let answered = call(&worker, "api", &[("grpc-timeout", "5S"), ("x-meta-bin", "AAE")]).await;
    assert_eq!((answered.status, answered.code()), (200, (0, false)));
    assert_eq!(answered.trailers.as_ref().unwrap()["x-last"], "1");
    assert_eq!(answered.body, MESSAGE);
    assert_eq!(answered.header("tidegate-attempts"), Some("1"));
    let seen = &provider.seen()[0];
    assert_eq!(seen.version, http::Version::HTTP_2, "spoken by prior knowledge");
    assert_eq!(seen.uri.path(), "/base/shop.Orders/Place");
    assert_eq!(seen.body, MESSAGE);
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("x-meta-bin"), Some("AAE"));
    assert_eq!(seen.header("x-api-key"), Some("s3cret"));
    let left = tidegate::domain::grpc::timeout(seen.header("grpc-timeout").unwrap().as_bytes()).unwrap();
    assert!(
        left < Duration::from_secs(5) && left > Duration::from_secs(1),
        "{left:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_a_head_and_no_more_arrives_as_one() {
    let provider = Provider::start(|_| async { only(5, &[("grpc-message", "none %25")]) }).await;
    let worker = Dataplane::start([plan(provider.url(""))]);
    let answered = call(&worker, "api", &[]).await;
    assert_eq!(answered.code(), (5, true));
    assert_eq!(answered.header("grpc-message"), Some("none %25"));
    assert!(answered.body.is_empty());
}

#[tokio::test]
async fn tls_is_spoken_with_http2_or_not_at_all() {
    let provider = Provider::start_tls(true, |_| async { ended(0) }).await;
    let trusting = |provider: &Provider| {
        let mut plan = plan(provider.url(""));
        plan.tls = dataplane::trusting(provider).tls;
        plan
    };
    let worker = Dataplane::start([trusting(&provider)]);
    assert_eq!(call(&worker, "api", &[]).await.code(), (0, false));
    let old = Provider::start_tls(false, |_| async { ended(0) }).await;
    let mut plan = trusting(&old);
    plan.retries.limit = 0;
    let worker = Dataplane::start([plan]);
    let answered = call(&worker, "api", &[]).await;
    assert_eq!(answered.code(), (14, true));
    assert_eq!(answered.header("tidegate-error"), Some("upstream-unreachable"));
    assert!(old.seen().is_empty());
}

#[tokio::test]
async fn refusals_are_grpc_statuses() {
    let provider = Provider::start(|_| async { Reply::Silence }).await;
    let change = |change: fn(&mut Plan)| {
        let mut plan = plan(provider.url(""));
        plan.retries.limit = 0;
        change(&mut plan);
        plan
    };
    let cases: [(&str, Plan, &str, &[(&'static str, &str)], u8); 7] = [
        (
            "circuit-open",
            change(|plan| plan.breaker.mode = BreakerMode::ForcedOpen),
            "api",
            &[],
            14,
        ),
        (
            "no-endpoint",
            change(|plan| plan.endpoints[0].weight = 0),
            "api",
            &[],
            14,
        ),
        ("unknown-integration", change(|_| {}), "nobody", &[], 5),
        (
            "request-too-large",
            change(|plan| plan.limits.request_body = 3),
            "api",
            &[],
            8,
        ),
        (
            "request-timeout",
            change(|plan| plan.timeouts.attempt = Duration::from_millis(50)),
            "api",
            &[],
            4,
        ),
        ("request-timeout", change(|_| {}), "api", &[("grpc-timeout", "50m")], 4),
        ("invalid-request", change(|_| {}), "api", &[("grpc-timeout", "soon")], 3),
    ];
    for (slug, plan, host, headers, code) in cases {
        let worker = Dataplane::start([plan]);
        let answered = call(&worker, host, headers).await;
        assert_eq!(answered.header("tidegate-error"), Some(slug));
        assert_eq!((answered.status, answered.code()), (200, (code, true)), "{slug}");
        assert_eq!(answered.header("content-type"), Some("application/grpc"), "{slug}");
        let message = answered.header("grpc-message").unwrap();
        assert!(message.is_ascii() && !message.is_empty(), "{slug}: {message}");
        assert!(answered.body.is_empty(), "{slug}");
    }
}

#[tokio::test]
async fn what_is_no_call_of_grpc_gets_a_problem_document() {
    let provider = Provider::start(|_| async { ended(0) }).await;
    let worker = Dataplane::start([plan(provider.url(""))]);
    let response = worker.get("/").await;
    assert_eq!(
        (response.status().as_u16(), dataplane::problem(&response)),
        (400, Some("invalid-request"))
    );
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn a_status_in_trailers_or_in_the_head_counts_for_the_circuit() {
    for (code, opens) in [
        (14, true),
        (4, true),
        (13, true),
        (2, true),
        (15, true),
        (3, false),
        (5, false),
        (12, false),
        (8, false),
        (16, false),
        (7, false),
        (0, false),
    ] {
        for in_head in [false, true] {
            let provider =
                Provider::start(move |_| async move { if in_head { only(code, &[]) } else { ended(code) } }).await;
            let worker = Dataplane::start([plan(provider.url(""))]);
            for _ in 0..5 {
                assert_eq!(call(&worker, "api", &[]).await.code(), (code, in_head));
            }
            let answered = call(&worker, "api", &[]).await;
            let refused = answered.header("tidegate-error") == Some("circuit-open");
            assert_eq!(refused, opens, "{code}, in the head: {in_head}");
            assert_eq!(provider.seen().len(), if opens { 5 } else { 6 });
        }
    }
}

#[tokio::test]
async fn a_trial_is_decided_by_the_status_and_not_by_the_head() {
    let status = Arc::new(AtomicUsize::new(14));
    let told = status.clone();
    let provider = Provider::start(move |_| {
        let code = u8::try_from(told.load(Ordering::SeqCst)).unwrap();
        async move { ended_at_once(code) }
    })
    .await;
    let mut plan = plan(provider.url(""));
    plan.breaker.consecutive_failures = 1;
    plan.breaker.open_for = Duration::from_millis(100);
    let worker = Dataplane::start([plan]);
    call(&worker, "api", &[]).await;
    worker.until_trial().await;
    assert_eq!(call(&worker, "api", &[]).await.code().0, 14);
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
    status.store(0, Ordering::SeqCst);
    worker.until_trial().await;
    assert_eq!(call(&worker, "api", &[]).await.code().0, 0);
    let report = worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Closed)
        .await;
    assert_eq!(report.health, Health::Healthy);
}

#[tokio::test]
async fn unavailable_at_once_is_sent_again_only_if_all_may_be() {
    for (methods, first, attempts, code) in [
        (RetryMethods::All, only(14, &[]), 2, 0),
        (RetryMethods::Idempotent, only(14, &[]), 1, 14),
        (RetryMethods::All, only(14, &[("grpc-retry-pushback-ms", "-1")]), 1, 14),
        (RetryMethods::All, only(14, &[("grpc-retry-pushback-ms", "10")]), 2, 0),
        (RetryMethods::All, only(8, &[]), 1, 8),
        (RetryMethods::All, only(13, &[]), 1, 13),
        // The caller has seen a message by then.
        (RetryMethods::All, ended(14), 1, 14),
    ] {
        let first = Arc::new(std::sync::Mutex::new(Some(first)));
        let provider = Provider::start(move |_| {
            let reply = first.lock().unwrap().take().unwrap_or_else(|| ended(0));
            async move { reply }
        })
        .await;
        let mut plan = plan(provider.url(""));
        plan.retries.methods = methods;
        let worker = Dataplane::start([plan]);
        let answered = call(&worker, "api", &[("idempotency-key", "k"), ("grpc-timeout", "20S")]).await;
        assert_eq!(answered.code().0, code, "{methods:?}");
        let seen = provider.seen();
        assert_eq!(seen.len(), attempts, "{methods:?} {code}");
        let left: Vec<_> = seen
            .iter()
            .map(|seen| tidegate::domain::grpc::timeout(seen.header("grpc-timeout").unwrap().as_bytes()).unwrap())
            .collect();
        assert!(
            left.is_sorted_by(|first, second| first > second),
            "each has less time left: {left:?}"
        );
        assert!(seen.iter().all(|seen| seen.body == MESSAGE));
    }
}

#[tokio::test]
async fn a_call_that_surely_did_not_arrive_goes_elsewhere() {
    let provider = Provider::start(|_| async { ended(0) }).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut plan = plan(format!("http://{gone}"));
    plan.endpoints.push(plan.endpoints[0].clone());
    plan.endpoints[1].name = "e1".to_owned();
    plan.endpoints[1].url = provider.url("");
    plan.endpoints[1].priority = 1;
    plan.breaker.consecutive_failures = 1;
    let worker = Dataplane::start([plan]);
    let answered = call(&worker, "api", &[]).await;
    assert_eq!(
        (answered.code().0, answered.header("tidegate-attempts")),
        (0, Some("2"))
    );
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_with_a_status() {
    let provider = Provider::start(|_| async {
        let mut response = streamed(futures::stream::iter([piece(MESSAGE)]).chain(futures::stream::pending()));
        head(&mut response);
        Reply::from(response)
    })
    .await;
    let worker = Dataplane::start([plan(provider.url(""))]);
    for _ in 0..6 {
        let answered = call(&worker, "api", &[("grpc-timeout", "200m")]).await;
        assert_eq!((answered.body.as_ref(), answered.code()), (MESSAGE, (4, false)));
    }
    let circuit = worker.endpoint(|_| true).await.circuit;
    assert_eq!(
        circuit.state,
        CircuitState::Closed,
        "an impatient caller cuts nobody off"
    );
}

#[tokio::test]
async fn a_provider_that_gives_up_on_an_impatient_caller_is_not_blamed() {
    for in_head in [true, false] {
        let provider =
            Provider::start(move |_| async move { if in_head { only(4, &[]) } else { ended_at_once(4) } }).await;
        let mut plan = plan(provider.url(""));
        plan.breaker.consecutive_failures = 1;
        let worker = Dataplane::start([plan]);
        for _ in 0..2 {
            // Less than half of what an attempt may take.
            let answered = call(&worker, "api", &[("grpc-timeout", "4S")]).await;
            assert_eq!(answered.code(), (4, in_head));
        }
        assert_eq!(provider.seen().len(), 2);
        call(&worker, "api", &[]).await;
        worker
            .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
            .await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_a_status_and_counts() {
    let provider = Provider::start(|_| async {
        let end = futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other("broken"))
        });
        let mut response = streamed(futures::stream::iter([piece(MESSAGE)]).chain(end));
        head(&mut response);
        Reply::from(response)
    })
    .await;
    let worker = Dataplane::start([plan(provider.url(""))]);
    for _ in 0..5 {
        assert_eq!(call(&worker, "api", &[]).await.code(), (14, false));
    }
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
        .await;
}

#[tokio::test]
async fn unauthenticated_marks_the_credential() {
    for in_head in [true, false] {
        let provider = Provider::start(move |_| async move { if in_head { only(16, &[]) } else { ended(16) } }).await;
        let mut plan = plan(provider.url(""));
        plan.credentials = vec![api_key(1, "s3cret")];
        let worker = Dataplane::start([plan]);
        call(&worker, "api", &[]).await;
        worker
            .credential(|credential| credential.rejected_status == Some(401))
            .await;
    }
}

#[tokio::test]
async fn a_probe_asks_the_health_service() {
    for (answered, healthy, message) in [
        (b"\0\0\0\0\x02\x08\x01".as_slice(), true, ""),
        (b"\0\0\0\0\x02\x08\x02", false, "the health service says NOT_SERVING"),
    ] {
        let provider = Provider::start(move |_| async move {
            let last = http_body::Frame::trailers(trailers(&[("grpc-status", "0")]));
            let mut response = streamed(futures::stream::iter([piece(answered), Ok(last)]));
            head(&mut response);
            Reply::from(response)
        })
        .await;
        let mut plan = plan(provider.url(""));
        plan.health_check = Some(ProbePlan {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 1,
            healthy_threshold: 1,
            path: "/".to_owned(),
            method: "GET".to_owned(),
            use_credential: true,
            statuses: vec![(200, 299)],
            expression: healthy.then(|| "body.status == 'SERVING'".to_owned()),
            service: "shop.Orders".to_owned(),
        });
        let worker = Dataplane::start([plan]);
        let report = worker.endpoint(|endpoint| endpoint.health != Health::Unknown).await;
        assert_eq!(report.health == Health::Healthy, healthy);
        assert_eq!(report.message, message);
        let reason = if healthy {
            HealthReason::ProbeSucceeded
        } else {
            HealthReason::UnexpectedStatus
        };
        assert_eq!(report.reason, reason);
        let seen = &provider.seen()[0];
        assert_eq!(seen.uri.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(seen.body, b"\0\0\0\0\x0d\x0a\x0bshop.Orders".as_slice());
    }
}
