//! Tokens of an OAuth 2.0 authorization server.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, SecretNameRef};
use crate::api::bounds;
use crate::api::integration::CaRef;

/// Access tokens of an authorization server (RFC 6749), sent as `Authorization: Bearer …` and renewed before they expire.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// How a token is asked for: `ClientCredentials` (RFC 6749, 4.4), `RefreshToken` (RFC 6749, 6), `JWTBearer`
    /// (RFC 7523, 2.1) or `TokenExchange` (RFC 8693).
    pub grant: Grant,

    /// URL of the token endpoint. Either this or `issuerURL`.
    #[serde(default, rename = "tokenURL", skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,

    /// URL of the issuer, whose metadata name the token endpoint (RFC 8414, OpenID Connect Discovery). The endpoint must
    /// be on the issuer's host or on one of `allowedHosts`.
    #[serde(default, rename = "issuerURL", skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,

    /// Identifier of the client.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,

    /// How the client proves who it is: `Basic` or `Post` with `clientSecretRef` (RFC 6749, 2.3.1), `PrivateKeyJWT` with
    /// `clientKeyRef` (RFC 7523, 2.2), `TLS` with `clientCertificateRef` (RFC 8705), or `None`. Defaults to `Basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,

    /// The Secret that holds the client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,

    /// The Secret that holds the key that signs the client's assertions: PEM, PKCS#8, PKCS#1 or SEC1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_ref: Option<SecretKeyRef>,

    /// The Secret of type `kubernetes.io/tls` that holds the client's certificate and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretNameRef>,

    /// The Secret that holds the first refresh token. The provider's next ones are kept in the issued Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_ref: Option<SecretKeyRef>,

    /// The Secret that holds the token to exchange (RFC 8693), or the assertion of grant `JWTBearer` if somebody else
    /// makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_ref: Option<SecretKeyRef>,

    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,

    /// The audience to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,

    /// The resource to ask for (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,

    /// Further parameters of the token request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,

    /// How to verify the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TokenEndpointTls>,
}

/// How to verify the token endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenEndpointTls {
    /// Certificates to trust instead of the public roots, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// How a token is asked for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum Grant {
    /// RFC 6749, 4.4.
    ClientCredentials,
    /// RFC 6749, 6.
    RefreshToken,
    /// RFC 7523, 2.1.
    JWTBearer,
    /// RFC 8693.
    TokenExchange,
}

/// How a client proves who it is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum ClientAuthentication {
    /// `Authorization: Basic`, both parts form-encoded (RFC 6749, 2.3.1).
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the body (RFC 6749, 2.3.1).
    Post,
    /// A signed assertion (RFC 7523, 2.2).
    PrivateKeyJWT,
    /// A client certificate (RFC 8705).
    TLS,
    /// A public client, or one that the grant itself identifies.
    None,
}
