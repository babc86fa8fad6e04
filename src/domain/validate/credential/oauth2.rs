//! Tokens of an authorization server.

use super::{check_secret_name_ref, check_secret_ref};
use crate::api::bounds;
use crate::api::credential::oauth2::{ClientAuthentication, Grant, OAuth2, TokenEndpointTls};
use crate::api::integration::CaRef;
use crate::domain::validate::checks::Checks;

/// Checks `spec.oauth2`.
pub fn check(checks: &mut Checks, spec: &OAuth2) {
    let OAuth2 {
        grant: _, // Its rules are those of the fields that it needs.
        token_url,
        issuer_url,
        client_id,
        client_authentication: _, // The same.
        client_secret_ref,
        client_key_ref,
        client_certificate_ref,
        refresh_token_ref,
        subject_token_ref,
        scopes,
        audience,
        resource,
        parameters,
        tls,
    } = spec;
    if token_url.is_some() == issuer_url.is_some() {
        checks.violated("spec.oauth2", bounds::ONE_TOKEN_ENDPOINT.1);
    }
    checks.text_if_set("spec.oauth2.tokenURL", token_url.as_ref(), bounds::TOKEN_URL);
    checks.text_if_set("spec.oauth2.issuerURL", issuer_url.as_ref(), bounds::ISSUER_URL);
    checks.text_if_set("spec.oauth2.clientID", client_id.as_ref(), bounds::CLIENT_ID);
    check_what_is_needed(checks, spec);
    for (field, reference) in [
        ("spec.oauth2.clientSecretRef", client_secret_ref),
        ("spec.oauth2.clientKeyRef", client_key_ref),
        ("spec.oauth2.refreshTokenRef", refresh_token_ref),
        ("spec.oauth2.subjectTokenRef", subject_token_ref),
    ] {
        check_secret_ref(checks, field, reference.as_ref());
    }
    check_secret_name_ref(
        checks,
        "spec.oauth2.clientCertificateRef",
        client_certificate_ref.as_ref(),
    );
    checks.texts("spec.oauth2.scopes", scopes, 64, bounds::SCOPE);
    checks.text_if_set("spec.oauth2.audience", audience.as_ref(), bounds::PARTY);
    checks.text_if_set("spec.oauth2.resource", resource.as_ref(), bounds::RESOURCE);
    checks.entries("spec.oauth2.parameters", parameters, bounds::PARAMETERS);
    if let Some(TokenEndpointTls {
        ca_ref: Some(CaRef { kind: _, name, key }),
    }) = tls
    {
        checks.text("spec.oauth2.tls.caRef.name", name, bounds::OBJECT_NAME);
        checks.text("spec.oauth2.tls.caRef.key", key, bounds::DATA_KEY);
    }
}

/// What each grant and each way to authenticate needs.
fn check_what_is_needed(checks: &mut Checks, spec: &OAuth2) {
    use ClientAuthentication::{Basic, None, Post, PrivateKeyJWT, TLS};
    let authentication = spec.client_authentication.unwrap_or_default();
    let has_subject = spec.subject_token_ref.is_some();
    let grant_signs = spec.grant == Grant::JWTBearer && !has_subject;
    let object = "spec.oauth2";
    checks.across(
        object,
        spec.client_id.is_some() || (authentication == None && has_subject),
        bounds::CLIENT_ID_IS_KNOWN,
    );
    checks.across(
        object,
        spec.grant != Grant::ClientCredentials || authentication != None,
        bounds::CLIENT_CREDENTIALS_ARE_PROVEN,
    );
    checks.across(
        object,
        spec.client_secret_ref.is_some() == matches!(authentication, Basic | Post),
        bounds::CLIENT_SECRET_IS_USED,
    );
    checks.across(
        object,
        spec.client_key_ref.is_some() == (authentication == PrivateKeyJWT || grant_signs),
        bounds::CLIENT_KEY_IS_USED,
    );
    checks.across(
        object,
        spec.client_certificate_ref.is_some() == (authentication == TLS),
        bounds::CLIENT_CERTIFICATE_IS_USED,
    );
    checks.across(
        object,
        spec.refresh_token_ref.is_some() == (spec.grant == Grant::RefreshToken),
        bounds::REFRESH_TOKEN_IS_USED,
    );
    checks.across(
        object,
        spec.grant == Grant::JWTBearer || has_subject == (spec.grant == Grant::TokenExchange),
        bounds::SUBJECT_TOKEN_IS_USED,
    );
}
