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
#[x_kube(
    validation = bounds::ONE_TOKEN_ENDPOINT,
    validation = bounds::CLIENT_ID_IS_KNOWN,
    validation = bounds::CLIENT_CREDENTIALS_ARE_PROVEN,
    validation = bounds::CLIENT_SECRET_IS_USED,
    validation = bounds::CLIENT_KEY_IS_USED,
    validation = bounds::CLIENT_CERTIFICATE_IS_USED,
    validation = bounds::REFRESH_TOKEN_IS_USED,
    validation = bounds::SUBJECT_TOKEN_IS_USED
)]
pub struct OAuth2 {
    /// How a token is asked for: `ClientCredentials` (RFC 6749, 4.4), `RefreshToken` (RFC 6749, 6), `JWTBearer`
    /// (RFC 7523, 2.1) or `TokenExchange` (RFC 8693).
    pub grant: Grant,

    /// URL of the token endpoint, at most 2048 characters; `https`, or `http` for localhost and Services of the cluster.
    /// A client's secret goes to its host and to no other. Either this or `issuerURL`.
    #[serde(default, rename = "tokenURL", skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::TOKEN_URL.schema())]
    pub token_url: Option<String>,

    /// URL of the issuer, whose metadata name the token endpoint (RFC 8414, OpenID Connect Discovery); at most 2048
    /// characters, `https` as in `tokenURL`, without a query. The endpoint must be on the issuer's host or on one of
    /// `allowedHosts`. Either this or `tokenURL`.
    #[serde(default, rename = "issuerURL", skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::ISSUER_URL.schema())]
    pub issuer_url: Option<String>,

    /// Identifier of the client, at most 512 characters. Needed, unless `clientAuthentication` is `None` and
    /// `subjectTokenRef` says who asks.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::CLIENT_ID.schema())]
    pub client_id: Option<String>,

    /// How the client proves who it is: `Basic` or `Post` with `clientSecretRef` (RFC 6749, 2.3.1), `PrivateKeyJWT` with
    /// `clientKeyRef` (RFC 7523, 2.2), `TLS` with `clientCertificateRef` (RFC 8705), or `None`: a public client, or one
    /// that the grant itself identifies. Defaults to `Basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,

    /// The Secret that holds the client's secret. For `Basic` and `Post`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,

    /// The Secret that holds the key that signs the client's assertions: PEM, PKCS#8, PKCS#1 or SEC1. For
    /// `PrivateKeyJWT`, and for grant `JWTBearer` without `subjectTokenRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_ref: Option<SecretKeyRef>,

    /// The Secret of type `kubernetes.io/tls` that holds the client's certificate and key. For `TLS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretNameRef>,

    /// The Secret that holds the first refresh token. The provider's next ones are kept in the issued Secret. For grant
    /// `RefreshToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_ref: Option<SecretKeyRef>,

    /// The Secret that holds the token to exchange (RFC 8693), or the assertion of grant `JWTBearer` if somebody else
    /// makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_ref: Option<SecretKeyRef>,

    /// Scopes to ask for, at most 64, of at most 256 characters each. Defaults to none: the provider's own default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), transform = bounds::Each(bounds::SCOPE))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,

    /// The audience to ask for, at most 1024 characters. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PARTY.schema())]
    pub audience: Option<String>,

    /// The resource to ask for (RFC 8707): an absolute URI of at most 2048 characters. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RESOURCE.schema())]
    pub resource: Option<String>,

    /// Further parameters of the token request: at most 32, with names of at most 128 characters and values of at most
    /// 2048. Not those that other fields set. No secrets: whoever reads this object reads them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = bounds::PARAMETERS.schema())]
    pub parameters: BTreeMap<String, String>,

    /// How to verify the token endpoint. By default: against the public roots, for its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TokenEndpointTls>,
}

/// How to verify the token endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenEndpointTls {
    /// Certificates to trust instead of the public roots, in PEM.
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
