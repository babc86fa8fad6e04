//! Certificates in PEM: read within bounds, written, and verified as a server does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Most certificates of a text.
const LINKS_MAX: usize = 16;

/// A certificate, and what has to be known to put it in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// Whom it is of, in DER.
    pub subject: Vec<u8>,
    /// Whom it is by, in DER.
    pub issuer: Vec<u8>,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ceases to be valid.
    pub not_after: Timestamp,
}

/// What is wrong with a text of certificates, as what it must be instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableChain {
    /// There is none, or one cannot be read.
    #[error("be one or more certificates in PEM")]
    Unreadable,
    /// There are too many.
    #[error("have at most {LINKS_MAX} certificates")]
    TooMany,
}

impl Link {
    /// Whether it ends a chain: whoever it is of has signed it.
    pub fn is_root(&self) -> bool {
        self.subject == self.issuer
    }
}

/// The certificates of a PEM text, of which there is at least one; other blocks are passed over.
pub fn read(pem: &str) -> Result<Vec<Link>, UnusableChain> {
    let mut links = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        if links.len() == LINKS_MAX {
            return Err(UnusableChain::TooMany);
        }
        links.push(link(der.map_err(|_| UnusableChain::Unreadable)?)?);
    }
    if links.is_empty() {
        return Err(UnusableChain::Unreadable);
    }
    Ok(links)
}

fn link(der: CertificateDer<'static>) -> Result<Link, UnusableChain> {
    let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| UnusableChain::Unreadable)?;
    if !rest.is_empty() {
        return Err(UnusableChain::Unreadable);
    }
    // Beyond the year 9999 there is no time, and the year 9999 is how a certificate says "for ever".
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX);
    let (subject, issuer) = (parsed.subject().as_raw().to_vec(), parsed.issuer().as_raw().to_vec());
    let (not_before, not_after) = (time(parsed.validity().not_before), time(parsed.validity().not_after));
    Ok(Link {
        der,
        subject,
        issuer,
        not_before,
        not_after,
    })
}

/// The certificates in PEM.
pub fn write<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates
        .map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der.as_ref()), config))
        .collect()
}

/// Whether a server that trusts `anchors` takes `chain`, of which the first is a client's, at `now`.
pub fn verify(anchors: &[&Link], chain: &[CertificateDer<'static>], now: Timestamp) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor.der.clone())?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
    let (leaf, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    verifier.verify_client_cert(leaf, intermediates, now).map(|_| ())
}
