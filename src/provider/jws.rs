//! Signatures as JWS has them (RFC 7515), and tokens in its compact form.

use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::domain::secret::SecretValue;

/// What signs. It has no `Debug`, so that nobody prints a key.
pub enum Pair {
    /// RS256.
    Rsa(RsaKeyPair),
    /// ES256, ES384 or ES512, by its curve.
    Ec(EcdsaKeyPair),
    /// EdDSA.
    Ed(Ed25519KeyPair),
    /// HS256.
    Shared(SecretValue),
}

/// Signing failed; the crypto provider does not say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token could not be signed")]
pub struct SignError;

impl Pair {
    /// The signature of `message` (RFC 7518, 3; RFC 8037, 3.1).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = rand::SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature).map_err(|_| SignError)
            }
            Self::Ec(pair) => {
                let signature = pair.sign(&random, message);
                Ok(signature.map_err(|_| SignError)?.as_ref().to_vec())
            }
            Self::Ed(pair) => Ok(pair.try_sign(message).map_err(|_| SignError)?.as_ref().to_vec()),
            Self::Shared(key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
                Ok(hmac::sign(&key, message).as_ref().to_vec())
            }
        }
    }

    /// A token of `header` and `claims` in the compact form (RFC 7515, 7.1).
    pub fn token(&self, header: &impl Serialize, claims: &impl Serialize) -> Result<SecretValue, SignError> {
        let header = serde_json::to_vec(header).map_err(|_| SignError)?;
        let claims = serde_json::to_vec(claims).map_err(|_| SignError)?;
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(SecretValue::new(token))
    }
}
