//! The control connection over real sockets: the product's own server, its own client, and clients that are up to no
//! good.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tidegate::api::integration::CircuitState;
use tidegate::domain::health::Pauses;
use tidegate::domain::health::control::{MAX_PLAN, worker_name};
use tidegate::domain::plan::Plan;
use tidegate::fleet::authority::Authority;
use tidegate::fleet::kubernetes::link::{Answer, Link, LinkError};
use tidegate::worker::Reports;
use tidegate::worker::control::{self, Control};
use tidegate::worker::source::Source;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::support::sample;

mod process;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// The control port of a worker that runs the sample plan.
struct Port {
    address: SocketAddr,
    authority: Authority,
    source: Arc<Source>,
    reports: watch::Sender<Reports>,
    directory: TempDir,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn port() -> Port {
    let authority = Authority::make(Timestamp::now()).unwrap();
    let plan = sample::plan();
    let directory = tempfile::tempdir().unwrap();
    sample::mount(directory.path(), &plan, &sample::worker_tls(&authority, &plan.uid));
    let source = Arc::new(Source::new(directory.path()));
    source.look().await;
    let (reports, known) = watch::channel(sample::reports(sample::report(&plan, CircuitState::Closed)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let control = Control {
        source: Arc::clone(&source),
        reports: known,
    };
    tokio::spawn(control::serve(
        listener,
        directory.path().to_owned(),
        control,
        stop.clone(),
    ));
    Port {
        address,
        authority,
        source,
        reports,
        directory,
        stop,
    }
}

impl Port {
    async fn connect_with(&self, config: Arc<ClientConfig>) -> Result<Link, LinkError> {
        timeout(DEADLINE, Link::connect(self.address, &sample::plan().uid, config))
            .await
            .unwrap()
    }

    async fn connect(&self) -> Link {
        let config = self.authority.client_config(Timestamp::now()).unwrap();
        self.connect_with(config).await.unwrap()
    }

    fn running(&self) -> u64 {
        let plans = self.source.plans();
        let plans = plans.borrow();
        plans.values().next().unwrap().revision
    }

    /// A TLS configuration that trusts the worker and presents this certificate, or none.
    fn client(&self, identity: Option<(&str, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.trusted().as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                    .map(Result::unwrap)
                    .collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Whether a peer with this configuration gets any answer at all.
    async fn lets_in(&self, config: Arc<ClientConfig>) -> bool {
        let refused = self.connect_with(config).await.is_err();
        // The others must not suffer from it.
        let mut link = self.connect().await;
        next(&mut link).await;
        !refused
    }
}

async fn next(link: &mut Link) -> tidegate::domain::health::Report {
    timeout(DEADLINE, link.next()).await.unwrap().unwrap()
}

async fn push(link: &Link, plan: &Plan) -> Answer {
    timeout(DEADLINE, link.pusher().push(plan)).await.unwrap().unwrap()
}

fn revision(revision: u64) -> Plan {
    Plan {
        revision,
        ..sample::plan()
    }
}

#[tokio::test]
async fn controller_gets_what_is_known_and_then_each_change() {
    let port = port().await;
    let mut link = port.connect().await;
    let closed = sample::report(&sample::plan(), CircuitState::Closed);
    assert_eq!(next(&mut link).await, closed);
    for state in [CircuitState::Open, CircuitState::HalfOpen, CircuitState::Closed] {
        let report = sample::report(&sample::plan(), state);
        port.reports.send_replace(sample::reports(report.clone()));
        assert_eq!(next(&mut link).await, report);
    }
}

#[tokio::test]
async fn report_that_did_not_change_is_not_sent_again() {
    let port = port().await;
    let mut link = port.connect().await;
    next(&mut link).await;
    let same = sample::report(&sample::plan(), CircuitState::Closed);
    port.reports.send_replace(sample::reports(same));
    let open = sample::report(&sample::plan(), CircuitState::Open);
    port.reports.send_replace(sample::reports(open.clone()));
    assert_eq!(next(&mut link).await, open);
}

#[tokio::test]
async fn worker_without_anything_to_report_yet_lets_the_controller_in() {
    let port = port().await;
    port.reports.send_replace(Reports::new());
    let mut link = port.connect().await;
    let report = sample::report(&sample::plan(), CircuitState::Closed);
    port.reports.send_replace(sample::reports(report.clone()));
    assert_eq!(next(&mut link).await, report);
}

#[tokio::test]
async fn newer_plan_is_taken_over_and_an_older_one_is_not() {
    let port = port().await;
    let link = port.connect().await;
    assert_eq!(push(&link, &revision(9)).await, Answer::Runs);
    assert_eq!(port.running(), 9);
    assert_eq!(push(&link, &revision(9)).await, Answer::Runs, "it runs already");
    assert_eq!(push(&link, &revision(8)).await, Answer::Stale);
    let other = Plan {
        generation: 99,
        ..revision(9)
    };
    assert_eq!(
        push(&link, &other).await,
        Answer::Stale,
        "the same revision with other content"
    );
    assert_eq!(port.running(), 9);
}

#[tokio::test]
async fn share_of_the_rate_limit_holds_when_the_controller_hears_so() {
    let port = port().await;
    let link = port.connect().await;
    let share = port.source.share();
    assert_eq!(*share.borrow(), None);
    for of in [2, 3, 0] {
        timeout(DEADLINE, link.pusher().tell_share(of)).await.unwrap().unwrap();
        assert_eq!(*share.borrow(), Some(of));
    }
}

#[tokio::test]
async fn pauses_of_other_workers_are_heeded_when_the_controller_hears_so() {
    let port = port().await;
    let link = port.connect().await;
    let heeded = port.source.pauses();
    let until = Timestamp::from_second(4_000_000_000).unwrap();
    // As many hosts as there can be, as long as they can be.
    let most: Pauses = (0..16).map(|number| (format!("{number:0>255}:65535"), until)).collect();
    for pauses in [
        Pauses::from([("api.example.com".to_owned(), until)]),
        most,
        Pauses::new(),
    ] {
        let told = link.pusher().tell_pauses(&pauses);
        timeout(DEADLINE, told).await.unwrap().unwrap();
        assert_eq!(*heeded.borrow(), pauses);
    }
}

#[tokio::test]
async fn plan_that_cannot_be_used_leaves_the_running_one() {
    let port = port().await;
    let link = port.connect().await;
    let foreign = Plan {
        uid: "another-uid".into(),
        ..revision(9)
    };
    let other_format = Plan {
        format: 2,
        ..revision(9)
    };
    let empty = Plan {
        endpoints: Vec::new(),
        ..revision(9)
    };
    for plan in [foreign, other_format, empty] {
        assert_eq!(push(&link, &plan).await, Answer::Refused);
    }
    assert_eq!(port.running(), 7);
    assert_eq!(
        push(&link, &revision(8)).await,
        Answer::Runs,
        "over the same connection"
    );
}

#[tokio::test]
async fn plan_of_any_size_that_a_secret_can_have_arrives_and_a_larger_one_does_not() {
    let port = port().await;
    let link = port.connect().await;
    let with_message = |length| Plan {
        reset_circuit: Some("x".repeat(length)),
        ..revision(9)
    };
    assert_eq!(push(&link, &with_message(MAX_PLAN)).await, Answer::Refused);
    assert_eq!(push(&link, &with_message(MAX_PLAN - 4096)).await, Answer::Runs);
}

#[tokio::test]
async fn nobody_but_the_controller_is_let_in() {
    let port = port().await;
    assert!(
        port.lets_in(port.authority.client_config(Timestamp::now()).unwrap())
            .await,
        "the controller is"
    );

    assert!(!port.lets_in(port.client(None)).await, "no certificate");

    // What a tenant finds in the Secret of his own Integration, and of another.
    for uid in [&*sample::plan().uid, "another-uid"] {
        let tls = sample::worker_tls(&port.authority, uid);
        let worker = port.client(Some((&tls.certificate, tls.key.expose())));
        assert!(!port.lets_in(worker).await, "the certificate of a worker");
    }

    let other = Authority::make(Timestamp::now()).unwrap();
    let stranger = other.client_config(Timestamp::now()).unwrap();
    assert!(
        !port.lets_in(stranger).await,
        "another authority, which in turn does not know the worker"
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let forged = rcgen::CertificateParams::new(vec!["controller.tidegate.dev".to_owned()]).unwrap();
    let forged = forged.self_signed(&key).unwrap();
    let forged = port.client(Some((&forged.pem(), &key.serialize_pem())));
    assert!(!port.lets_in(forged).await, "the right name, signed by nobody");
}

#[tokio::test]
async fn client_certificate_in_another_name_is_refused() {
    // Made with the authority's own key, so that nothing but the name is wrong.
    let port = port().await;
    let data = port.authority.to_data();
    let text = |key: &str| String::from_utf8(data[key].clone()).unwrap();
    let issuer_key = rcgen::KeyPair::from_pem(&text("tls.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&text("tls.crt"), issuer_key).unwrap();
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        port.client(Some((&certificate.pem(), &key.serialize_pem())))
    };
    assert!(port.lets_in(issue("controller.tidegate.dev")).await);
    assert!(!port.lets_in(issue("other.tidegate.dev")).await);
}

#[tokio::test]
async fn controller_does_not_talk_to_a_worker_of_another_integration() {
    let port = port().await;
    let config = port.authority.client_config(Timestamp::now()).unwrap();
    let refused = timeout(DEADLINE, Link::connect(port.address, "another-uid", config))
        .await
        .unwrap();
    assert!(matches!(refused, Err(LinkError::Connect(_))));
}

#[tokio::test]
async fn renewed_certificate_and_authority_are_used_by_the_next_connection() {
    let port = port().await;
    let mut before = port.connect().await;
    next(&mut before).await;

    let other = Authority::make(Timestamp::now()).unwrap();
    let tls = sample::worker_tls(&other, &sample::plan().uid);
    sample::mount(port.directory.path(), &sample::plan(), &tls);
    let config = other.client_config(Timestamp::now()).unwrap();
    let mut after = port.connect_with(config).await.unwrap();
    next(&mut after).await;
    let old = port.authority.client_config(Timestamp::now()).unwrap();
    assert!(port.connect_with(old).await.is_err());

    let report = sample::report(&sample::plan(), CircuitState::Open);
    port.reports.send_replace(sample::reports(report.clone()));
    assert_eq!(next(&mut before).await, report, "a connection that lives goes on");
}

#[tokio::test]
async fn broken_certificate_files_leave_the_last_good_ones_in_use() {
    let port = port().await;
    next(&mut port.connect().await).await;
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        std::fs::write(port.directory.path().join(name), "garbage").unwrap();
        next(&mut port.connect().await).await;
    }
    std::fs::remove_file(port.directory.path().join("tls.key")).unwrap();
    next(&mut port.connect().await).await;
}

#[tokio::test]
async fn peers_that_hang_in_the_handshake_do_not_keep_the_controller_out() {
    let port = port().await;
    let mut silent = Vec::new();
    for _ in 0..48 {
        silent.push(TcpStream::connect(port.address).await.unwrap());
    }
    next(&mut port.connect().await).await;
    // And they are not kept for ever.
    for mut stream in silent {
        let mut byte = [0];
        assert!(matches!(
            timeout(DEADLINE, stream.read(&mut byte)).await.unwrap(),
            Ok(0) | Err(_)
        ));
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_the_first_go_on() {
    let port = port().await;
    let mut links = Vec::new();
    for _ in 0..8 {
        let mut link = port.connect().await;
        next(&mut link).await;
        links.push(link);
    }
    let config = port.authority.client_config(Timestamp::now()).unwrap();
    assert!(port.connect_with(config).await.is_err());
    links.pop();
    // The place is free as soon as the worker has seen the connection end.
    timeout(DEADLINE, async {
        loop {
            let config = port.authority.client_config(Timestamp::now()).unwrap();
            if port.connect_with(config).await.is_ok() {
                break;
            }
        }
    })
    .await
    .unwrap();
    let report = sample::report(&sample::plan(), CircuitState::Open);
    port.reports.send_replace(sample::reports(report.clone()));
    assert_eq!(next(&mut links[0]).await, report);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let port = port().await;
    let config = port.authority.client_config(Timestamp::now()).unwrap();
    let stream = TcpStream::connect(port.address).await.unwrap();
    let name = worker_name(&sample::plan().uid);
    let server = ServerName::try_from(name.clone()).unwrap();
    let stream = TlsConnector::from(config).connect(server, stream).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut requests, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let garbage = http_body_util::Full::new(bytes::Bytes::from_static(b"{\"format\": 1, \"canary\""));
    for (method, path, status) in [
        ("GET", "/v1/plan", 405),
        ("POST", "/v1/reports", 405),
        ("GET", "/", 404),
        ("GET", "/v1/plan/../reports", 404),
        ("PUT", "/v1/plan", 422),
    ] {
        let uri = format!("https://{name}{path}");
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(garbage.clone())
            .unwrap();
        let response = timeout(DEADLINE, requests.send_request(request))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("canary"));
    }
    assert_eq!(port.running(), 7);
}

#[tokio::test]
async fn worker_that_hangs_is_noticed() {
    // A relay that stops passing anything on, and closes nothing: a node that is gone looks like this.
    let port = port().await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let (worker, hang) = (port.address, CancellationToken::new());
    let hangs = hang.clone();
    tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = TcpStream::connect(worker).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = hangs.cancelled() => std::future::pending().await,
        }
    });
    let config = port.authority.client_config(Timestamp::now()).unwrap();
    let mut link = Link::connect(address, &sample::plan().uid, config).await.unwrap();
    next(&mut link).await;
    hang.cancel();
    let ended = timeout(DEADLINE, link.next()).await.expect("the pings notice it");
    assert!(matches!(ended, Err(LinkError::Broken(_) | LinkError::Closed)));
}

#[tokio::test]
async fn worker_that_sends_no_lines_is_dropped() {
    // A worker's certificate is in its namespace: whoever has it may play the worker, and must not harm the controller.
    let authority = Authority::make(Timestamp::now()).unwrap();
    let uid = sample::plan().uid;
    let endless = vec![b'x'; 64 << 10].repeat(8);
    let address = play_worker(&authority, &uid, endless).await;
    let config = authority.client_config(Timestamp::now()).unwrap();
    let mut link = Link::connect(address, &uid, Arc::clone(&config)).await.unwrap();
    let ended = timeout(DEADLINE, link.next()).await.unwrap();
    assert!(matches!(ended, Err(LinkError::Unreadable("a line that does not end"))));

    let address = play_worker(&authority, &uid, b"{\"format\": 1}\n".to_vec()).await;
    let mut link = Link::connect(address, &uid, config).await.unwrap();
    let ended = timeout(DEADLINE, link.next()).await.unwrap();
    assert!(matches!(ended, Err(LinkError::Unreadable("a line that is no report"))));
}

/// A worker that answers whatever it is asked with `body`.
async fn play_worker(authority: &Authority, uid: &str, body: Vec<u8>) -> SocketAddr {
    let tls = sample::worker_tls(authority, uid);
    let chain = CertificateDer::pem_slice_iter(tls.certificate.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
            .unwrap();
        let body = bytes::Bytes::from(body);
        let service = hyper::service::service_fn(move |_| {
            let body = http_body_util::Full::new(body.clone());
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(stream);
        let _ = hyper::server::conn::http2::Builder::new(executor)
            .serve_connection(io, service)
            .await;
    });
    address
}

#[tokio::test]
async fn cleartext_gets_no_answer_that_says_anything() {
    let port = port().await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream
        .write_all(b"GET /v1/reports HTTP/1.1\r\nhost: worker\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.len() < 16, "a TLS alert at most");
    next(&mut port.connect().await).await;
}
