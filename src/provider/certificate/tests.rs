use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertifiedIssuer, DnValue, SignatureAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::*;
use crate::provider::sample::Sample;

type Ca = CertifiedIssuer<'static, KeyPair>;

const DAY: i64 = 24 * 3600;

fn fill(buffer: &mut [u8]) {
    buffer.fill(0xff);
}

fn pair(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn p256() -> KeyPair {
    pair(&rcgen::PKCS_ECDSA_P256_SHA256)
}

/// A CA that may sign certificates, valid from a day before `now` for ten years.
fn ca_params(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, -DAY, 3650 * DAY);
    params
}

/// From and until so many seconds after `now`.
fn valid(params: &mut CertificateParams, now: Timestamp, from: i64, until: i64) {
    let at =
        |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs((now.as_second() + seconds).try_into().unwrap());
    (params.not_before, params.not_after) = (at(from), at(until));
}

fn root(name: &str, now: Timestamp) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name, now), p256()).unwrap()
}

fn order_for(ca: &Ca) -> Sample {
    let mut sample = Sample::new(json!({"certificate": {"issue": {
        "caSecretRef": {"name": "partner-ca"},
        "commonName": "payments",
        "dnsNames": ["payments.shop.example.com"],
        "uris": ["spiffe://example.com/payments"],
    }}}));
    sample.now = Timestamp::now();
    give(&mut sample, &ca.pem(), ca.key());
    sample
}

fn give(sample: &mut Sample, chain: &str, key: &KeyPair) {
    sample.secret("partner-ca", &[("tls.crt", chain), ("tls.key", &key.serialize_pem())]);
}

fn set(sample: &mut Sample, member: &str, value: serde_json::Value) {
    let mut spec = serde_json::to_value(sample.spec.certificate.as_ref().unwrap()).unwrap();
    spec["issue"][member] = value;
    sample.respec(json!({ "certificate": spec }));
}

fn issued(sample: &Sample) -> Minted {
    issue(&sample.order(), &mut fill).unwrap()
}

fn refusal(sample: &Sample) -> IssueError {
    issue(&sample.order(), &mut fill).unwrap_err()
}

fn text<'a>(minted: &'a Minted, key: &str) -> &'a str {
    minted.values[key].expose()
}

fn ders(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Whether a server that trusts `trusted` lets in a client with `minted`: a TLS handshake over a socket, with a byte to
/// and fro.
fn lets_in(trusted: &str, minted: &Minted) -> bool {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for anchor in ders(trusted) {
        roots.add(anchor).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let own = rcgen::generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![own.cert.der().clone()],
            PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let mut server_roots = RootCertStore::empty();
    server_roots.add(own.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(text(minted, KEY).as_bytes()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(server_roots)
        .with_client_auth_cert(ders(text(minted, CERTIFICATE)), key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bound = |socket: TcpStream| {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || {
            let socket = bound(listener.accept().unwrap().0);
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(server)).unwrap(), socket);
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .and_then(|()| stream.write_all(&byte))
                .is_ok()
                && stream.conn.peer_certificates().is_some()
        });
        let name = ServerName::try_from("server.test").unwrap();
        let socket = bound(TcpStream::connect(address).unwrap());
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(client), name).unwrap(), socket);
        let mut byte = [7];
        let answered = stream
            .write_all(&byte)
            .and_then(|()| stream.read_exact(&mut byte))
            .is_ok();
        serving.join().unwrap() && answered
    })
}

/// Whether openssl takes `minted` for a client's.
fn openssl_takes(minted: &Minted) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (chain, trusted) = (directory.path().join("tls.crt"), directory.path().join("ca.crt"));
    std::fs::write(&chain, text(minted, CERTIFICATE)).unwrap();
    std::fs::write(&trusted, text(minted, TRUSTED)).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"])
        .arg(&trusted)
        .arg("-untrusted")
        .arg(&chain)
        .arg(&chain)
        .output()
        .expect("openssl is there");
    output.status.success()
}

#[test]
fn every_kind_of_key_is_let_in() {
    let now = Timestamp::now();
    for (algorithm, of_ca) in [
        ("ECDSA", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("RSA", &rcgen::PKCS_RSA_SHA256),
        ("Ed25519", &rcgen::PKCS_ED25519),
    ] {
        let ca = CertifiedIssuer::self_signed(ca_params("Partner CA", now), pair(of_ca)).unwrap();
        let mut sample = order_for(&ca);
        set(&mut sample, "algorithm", json!(algorithm));
        let minted = issued(&sample);
        assert!(lets_in(text(&minted, TRUSTED), &minted), "{algorithm}");
        assert!(openssl_takes(&minted), "{algorithm}");
        assert_eq!(
            ders(text(&minted, CERTIFICATE)).len(),
            1,
            "no root beside the certificate"
        );
        assert_eq!(text(&minted, TRUSTED), ca.pem());
        let stranger = root("Partner CA", now);
        assert!(!lets_in(&stranger.pem(), &minted), "{algorithm}: a server can say no");
    }
}

#[test]
fn key_of_the_ca_may_be_in_any_form() {
    let ca = CertifiedIssuer::self_signed(ca_params("CA", Timestamp::now()), pair(&rcgen::PKCS_RSA_SHA256)).unwrap();
    let mut sample = order_for(&ca);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, ca.key().serialize_pem()).unwrap();
    let output = Command::new("openssl")
        .args(["rsa", "-traditional", "-in"])
        .arg(&file)
        .output()
        .unwrap();
    let traditional = String::from_utf8(output.stdout).unwrap();
    assert!(traditional.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    sample.secret("partner-ca", &[("tls.crt", &ca.pem()), ("tls.key", &traditional)]);
    assert!(openssl_takes(&issued(&sample)));
}

#[test]
fn certificate_of_an_intermediate_ca_is_let_in_by_the_root_alone() {
    let now = Timestamp::now();
    let root = root("Root", now);
    let middle = CertifiedIssuer::signed_by(ca_params("Middle", now), p256(), &root).unwrap();
    let lower = CertifiedIssuer::signed_by(ca_params("Lower", now), p256(), &middle).unwrap();
    let mut sample = order_for(&root);
    // The root beside the chain, as cert-manager writes it; or in the chain; or nowhere.
    let key = lower.key().serialize_pem();
    for (chain, beside, anchor) in [
        (lower.pem() + &middle.pem(), root.pem(), root.pem()),
        (lower.pem() + &middle.pem() + &root.pem(), String::new(), root.pem()),
        (lower.pem() + &root.pem() + &middle.pem(), "\n".to_owned(), root.pem()),
    ] {
        sample.secret(
            "partner-ca",
            &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &beside)],
        );
        let minted = issued(&sample);
        assert_eq!(text(&minted, TRUSTED), anchor);
        let shown = ders(text(&minted, CERTIFICATE));
        assert_eq!(shown[1..], [lower.der().clone(), middle.der().clone()]);
        assert!(lets_in(&root.pem(), &minted));
        assert!(openssl_takes(&minted));
    }
    give(&mut sample, &lower.pem(), lower.key());
    let minted = issued(&sample);
    assert_eq!(text(&minted, TRUSTED), lower.pem(), "the highest that is there");
    assert!(lets_in(text(&minted, TRUSTED), &minted));
}

#[test]
fn name_of_the_ca_is_repeated_byte_for_byte() {
    // As a directory names its CA: an attribute twice, two attributes in one place, and a string of another kind.
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ])
        .args([
            "-multivalue-rdn",
            "-subj",
            "/DC=com/DC=example/OU=A/OU=B/O=Partner+CN=Partner CA",
        ])
        .args(["-addext", "keyUsage=critical,keyCertSign", "-keyout"])
        .arg(path("key"))
        .arg("-out")
        .arg(path("crt"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let mut sample = order_for(&root("CA", Timestamp::now()));
    sample.now = Timestamp::now();
    sample.secret("partner-ca", &[("tls.crt", &read("crt")), ("tls.key", &read("key"))]);
    let minted = issued(&sample);
    assert!(lets_in(&read("crt"), &minted));
    assert!(openssl_takes(&minted));
    let (leaf, ca) = (
        chain::read(text(&minted, CERTIFICATE)).unwrap(),
        chain::read(&read("crt")).unwrap(),
    );
    assert_eq!(leaf[0].issuer, ca[0].subject);
    assert_eq!(leaf[0].issuer.windows(7).filter(|part| *part == b"example").count(), 1);
}

#[test]
fn certificate_says_what_the_spec_says() {
    let mut sample = order_for(&root("CA", Timestamp::now()));
    set(&mut sample, "lifetime", json!("48h"));
    let minted = issued(&sample);
    let der = ders(text(&minted, CERTIFICATE)).remove(0);
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(leaf.subject().to_string(), "CN=payments");
    let names = leaf.subject_alternative_name().unwrap().unwrap().value;
    let names: Vec<_> = names.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "DNSName(payments.shop.example.com)",
            "URI(spiffe://example.com/payments)"
        ]
    );
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(
        leaf.key_usage().unwrap().unwrap().value.flags,
        1,
        "digitalSignature and nothing else"
    );
    assert!(!leaf.is_ca());
    let serial = leaf.raw_serial();
    assert!(serial.len() <= 20 && serial[0] < 0x80 && serial[0] > 0, "{serial:?}");
    assert_eq!(minted.id.as_deref(), Some("7fffffffffffffffffffffffffffffffffffffff"));
    assert_eq!(leaf.raw_serial_as_string().replace(':', ""), minted.id.clone().unwrap());
    let now = sample.now.as_second();
    let validity = leaf.validity();
    assert_eq!(
        (validity.not_before.timestamp(), validity.not_after.timestamp()),
        (now - 300, now + 2 * DAY)
    );
    assert_eq!(minted.not_before.map(Timestamp::as_second), Some(now - 300));
    assert_eq!(minted.not_after.map(Timestamp::as_second), Some(now + 2 * DAY));
    set(&mut sample, "lifetime", json!(null));
    let minted = issued(&sample);
    assert_eq!(minted.not_after.map(Timestamp::as_second), Some(now + 90 * DAY));
}

#[test]
fn serial_number_is_positive_whatever_was_drawn() {
    for byte in [0, 0x7f, 0x80, 0xff] {
        let serial = serial(&mut |buffer: &mut [u8]| buffer.fill(byte));
        assert!((0x40..0x80).contains(&serial[0]));
        assert_eq!(serial[1..], [byte; 19]);
    }
}

#[test]
fn certificate_ends_with_its_ca_and_is_not_renewed_for_nothing() {
    let now = Timestamp::now();
    let mut params = ca_params("Short", now);
    valid(&mut params, now, -DAY, 5 * DAY);
    let ca = CertifiedIssuer::self_signed(params, p256()).unwrap();
    let mut sample = order_for(&ca);
    let first = issued(&sample);
    let end = Timestamp::from_second(now.as_second() + 5 * DAY).unwrap();
    assert_eq!(first.not_after, Some(end));
    for reason in [Reason::NearingExpiry, Reason::Expired, Reason::IntervalElapsed] {
        sample.publish(first.clone(), reason);
        assert_eq!(
            refusal(&sample),
            IssueError::Refused {
                reason: "IssueFailed",
                message: format!(
                    "the CA of Secret `partner-ca` expires at {end}, so that another certificate would not be valid for \
                     longer than the one in use; renew the CA"
                ),
            }
        );
    }
    for reason in [
        Reason::SpecChanged,
        Reason::SourceChanged,
        Reason::Requested,
        Reason::Rejected,
    ] {
        sample.publish(first.clone(), reason);
        assert_eq!(
            issued(&sample).not_after,
            Some(end),
            "{reason:?} is a reason of its own"
        );
    }
    // The CA was renewed, with its name and key, for a day more: time is won.
    let mut params = ca_params("Short", now);
    valid(&mut params, now, -DAY, 6 * DAY);
    give(&mut sample, &params.self_signed(ca.key()).unwrap().pem(), ca.key());
    sample.publish(first, Reason::NearingExpiry);
    assert_eq!(
        issued(&sample).not_after.map(Timestamp::as_second),
        Some(now.as_second() + 6 * DAY)
    );
}

#[test]
fn change_of_the_ca_cuts_nobody_off() {
    let now = Timestamp::now();
    let (old, new) = (root("CA of old", now), root("CA of new", now));
    let mut sample = order_for(&old);
    let first = issued(&sample);
    sample.publish(first.clone(), Reason::SourceChanged);
    give(&mut sample, &new.pem(), new.key());
    let second = issued(&sample);
    assert_eq!(text(&second, TRUSTED), new.pem() + &old.pem());
    assert!(lets_in(text(&second, TRUSTED), &first) && lets_in(text(&second, TRUSTED), &second));
    assert!(!lets_in(&old.pem(), &second));
    // While the certificate before is kept, its CA is too.
    let mut values = second.clone();
    let previous = first.values[CERTIFICATE].clone();
    values.values.insert(PREVIOUS.to_owned(), previous);
    sample.publish(values, Reason::Requested);
    assert_eq!(text(&issued(&sample), TRUSTED), new.pem() + &old.pem());
    // Nothing in use is by it any more.
    sample.publish(second, Reason::NearingExpiry);
    assert_eq!(text(&issued(&sample), TRUSTED), new.pem());
    // Nor is what has expired.
    sample.publish(first, Reason::SourceChanged);
    sample.now += Duration::from_secs(91 * 24 * 3600);
    assert_eq!(text(&issued(&sample), TRUSTED), new.pem());
}

#[test]
fn what_is_trusted_is_bounded() {
    let now = Timestamp::now();
    let first = root("CA", now);
    let mut sample = order_for(&first);
    let mut minted = issued(&sample);
    // The CA's name and key in many certificates, each of which vouches for what is in use.
    let again: String = (0..12)
        .map(|_| ca_params("CA", now).self_signed(first.key()).unwrap().pem())
        .collect();
    let bundle = SecretValue::new(first.pem() + &again);
    minted.values.insert(TRUSTED.to_owned(), bundle);
    sample.publish(minted, Reason::SourceChanged);
    let other = root("Other", now);
    give(&mut sample, &other.pem(), other.key());
    assert_eq!(ders(text(&issued(&sample), TRUSTED)).len(), TRUSTED_MAX);
}

#[test]
fn ca_that_cannot_be_used_is_named() {
    let now = Timestamp::now();
    let good = root("CA", now);
    let key = good.key().serialize_pem();
    let key_must =
        "`spec.certificate.issue.caSecretRef` must name a usable value: key `tls.key` of Secret `partner-ca` must";
    let crt_must =
        "`spec.certificate.issue.caSecretRef` must name a usable value: key `tls.crt` of Secret `partner-ca` must";
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = ca_params("CA", now);
        change(&mut params);
        params.self_signed(good.key()).unwrap().pem()
    };
    let expired = with(&|params| valid(params, now, -2 * DAY, -DAY));
    let ended = Timestamp::from_second(now.as_second() - DAY).unwrap();
    let no_ca = with(&|params| params.is_ca = IsCa::ExplicitNoCa);
    let may_not = with(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let other_names = with(&|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let bomb = "-----BEGIN CERTIFICATE-----\n".repeat(3000);
    let many = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".repeat(1000);
    let small = good.pem().repeat(17);
    let stranger = p256().serialize_pem();
    for (crt, key, message) in [
        (&*good.pem(), &*stranger, format!("{key_must} be the key of the first certificate of key `tls.crt`")),
        (&good.pem(), "canary", format!("{key_must} be a private key in PEM (PKCS#8, PKCS#1 or SEC1)")),
        (&good.pem(), &bomb, format!("{key_must} be at most 64 KiB long")),
        (&bomb, &key, format!("{crt_must} be at most 64 KiB long")),
        (&many, &key, format!("{crt_must} be one or more certificates in PEM")),
        (&small, &key, format!("{crt_must} have at most 16 certificates")),
        ("", &key, format!("{crt_must} be one or more certificates in PEM")),
        (&expired, &key, format!("{crt_must} not be expired: a certificate of the CA expired at {ended}; renew it")),
        (&no_ca, &key, format!("{crt_must} begin with the certificate of a CA, one that may sign certificates")),
        (&may_not, &key, format!("{crt_must} begin with the certificate of a CA, one that may sign certificates")),
        (
            &other_names,
            &key,
            "`spec.certificate.issue.caSecretRef` must name a CA that may issue this certificate: a server that trusts it \
             would answer `"
                .to_owned(),
        ),
    ] {
        let mut sample = order_for(&good);
        sample.secret("partner-ca", &[("tls.crt", crt), ("tls.key", key)]);
        let error = refusal(&sample);
        assert!(matches!(error, IssueError::Refused { reason: "InvalidSpec", .. }), "{error:?}");
        assert!(error.to_string().starts_with(&message), "{error}\n{message}");
        assert!(!error.to_string().contains("canary"));
    }
}

#[test]
fn ca_that_is_not_there_yet_is_waited_for() {
    let now = Timestamp::now();
    let ca = root("CA", now);
    let mut sample = order_for(&ca);
    sample.sources.secrets.clear();
    assert!(matches!(
        refusal(&sample),
        IssueError::NotSent {
            reason: "SecretNotFound",
            ..
        }
    ));
    sample.secret("partner-ca", &[("tls.crt", &ca.pem())]);
    assert!(matches!(
        refusal(&sample),
        IssueError::Refused {
            reason: "KeyMissing",
            ..
        }
    ));
    let mut params = ca_params("CA", now);
    valid(&mut params, now, DAY, 2 * DAY);
    give(&mut sample, &params.self_signed(ca.key()).unwrap().pem(), ca.key());
    let error = refusal(&sample);
    assert!(
        matches!(
            error,
            IssueError::NotSent {
                reason: "IssueFailed",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("is not valid before"), "{error}");
}

#[test]
fn expired_intermediate_is_named_too() {
    let now = Timestamp::now();
    let mut params = ca_params("Root", now);
    valid(&mut params, now, -3 * DAY, -DAY);
    let root = CertifiedIssuer::self_signed(params, p256()).unwrap();
    let lower = CertifiedIssuer::signed_by(ca_params("Lower", now), p256(), &root).unwrap();
    let mut sample = order_for(&root);
    give(&mut sample, &(lower.pem() + &root.pem()), lower.key());
    assert!(refusal(&sample).to_string().contains("expired at"));
}

#[test]
fn names_that_no_certificate_can_have_are_refused() {
    let ca = root("CA", Timestamp::now());
    for (member, value, message) in [
        (
            "commonName",
            json!("x".repeat(65)),
            "`spec.certificate.issue.commonName` must have from 1 to 64 characters",
        ),
        (
            "dnsNames",
            json!(["ok.example.com", "ä.example.com"]),
            "`spec.certificate.issue.dnsNames[1]` must be ASCII",
        ),
        (
            "uris",
            json!(["spiffe://ä"]),
            "`spec.certificate.issue.uris[0]` must be ASCII",
        ),
    ] {
        let mut sample = order_for(&ca);
        set(&mut sample, member, value);
        assert!(
            refusal(&sample).to_string().starts_with(message),
            "{}",
            refusal(&sample)
        );
    }
    let mut sample = order_for(&ca);
    sample.respec(json!({"certificate": {"issue": {"caSecretRef": {"name": "partner-ca"}}}}));
    assert!(
        refusal(&sample)
            .to_string()
            .contains("must have a `commonName`, `dnsNames` or `uris`")
    );
    sample.respec(json!({"certificate": {"secretRef": {"name": "partner"}}}));
    assert!(
        refusal(&sample)
            .to_string()
            .contains("`spec.certificate.issue` must be set")
    );
}

#[test]
fn ca_without_key_usage_or_key_identifier_issues() {
    let mut params = ca_params("CA", Timestamp::now());
    params.key_usages.clear();
    params.distinguished_name.push(
        DnType::OrganizationName,
        DnValue::PrintableString("Old".try_into().unwrap()),
    );
    let ca = CertifiedIssuer::self_signed(params, p256()).unwrap();
    let minted = issued(&order_for(&ca));
    assert!(lets_in(&ca.pem(), &minted));
}

#[test]
fn debug_has_no_key_in_it() {
    let sample = order_for(&root("CA", Timestamp::now()));
    let minted = issued(&sample);
    let shown = format!("{minted:?} {:?}", sample.order());
    assert!(!shown.contains("PRIVATE") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn named_are_the_secrets_that_are_read() {
    let sample = order_for(&root("CA", Timestamp::now()));
    let of = |sample: &Sample| named(sample.spec.certificate.as_ref().unwrap()).secrets;
    assert_eq!(of(&sample), ["partner-ca".to_owned()].into());
    let referenced = Sample::new(json!({"certificate": {"secretRef": {"name": "partner"}}}));
    assert_eq!(of(&referenced), ["partner".to_owned()].into());
}
