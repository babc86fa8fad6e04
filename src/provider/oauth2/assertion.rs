//! Signed assertions (RFC 7521, RFC 7523): what says who we are where a secret would.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, RsaKeyPair,
};
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use serde::Serialize;

use crate::domain::secret::SecretValue;
use crate::provider::jws::{Pair, SignError};
use crate::provider::private_key;

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
pub struct Signer {
    algorithm: &'static str,
    pair: Pair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.algorithm).finish()
    }
}

impl Signer {
    /// The first private key in `pem`; `None` if there is none, or it is of a type that cannot be used.
    pub fn from_pem(pem: &SecretValue) -> Option<Self> {
        let key = private_key::read(pem).ok()?;
        let der = key.secret_der();
        let rsa = |pair| Self::new("RS256", Pair::Rsa(pair));
        match &key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der).ok().map(rsa),
            PrivateKeyDer::Sec1(_) => ecdsa(der),
            PrivateKeyDer::Pkcs8(_) => {
                let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok();
                ecdsa(der)
                    .or_else(|| ed25519().map(|pair| Self::new("EdDSA", Pair::Ed(pair))))
                    .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(rsa))
            }
            _ => None,
        }
    }

    /// `algorithm` is as it stands in the header (RFC 7518, 3.1; RFC 8037, 3.1).
    fn new(algorithm: &'static str, pair: Pair) -> Self {
        Self { algorithm, pair }
    }

    /// A JWT of `claims`.
    pub fn sign(&self, claims: &Claims<'_>) -> Result<SecretValue, SignError> {
        let header = serde_json::json!({"alg": self.algorithm, "typ": "JWT"});
        self.pair.token(&header, claims)
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
        let pair = EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?;
        Some(Signer::new(name, Pair::Ec(pair)))
    })
}

#[cfg(test)]
mod tests;
