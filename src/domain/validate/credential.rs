//! A Credential: its spec field by field, and the value that is ready to be injected.

use super::checks::Checks;
use super::{CredentialProblem, Violation};
use crate::api::bounds;
use crate::api::credential::{ApiKey, Basic, BasicSecretRef, Bearer, CredentialSpec, SecretKeyRef, SecretNameRef};
use crate::domain::hosts::HostPattern;

mod certificate;
mod chain;
mod generated;
mod issued;
mod jwt;
mod oauth2;
mod place;
mod referenced;
mod rotation;
mod source;
mod steps;
mod value;

pub use chain::times;
pub use issued::issued;
pub use referenced::material;

/// What is wrong with the spec itself, in its order.
pub fn violations(spec: &CredentialSpec) -> Vec<Violation> {
    let mut checks = Checks::default();
    // No `..`: whoever adds a field to the spec is asked here what becomes of it.
    let CredentialSpec {
        allowed_hosts,
        api_key,
        basic,
        bearer,
        oauth2,
        jwt,
        certificate,
        generated,
        secret_name,
        rotation,
        suspend: _, // For the reconciler, which then leaves everything alone.
    } = spec;
    check_allowed_hosts(&mut checks, allowed_hosts);
    if spec.credential_type().is_none() {
        checks.violated("spec", bounds::ONE_KIND.1);
    }
    if let Some(api_key) = api_key {
        check_api_key(&mut checks, api_key);
    }
    if let Some(basic) = basic {
        check_basic(&mut checks, basic);
    }
    if let Some(Bearer { secret_ref }) = bearer {
        check_secret_ref(&mut checks, "spec.bearer.secretRef", secret_ref.as_ref());
    }
    if let Some(oauth2) = oauth2 {
        oauth2::check(&mut checks, oauth2);
    }
    if let Some(jwt) = jwt {
        jwt::check(&mut checks, jwt);
    }
    if let Some(certificate) = certificate {
        certificate::check(&mut checks, certificate);
    }
    if let Some(generated) = generated {
        generated::check(&mut checks, "spec.generated", generated);
    }
    checks.text_if_set("spec.secretName", secret_name.as_ref(), bounds::OBJECT_NAME);
    checks.across(
        "spec",
        secret_name.is_none() || spec.issues(),
        bounds::SECRET_NAME_IS_USED,
    );
    if let Some(rotation) = rotation {
        rotation::check(&mut checks, spec, rotation);
    }
    check_sources(&mut checks, spec);
    checks.into_violations()
}

fn check_allowed_hosts(checks: &mut Checks, allowed_hosts: &[String]) {
    let field = |index| format!("spec.allowedHosts[{index}]");
    checks.count("spec.allowedHosts", allowed_hosts.len(), 1, 32);
    for (index, pattern) in allowed_hosts.iter().enumerate() {
        if pattern.parse::<HostPattern>().is_err() {
            checks.violated(field(index), bounds::HOST_PATTERN_MUST);
        }
    }
    checks.unique(allowed_hosts, field);
}

fn check_api_key(checks: &mut Checks, spec: &ApiKey) {
    let ApiKey {
        place,
        name,
        prefix,
        secret_ref,
    } = spec;
    place::check(checks, "spec.apiKey", *place, name.as_deref(), prefix.as_deref());
    check_secret_ref(checks, "spec.apiKey.secretRef", secret_ref.as_ref());
}

fn check_basic(checks: &mut Checks, Basic { secret_ref }: &Basic) {
    let Some(BasicSecretRef {
        name,
        username_key,
        password_key,
    }) = secret_ref
    else {
        return;
    };
    checks.text("spec.basic.secretRef.name", name, bounds::OBJECT_NAME);
    for (field, key) in [
        ("spec.basic.secretRef.usernameKey", username_key),
        ("spec.basic.secretRef.passwordKey", password_key),
    ] {
        checks.text_if_set(field, key.as_ref(), bounds::DATA_KEY);
    }
}

/// Whether each kind that needs a first value has one.
fn check_sources(checks: &mut Checks, spec: &CredentialSpec) {
    let made = spec.steps().is_some();
    let has_source = |has_ref: Option<bool>| made || has_ref.unwrap_or(true);
    let api_key = spec.api_key.as_ref().map(|it| it.secret_ref.is_some());
    let basic = spec.basic.as_ref().map(|it| it.secret_ref.is_some());
    let bearer = spec.bearer.as_ref().map(|it| it.secret_ref.is_some());
    checks.across("spec", has_source(api_key), bounds::API_KEY_HAS_SOURCE);
    checks.across("spec", has_source(basic), bounds::BASIC_HAS_SOURCE);
    checks.across("spec", has_source(bearer), bounds::BEARER_HAS_SOURCE);
    let names_user = spec.steps().is_none_or(|steps| {
        let extract = steps.create.extract.as_ref();
        extract.is_some_and(|extract| extract.id.is_some())
    });
    checks.across("spec", names_user || basic != Some(false), bounds::BASIC_HAS_USER);
}

fn check_secret_ref(checks: &mut Checks, field: &str, reference: Option<&SecretKeyRef>) {
    if let Some(SecretKeyRef { name, key }) = reference {
        checks.text(&format!("{field}.name"), name, bounds::OBJECT_NAME);
        checks.text(&format!("{field}.key"), key, bounds::DATA_KEY);
    }
}

fn check_secret_name_ref(checks: &mut Checks, field: &str, reference: Option<&SecretNameRef>) {
    if let Some(SecretNameRef { name }) = reference {
        checks.text(&format!("{field}.name"), name, bounds::OBJECT_NAME);
    }
}

/// The first thing that is wrong with the spec, if anything is.
fn refuse_invalid(spec: &CredentialSpec) -> Result<(), CredentialProblem> {
    match violations(spec).into_iter().next() {
        Some(violation) => Err(violation.into()),
        None => Ok(()),
    }
}

/// `violations` has said so already.
fn no_kind() -> CredentialProblem {
    Violation {
        field: "spec".to_owned(),
        must: bounds::ONE_KIND.1.to_owned(),
    }
    .into()
}
