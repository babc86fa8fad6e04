//! The token endpoint of an issuer, from its metadata: RFC 8414, then OpenID Connect Discovery.
//!
//! What the metadata say is not trusted further than its origin: they must be those of the issuer that was asked, letter
//! by letter, and the endpoint on the issuer's host or on one that the Credential allows. Nothing is remembered: an
//! issuer that moves is followed with the next token.

use http::{Method, header};
use serde::Deserialize;
use url::Url;

use super::endpoint::{self, Endpoint};
use super::{IssueError, invalid};
use crate::api::condition::reason;
use crate::api::credential::CredentialSpec;
use crate::api::credential::oauth2::{ClientAuthentication, OAuth2};
use crate::domain::hosts::{self, HostPattern};
use crate::domain::secret::SecretValue;
use crate::provider::exchange::{Answer, Call, Exchange};

const FIELD: &str = "spec.oauth2.issuerURL";

/// Longest name of a host that is repeated in a message.
const HOST_MAX: usize = 253;

/// What of the metadata matters here (RFC 8414, 2; RFC 8705, 5).
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: Option<String>,
    token_endpoint: Option<String>,
    mtls_endpoint_aliases: Option<Aliases>,
}

#[derive(Debug, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
}

/// Asks the issuer where its token endpoint is. A failure means that the token endpoint was not asked for anything.
pub async fn token_endpoint(
    exchange: &dyn Exchange,
    credential: &CredentialSpec,
    spec: &OAuth2,
    issuer: &str,
    ca_pem: Option<&String>,
) -> Result<Endpoint, IssueError> {
    let url = endpoint::named(FIELD, issuer)?.url;
    if url.query().is_some() {
        return Err(invalid(FIELD, "must not have a query (RFC 8414, 2)"));
    }
    let host = url.host_str().unwrap_or_default();
    let failed = |message: String| IssueError::NotSent {
        reason: reason::ISSUE_FAILED,
        message: format!("`{FIELD}`: {message}"),
    };
    let mut reasons = Vec::new();
    for (standard, place) in places(&url) {
        let call = Call {
            method: Method::GET,
            url: place,
            headers: vec![(header::ACCEPT, SecretValue::new("application/json"))],
            body: None,
            ca_pem: ca_pem.cloned(),
            certificate: None,
        };
        let answer = exchange
            .exchange(call)
            .await
            .map_err(|error| failed(error.to_string()))?;
        match read(&answer, issuer) {
            Ok(metadata) => return chosen(&metadata, &url, credential, spec),
            Err(reason) => reasons.push(format!("{reason} ({standard})")),
        }
    }
    Err(failed(format!(
        "`{host}` gave no metadata of this issuer: {}; write the issuer exactly as it calls itself, or set tokenURL",
        reasons.join("; ")
    )))
}

/// Where metadata may be: the well-known name before the path (RFC 8414, 3.1), then behind it (OpenID Connect
/// Discovery 1.0, 4).
fn places(issuer: &Url) -> [(&'static str, Url); 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    [
        ("RFC 8414", at(format!("/.well-known/oauth-authorization-server{path}"))),
        (
            "OpenID Connect Discovery",
            at(format!("{path}/.well-known/openid-configuration")),
        ),
    ]
}

/// The metadata of exactly this issuer.
fn read(answer: &Answer, issuer: &str) -> Result<Metadata, String> {
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    let body = answer.body.expose().trim_start();
    // A struct could be read from an array as well, which is no metadata.
    let metadata: Option<Metadata> = body.starts_with('{').then(|| serde_json::from_str(body).ok()).flatten();
    let metadata = metadata.ok_or("what came is no metadata")?;
    if metadata.issuer.as_deref() != Some(issuer) {
        return Err("the metadata are those of another issuer".to_owned());
    }
    Ok(metadata)
}

/// The endpoint to use, if it is one that secrets may be sent to.
fn chosen(
    metadata: &Metadata,
    issuer: &Url,
    credential: &CredentialSpec,
    spec: &OAuth2,
) -> Result<Endpoint, IssueError> {
    let with_certificate = spec.client_authentication == Some(ClientAuthentication::TLS);
    let alias = metadata.mtls_endpoint_aliases.as_ref();
    let alias = alias.and_then(|aliases| aliases.token_endpoint.as_ref());
    let text = alias.filter(|_| with_certificate).or(metadata.token_endpoint.as_ref());
    let text = text.ok_or_else(|| invalid(FIELD, "must be an issuer whose metadata name a token endpoint"))?;
    let endpoint = Endpoint::parse(text).map_err(|must| {
        invalid(
            FIELD,
            &format!("must be an issuer whose token endpoint is usable: it {must}"),
        )
    })?;
    let patterns: Vec<HostPattern> = credential
        .allowed_hosts
        .iter()
        .filter_map(|pattern| pattern.parse().ok())
        .collect();
    let host = endpoint.host();
    let port = endpoint.url.port_or_known_default().unwrap_or_default();
    if endpoint.url.host() != issuer.host() && !hosts::allowed(&patterns, &host, port) {
        let place = if host.len() <= HOST_MAX {
            &host
        } else {
            "a host of a very long name"
        };
        return Err(IssueError::Refused {
            reason: reason::INVALID_SPEC,
            message: format!(
                "`{FIELD}`: the issuer's token endpoint is on `{place}`; if the client's secret may go there, add it to \
                 `spec.allowedHosts`"
            ),
        });
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests;
