//! Client certificates: which one a provider sees, and that a change of it costs no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tidegate::api::integration::{Health, HealthReason, Http2};
use tidegate::domain::plan::{Material, Plan, ProbePlan};
use tidegate::domain::secret::SecretValue;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::clients::{Authority, Client};
use crate::support::dataplane::{Dataplane, plan, problem};
use crate::support::provider::{Provider, answer, eventually, piece, streamed};

/// A plan for `provider` that shows the certificate of `client`.
fn showing(provider: &Provider, revision: i64, client: &Client) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.revision = u64::try_from(revision).unwrap();
    plan.tls.ca_pem.clone_from(&provider.ca_pem);
    plan.tls.server_name = Some("provider.test".to_owned());
    plan.credentials = vec![client.credential(revision)];
    // Nothing is mended by another try.
    plan.retries.limit = 0;
    plan
}

#[tokio::test]
async fn the_provider_sees_the_certificate_of_the_plan_and_nobody_gets_in_without() {
    let authority = Authority::new();
    let client = authority.issue("ours");
    for http2 in [false, true] {
        let provider = Provider::start_mutual(http2, &authority, |_| async { 200 }).await;
        let with = showing(&provider, 1, &client);
        let worker = Dataplane::start([with.clone()]);
        assert_eq!(worker.get("/").await.status(), 200);
        assert_eq!(provider.seen()[0].certificate.as_ref(), Some(&client.leaf));
        assert_eq!(provider.seen()[0].version == http::Version::HTTP_2, http2);
        let report = worker.credential(|_| true).await;
        assert_eq!((report.name.as_str(), report.revision), ("certificate", 1));

        let mut without = with;
        without.credentials.clear();
        let worker = Dataplane::start([without]);
        let refused = worker.get("/").await;
        assert_eq!(problem(&refused), Some("upstream-unreachable"));
        let detail = String::from_utf8_lossy(refused.body());
        assert!(http2 || detail.contains("client certificate"), "{detail}");
        assert_eq!(provider.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_certificate_goes_only_where_it_may_and_only_where_there_is_tls() {
    let authority = Authority::new();
    let client = authority.issue("ours");
    let provider = Provider::start_mutual(false, &authority, |_| async { 200 }).await;
    let mut withdrawn = showing(&provider, 1, &client);
    withdrawn.credentials[0].material = None;
    let mut elsewhere = showing(&provider, 1, &client);
    elsewhere.credentials[0].allowed_hosts = vec!["api.example.com".to_owned()];
    for plan in [withdrawn, elsewhere] {
        let worker = Dataplane::start([plan]);
        assert_eq!(problem(&worker.get("/").await), Some("credential-unavailable"));
    }
    assert_eq!(provider.connections(), 0);

    let plain = Provider::start(|_| async { 200 }).await;
    for hosts in ["127.0.0.1", "api.example.com"] {
        let mut cleartext = showing(&plain, 1, &client);
        cleartext.credentials[0].allowed_hosts = vec![hosts.to_owned()];
        let worker = Dataplane::start([cleartext]);
        assert_eq!(worker.get("/").await.status(), 200, "there is nobody to show it to");
    }
}

#[tokio::test]
async fn a_rotation_under_load_fails_no_request() {
    let authority = Authority::new();
    for http2 in [false, true] {
        let provider = Provider::start_mutual(http2, &authority, |_| async { answer(200, "done") }).await;
        let clients: Vec<_> = (0..6).map(|number| authority.issue(&number.to_string())).collect();
        let worker = Arc::new(Dataplane::start([showing(&provider, 1, &clients[0])]));
        let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let load: Vec<_> = (0..8)
            .map(|_| {
                let (worker, done, calls) = (worker.clone(), done.clone(), calls.clone());
                tokio::spawn(async move {
                    while !done.load(Ordering::SeqCst) {
                        let response = worker.call(Request::post("/order"), "order").await;
                        assert_eq!(response.status(), 200, "{response:?}");
                        assert_eq!(response.headers()["tidegate-attempts"], "1");
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for (revision, client) in (2..).zip(&clients[1..]) {
            let before = calls.load(Ordering::SeqCst);
            eventually("load", || calls.load(Ordering::SeqCst) >= before + 20).await;
            worker.adopt(showing(&provider, revision, client)).await;
            // Whoever asks from now on is known by the new certificate, also where a session could be resumed.
            let mark = format!("/after/{revision}");
            assert_eq!(worker.get(&mark).await.status(), 200);
            let marked = provider
                .seen()
                .into_iter()
                .find(|seen| seen.uri.path() == mark)
                .unwrap();
            assert!(marked.certificate.as_ref() == Some(&client.leaf), "revision {revision}");
        }
        done.store(true, Ordering::SeqCst);
        for task in load {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_session_is_never_resumed_as_somebody_else() {
    // Each answer ends its connection, so that each call makes a handshake, which may resume what came before.
    let authority = Authority::new();
    let provider = Provider::start_mutual(false, &authority, |_| async {
        let mut response = answer(200, "");
        response.headers_mut().insert("connection", "close".parse().unwrap());
        response
    })
    .await;
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let worker = Dataplane::start([showing(&provider, 1, &one)]);
    for revision in 1..=6 {
        let client = if revision % 2 == 1 { &one } else { &other };
        worker.adopt(showing(&provider, revision, client)).await;
        for _ in 0..3 {
            let before = provider.seen().len();
            assert_eq!(worker.get("/").await.status(), 200);
            assert!(provider.seen()[before].certificate.as_ref() == Some(&client.leaf));
        }
    }
    assert_eq!(provider.connections(), 18);
}

/// Calls `path` and gives the answer when its head is there.
async fn begin(worker: &Dataplane, path: &str) -> Response<hyper::body::Incoming> {
    let socket = TcpStream::connect(worker.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "api").body(String::new()).unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_long_answer_goes_on_to_its_end_and_idle_connections_close_at_once() {
    let authority = Authority::new();
    for http2 in [false, true] {
        let go = Arc::new(Semaphore::new(0));
        let gate = go.clone();
        let provider = Provider::start_mutual(http2, &authority, move |seen| {
            let gate = gate.clone();
            async move {
                if seen.uri.path() != "/long" {
                    return answer(200, "short");
                }
                let pieces = futures::stream::iter(0..100).then(move |number| {
                    let gate = gate.clone();
                    async move {
                        gate.acquire().await.unwrap().forget();
                        piece(format!("{number};"))
                    }
                });
                streamed(pieces)
            }
        })
        .await;
        let (old, new) = (authority.issue("old"), authority.issue("new"));
        let worker = Dataplane::start([showing(&provider, 1, &old)]);
        go.add_permits(10);
        let long = begin(&worker, "/long").await;
        assert_eq!(worker.get("/").await.status(), 200);
        let connections = if http2 { 1 } else { 2 };
        assert_eq!(provider.open(), connections);

        worker.adopt(showing(&provider, 2, &new)).await;
        eventually("the end of the idle connection", || provider.open() == 1).await;
        assert_eq!(worker.get("/").await.status(), 200);
        assert_eq!(provider.seen().last().unwrap().certificate.as_ref(), Some(&new.leaf));
        assert_eq!(provider.open(), 2, "the long answer has its own to itself");
        // Another rotation changes nothing for it either.
        worker.adopt(showing(&provider, 3, &old)).await;
        go.add_permits(90);
        let body = long.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.split(|byte| *byte == b';').count(), 101);
        eventually("the end of the last connection of the first certificate", || {
            provider.open() == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_plan_with_a_broken_certificate_changes_nothing() {
    let authority = Authority::new();
    let provider = Provider::start_mutual(false, &authority, |_| async { 200 }).await;
    let (client, other) = (authority.issue("ours"), authority.issue("other"));
    let worker = Dataplane::start([showing(&provider, 1, &client)]);
    assert_eq!(worker.get("/").await.status(), 200);
    for (chain, key) in [
        ("no certificate", client.key.as_str()),
        (&client.chain, "no key"),
        (&client.chain, &other.key),
        (&client.key, &client.key),
    ] {
        let mut broken = showing(&provider, 2, &client);
        broken.credentials[0].material = Some(Material::Certificate {
            chain: chain.to_owned(),
            key: SecretValue::new(key),
        });
        worker.serve([broken]);
        assert_eq!(worker.get("/").await.status(), 200);
        assert_eq!(worker.report(|_| true).await.plan_revision, 1);
    }
}

#[tokio::test]
async fn a_probe_shows_the_certificate() {
    let authority = Authority::new();
    let provider = Provider::start_mutual(true, &authority, |_| async { 200 }).await;
    let client = authority.issue("ours");
    for (use_credential, hosts, expected) in [
        (true, "127.0.0.1", Health::Healthy),
        (false, "127.0.0.1", Health::Healthy),
        (true, "api.example.com", Health::Unhealthy),
    ] {
        let mut plan = showing(&provider, 1, &client);
        plan.credentials[0].allowed_hosts = vec![hosts.to_owned()];
        plan.connections.http2 = Http2::Never;
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
        let worker = Dataplane::start([plan]);
        let report = worker.endpoint(|endpoint| endpoint.health != Health::Unknown).await;
        assert_eq!(report.health, expected, "{}", report.message);
        if expected == Health::Unhealthy {
            assert_eq!(report.reason, HealthReason::ProbeFailed);
        }
    }
    assert!(
        provider
            .seen()
            .iter()
            .all(|seen| seen.certificate.as_ref() == Some(&client.leaf))
    );
}

#[tokio::test]
async fn what_is_not_sent_is_reported_and_nothing_else() {
    let provider = Provider::start(|_| async { 401 }).await;
    let mut plan = plan(&[provider.url("")]);
    let mut unsent = Authority::new().issue("unused").credential(4);
    unsent.name = "signing-key".to_owned();
    unsent.allowed_hosts = vec!["api.example.com".to_owned()];
    unsent.material = Some(Material::Unsent {
        value: SecretValue::new("s3cret"),
    });
    plan.credentials = vec![unsent];
    let worker = Dataplane::start([plan]);
    let response = worker
        .call(Request::get("/x?y=1").header("cookie", "a=b"), Bytes::new())
        .await;
    assert_eq!(response.status(), 401);
    let seen = &provider.seen()[0];
    assert_eq!(
        (seen.uri.to_string().as_str(), seen.header("cookie")),
        ("/x?y=1", Some("a=b"))
    );
    assert!(!format!("{seen:?}").contains("s3cret"));
    let report = worker.credential(|_| true).await;
    assert_eq!((report.revision, report.rejected_status), (4, None));
}
