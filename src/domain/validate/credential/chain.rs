//! A certificate chain and its key, in PEM.

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::value::{self, Unsendable};

/// Most bytes of a chain that are looked at (cert-manager CVE-2024-12401: a large PEM took most of a second).
const CHAIN_MAX: usize = 256 << 10;

/// Most certificates in a chain.
const CERTIFICATES_MAX: usize = 16;

/// The certificates of a chain, each of which is one, and nothing else: a private key has no business here.
pub fn certificates(chain: &str) -> Result<Vec<CertificateDer<'static>>, Unsendable> {
    if chain.len() > CHAIN_MAX {
        return Err("be at most 256 KiB of certificates in PEM");
    }
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(chain.as_bytes()).take(CERTIFICATES_MAX + 1) {
        match block {
            Ok(block) if block.label == "CERTIFICATE" && block.parse_x509().is_ok() => {
                certificates.push(CertificateDer::from(block.contents));
            }
            _ => return Err("be certificates in PEM, the client's own first, and nothing else"),
        }
    }
    match certificates.len() {
        0 => Err("be certificates in PEM, the client's own first, and nothing else"),
        1..=CERTIFICATES_MAX => Ok(certificates),
        _ => Err("be at most 16 certificates"),
    }
}

/// Whether `key`, PEM in any of its three forms, belongs to the first of the certificates.
pub fn require_key(certificates: &[CertificateDer<'_>], key: &str) -> Result<(), Unsendable> {
    value::require_length(key)?;
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| "be a private key in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted")?;
    let key = any_supported_type(&der).map_err(|_| "be an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key")?;
    let public = key.public_key();
    let belongs_to = |certificate: &CertificateDer<'_>| {
        let parsed = X509Certificate::from_der(certificate).ok();
        let own = parsed.as_ref().map(|(_, certificate)| certificate.public_key().raw);
        own.is_some() && own == public.as_deref()
    };
    let (first, others) = certificates.split_first().ok_or("be the key of a certificate")?;
    if belongs_to(first) {
        Ok(())
    } else if others.iter().any(belongs_to) {
        Err("be the key of the first certificate in `tls.crt`; it is that of a later one, so put that one first")
    } else {
        Err("be the key of the first certificate in `tls.crt`, and is that of none of them")
    }
}

/// When the first certificate of a chain begins and ceases to be valid; `None` if there is none.
pub fn times(chain: &str) -> Option<(Timestamp, Timestamp)> {
    let block = Pem::iter_from_buffer(chain.as_bytes()).next()?.ok()?;
    let certificate = block.parse_x509().ok()?;
    let validity = certificate.validity();
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    Some((time(validity.not_before)?, time(validity.not_after)?))
}
