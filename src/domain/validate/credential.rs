//! A Credential and the data of its Secret: the value, ready to be injected.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::checks::Checks;
use super::{CredentialProblem, Values, Violation, defaults};
use crate::api::bounds;
use crate::api::credential::{ApiKey, Basic, BasicSecretRef, Bearer, CredentialSpec, KeyPlace, SecretKeyRef};
use crate::domain::hosts::HostPattern;
use crate::domain::plan::Material;
use crate::domain::secret::SecretValue;

/// Most bytes of a value.
const VALUE_MAX: usize = 16 << 10;

/// What is wrong with the spec itself, in its order.
pub fn violations(spec: &CredentialSpec) -> Vec<Violation> {
    let mut checks = Checks::default();
    // No `..`: whoever adds a field to the spec is asked here what becomes of it.
    let CredentialSpec {
        allowed_hosts,
        api_key,
        basic,
        bearer,
        oauth2: _,
        jwt: _,
        certificate: _,
        generated: _,
        secret_name: _,
        rotation: _,
        suspend: _,
    } = spec;
    let host_field = |index| format!("spec.allowedHosts[{index}]");
    checks.count("spec.allowedHosts", allowed_hosts.len(), 1, 32);
    for (index, pattern) in allowed_hosts.iter().enumerate() {
        if pattern.parse::<HostPattern>().is_err() {
            checks.violated(host_field(index), bounds::HOST_PATTERN_MUST);
        }
    }
    checks.unique(allowed_hosts, host_field);
    if spec.credential_type().is_none() {
        checks.violated("spec", bounds::ONE_KIND.1);
    }
    if let Some(api_key) = api_key {
        check_api_key(&mut checks, api_key);
    }
    if let Some(Basic {
        secret_ref: Some(secret_ref),
    }) = basic
    {
        let BasicSecretRef {
            name,
            username_key,
            password_key,
        } = secret_ref;
        checks.text("spec.basic.secretRef.name", name, bounds::OBJECT_NAME);
        for (field, key) in [
            ("spec.basic.secretRef.usernameKey", username_key),
            ("spec.basic.secretRef.passwordKey", password_key),
        ] {
            if let Some(key) = key {
                checks.text(field, key, bounds::DATA_KEY);
            }
        }
    }
    if let Some(Bearer {
        secret_ref: Some(secret_ref),
    }) = bearer
    {
        check_secret_ref(&mut checks, "spec.bearer.secretRef", secret_ref);
    }
    checks.into_violations()
}

fn check_api_key(checks: &mut Checks, spec: &ApiKey) {
    let ApiKey {
        place,
        name,
        prefix,
        secret_ref,
    } = spec;
    let place = place.unwrap_or_default();
    let field = "spec.apiKey.name";
    match name {
        None if place != KeyPlace::Header => checks.violated(field, bounds::NAME_OUTSIDE_HEADERS.must),
        None => (),
        Some(name) => {
            checks.text(field, name, bounds::KEY_NAME);
            if place != KeyPlace::Query && !is_token(name) {
                checks.violated(field, bounds::NAME_IS_TOKEN.must);
            }
            if place == KeyPlace::Header && bounds::FRAMING_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                checks.violated(field, bounds::NAME_IS_FREE.must);
            }
        }
    }
    if let Some(prefix) = prefix {
        checks.text("spec.apiKey.prefix", prefix, bounds::PREFIX);
        if place != KeyPlace::Header && !prefix.is_empty() {
            checks.violated("spec.apiKey.prefix", bounds::PREFIX_IN_HEADERS.must);
        }
    }
    if let Some(secret_ref) = secret_ref {
        check_secret_ref(checks, "spec.apiKey.secretRef", secret_ref);
    }
}

fn check_secret_ref(checks: &mut Checks, field: &str, SecretKeyRef { name, key }: &SecretKeyRef) {
    checks.text(&format!("{field}.name"), name, bounds::OBJECT_NAME);
    checks.text(&format!("{field}.key"), key, bounds::DATA_KEY);
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The value; see [`super::credential`].
pub fn material(spec: &CredentialSpec, secret: Option<&Values>) -> Result<Material, CredentialProblem> {
    if let Some(violation) = violations(spec).into_iter().next() {
        return Err(violation.into());
    }
    match spec {
        CredentialSpec {
            api_key: Some(spec), ..
        } => api_key(spec, secret),
        CredentialSpec { basic: Some(spec), .. } => basic(spec, secret),
        CredentialSpec { bearer: Some(spec), .. } => bearer(spec, secret),
        // `violations` has said so already.
        _ => Err(Violation {
            field: "spec".to_owned(),
            must: bounds::ONE_KIND.1.to_owned(),
        }
        .into()),
    }
}

fn api_key(spec: &ApiKey, secret: Option<&Values>) -> Result<Material, CredentialProblem> {
    let source = Source::named("spec.apiKey.secretRef", spec.secret_ref.as_ref())?;
    let value = source.read(secret)?;
    let name = spec.name.as_deref().unwrap_or(defaults::KEY_NAME);
    match spec.place.unwrap_or_default() {
        KeyPlace::Header => {
            source.require(!value.is_empty(), "not be empty")?;
            source.require(is_header_value(value), HEADER_VALUE)?;
            let prefix = spec.prefix.as_deref().unwrap_or_default();
            Ok(Material::Header {
                name: name.to_ascii_lowercase(),
                value: SecretValue::new([prefix, value].concat()),
            })
        }
        KeyPlace::Query => {
            source.require(!value.is_empty(), "not be empty")?;
            source.require(is_header_value(value), HEADER_VALUE)?;
            Ok(Material::Query {
                name: name.to_owned(),
                value: SecretValue::new(value),
            })
        }
        KeyPlace::Cookie => {
            source.require(!value.is_empty(), "not be empty")?;
            let octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
            source.require(
                value.bytes().all(octet),
                "be visible ASCII without spaces, quotes, ',', ';' and '\\' (RFC 6265, 4.1.1)",
            )?;
            Ok(Material::Cookie {
                name: name.to_owned(),
                value: SecretValue::new(value),
            })
        }
    }
}

fn basic(spec: &Basic, secret: Option<&Values>) -> Result<Material, CredentialProblem> {
    let Some(secret_ref) = &spec.secret_ref else {
        return Err(absent("spec.basic.secretRef"));
    };
    let source = |key| Source {
        field: "spec.basic.secretRef",
        secret: &secret_ref.name,
        key,
    };
    let user_source = source(secret_ref.username_key.as_deref().unwrap_or(defaults::USERNAME_KEY));
    let password_source = source(secret_ref.password_key.as_deref().unwrap_or(defaults::PASSWORD_KEY));
    let (user, password) = (user_source.read(secret)?, password_source.read(secret)?);
    user_source.require(!user.contains(':'), "not contain ':' (RFC 7617, 2)")?;
    user_source.require(!user.contains(char::is_control), "not contain control characters")?;
    password_source.require(!password.contains(char::is_control), "not contain control characters")?;
    // Either may be empty: some providers want a key as the user name and no password, or the other way round.
    password_source.require(
        !(user.is_empty() && password.is_empty()),
        "not be empty while the user name is",
    )?;
    let pair = SecretValue::new([user, ":", password].concat());
    Ok(Material::Header {
        name: "authorization".to_owned(),
        value: SecretValue::new(format!("Basic {}", STANDARD.encode(pair.expose()))),
    })
}

fn bearer(spec: &Bearer, secret: Option<&Values>) -> Result<Material, CredentialProblem> {
    let source = Source::named("spec.bearer.secretRef", spec.secret_ref.as_ref())?;
    let value = source.read(secret)?;
    source.require(!value.is_empty(), "not be empty")?;
    source.require(
        is_token68(value),
        "be a token of letters, digits and - . _ ~ + /, with '=' at its end alone (RFC 6750, 2.1)",
    )?;
    Ok(Material::Header {
        name: "authorization".to_owned(),
        value: SecretValue::new(["Bearer ", value].concat()),
    })
}

const HEADER_VALUE: &str = "be visible ASCII, with spaces within but not at its ends, and without control characters";

fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && value.trim_matches(' ').len() == value.len()
}

fn is_token68(value: &str) -> bool {
    let token = value.trim_end_matches('=');
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// Where a value comes from: the field that names it, and what the field names.
#[derive(Clone, Copy)]
struct Source<'a> {
    field: &'static str,
    secret: &'a str,
    key: &'a str,
}

/// A field that must be set and is not.
fn absent(field: &str) -> CredentialProblem {
    Violation {
        field: field.to_owned(),
        must: "must be set unless `rotation.steps` makes the first value".to_owned(),
    }
    .into()
}

impl<'a> Source<'a> {
    /// The value that `reference`, which stands in `field`, names.
    fn named(field: &'static str, reference: Option<&'a SecretKeyRef>) -> Result<Self, CredentialProblem> {
        let SecretKeyRef { name, key } = reference.ok_or_else(|| absent(field))?;
        Ok(Self {
            field,
            secret: name,
            key,
        })
    }

    /// The value, without one newline at its end.
    fn read<'v>(&self, secret: Option<&'v Values>) -> Result<&'v str, CredentialProblem> {
        let Some(values) = secret else {
            return Err(CredentialProblem::SecretNotFound {
                field: self.field,
                secret: self.secret.to_owned(),
            });
        };
        let Some(value) = values.get(self.key) else {
            return Err(CredentialProblem::KeyMissing {
                field: self.field,
                secret: self.secret.to_owned(),
                key: self.key.to_owned(),
            });
        };
        self.require(value.is_some(), "be text (UTF-8)")?;
        let value = value.as_ref().map_or("", SecretValue::expose);
        let value = value
            .strip_suffix('\n')
            .map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
        self.require(value.len() <= VALUE_MAX, "be at most 16 KiB long")?;
        Ok(value)
    }

    /// Unless it `holds`: the value must `be` something else. The message has no part of the value.
    fn require(&self, holds: bool, be: &str) -> Result<(), CredentialProblem> {
        if holds {
            return Ok(());
        }
        let Self { field, secret, key } = *self;
        Err(Violation {
            field: field.to_owned(),
            must: format!("must name a usable value: key `{key}` of Secret `{secret}` must {be}"),
        }
        .into())
    }
}
