//! Who we are to a provider that wants to know: a client certificate and its key.

use std::fmt;

use rustls::ConfigBuilder;
use rustls::client::{ClientConfig, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{MAX_CERTIFICATES, MAX_PEM_BYTES, TlsError};
use crate::domain::secret::SecretValue;

const CHAIN: &str = "client certificate";
const KEY: &str = "key of the client certificate";
const BOTH: &str = "client certificate with its key";

/// A client certificate, as it stands in a plan: not parsed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain in PEM, the leaf first.
    pub chain: String,
    /// The key of the leaf in PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: SecretValue,
}

/// The chain may hold what it should not, such as a key that was put into the wrong place.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

impl ClientCertificate {
    /// Ends `builder` with this certificate.
    pub(super) fn present(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, TlsError> {
        let (chain, key) = (self.read_chain()?, self.read_key()?);
        // rustls compares the key with the leaf, and says only that they differ.
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| refuse(BOTH, &error.to_string()))
    }

    fn read_chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        bounded(&self.chain, CHAIN)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .take(MAX_CERTIFICATES + 1)
            .collect();
        match certificates {
            // What the parser says may quote what it could not read.
            Err(_) => Err(refuse(CHAIN, "it is not PEM")),
            Ok(none) if none.is_empty() => {
                Err(refuse(CHAIN, "no certificate is in it; give it as PEM, the leaf first"))
            }
            Ok(many) if many.len() > MAX_CERTIFICATES => Err(TlsError::TooMany { what: CHAIN }),
            Ok(certificates) => Ok(certificates),
        }
    }

    fn read_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = self.key.expose();
        bounded(pem, KEY)?;
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            refuse(
                KEY,
                "no private key is in it that could be read; give it as PEM, not encrypted",
            )
        })
    }
}

fn bounded(pem: &str, what: &'static str) -> Result<(), TlsError> {
    if pem.len() > MAX_PEM_BYTES {
        return Err(TlsError::TooLong { what, bytes: pem.len() });
    }
    Ok(())
}

fn refuse(what: &'static str, detail: &str) -> TlsError {
    TlsError::Invalid {
        what,
        detail: detail.to_owned(),
    }
}
