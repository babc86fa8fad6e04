//! Active probes against a real provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tidegate::api::integration::{CircuitState, Health, HealthReason};
use tidegate::domain::plan::{Plan, ProbePlan};

use crate::support::dataplane::{Dataplane, api_key, plan, problem};
use crate::support::provider::{Provider, Reply, Seen, answer, eventually};

fn probing(urls: &[String]) -> Plan {
    let mut plan = plan(urls);
    plan.retries.limit = 0;
    plan.health_check = Some(ProbePlan {
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(200),
        unhealthy_threshold: 2,
        healthy_threshold: 1,
        path: "/healthz?full".to_owned(),
        method: "GET".to_owned(),
        use_credential: true,
        statuses: vec![(200, 299)],
        expression: None,
        service: String::new(),
    });
    plan
}

fn with_expression(provider: &Provider, expression: &str) -> Plan {
    let mut plan = probing(&[provider.url("")]);
    if let Some(check) = &mut plan.health_check {
        check.expression = Some(expression.to_owned());
    }
    plan
}

/// A provider that answers with a status that can be changed.
async fn changing(status: u16) -> (Provider, Arc<AtomicU16>) {
    let now = Arc::new(AtomicU16::new(status));
    let current = now.clone();
    let provider = Provider::start(move |_| {
        let status = current.load(Ordering::SeqCst);
        async move { status }
    })
    .await;
    (provider, now)
}

#[tokio::test]
async fn a_probe_takes_the_path_of_the_traffic_and_decides_health() {
    let (provider, status) = changing(200).await;
    let mut plan = probing(&[provider.url("/v1")]);
    plan.credentials = vec![api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    let report = worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
    assert_eq!(report.reason, HealthReason::ProbeSucceeded);
    let seen = &provider.seen()[0];
    assert_eq!(
        (seen.uri.to_string().as_str(), seen.header("x-api-key")),
        ("/v1/healthz?full", Some("s3cret"))
    );
    status.store(503, Ordering::SeqCst);
    let report = worker.endpoint(|endpoint| endpoint.health == Health::Unhealthy).await;
    assert_eq!(
        (report.reason, report.message.as_str()),
        (HealthReason::UnexpectedStatus, "answered with status 503")
    );
    assert_eq!(
        report.circuit.state,
        CircuitState::Closed,
        "a probe does not open a circuit"
    );
    assert_eq!(
        worker.get("/").await.status(),
        503,
        "alone, it gets traffic all the same"
    );
    status.store(204, Ordering::SeqCst);
    worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
}

#[tokio::test]
async fn an_unhealthy_endpoint_gets_no_traffic_while_another_is_fit() {
    let (sick, _) = changing(500).await;
    let (well, _) = changing(200).await;
    let mut plan = probing(&[sick.url(""), well.url("")]);
    plan.endpoints[1].priority = 7;
    let worker = Dataplane::start([plan]);
    worker.endpoint(|endpoint| endpoint.health == Health::Unhealthy).await;
    for _ in 0..10 {
        assert_eq!(worker.get("/call").await.headers()["tidegate-endpoint"], "e1");
    }
    assert!(sick.seen().iter().all(|seen| seen.uri.path() == "/healthz"));
}

#[tokio::test]
async fn every_way_for_a_probe_to_fail_has_its_reason() {
    let silent = Provider::start(|_| async { Reply::Silence }).await;
    let closing = Provider::start(|_| async { Reply::Hangup }).await;
    let redirecting = Provider::start(|_| async {
        let mut response = answer(302, "");
        response.headers_mut().insert("location", "/well".parse().unwrap());
        response
    })
    .await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (url, reason) in [
        (silent.url(""), HealthReason::ProbeTimeout),
        (closing.url(""), HealthReason::ProbeFailed),
        (redirecting.url(""), HealthReason::UnexpectedStatus),
        (format!("http://{closed}"), HealthReason::ProbeFailed),
        ("http://169.254.169.254".to_owned(), HealthReason::AddressRefused),
        ("http://no-such-host.invalid".to_owned(), HealthReason::NameNotResolved),
    ] {
        let worker = Dataplane::start([probing(std::slice::from_ref(&url))]);
        let report = worker.endpoint(|endpoint| endpoint.health == Health::Unhealthy).await;
        assert_eq!(report.reason, reason, "{url}: {}", report.message);
        assert!(!report.message.is_empty());
    }
    assert!(
        redirecting.seen().iter().all(|seen| seen.uri.path() == "/healthz"),
        "a redirect is not followed"
    );
}

#[tokio::test]
async fn an_expression_sees_status_headers_body_and_certificate() {
    let script = |_| async {
        let mut response = answer(
            200,
            r#"{"status": "ok", "parts": [{"up": true}], "secret": "s3cret-body"}"#,
        );
        response.headers_mut().insert("x-region", "eu".parse().unwrap());
        response
    };
    let provider = Provider::start(script).await;
    for (expression, reason) in [
        (
            "status == 200 && headers['x-region'] == 'eu'",
            HealthReason::ProbeSucceeded,
        ),
        (
            "body.status == 'ok' && body.parts.all(p, p.up)",
            HealthReason::ProbeSucceeded,
        ),
        ("body.status == 'down'", HealthReason::ExpressionFalse),
        ("body.nothing.here == 1", HealthReason::ExpressionFalse),
        ("body.secret == 1", HealthReason::ExpressionFalse),
        ("this is not (", HealthReason::ProbeFailed),
    ] {
        let worker = Dataplane::start([with_expression(&provider, expression)]);
        let report = worker.endpoint(|endpoint| endpoint.health != Health::Unknown).await;
        assert_eq!(report.reason, reason, "{expression}: {}", report.message);
        assert!(!report.message.contains("s3cret-body"));
    }
    let provider = Provider::start_tls(true, script).await;
    let mut plan = with_expression(
        &provider,
        "certificate.expiresInSeconds > 3600 && certificate.subject != ''",
    );
    plan.tls.ca_pem.clone_from(&provider.ca_pem);
    plan.tls.server_name = Some("provider.test".to_owned());
    let worker = Dataplane::start([plan]);
    worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
}

#[tokio::test]
async fn probes_end_with_their_plan() {
    let (provider, _) = changing(200).await;
    let first = probing(&[provider.url("")]);
    let worker = Dataplane::start([first.clone()]);
    worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
    let mut second = first;
    second.revision = 2;
    second.health_check = None;
    worker.adopt(second).await;
    let report = worker.endpoint(|_| true).await;
    assert_eq!(
        report.health,
        Health::Unknown,
        "without probes it is traffic that tells, and there was none"
    );
    eventually("the end of the last probe", || provider.open() == 0).await;
    let probes = provider.seen().len();
    assert_eq!(worker.get("/call").await.status(), 200);
    assert_eq!(provider.seen().len(), probes + 1);
}

#[tokio::test]
async fn a_probe_whose_credential_is_refused_says_so_of_the_credential() {
    let (provider, _) = changing(403).await;
    let mut plan = probing(&[provider.url("")]);
    plan.credentials = vec![api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    worker
        .credential(|credential| credential.rejected_status == Some(403))
        .await;
}

#[tokio::test]
async fn a_probe_that_needs_no_credential_does_not_clear_one_that_callers_see_refused() {
    let provider = Provider::start(|seen: Seen| {
        let status = if seen.uri.path() == "/healthz" { 200 } else { 401 };
        async move { status }
    })
    .await;
    let mut plan = probing(&[provider.url("")]);
    plan.credentials = vec![api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    assert_eq!(worker.get("/call").await.status(), 401);
    worker
        .credential(|credential| credential.rejected_status.is_some())
        .await;
    let probes = provider.seen().len();
    eventually("three more probes", || provider.seen().len() > probes + 3).await;
    assert!(worker.credential(|_| true).await.rejected_status.is_some());
}

#[tokio::test]
async fn traffic_to_an_address_that_is_refused_says_which_rule() {
    let worker = Dataplane::start([plan(&["http://169.254.169.254/latest".to_owned()])]);
    let response = worker.get("/").await;
    assert_eq!(
        (problem(&response), response.status().as_u16()),
        (Some("address-refused"), 502)
    );
    assert!(String::from_utf8_lossy(response.body()).contains("metadata"));
    let report = worker.endpoint(|endpoint| endpoint.health == Health::Unhealthy).await;
    assert_eq!(
        (report.reason, report.circuit.state),
        (HealthReason::AddressRefused, CircuitState::Closed)
    );
    let strict = Provider::start(|_| async { 200 }).await;
    let refusing = Dataplane::start_with([plan(&[strict.url("")])], |settings| {
        settings.policy.allow_loopback = false;
    });
    assert_eq!(problem(&refusing.get("/").await), Some("address-refused"));
    assert_eq!(strict.connections(), 0);
}
