//! The value of a Credential that refers to a Secret, ready to be injected.

use super::source::Source;
use super::value::Half;
use super::{chain, no_kind, place, refuse_invalid, value};
use crate::api::credential::{BasicSecretRef, CredentialSpec, CredentialType, SecretNameRef};
use crate::domain::plan::Material;
use crate::domain::secret::SecretValue;
use crate::domain::validate::{CredentialProblem, Values, defaults};

/// The value; see [`crate::domain::validate::credential`].
pub fn material(spec: &CredentialSpec, secret: Option<&Values>) -> Result<Material, CredentialProblem> {
    refuse_invalid(spec)?;
    let material = match spec.credential_type() {
        Some(CredentialType::APIKey) => api_key(spec, secret),
        Some(CredentialType::Basic) => basic(spec, secret),
        Some(CredentialType::Bearer) => bearer(spec, secret),
        Some(CredentialType::Certificate) => certificate(spec, secret),
        Some(CredentialType::OAuth2 | CredentialType::JWT | CredentialType::Generated) => None,
        None => return Err(no_kind()),
    };
    // What names no Secret is issued, and this is asked before anything has been.
    material.unwrap_or_else(|| {
        Err(CredentialProblem::IssueFailed {
            message: "no value has been issued yet".to_owned(),
            permanent: false,
        })
    })
}

/// `None` if the spec names no Secret.
type Referenced = Option<Result<Material, CredentialProblem>>;

fn api_key(spec: &CredentialSpec, secret: Option<&Values>) -> Referenced {
    let spec = spec.api_key.as_ref()?;
    let source = Source::named("spec.apiKey.secretRef", spec.secret_ref.as_ref()?);
    let name = spec.name.as_deref().unwrap_or(defaults::KEY_NAME);
    let prefix = spec.prefix.as_deref().unwrap_or_default();
    let put = |value| place::put(spec.place, name, prefix, value).map_err(|be| source.must(be));
    Some(source.read(secret).and_then(put))
}

fn basic(spec: &CredentialSpec, secret: Option<&Values>) -> Referenced {
    let BasicSecretRef {
        name,
        username_key,
        password_key,
    } = spec.basic.as_ref()?.secret_ref.as_ref()?;
    let source = |key| Source {
        field: "spec.basic.secretRef",
        secret: name,
        key,
    };
    let user_source = source(username_key.as_deref().unwrap_or(defaults::USERNAME_KEY));
    let password_source = source(password_key.as_deref().unwrap_or(defaults::PASSWORD_KEY));
    let pair = || {
        let (user, password) = (user_source.read(secret)?, password_source.read(secret)?);
        value::basic(user, password).map_err(|(half, be)| match half {
            Half::User => user_source.must(be),
            Half::Password => password_source.must(be),
        })
    };
    Some(pair())
}

fn bearer(spec: &CredentialSpec, secret: Option<&Values>) -> Referenced {
    let source = Source::named("spec.bearer.secretRef", spec.bearer.as_ref()?.secret_ref.as_ref()?);
    let token = |value| value::bearer(value).map_err(|be| source.must(be));
    Some(source.read(secret).and_then(token))
}

fn certificate(spec: &CredentialSpec, secret: Option<&Values>) -> Referenced {
    let SecretNameRef { name } = spec.certificate.as_ref()?.secret_ref.as_ref()?;
    let source = |key| Source {
        field: "spec.certificate.secretRef",
        secret: name,
        key,
    };
    let (chain_source, key_source) = (source("tls.crt"), source("tls.key"));
    let pair = || {
        let chain = chain_source.read_whole(secret)?;
        let certificates = chain::certificates(chain).map_err(|be| chain_source.must(be))?;
        let key = key_source.read_whole(secret)?;
        chain::require_key(&certificates, key).map_err(|be| key_source.must(be))?;
        Ok(Material::Certificate {
            chain: chain.to_owned(),
            key: SecretValue::new(key),
        })
    };
    Some(pair())
}
