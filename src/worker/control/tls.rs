//! TLS of the control port: our own certificate, and proof that the peer is the controller.
//!
//! The files are looked at with every connection, so that a certificate that is renewed, or an authority, is in use with
//! the next one.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio::sync::Mutex;

use crate::domain::health::control::CONTROLLER_NAME;
use crate::worker::source::mount::{File, MountError, Stamp};

/// Far more than our certificates and keys have.
const MAX_FILE: usize = 64 << 10;

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file} {source}")]
    Read {
        /// Which.
        file: String,
        /// Reason.
        source: MountError,
    },
    /// A file has nothing in it that is wanted of it.
    #[error("{0} has no PEM certificate or key; the controller writes it anew")]
    Empty(String),
    /// The certificate and the key do not go together, or the like.
    #[error("the mounted certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
    /// No certificate of the authority can be used.
    #[error("the mounted authority cannot be used: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// The TLS configuration of what is mounted.
#[derive(Debug)]
pub struct Tls {
    certificate: File,
    key: File,
    authority: File,
    current: Mutex<Option<Current>>,
}

/// A configuration, and of what it was made.
#[derive(Debug)]
struct Current {
    stamps: [Stamp; 3],
    config: Arc<ServerConfig>,
}

impl Tls {
    /// The configuration of `directory`. Nothing is read yet.
    pub fn new(directory: &Path) -> Self {
        let file = |name| File::new(directory.join(name), MAX_FILE);
        Self {
            certificate: file("tls.crt"),
            key: file("tls.key"),
            authority: file("ca.crt"),
            current: Mutex::new(None),
        }
    }

    /// The configuration for the next connection. Where what is mounted cannot be used, the last one that could stays.
    pub async fn current(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut current = self.current.lock().await;
        match (self.load(current.as_ref()).await, &*current) {
            (Ok(Some(loaded)), _) => Ok(Arc::clone(&current.insert(loaded).config)),
            (Ok(None), Some(last)) => Ok(Arc::clone(&last.config)),
            (Err(error), Some(last)) => {
                tracing::error!("{error}; the last good one stays in use");
                Ok(Arc::clone(&last.config))
            }
            (Err(error), None) => Err(error),
            (Ok(None), None) => Err(TlsError::Empty("the mounted directory".into())),
        }
    }

    /// What is mounted, unless that is what `last` was made of.
    async fn load(&self, last: Option<&Current>) -> Result<Option<Current>, TlsError> {
        let Self {
            certificate,
            key,
            authority,
            current: _,
        } = self;
        let stamp = async |file: &File| file.stamp().await.map_err(|source| TlsError::read(file, source));
        // Looked at before they are read: a swap in between shows as a change the next time, or as a key that does not
        // fit, which is not kept.
        let stamps = [stamp(certificate).await?, stamp(key).await?, stamp(authority).await?];
        if last.is_some_and(|last| last.stamps == stamps) {
            return Ok(None);
        }
        let read = async |file: &File| file.read().await.map_err(|source| TlsError::read(file, source));
        let chain = certificates(certificate, &read(certificate).await?)?;
        let private = PrivateKeyDer::from_pem_slice(&read(key).await?).map_err(|_| TlsError::Empty(key.to_string()))?;
        let trusted = certificates(authority, &read(authority).await?)?;
        let config = configure(chain, private, trusted)?;
        Ok(Some(Current {
            stamps,
            config: Arc::new(config),
        }))
    }
}

impl TlsError {
    fn read(file: &File, source: MountError) -> Self {
        let file = file.to_string();
        Self::Read { file, source }
    }
}

fn certificates(file: &File, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError::Empty(file.to_string()))
}

fn configure(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    trusted: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate)?;
    }
    let verifier = ControllerOnly::new(roots, Arc::clone(&provider))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // One long connection: nobody comes back with a ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Takes a client certificate of our authority in the controller's name, and no other. Every worker's certificate is of
/// the same authority, and whoever may read an Integration's Secret has one: it must not be able to program a worker.
#[derive(Debug)]
struct ControllerOnly {
    chain: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ControllerOnly {
    fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let name = ServerName::try_from(CONTROLLER_NAME)
            .map_err(|error| rustls::Error::General(format!("{CONTROLLER_NAME}: {error}")))?;
        Ok(Self {
            chain: WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            name,
        })
    }
}

impl ClientCertVerifier for ControllerOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
