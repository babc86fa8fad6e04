//! A key that signs tokens, and its public half as others read it.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use secrecy::zeroize::Zeroize;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;

use crate::api::credential::jwt::JwtAlgorithm;
use crate::domain::secret::SecretValue;
use crate::provider::jws::Pair;
use crate::provider::private_key::{self, KeyKind, MakeKeyError, UnusableKey};

#[cfg(test)]
mod tests;

/// Fewest bytes of a key for HS256: as many as its hash has (RFC 7518, 3.2).
const HMAC_MIN: usize = 32;

/// A key for one algorithm. Its `Debug` shows nothing of it.
pub struct SigningKey {
    algorithm: JwtAlgorithm,
    pair: Pair,
}

/// What is wrong with a key, as what it must be instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitKey {
    /// No private key that can be read.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// A key that the algorithm cannot use.
    #[error("be {0}")]
    OtherKind(&'static str),
    /// A shared key that is too short.
    #[error("have at least 32 bytes for HS256 (RFC 7518, 3.2)")]
    Short,
    /// PEM where raw bytes are wanted.
    #[error("be the raw bytes of a shared key for HS256, not PEM")]
    Pem,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key of a text: PEM, or for HS256 the bytes themselves without one newline at their end.
    pub fn read(algorithm: JwtAlgorithm, text: &SecretValue) -> Result<Self, UnfitKey> {
        if algorithm == JwtAlgorithm::HS256 {
            return Self::shared(text);
        }
        let mut der = private_key::read(text)?;
        let pair = read_pair(algorithm, &der);
        der.zeroize();
        let wanted = match algorithm {
            JwtAlgorithm::RS256 => "an RSA key of 2048 to 8192 bits for RS256",
            JwtAlgorithm::ES256 => "a key on the curve P-256 for ES256",
            JwtAlgorithm::EdDSA | JwtAlgorithm::HS256 => "an Ed25519 key for EdDSA",
        };
        let pair = pair.ok_or(UnfitKey::OtherKind(wanted))?;
        Ok(Self { algorithm, pair })
    }

    fn shared(text: &SecretValue) -> Result<Self, UnfitKey> {
        let value = text.expose();
        // A public key in its place is known to everybody: the classic forgery.
        if value.trim_start().starts_with("-----BEGIN") {
            return Err(UnfitKey::Pem);
        }
        let value = value
            .strip_suffix('\n')
            .map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
        if value.len() < HMAC_MIN {
            return Err(UnfitKey::Short);
        }
        Ok(Self {
            algorithm: JwtAlgorithm::HS256,
            pair: Pair::Shared(SecretValue::new(value)),
        })
    }

    /// A new key, as [`read`](Self::read) takes it. `fill` gives the bytes of a shared one.
    pub fn make(algorithm: JwtAlgorithm, fill: &mut dyn FnMut(&mut [u8])) -> Result<SecretValue, MakeKeyError> {
        private_key::make(match algorithm {
            JwtAlgorithm::RS256 => KeyKind::Rsa2048,
            JwtAlgorithm::ES256 => KeyKind::P256,
            JwtAlgorithm::EdDSA => KeyKind::Ed25519,
            JwtAlgorithm::HS256 => {
                let mut bytes = [0; HMAC_MIN];
                fill(&mut bytes);
                let text = SecretValue::new(URL_SAFE_NO_PAD.encode(bytes));
                bytes.zeroize();
                return Ok(text);
            }
        })
    }

    /// The algorithm that it signs with.
    pub fn algorithm(&self) -> JwtAlgorithm {
        self.algorithm
    }

    /// What signs.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// The members of its public JWK that make it up, and no others (RFC 7638, 3.2); `None` for a shared key, which has
    /// no public half.
    pub fn public(&self) -> Option<BTreeMap<String, String>> {
        match &self.pair {
            Pair::Shared(_) => None,
            _ => self.required_members(),
        }
    }

    /// Its thumbprint (RFC 7638) with SHA-256. That of a shared key gives 256 random bits away no more than a hash does.
    pub fn thumbprint(&self) -> Option<String> {
        // Sorted by name, without spaces, and nothing in it needs an escape: that is what the RFC hashes.
        let canonical = serde_json::to_vec(&self.required_members()?).ok()?;
        Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &canonical)))
    }

    fn required_members(&self) -> Option<BTreeMap<String, String>> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = match &self.pair {
            Pair::Rsa(pair) => {
                let (_, public) = RSAPublicKey::from_der(pair.public_key().as_ref()).ok()?;
                // DER puts a zero before a number whose highest bit is set; RFC 7518, 6.3.1.1 wants none.
                let number = |bytes: &[u8]| text(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]);
                vec![
                    ("kty", "RSA".to_owned()),
                    ("n", number(public.modulus)),
                    ("e", number(public.exponent)),
                ]
            }
            Pair::Ec(pair) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = pair.public_key().as_ref().get(1..65)?.split_at(32);
                vec![
                    ("kty", "EC".to_owned()),
                    ("crv", "P-256".to_owned()),
                    ("x", text(x)),
                    ("y", text(y)),
                ]
            }
            Pair::Ed(pair) => vec![
                ("kty", "OKP".to_owned()),
                ("crv", "Ed25519".to_owned()),
                ("x", text(pair.public_key().as_ref())),
            ],
            Pair::Shared(key) => vec![("kty", "oct".to_owned()), ("k", text(key.expose().as_bytes()))],
        };
        Some(
            members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }
}

fn read_pair(algorithm: JwtAlgorithm, der: &PrivateKeyDer<'_>) -> Option<Pair> {
    match (algorithm, der) {
        (JwtAlgorithm::RS256, PrivateKeyDer::Pkcs8(key)) => {
            RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok().map(Pair::Rsa)
        }
        (JwtAlgorithm::RS256, PrivateKeyDer::Pkcs1(key)) => {
            RsaKeyPair::from_der(key.secret_pkcs1_der()).ok().map(Pair::Rsa)
        }
        (JwtAlgorithm::ES256, PrivateKeyDer::Pkcs8(_) | PrivateKeyDer::Sec1(_)) => {
            EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
                .ok()
                .map(Pair::Ec)
        }
        (JwtAlgorithm::EdDSA, PrivateKeyDer::Pkcs8(key)) => {
            // "Maybe unchecked": version 1 has no public key to check against, and openssl writes version 1.
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
                .ok()
                .map(Pair::Ed)
        }
        _ => None,
    }
}
