//! Client certificates.

use serde_json::json;

use super::super::*;
use super::credential::{secret, spec, told};

/// A CA that issues.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A chain, the leaf first, and the leaf's key.
    pub fn issue(&self) -> (String, String) {
        self.issue_with(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn issue_with(&self, algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2027, 3, 4);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (leaf.pem() + &self.pem, key.serialize_pem())
    }
}

fn by_reference() -> CredentialSpec {
    spec(json!({"certificate": {"secretRef": {"name": "client"}}}))
}

fn pair(chain: &str, key: &str) -> Result<Material, CredentialProblem> {
    credential(&by_reference(), Some(&secret(&[("tls.crt", chain), ("tls.key", key)])))
}

#[test]
fn a_pair_of_each_algorithm_is_taken_as_it_is() {
    assert_eq!(secret_name(&by_reference()), Some("client"));
    let authority = Authority::new();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let (chain, key) = authority.issue_with(algorithm);
        assert_eq!(told(pair(&chain, &key).unwrap()), ("certificate", chain, key));
    }
}

/// As openssl writes them: `ecparam -genkey` (SEC1, with its parameters in front) and `genrsa -traditional` (PKCS#1).
#[test]
fn a_key_may_have_any_of_its_three_forms() {
    let sec1 = include_str!("certificate/sec1.pem");
    let pkcs1 = include_str!("certificate/pkcs1.pem");
    assert!(sec1.contains("BEGIN EC PRIVATE KEY") && pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    for (chain, key) in [
        (include_str!("certificate/sec1.crt"), sec1),
        (include_str!("certificate/pkcs1.crt"), pkcs1),
    ] {
        pair(chain, key).unwrap();
    }
}

#[test]
fn what_is_no_pair_is_refused_with_the_key_that_is_to_blame() {
    let authority = Authority::new();
    let (chain, key) = authority.issue();
    let (other_chain, other_key) = authority.issue();
    let root_first = authority.pem.clone() + &chain;
    let many = chain.repeat(9);
    let large = chain.repeat(400);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let broken = chain.replacen("MII", "AAA", 1);
    for (chain, key, wrong, must) in [
        (
            "",
            key.as_str(),
            "tls.crt",
            "be certificates in PEM, the client's own first",
        ),
        ("canary", &key, "tls.crt", "be certificates in PEM"),
        (&broken, &key, "tls.crt", "be certificates in PEM"),
        (
            &(chain.clone() + &key),
            &key,
            "tls.crt",
            "be certificates in PEM, the client's own first, and nothing else",
        ),
        (&many, &key, "tls.crt", "be at most 16 certificates"),
        (&large, &key, "tls.crt", "be at most 256 KiB of certificates in PEM"),
        (
            &chain,
            "",
            "tls.key",
            "be a private key in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted",
        ),
        (&chain, &chain, "tls.key", "be a private key in PEM"),
        (
            &chain,
            &encrypted,
            "tls.key",
            "be a private key in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted",
        ),
        (
            &chain,
            &other_key,
            "tls.key",
            "be the key of the first certificate in `tls.crt`, and is that of none of them",
        ),
        (
            &(chain.clone() + &other_chain),
            &other_key,
            "tls.key",
            "be the key of the first certificate in `tls.crt`; it is that of a later one, so put that one first",
        ),
        (
            &root_first,
            &key,
            "tls.key",
            "be the key of the first certificate in `tls.crt`; it is that of a later one",
        ),
    ] {
        let problem = pair(chain, key).unwrap_err();
        let wanted = format!(
            "`spec.certificate.secretRef` must name a usable value: key `{wrong}` of Secret `client` must {must}"
        );
        assert_eq!((problem.reason(), problem.stalls()), ("InvalidSpec", true), "{must}");
        assert!(problem.to_string().starts_with(&wanted), "{problem}\n{wanted}");
        assert!(!problem.to_string().contains("canary"), "{problem}");
    }
}

#[test]
fn a_missing_half_is_named() {
    let (chain, _) = Authority::new().issue();
    let problem = credential(&by_reference(), Some(&secret(&[("tls.crt", &chain)]))).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "`spec.certificate.secretRef`: Secret `client` has no key `tls.key`; add it or name another"
    );
    let problem = credential(&by_reference(), None).unwrap_err();
    assert_eq!((problem.reason(), problem.stalls()), ("SecretNotFound", false));
}

#[test]
fn the_times_are_those_of_the_leaf() {
    let (chain, _) = Authority::new().issue();
    let times = certificate_times(&chain).map(|(from, to)| (from.to_string(), to.to_string()));
    assert_eq!(
        times,
        Some(("2026-01-02T00:00:00Z".to_owned(), "2027-03-04T00:00:00Z".to_owned()))
    );
    for none in [
        "",
        "canary",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert_eq!(certificate_times(none), None);
    }
}
