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
#[x_kube(validation = bounds::ONE_CERTIFICATE)]
pub struct Certificate {
    /// The Secret of type `kubernetes.io/tls` that holds chain (`tls.crt`, the leaf first, at most 16 certificates and
    /// 256 KiB of PEM) and key (`tls.key`, PKCS#8, PKCS#1 or SEC1), and that somebody else renews, such as cert-manager.
    /// Either this or `issue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretNameRef>,

    /// Issues certificates from a CA of the same namespace, and renews them. Either this or `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<CertificateIssue>,
}

/// A certificate to issue, with at least one of `commonName`, `dnsNames` and `uris`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::SOME_SUBJECT)]
pub struct CertificateIssue {
    /// The Secret of type `kubernetes.io/tls` that holds the CA's chain and key.
    pub ca_secret_ref: SecretNameRef,

    /// Common name of the subject, at most 64 characters. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::COMMON_NAME.schema())]
    pub common_name: Option<String>,

    /// DNS names, at most 32: `client.example.com`, or `*.example.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), transform = bounds::Each(bounds::CERTIFICATE_DNS_NAME))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub dns_names: Vec<String>,

    /// URIs, such as a SPIFFE ID; at most 16, of at most 1024 characters each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = bounds::Each(bounds::CERTIFICATE_URI))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub uris: Vec<String>,

    /// How long a certificate is valid, `1h` to `8760h`, and never longer than the CA. Defaults to `2160h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::CERTIFICATE_LIFETIME.schema())]
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
