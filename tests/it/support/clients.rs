//! Client certificates: an authority that a provider trusts, and what it issues.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tidegate::domain::plan::{CredentialPlan, Material};
use tidegate::domain::secret::SecretValue;

/// An authority of clients.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate of a client.
#[derive(Clone)]
pub struct Client {
    /// In PEM.
    pub chain: String,
    /// In PEM.
    pub key: String,
    /// The leaf, in DER: what the other side sees.
    pub leaf: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for the client called `name`; each has a key of its own.
    pub fn issue(&self, name: &str) -> Client {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Client {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            leaf: certificate.der().to_vec(),
        }
    }

    /// Its certificate and its key, in PEM.
    pub fn pem(&self) -> (String, String) {
        (self.0.pem(), self.0.key().serialize_pem())
    }

    /// Lets in who has a certificate of this authority.
    pub fn verifier(&self, provider: Arc<CryptoProvider>) -> Arc<dyn ClientCertVerifier> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap()
    }
}

impl Client {
    /// The credential `certificate` with this in it, for every loopback address.
    pub fn credential(&self, revision: i64) -> CredentialPlan {
        CredentialPlan {
            name: "certificate".to_owned(),
            revision,
            allowed_hosts: vec!["127.0.0.1".to_owned()],
            material: Some(Material::Certificate {
                chain: self.chain.clone(),
                key: SecretValue::new(self.key.clone()),
            }),
            not_after: None,
            renewable: false,
        }
    }
}
