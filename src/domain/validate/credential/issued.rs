//! The value in the Secret that we issued, ready to be injected.

use std::collections::BTreeMap;

use super::value::{self, Half, Unsendable};
use super::{chain, no_kind, place, refuse_invalid};
use crate::api::credential::jwt::Jwt;
use crate::api::credential::{CredentialSpec, CredentialType, KeyPlace};
use crate::domain::plan::Material;
use crate::domain::secret::SecretValue;
use crate::domain::validate::{CredentialProblem, defaults};

/// The value; see [`crate::domain::validate::issued`].
pub fn issued(spec: &CredentialSpec, values: &BTreeMap<String, SecretValue>) -> Result<Material, CredentialProblem> {
    refuse_invalid(spec)?;
    let kind = spec.credential_type().ok_or_else(no_kind)?;
    match kind {
        CredentialType::APIKey => {
            let (place, name, prefix) = spec.api_key.as_ref().map_or((None, None, None), |it| {
                (it.place, it.name.as_deref(), it.prefix.as_deref())
            });
            let put = |value: &str| {
                let name = name.unwrap_or(defaults::KEY_NAME);
                place::put(place, name, prefix.unwrap_or_default(), value)
            };
            sendable(values, VALUE, put)
        }
        CredentialType::Basic => {
            let (user, password) = (read(values, defaults::USERNAME_KEY)?, read(values, VALUE)?);
            value::basic(user, password).map_err(|(half, be)| match half {
                Half::User => unusable(defaults::USERNAME_KEY, be),
                Half::Password => unusable(VALUE, be),
            })
        }
        CredentialType::Bearer => sendable(values, VALUE, value::bearer),
        CredentialType::OAuth2 => sendable(values, TOKEN, value::bearer),
        CredentialType::JWT => sendable(values, TOKEN, |token| put_token(spec.jwt.as_ref(), token)),
        CredentialType::Certificate => {
            let (chain, key) = (read(values, CERTIFICATE)?, read(values, PRIVATE_KEY)?);
            let certificates = chain::certificates(chain).map_err(|be| unusable(CERTIFICATE, be))?;
            chain::require_key(&certificates, key).map_err(|be| unusable(PRIVATE_KEY, be))?;
            Ok(Material::Certificate {
                chain: chain.to_owned(),
                key: SecretValue::new(key),
            })
        }
        CredentialType::Generated => Ok(Material::Unsent {
            value: SecretValue::new(read(values, VALUE)?),
        }),
    }
}

const VALUE: &str = "value";
const TOKEN: &str = "token";
const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// A token goes where `jwt` says, by default to where everybody looks for one.
fn put_token(spec: Option<&Jwt>, token: &str) -> Result<Material, Unsendable> {
    let place = spec.and_then(|spec| spec.place);
    let name = spec.and_then(|spec| spec.name.as_deref()).unwrap_or("Authorization");
    let in_authorization = place.unwrap_or_default() == KeyPlace::Header && name.eq_ignore_ascii_case("authorization");
    let prefix = spec.and_then(|spec| spec.prefix.as_deref());
    let prefix = prefix.unwrap_or(if in_authorization { "Bearer " } else { "" });
    place::put(place, name, prefix, token)
}

fn sendable(
    values: &BTreeMap<String, SecretValue>,
    key: &str,
    put: impl Fn(&str) -> Result<Material, Unsendable>,
) -> Result<Material, CredentialProblem> {
    let value = read(values, key)?;
    value::require_length(value)
        .and_then(|()| put(value))
        .map_err(|be| unusable(key, be))
}

/// Somebody took it out of the Secret: it is issued anew.
fn read<'a>(values: &'a BTreeMap<String, SecretValue>, key: &str) -> Result<&'a str, CredentialProblem> {
    let missing = || CredentialProblem::IssueFailed {
        message: format!("the issued Secret has no key `{key}`"),
        permanent: false,
    };
    values.get(key).map(SecretValue::expose).ok_or_else(missing)
}

/// What was issued cannot be sent: the spec asked for the wrong thing, or took the wrong part of an answer.
fn unusable(key: &str, be: Unsendable) -> CredentialProblem {
    CredentialProblem::IssueFailed {
        message: format!("what was issued cannot be sent: key `{key}` of the issued Secret must {be}"),
        permanent: true,
    }
}
