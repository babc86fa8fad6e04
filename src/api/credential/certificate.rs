//! Client certificates.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretNameRef;
use crate::api::bounds;
use crate::api::duration::Duration;

/// A client certificate for mutual TLS: one that somebody else renews, or one that we issue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The Secret of type `kubernetes.io/tls` that holds chain and key, and that somebody else renews, such as
    /// cert-manager. Either this or `issue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretNameRef>,

    /// Issues certificates from a CA of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<CertificateIssue>,
}

/// A certificate to issue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateIssue {
    /// The Secret of type `kubernetes.io/tls` that holds the CA's chain and key.
    pub ca_secret_ref: SecretNameRef,

    /// Common name of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,

    /// DNS names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,

    /// URIs, such as a SPIFFE ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,

    /// How long a certificate is valid, never longer than the CA. Defaults to `2160h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,

    /// Kind of the key: `ECDSA` (P-256), `RSA` (2048 bits) or `Ed25519`. Defaults to `ECDSA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<KeyAlgorithm>,
}

/// Kind of a key.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum KeyAlgorithm {
    /// P-256.
    #[default]
    ECDSA,
    /// 2048 bits.
    RSA,
    /// Ed25519.
    Ed25519,
}
