//! Tokens that we sign ourselves.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeyPlace, SecretKeyRef};
use crate::api::bounds;
use crate::api::duration::Duration;

/// A JSON Web Token (RFC 7519) that we sign and renew, sent as `Authorization: Bearer …` unless `in`, `name` or `prefix`
/// say otherwise.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// `RS256`, `ES256`, `EdDSA` (Ed25519) or `HS256`.
    pub algorithm: JwtAlgorithm,

    /// The Secret that holds the key: PEM (PKCS#8, PKCS#1 or SEC1), or raw bytes for HS256. Either this or `generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<SecretKeyRef>,

    /// Makes a key of our own and rotates it; the public keys are in the issued Secret as `jwks.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<JwtGenerate>,

    /// Header `kid`. Defaults to nothing for `keyRef`, and to the key's thumbprint (RFC 7638) for `generate`.
    #[serde(default, rename = "keyID", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,

    /// Claim `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,

    /// Claim `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,

    /// Claim `aud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,

    /// Further claims, any JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,

    /// How long a token is valid. Defaults to `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,

    /// Where the token goes: `Header`, `Query` or `Cookie`. Defaults to `Header`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub place: Option<KeyPlace>,

    /// Name of the header, query parameter or cookie. Defaults to `Authorization` for a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// What stands before the token in a header. Defaults to `Bearer ` in `Authorization`, and to nothing elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A key of our own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JwtGenerate {
    /// How long a new key is in `jwks.json` before it signs, and an old one after its last token has expired. Defaults
    /// to `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,
}

/// Algorithm of a signature (RFC 7518, RFC 8037).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
    /// HMAC with SHA-256.
    HS256,
}
