//! Access tokens of an OAuth 2.0 authorization server (RFC 6749): asked for, and the answer read.
//!
//! ```text
//! sources -> (discovery) -> request -> exchange -> answer
//! ```
//!
//! Only the exchange, and discovery where the issuer is named, go out; the rest is decided from what the [`Order`] holds.
//! A token endpoint is asked once for each call of [`issue`]: whether and when again is for who called.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::exchange::{Exchange, ExchangeError};
use super::lookup::{invalid, unset};
use super::{IssueError, Named, Order};
use crate::api::condition::reason;
use crate::api::credential::SecretKeyRef;
use crate::api::credential::oauth2::{Grant, OAuth2};
use crate::api::integration::CaRefKind;
use crate::domain::rotation::Minted;

mod answer;
mod assertion;
mod discovery;
mod endpoint;
mod form;
mod request;

/// Key of the issued Secret that holds the access token.
pub const TOKEN: &str = "token";

/// Key of the issued Secret that holds the refresh token to use next.
pub const REFRESH_TOKEN: &str = "refresh_token";

/// Asks the token endpoint for a token.
///
/// The lifetime counts from when the request was sent, by the monotonic clock: it is never longer than the provider
/// means it, whatever its clock says. An answer without a lifetime is taken to mean [`answer::LIFETIME`].
pub async fn issue(exchange: &dyn Exchange, order: &Order<'_>) -> Result<Minted, IssueError> {
    let started = Instant::now();
    let spec = order.spec.oauth2.as_ref().ok_or_else(|| unset("spec.oauth2"))?;
    let prepared = request::prepare(spec, order)?;
    let endpoint = match (&spec.token_url, &spec.issuer_url) {
        (Some(url), None) => endpoint::named("spec.oauth2.tokenURL", url)?,
        (None, Some(issuer)) => {
            discovery::token_endpoint(exchange, order.spec, spec, issuer, prepared.ca_pem.as_ref()).await?
        }
        _ => return Err(invalid("spec.oauth2", "must have either tokenURL or issuerURL")),
    };
    let call = prepared.call(&endpoint, order.now)?;
    let answer = exchange.exchange(call).await.map_err(|error| match error {
        ExchangeError::NotSent(message) => IssueError::NotSent {
            reason: reason::ISSUE_FAILED,
            message: format!("the token endpoint was not reached: {message}"),
        },
        ExchangeError::Unreadable(message) if spec.grant != Grant::RefreshToken => IssueError::Unusable {
            message: format!("the token endpoint gave no answer that can be read: {message}"),
        },
        ExchangeError::Lost(message) | ExchangeError::Unreadable(message) => IssueError::Lost {
            message: format!("the token endpoint may have issued a token that never came: {message}"),
        },
    })?;
    let sent = after(order.now, started.elapsed().saturating_sub(answer.took));
    let token = answer::read(spec.grant, &endpoint.host(), &answer)?;
    let mut values = BTreeMap::from([(TOKEN.to_owned(), token.access)]);
    if let Some(next) = token.refresh.or(prepared.refresh_token) {
        values.insert(REFRESH_TOKEN.to_owned(), next);
    }
    Ok(Minted {
        values,
        id: None,
        issued: sent,
        not_before: None,
        not_after: Some(after(sent, token.lifetime)),
    })
}

/// What `spec` refers to.
pub fn named(spec: &OAuth2) -> Named {
    // No `..`: whoever adds a field to the spec is asked here whether it refers to something.
    let OAuth2 {
        grant: _,
        token_url: _,
        issuer_url: _,
        client_id: _,
        client_authentication: _,
        client_secret_ref,
        client_key_ref,
        client_certificate_ref,
        refresh_token_ref,
        subject_token_ref,
        scopes: _,
        audience: _,
        resource: _,
        parameters: _,
        tls,
    } = spec;
    let keys = [client_secret_ref, client_key_ref, refresh_token_ref, subject_token_ref];
    let mut named = Named::default();
    named.secrets.extend(
        keys.into_iter()
            .flatten()
            .map(|SecretKeyRef { name, key: _ }| name.clone()),
    );
    named
        .secrets
        .extend(client_certificate_ref.iter().map(|it| it.name.clone()));
    if let Some(ca) = tls.as_ref().and_then(|tls| tls.ca_ref.as_ref()) {
        let kind = match ca.kind {
            CaRefKind::Secret => &mut named.secrets,
            CaRefKind::ConfigMap => &mut named.config_maps,
        };
        kind.insert(ca.name.clone());
    }
    named
}

/// `time` and `passed` after it; the end of time where that is beyond it.
fn after(time: Timestamp, passed: Duration) -> Timestamp {
    time.checked_add(passed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
