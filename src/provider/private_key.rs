//! Private keys: made here, or read from PEM.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::domain::secret::SecretValue;

/// Kind of a key that we make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA of 2048 bits.
    Rsa2048,
    /// On the curve P-256.
    P256,
    /// Ed25519.
    Ed25519,
}

/// What is wrong with a private key in PEM, as what it must be instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// There is no private key.
    #[error("be a private key in PEM (PKCS#8, PKCS#1 or SEC1)")]
    NoKey,
    /// It needs a passphrase, and we have none.
    #[error("be a private key without a passphrase; this one is encrypted")]
    Encrypted,
}

/// A key could not be made: the system is out of randomness or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a private key could not be made")]
pub struct MakeKeyError;

/// A new private key, PKCS#8 (version 1, which everybody reads) in PEM.
///
/// Its randomness is the crypto provider's own, seeded by the system: it takes no other for RSA, and a key is no place
/// for one that a caller could get wrong.
pub fn make(kind: KeyKind) -> Result<SecretValue, MakeKeyError> {
    let random = SystemRandom::new();
    let der = match kind {
        KeyKind::Rsa2048 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| MakeKeyError)?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| MakeKeyError)?;
            der.as_ref().to_vec()
        }
        KeyKind::P256 => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
            document.map_err(|_| MakeKeyError)?.as_ref().to_vec()
        }
        KeyKind::Ed25519 => {
            let document = Ed25519KeyPair::generate_pkcs8v1(&random);
            document.map_err(|_| MakeKeyError)?.as_ref().to_vec()
        }
    };
    Ok(SecretValue::new(pem::encode_config(
        &pem::Pem::new("PRIVATE KEY", der),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    )))
}

/// The first private key of a PEM text.
pub fn read(pem: &SecretValue) -> Result<PrivateKeyDer<'static>, UnusableKey> {
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| {
        // `BEGIN ENCRYPTED PRIVATE KEY` is PKCS#8, `Proc-Type: 4,ENCRYPTED` the older form.
        if pem.expose().contains("ENCRYPTED") {
            UnusableKey::Encrypted
        } else {
            UnusableKey::NoKey
        }
    })
}
