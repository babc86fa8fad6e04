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
#[x_kube(
    validation = bounds::ONE_SIGNING_KEY,
    validation = bounds::GENERATED_KEY_IS_PUBLIC,
    validation = bounds::GENERATED_KEYS_NAME_THEMSELVES,
    validation = bounds::NAME_OUTSIDE_HEADERS,
    validation = bounds::NAME_IS_TOKEN,
    validation = bounds::NAME_IS_FREE,
    validation = bounds::PREFIX_IN_HEADERS
)]
pub struct Jwt {
    /// Algorithm of the signature: `RS256` (RSA, PKCS#1 v1.5), `ES256` (ECDSA on P-256), `EdDSA` (Ed25519) or `HS256`
    /// (HMAC), each but `EdDSA` with SHA-256.
    pub algorithm: JwtAlgorithm,

    /// The Secret that holds the key: PEM (PKCS#8, PKCS#1 or SEC1), or raw bytes for HS256. Either this or `generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<SecretKeyRef>,

    /// Makes a key of our own and rotates it every `rotation.interval`; the public keys are in the issued Secret as
    /// `jwks.json`. Not for `HS256`. Either this or `keyRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<JwtGenerate>,

    /// Header `kid`, at most 256 characters. Defaults to none. Not with `generate`, where it is the key's thumbprint
    /// (RFC 7638).
    #[serde(default, rename = "keyID", skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::KEY_ID.schema())]
    pub key_id: Option<String>,

    /// Claim `iss`, at most 1024 characters. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PARTY.schema())]
    pub issuer: Option<String>,

    /// Claim `sub`, at most 1024 characters. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PARTY.schema())]
    pub subject: Option<String>,

    /// Claim `aud`, at most 1024 characters. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PARTY.schema())]
    pub audience: Option<String>,

    /// Further claims, any JSON: at most 64, and 8 KiB in all. Not those that are set by other fields or by us: `iss`,
    /// `sub`, `aud`, `exp`, `nbf`, `iat`, `jti`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = bounds::CLAIMS.schema())]
    pub claims: BTreeMap<String, serde_json::Value>,

    /// How long a token is valid, `1m` to `24h`. Defaults to `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::TOKEN_LIFETIME.schema())]
    pub lifetime: Option<Duration>,

    /// Where the token goes: `Header`, `Query` or `Cookie`. What the caller sent there is replaced. Defaults to `Header`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub place: Option<KeyPlace>,

    /// Name of the header, query parameter or cookie, at most 256 characters. Defaults to `Authorization` for a header;
    /// must be set otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::KEY_NAME.schema())]
    pub name: Option<String>,

    /// What stands before the token in a header, at most 64 characters. Defaults to `Bearer ` in `Authorization`, and to
    /// nothing elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PREFIX.schema())]
    pub prefix: Option<String>,
}

/// A key of our own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JwtGenerate {
    /// How long a new key is in `jwks.json` before it signs, and an old one after its last token has expired, `0s` to
    /// `720h`. Defaults to `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::OVERLAP.schema())]
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
