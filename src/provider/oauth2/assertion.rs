//! Signed assertions (RFC 7521, RFC 7523): what says who we are where a secret would.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use crate::domain::secret::SecretValue;

/// How long an assertion is valid, in seconds: enough for clocks that differ by minutes, little for a thief.
pub const LIFE: i64 = 300;

/// Where a PEM text is no key that can be used.
pub const KEY_MUST: &str =
    "be a private key in PEM (PKCS#8, PKCS#1 or SEC1): RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519";

/// What is asserted (RFC 7523, 3).
#[derive(Clone, Debug, Serialize)]
pub struct Claims<'a> {
    /// Who says it: the client.
    pub iss: &'a str,
    /// Whom it is about.
    pub sub: &'a str,
    /// For whom: the URL of the token endpoint.
    pub aud: &'a str,
    /// When, in seconds since 1970.
    pub iat: i64,
    /// Until when it holds.
    pub exp: i64,
    /// Says that it is this one and was not used before.
    pub jti: &'a str,
    /// What is asked for, where the provider looks for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
}

impl<'a> Claims<'a> {
    /// Claims that hold from `now` for [`LIFE`].
    pub fn at(now: Timestamp, iss: &'a str, sub: &'a str, aud: &'a str, jti: &'a str) -> Self {
        Self {
            iss,
            sub,
            aud,
            iat: now.as_second(),
            exp: now.as_second() + LIFE,
            jti,
            scope: None,
        }
    }
}

/// A key that signs, by the algorithm that its type asks for.
pub enum Signer {
    /// RS256.
    Rsa(RsaKeyPair),
    /// ES256, ES384 or ES512.
    Ecdsa(&'static str, EcdsaKeyPair),
    /// EdDSA.
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.algorithm()).finish()
    }
}

impl Signer {
    /// The first private key in `pem`; `None` if there is none, or it is of a type that cannot be used.
    pub fn from_pem(pem: &SecretValue) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok()?;
        let der = key.secret_der();
        match &key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der).ok().map(Self::Rsa),
            PrivateKeyDer::Sec1(_) => ecdsa(der),
            PrivateKeyDer::Pkcs8(_) => {
                let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok();
                let rsa = || RsaKeyPair::from_pkcs8(der).ok();
                ecdsa(der)
                    .or_else(|| ed25519().map(Self::Ed25519))
                    .or_else(|| rsa().map(Self::Rsa))
            }
            _ => None,
        }
    }

    /// As it stands in the header (RFC 7518, 3.1; RFC 8037, 3.1).
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ecdsa(name, _) => name,
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// A JWT in its compact form (RFC 7515, 7.1); `None` if the library fails, which it does for no key it has accepted.
    pub fn sign(&self, claims: &Claims<'_>) -> Option<SecretValue> {
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.algorithm());
        let claims = serde_json::to_vec(claims).ok()?;
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
                    .ok()?;
                signature
            }
            Self::Ecdsa(_, key) => key.sign(&random, token.as_bytes()).ok()?.as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(token.as_bytes()).as_ref().to_vec(),
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(SecretValue::new(token))
    }
}

/// SEC1 or PKCS#8; the curve is in either.
fn ecdsa(der: &[u8]) -> Option<Signer> {
    [
        ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ]
    .into_iter()
    .find_map(|(name, algorithm)| {
        let key = EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?;
        Some(Signer::Ecdsa(name, key))
    })
}

#[cfg(test)]
mod tests;
