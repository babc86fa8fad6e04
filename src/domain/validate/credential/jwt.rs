//! Tokens that we sign.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{check_secret_ref, place};
use crate::api::bounds;
use crate::api::credential::jwt::{Jwt, JwtAlgorithm, JwtGenerate};
use crate::domain::validate::checks::Checks;

/// Checks `spec.jwt`.
pub fn check(checks: &mut Checks, spec: &Jwt) {
    let Jwt {
        algorithm,
        key_ref,
        generate,
        key_id,
        issuer,
        subject,
        audience,
        claims,
        lifetime,
        place,
        name,
        prefix,
    } = spec;
    if key_ref.is_some() == generate.is_some() {
        checks.violated("spec.jwt", bounds::ONE_SIGNING_KEY.1);
    }
    check_secret_ref(checks, "spec.jwt.keyRef", key_ref.as_ref());
    checks.across(
        "spec.jwt",
        generate.is_none() || *algorithm != JwtAlgorithm::HS256,
        bounds::GENERATED_KEY_IS_PUBLIC,
    );
    checks.across(
        "spec.jwt",
        generate.is_none() || key_id.is_none(),
        bounds::GENERATED_KEYS_NAME_THEMSELVES,
    );
    if let Some(JwtGenerate { overlap }) = generate {
        checks.span_if_set("spec.jwt.generate.overlap", *overlap, bounds::OVERLAP);
    }
    checks.text_if_set("spec.jwt.keyID", key_id.as_ref(), bounds::KEY_ID);
    for (field, party) in [
        ("spec.jwt.issuer", issuer),
        ("spec.jwt.subject", subject),
        ("spec.jwt.audience", audience),
    ] {
        checks.text_if_set(field, party.as_ref(), bounds::PARTY);
    }
    check_claims(checks, claims);
    checks.span_if_set("spec.jwt.lifetime", *lifetime, bounds::TOKEN_LIFETIME);
    place::check(checks, "spec.jwt", *place, name.as_deref(), prefix.as_deref());
}

/// The API server bounds their number alone: it does not look into what may be any JSON.
fn check_claims(checks: &mut Checks, claims: &BTreeMap<String, Value>) {
    let field = "spec.jwt.claims";
    if claims.len() > bounds::CLAIMS.max {
        checks.violated(field, format!("must have at most {} entries", bounds::CLAIMS.max));
    }
    let is_registered = |name: &String| bounds::REGISTERED_CLAIMS.contains(&name.as_str());
    if claims.keys().any(is_registered) {
        checks.violated(field, bounds::CLAIMS_MUST);
    }
    let size = serde_json::to_vec(claims).map_or(usize::MAX, |json| json.len());
    if size > bounds::CLAIMS_SIZE {
        checks.violated(field, bounds::CLAIMS_SIZE_MUST);
    }
}
