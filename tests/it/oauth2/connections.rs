//! What keeps a request from leaving: the other side has seen nothing of it, and we know.

use std::net::IpAddr;

use http::Method;
use rcgen::{CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tidegate::net::resolve::{self, Pending, Resolve};
use tidegate::provider::exchange::{Call, Exchange, ExchangeError};

use super::peer::{Answer, Peer};
use super::*;
use crate::net::tls::{authority, issue};

type Authority = CertifiedIssuer<'static, KeyPair>;

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn call(url: &str) -> Call {
    Call {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: Vec::new(),
        body: Some(SecretValue::new("hush")),
        ca_pem: None,
        certificate: None,
    }
}

/// A server of `authority` for 127.0.0.1, which lets in only clients of `clients`, if that is given.
fn config(
    authority: &Authority,
    clients: Option<&Authority>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (certificate, key) = issue(authority, |_| {}, &["127.0.0.1"]);
    let config = ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_protocol_versions(&[version])
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

async fn asked(network: &Network, call: Call) -> Result<u16, ExchangeError> {
    let asked = tokio::time::timeout(PATIENCE, network.exchange(call)).await;
    Ok(asked.expect("the call did not end")?.status)
}

/// It was not sent, and the message says why.
fn assert_not_sent(result: Result<u16, ExchangeError>, said: &str) {
    match result {
        Err(ExchangeError::NotSent(message)) => {
            assert!(message.contains(said) && !message.contains("hush"), "{message}");
        }
        other => panic!("{said}: {other:?}"),
    }
}

#[derive(Debug)]
struct Fixed(resolve::Answer);

impl Resolve for Fixed {
    fn resolve(&self, _: &str) -> Pending {
        let answer = self.0.clone();
        Box::pin(async move { answer })
    }
}

#[derive(Debug)]
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> Pending {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_name_or_an_address_that_leads_nowhere_gets_nothing() {
    let peer = Peer::plain(Answer::of("200 OK", b"")).await;
    let here = format!("http://provider.example:{}/", peer.port);
    let resolving = |answer: resolve::Answer, allow_loopback| {
        let policy = AddressPolicy {
            allow_loopback,
            ..AddressPolicy::default()
        };
        Network::new(Dialer::with_resolver(Arc::new(policy), Arc::new(Fixed(answer))))
    };
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    let found: resolve::Answer = Ok([loopback].into());
    // Without this, what follows would prove nothing.
    assert_eq!(asked(&resolving(found.clone(), true), call(&here)).await, Ok(200));
    assert_eq!(peer.asked().len(), 1);

    assert_not_sent(
        asked(&resolving(Err("no such name".into()), true), call(&here)).await,
        "could not be resolved",
    );
    assert_not_sent(asked(&resolving(found, false), call(&here)).await, "is refused");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_not_sent(
        asked(&network(), call(&format!("http://{closed}/"))).await,
        "does not accept a connection",
    );
    let silent = Network::new(Dialer::with_resolver(Arc::default(), Arc::new(Silent)));
    let silent = silent.with_deadline(Duration::from_millis(100));
    assert_not_sent(asked(&silent, call(&here)).await, "no answer within 100ms");
    assert_eq!(peer.asked().len(), 1, "nothing reached it");
}

#[tokio::test]
async fn a_server_that_cannot_be_verified_gets_nothing() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    for version in BOTH {
        let peer = Peer::secured(Answer::of("200 OK", b""), config(&theirs, None, version)).await;
        let to = |host: &str, ca: Option<&Authority>| Call {
            ca_pem: ca.map(|authority| authority.pem()),
            ..call(&format!("https://{host}:{}/", peer.port))
        };
        assert_eq!(asked(&network(), to("127.0.0.1", Some(&theirs))).await, Ok(200));
        assert_not_sent(asked(&network(), to("127.0.0.1", Some(&ours))).await, "UnknownIssuer");
        assert_not_sent(asked(&network(), to("127.0.0.1", None)).await, "UnknownIssuer");
        assert_not_sent(
            asked(&network(), to("localhost", Some(&theirs))).await,
            "not valid for name",
        );
        let broken = Call {
            ca_pem: Some("hush".to_owned()),
            ..to("127.0.0.1", None)
        };
        assert_not_sent(asked(&network(), broken).await, "holds no certificate");
        assert_eq!(peer.asked().len(), 1, "only who was verified was asked");
    }
    let plain = Peer::plain(Answer::of("200 OK", b"")).await;
    let short = network().with_deadline(Duration::from_millis(300));
    let url = format!("https://127.0.0.1:{}/", plain.port);
    let result = asked(&short, call(&url)).await;
    assert!(matches!(result, Err(ExchangeError::NotSent(_))), "{result:?}");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_ours_or_nothing() {
    let (servers, clients, others) = (authority("servers"), authority("clients"), authority("others"));
    let shown = |by: &Authority| {
        let (certificate, key) = issue(by, |_| {}, &["client"]);
        (certificate.pem(), SecretValue::new(key.serialize_pem()))
    };
    for version in BOTH {
        let peer = Peer::secured(Answer::of("200 OK", b""), config(&servers, Some(&clients), version)).await;
        let with = |certificate: Option<(String, SecretValue)>| Call {
            ca_pem: Some(servers.pem()),
            certificate,
            ..call(&format!("https://127.0.0.1:{}/", peer.port))
        };
        assert_eq!(
            asked(&network(), with(Some(shown(&clients)))).await,
            Ok(200),
            "{version:?}"
        );
        assert_not_sent(asked(&network(), with(None)).await, "");
        assert_not_sent(asked(&network(), with(Some(shown(&others)))).await, "");
        let (chain, _) = shown(&clients);
        let (_, key) = shown(&clients);
        assert_not_sent(
            asked(&network(), with(Some((chain, key)))).await,
            "client certificate with its key",
        );
        assert_eq!(peer.asked().len(), 1, "{version:?}: only who was let in was heard");
    }
    let peer = Peer::secured(Answer::of("200 OK", b""), config(&servers, Some(&clients), BOTH[0])).await;
    let bare = Call {
        ca_pem: Some(servers.pem()),
        ..call(&format!("https://127.0.0.1:{}/", peer.port))
    };
    assert_not_sent(asked(&network(), bare).await, "wants a client certificate");
}
