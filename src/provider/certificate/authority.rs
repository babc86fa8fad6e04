//! The CA of the user, as its Secret has it.

use jiff::Timestamp;
use rcgen::{CertificateParams, Issuer, KeyIdMethod, KeyPair};
use rustls::pki_types::CertificateDer;
use secrecy::zeroize::Zeroize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::chain::{self, Link};
use super::signature;
use crate::api::condition::reason;
use crate::provider::lookup::Source;
use crate::provider::{IssueError, Sources, private_key};

const FIELD: &str = "spec.certificate.issue.caSecretRef";

/// A CA that can sign now.
pub struct Authority {
    key: KeyPair,
    /// Its certificate, those above it as far as they are there, and the root last.
    path: Vec<Link>,
    /// What its certificate calls its key.
    key_id: Option<Vec<u8>>,
}

impl Authority {
    /// The CA of the Secret `secret`: its chain in `tls.crt`, its key in `tls.key`, and in `ca.crt`, which may be absent,
    /// more of its chain.
    pub fn read(sources: &Sources, secret: &str, now: Timestamp) -> Result<Self, IssueError> {
        let value = |key| Source::secret(FIELD, secret, key);
        let certificate = value("tls.crt");
        let mut pool = chain::read(certificate.read(sources)?.expose()).map_err(|error| certificate.unusable(error))?;
        let signer = pool.remove(0);
        let more = value("ca.crt");
        if let Some(text) = more.find(sources)?
            && !text.expose().trim().is_empty()
        {
            pool.extend(chain::read(text.expose()).map_err(|error| more.unusable(error))?);
        }
        let key_source = value("tls.key");
        let mut der = private_key::read(key_source.read(sources)?).map_err(|error| key_source.unusable(error))?;
        let key = KeyPair::try_from(&der);
        der.zeroize();
        let key = key.map_err(|_| {
            key_source.unusable(
                "be a key to sign with: RSA of at least 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
            )
        })?;
        let (_, parsed) = X509Certificate::from_der(&signer.der)
            .map_err(|_| certificate.unusable(chain::UnusableChain::Unreadable))?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(key_source.unusable("be the key of the first certificate of key `tls.crt`"));
        }
        let may_sign = parsed
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
        if !parsed.is_ca() || !may_sign {
            return Err(certificate.unusable("begin with the certificate of a CA, one that may sign certificates"));
        }
        let key_id = parsed
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        let path = path(signer, &pool);
        for link in &path {
            if link.not_after <= now {
                return Err(certificate.unusable(format!(
                    "not be expired: a certificate of the CA expired at {}; renew it",
                    link.not_after
                )));
            }
            if link.not_before > now {
                return Err(IssueError::NotSent {
                    reason: reason::ISSUE_FAILED,
                    message: format!(
                        "`{FIELD}`: a certificate of the CA of Secret `{secret}` is not valid before {}",
                        link.not_before
                    ),
                });
            }
        }
        Ok(Self { key, path, key_id })
    }

    /// The certificate that signs.
    pub fn signer(&self) -> &Link {
        &self.path[0]
    }

    /// The one that a server has to trust: the root, or the highest that is there.
    pub fn anchor(&self) -> &Link {
        &self.path[self.path.len() - 1]
    }

    /// What a client has to show besides its own: all but a root.
    pub fn intermediates(&self) -> impl Iterator<Item = &Link> {
        self.path.iter().filter(|link| !link.is_root())
    }

    /// When the first of its certificates expires.
    pub fn not_after(&self) -> Timestamp {
        let ends = self.path.iter().map(|link| link.not_after);
        ends.min().unwrap_or(Timestamp::MIN)
    }

    /// A certificate for `subject`; `None` if it cannot be made.
    pub fn sign(&self, mut params: CertificateParams, subject: &KeyPair) -> Option<CertificateDer<'static>> {
        let mut own = CertificateParams::default();
        params.use_authority_key_identifier_extension = self.key_id.is_some();
        if let Some(id) = &self.key_id {
            own.key_identifier_method = KeyIdMethod::PreSpecified(id.clone());
        }
        let certificate = params.signed_by(subject, &Issuer::from_params(&own, &self.key)).ok()?;
        signature::by(certificate.der(), &self.signer().subject, &self.key).map(CertificateDer::from)
    }
}

/// From `signer` to a root, as far as `pool` has the links. Where two could be the next, the root is.
fn path(signer: Link, pool: &[Link]) -> Vec<Link> {
    let mut path = vec![signer];
    while let Some(last) = path.last().filter(|last| !last.is_root()) {
        let above = |link: &&Link| link.subject == last.issuer && !path.contains(link);
        let next = pool.iter().filter(above).max_by_key(|link| link.is_root());
        let Some(next) = next.cloned() else { break };
        path.push(next);
    }
    path
}
