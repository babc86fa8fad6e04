//! TLS towards providers: what is trusted, what is offered, what is said when it fails.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate::api::integration::{Http2, TlsVersion};
use tidegate::domain::plan::TlsPlan;
use tidegate::net::TlsTarget;
use tidegate::net::tls::{self, MAX_CERTIFICATES, MAX_PEM_BYTES, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority called `name`.
pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `names` and its key.
pub fn issue(
    authority: &CertifiedIssuer<'static, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
    names: &[&str],
) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    (params.signed_by(&key, authority).unwrap(), key)
}

/// A provider that answers every connection with `hello`. Returns its port.
async fn provider(
    certificate: &rcgen::Certificate,
    key: &KeyPair,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> u16 {
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    port
}

fn trusting(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsPlan {
    TlsPlan {
        ca_pem: Some(authority.pem()),
        ..TlsPlan::default()
    }
}

async fn dial(plan: &TlsPlan, http2: Http2, host: &str, port: u16) -> Result<Connection, DialError> {
    let target = Target {
        host: host.into(),
        port,
        tls: Some(TlsTarget {
            server_name: tls::server_name(plan, host).unwrap(),
            config: tls::provider_config(plan, http2).unwrap(),
        }),
    };
    let script = Script::of(&[
        ("api.example.com", &[&["127.0.0.1"]]),
        ("api.example.com.", &[&["127.0.0.1"]]),
    ]);
    Dialer::with_resolver(Arc::new(loopback_allowed()), script)
        .dial(&target, PATIENCE)
        .await
}

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test]
async fn bytes_go_through_a_verified_connection() {
    let authority = authority("test");
    let (certificate, key) = issue(&authority, |_| {}, &["api.example.com"]);
    let port = provider(&certificate, &key, &BOTH, &[]).await;
    for host in ["api.example.com", "api.example.com."] {
        let mut connection = dial(&trusting(&authority), Http2::Auto, host, port).await.unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello", "{host}");
    }
}

#[tokio::test]
async fn alpn_offers_http2_only_where_the_plan_lets_it() {
    let authority = authority("test");
    let (certificate, key) = issue(&authority, |_| {}, &["127.0.0.1"]);
    for (offered, http2, is_h2) in [
        (&["h2", "http/1.1"][..], Http2::Auto, true),
        (&["h2", "http/1.1"], Http2::Never, false),
        (&["http/1.1"], Http2::Auto, false),
        (&[], Http2::Auto, false),
    ] {
        let port = provider(&certificate, &key, &BOTH, offered).await;
        let connection = dial(&trusting(&authority), http2, "127.0.0.1", port).await.unwrap();
        assert_eq!(connection.is_h2(), is_h2, "{offered:?}, {http2:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_and_the_reason_named() {
    let (good, other) = (authority("good"), authority("other"));
    let past = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2999, 1, 1);
    let client_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    let cases = [
        (
            "another authority",
            issue(&other, |_| {}, &["api.example.com"]),
            "UnknownIssuer",
        ),
        (
            "another name",
            issue(&good, |_| {}, &["api.example.org"]),
            "not valid for name",
        ),
        (
            "a parent of the name",
            issue(&good, |_| {}, &["example.com"]),
            "not valid for name",
        ),
        (
            "a wildcard one label too high",
            issue(&good, |_| {}, &["*.com"]),
            "not valid for name",
        ),
        ("an address", issue(&good, |_| {}, &["127.0.0.1"]), "not valid for name"),
        ("no name at all", issue(&good, |_| {}, &[]), "not valid for"),
        ("expired", issue(&good, past, &["api.example.com"]), "expired"),
        (
            "not yet valid",
            issue(&good, future, &["api.example.com"]),
            "not valid yet",
        ),
        (
            "for clients only",
            issue(&good, client_only, &["api.example.com"]),
            "certificate",
        ),
    ];
    for (what, (certificate, key), reason) in cases {
        let port = provider(&certificate, &key, &BOTH, &[]).await;
        let error = dial(&trusting(&good), Http2::Auto, "api.example.com", port)
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::Tls { .. }), "{what}: {error}");
        assert!(error.to_string().contains(reason), "{what}: {error}");
        assert_eq!(error.slug(), "upstream-unreachable");
    }
}

#[tokio::test]
async fn a_private_authority_is_not_trusted_by_default_and_the_public_ones_not_besides_a_private_one() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let (certificate, key) = issue(&theirs, |_| {}, &["api.example.com"]);
    let port = provider(&certificate, &key, &BOTH, &[]).await;
    for plan in [TlsPlan::default(), trusting(&ours)] {
        let error = dial(&plan, Http2::Auto, "api.example.com", port).await.unwrap_err();
        assert!(matches!(error, DialError::Tls { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_server_name_of_the_plan_is_sent_and_verified() {
    let authority = authority("test");
    let (certificate, key) = issue(&authority, |_| {}, &["internal.example.net"]);
    let port = provider(&certificate, &key, &BOTH, &[]).await;
    let plan = TlsPlan {
        server_name: Some("internal.example.net".into()),
        ..trusting(&authority)
    };
    dial(&plan, Http2::Auto, "api.example.com", port).await.unwrap();
    assert!(
        dial(&trusting(&authority), Http2::Auto, "api.example.com", port)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_version_below_the_plans_minimum_is_refused() {
    let authority = authority("test");
    let (certificate, key) = issue(&authority, |_| {}, &["api.example.com"]);
    let port = provider(&certificate, &key, &[&rustls::version::TLS12], &[]).await;
    for (min_version, accepted) in [
        (None, true),
        (Some(TlsVersion::V1_2), true),
        (Some(TlsVersion::V1_3), false),
    ] {
        let plan = TlsPlan {
            min_version,
            ..trusting(&authority)
        };
        let connected = dial(&plan, Http2::Auto, "api.example.com", port).await;
        assert_eq!(connected.is_ok(), accepted, "{min_version:?}");
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_a_tls_error_and_one_that_says_nothing_a_timeout() {
    let authority = authority("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = dial(&trusting(&authority), Http2::Auto, "127.0.0.1", port)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error}");

    let silent = Trap::at("127.0.0.1:0");
    let plan = trusting(&authority);
    let target = Target {
        host: "127.0.0.1".into(),
        port: silent.port(),
        tls: Some(TlsTarget {
            server_name: tls::server_name(&plan, "127.0.0.1").unwrap(),
            config: tls::provider_config(&plan, Http2::Auto).unwrap(),
        }),
    };
    let dialer = Dialer::new(Arc::new(loopback_allowed()));
    let error = dialer.dial(&target, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
}

#[test]
fn pem_that_cannot_be_used_is_refused_with_what_is_wanted() {
    let with = |pem: String| {
        let plan = TlsPlan {
            ca_pem: Some(pem),
            ..TlsPlan::default()
        };
        tls::provider_config(&plan, Http2::Auto).map(|_| ()).unwrap_err()
    };
    let pem = authority("test").pem();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let missing = TlsError::Missing { what: "CA bundle" };
    assert_eq!(with(String::new()), missing);
    assert_eq!(with("not a certificate".into()), missing);
    assert_eq!(with(key), missing);
    assert_eq!(
        with(pem.repeat(MAX_CERTIFICATES + 1)),
        TlsError::TooMany { what: "CA bundle" }
    );
    assert!(matches!(with("x".repeat(MAX_PEM_BYTES + 1)), TlsError::TooLong { .. }));
    for broken in [
        pem.replace("-----END CERTIFICATE-----", ""),
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".to_owned(),
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n".to_owned(),
    ] {
        let error = with(broken);
        assert!(
            matches!(error, TlsError::Invalid { .. } | TlsError::Missing { .. }),
            "{error}"
        );
        assert!(!error.to_string().contains("aGVsbG8"), "{error}");
    }
    let many = TlsPlan {
        ca_pem: Some(pem.repeat(MAX_CERTIFICATES)),
        ..TlsPlan::default()
    };
    assert!(tls::provider_config(&many, Http2::Auto).is_ok());
}

#[test]
fn a_name_that_nothing_can_be_verified_for_is_refused() {
    for host in ["", "-a.example.com", "a..b", "exa mple.com", "*.example.com"] {
        assert!(tls::server_name(&TlsPlan::default(), host).is_err(), "{host:?}");
    }
    for host in ["api.example.com", "127.0.0.1", "::1", "my_service"] {
        assert!(tls::server_name(&TlsPlan::default(), host).is_ok(), "{host:?}");
    }
}

#[test]
fn configurations_without_a_ca_of_their_own_share_their_roots() {
    for _ in 0..3 {
        tls::provider_config(&TlsPlan::default(), Http2::Auto).unwrap();
    }
}
