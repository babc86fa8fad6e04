//! The controller's own small certificate authority: by it the controller and the workers know each other.
//!
//! It lasts ten years and is renewed in two steps, so that everybody trusts the new certificate long before anything is
//! signed with it: two years before the end the next one joins what is trusted, one year before the end it starts to
//! sign. What it issues lasts one year.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use crate::domain::health::control::{CONTROLLER_NAME, worker_name};
use crate::domain::secret::SecretValue;

#[cfg(test)]
mod tests;

/// Lifetime of the authority.
const AUTHORITY_LIFE: Duration = days(3650);
/// With no more than this left, the next authority is made and trusted.
const PREPARE_AT: Duration = days(730);
/// With no more than this left, the next one signs.
const PROMOTE_AT: Duration = days(365);
/// Lifetime of what is issued. Never longer than [`PROMOTE_AT`], so that it ends before what signed it.
const ISSUED_LIFE: Duration = days(365);
/// How far a worker's clock may be behind ours.
const SKEW: Duration = Duration::from_secs(3600);

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRUSTED: &str = "ca.crt";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

const fn days(number: u64) -> Duration {
    Duration::from_secs(number * 24 * 3600)
}

/// An authority that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What is stored is not what was written.
    #[error("`{0}` of the authority cannot be read; delete its Secret and a new one is made")]
    Unreadable(&'static str),
    /// Making a key or a certificate failed.
    #[error("a certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// rustls does not take what was made.
    #[error("a certificate could not be used: {0}")]
    Use(#[from] rustls::Error),
}

/// What a worker proves itself with, and by what it knows the controller. All PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerTls {
    /// The worker's certificate.
    pub certificate: String,
    /// Its private key.
    pub key: SecretValue,
    /// The certificates of the authority.
    pub authority: String,
}

/// The authority: one certificate that signs, and all that are trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    signer: Signer,
    next: Option<Signer>,
    /// Those that signed before and have not ended.
    previous: Vec<String>,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq)]
struct Signer {
    certificate: String,
    key: SecretValue,
}

impl Authority {
    /// A new one.
    pub fn make(now: Timestamp) -> Result<Self, AuthorityError> {
        Ok(Self {
            signer: Signer::make(now)?,
            next: None,
            previous: Vec::new(),
        })
    }

    /// The authority as [`to_data`](Self::to_data) wrote it.
    pub fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, AuthorityError> {
        let text = |key: &'static str| {
            data.get(key)
                .map(|bytes| String::from_utf8(bytes.clone()).map_err(|_| AuthorityError::Unreadable(key)))
                .transpose()
        };
        let signer = |certificate, key| -> Result<Option<Signer>, AuthorityError> {
            let (Some(pem), Some(key_pem)) = (text(certificate)?, text(key)?) else {
                return Ok(None);
            };
            let signer = Signer {
                certificate: pem,
                key: SecretValue::new(key_pem),
            };
            signer.key_pair().map_err(|_| AuthorityError::Unreadable(key))?;
            not_after(&signer.certificate).ok_or(AuthorityError::Unreadable(certificate))?;
            Ok(Some(signer))
        };
        let current = signer(CERTIFICATE, KEY)?.ok_or(AuthorityError::Unreadable(CERTIFICATE))?;
        let next = signer(NEXT_CERTIFICATE, NEXT_KEY)?;
        let trusted = text(TRUSTED)?.ok_or(AuthorityError::Unreadable(TRUSTED))?;
        let known = |pem: &String| *pem == current.certificate || next.as_ref().is_some_and(|n| *pem == n.certificate);
        let previous = split(&trusted).into_iter().filter(|pem| !known(pem)).collect();
        Ok(Self {
            signer: current,
            next,
            previous,
        })
    }

    /// What to store, by key.
    pub fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        let Self {
            signer,
            next,
            previous: _,
        } = self;
        let mut data = BTreeMap::from([
            (CERTIFICATE.to_owned(), signer.certificate.clone().into_bytes()),
            (KEY.to_owned(), signer.key.expose().as_bytes().to_vec()),
            (TRUSTED.to_owned(), self.trusted().into_bytes()),
        ]);
        if let Some(Signer { certificate, key }) = next {
            data.insert(NEXT_CERTIFICATE.into(), certificate.clone().into_bytes());
            data.insert(NEXT_KEY.into(), key.expose().as_bytes().to_vec());
        }
        data
    }

    /// Every certificate that is trusted, PEM.
    pub fn trusted(&self) -> String {
        let next = self.next.iter().map(|next| &*next.certificate);
        let previous = self.previous.iter().map(|pem| &**pem);
        std::iter::once(&*self.signer.certificate)
            .chain(next)
            .chain(previous)
            .collect()
    }

    /// The authority as it should be now, if that is not what it is.
    pub fn renewed(&self, now: Timestamp) -> Result<Option<Self>, AuthorityError> {
        let left = |pem: &str| not_after(pem).map_or(0, |end| end - now.as_second());
        let within = |pem: &str, bound: Duration| left(pem) <= seconds(bound);
        let mut renewed = self.clone();
        renewed.previous.retain(|pem| left(pem) > 0);
        match renewed.next.take() {
            // Whatever was missed while nobody looked: an authority that has ended signs nothing any more.
            Some(next) if within(&self.signer.certificate, PROMOTE_AT) => {
                let old = std::mem::replace(&mut renewed.signer, next);
                if left(&old.certificate) > 0 {
                    renewed.previous.push(old.certificate);
                }
            }
            Some(next) => renewed.next = Some(next),
            None if left(&self.signer.certificate) <= 0 => renewed.signer = Signer::make(now)?,
            None if within(&self.signer.certificate, PREPARE_AT) => renewed.next = Some(Signer::make(now)?),
            None => {}
        }
        Ok((renewed != *self).then_some(renewed))
    }

    /// The TLS material of the workers of the Integration `uid`: `stored` while it serves and more than a third of its
    /// life is left, else newly issued.
    pub fn worker_tls(
        &self,
        uid: &str,
        stored: Option<WorkerTls>,
        now: Timestamp,
    ) -> Result<WorkerTls, AuthorityError> {
        let authority = self.trusted();
        let name = worker_name(uid);
        if let Some(stored) = stored
            && self.vouches_for(&stored, &name, now)
        {
            return Ok(WorkerTls { authority, ..stored });
        }
        let (certificate, key) = self.issue(name, ExtendedKeyUsagePurpose::ServerAuth, now)?;
        Ok(WorkerTls {
            certificate,
            key: SecretValue::new(key.serialize_pem()),
            authority,
        })
    }

    /// How the controller connects to workers: with a certificate in its own name, and trusting this authority alone.
    pub fn client_config(&self, now: Timestamp) -> Result<Arc<ClientConfig>, AuthorityError> {
        let (certificate, key) = self.issue(CONTROLLER_NAME.into(), ExtendedKeyUsagePurpose::ClientAuth, now)?;
        let chain = certificates(&certificate).ok_or(AuthorityError::Unreadable(CERTIFICATE))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| AuthorityError::Unreadable(KEY))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A thousand workers once each, not one worker a thousand times: tickets would only cost memory.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.trusted()).ok_or(AuthorityError::Unreadable(TRUSTED))? {
            roots.add(certificate)?;
        }
        Ok(Arc::new(roots))
    }

    /// Whether a worker can serve with `tls` for a good while yet.
    fn vouches_for(&self, tls: &WorkerTls, name: &str, now: Timestamp) -> bool {
        let verify = || -> Option<()> {
            let chain = certificates(&tls.certificate)?;
            let leaf = chain.first()?.clone();
            let (begin, end) = validity(&leaf)?;
            (end - now.as_second() > (end - begin) / 3).then_some(())?;
            let key = PrivateKeyDer::from_pem_slice(tls.key.expose().as_bytes()).ok()?;
            CertifiedKey::from_der(chain, key, &provider())
                .ok()?
                .keys_match()
                .ok()?;
            let verifier = WebPkiServerVerifier::builder_with_provider(self.roots().ok()?, provider());
            let name = ServerName::try_from(name).ok()?;
            let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).ok()?));
            verifier
                .build()
                .ok()?
                .verify_server_cert(&leaf, &[], &name, &[], now)
                .ok()?;
            Some(())
        };
        verify().is_some()
    }

    /// A certificate for `name`, PEM, and its key.
    fn issue(
        &self,
        name: String,
        usage: ExtendedKeyUsagePurpose,
        now: Timestamp,
    ) -> Result<(String, KeyPair), AuthorityError> {
        let issuer = Issuer::from_ca_cert_pem(&self.signer.certificate, self.signer.key_pair()?)?;
        let key = KeyPair::generate()?;
        // No common name: it is limited to 64 characters, and nobody may look at it any more (RFC 9525).
        let mut params = CertificateParams::new(vec![name])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Tidegate");
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        last(&mut params, now, ISSUED_LIFE);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key))
    }
}

impl Signer {
    fn make(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // Distinct for each, so that chains are never built through the wrong one of two.
        let name = format!("Tidegate authority of {}", now.strftime("%Y-%m-%d"));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        last(&mut params, now, AUTHORITY_LIFE);
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key: SecretValue::new(key.serialize_pem()),
        })
    }

    fn key_pair(&self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::from_pem(self.key.expose())
    }
}

/// The one provider of the product, named so that nothing depends on which was installed for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Makes what is issued last from shortly before `now` for `life`.
fn last(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    params.not_before = epoch + now.saturating_sub(SKEW);
    params.not_after = epoch + now + life;
}

/// The certificates of a PEM text; `None` where one of them cannot be read or there is none.
pub fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .ok()?;
    (!chain.is_empty()).then_some(chain)
}

/// Begin and end of a certificate, in seconds since 1970.
fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// End of the first certificate of a PEM text, in seconds since 1970.
fn not_after(pem: &str) -> Option<i64> {
    Some(validity(certificates(pem)?.first()?)?.1)
}

/// The certificates of a bundle of ours, each as it was written.
fn split(bundle: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    bundle.split_inclusive(END).map(str::to_owned).collect()
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
