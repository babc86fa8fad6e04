//! Values out of the Secrets and ConfigMaps that the spec refers to.

use super::{IssueError, invalid, unset};
use crate::api::condition::reason;
use crate::api::credential::{SecretKeyRef, SecretNameRef};
use crate::api::integration::{CaRef, CaRefKind};
use crate::domain::secret::SecretValue;
use crate::domain::validate::{Values, absent};
use crate::provider::Sources;

/// Most bytes of a secret or a token.
pub const VALUE_MAX: usize = 16 << 10;

/// Most bytes of a key or a chain in PEM; more is not parsed.
pub const PEM_MAX: usize = 64 << 10;

/// Most bytes of certificates to trust, in PEM.
const CA_MAX: usize = 256 << 10;

/// Where a value comes from: the field that names it, and what the field names.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    field: &'a str,
    kind: CaRefKind,
    name: &'a str,
    key: &'a str,
}

impl<'a> Source<'a> {
    /// What `reference`, which stands in `field`, names.
    pub fn of(field: &'a str, reference: Option<&'a SecretKeyRef>) -> Result<Self, IssueError> {
        let SecretKeyRef { name, key } = reference.ok_or_else(|| unset(field))?;
        Ok(Self {
            field,
            kind: CaRefKind::Secret,
            name,
            key,
        })
    }

    /// The text that is meant to be sent: not empty, without control characters. One newline at its end is dropped,
    /// because editors and `echo` leave one.
    pub fn text(&self, sources: &Sources) -> Result<SecretValue, IssueError> {
        let value = self.read(sources)?;
        let value = value
            .strip_suffix('\n')
            .map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
        self.require(!value.is_empty(), "not be empty")?;
        self.require(value.len() <= VALUE_MAX, "be at most 16 KiB long")?;
        self.require(!value.contains(char::is_control), "not contain control characters")?;
        Ok(SecretValue::new(value))
    }

    /// PEM, which is bounded before anybody parses it.
    pub fn pem(&self, sources: &Sources) -> Result<SecretValue, IssueError> {
        let value = self.read(sources)?;
        self.require(value.len() <= PEM_MAX, "be at most 64 KiB of PEM")?;
        Ok(SecretValue::new(value))
    }

    /// Unless it `holds`: the value must `be` something else. The message has no part of the value.
    pub fn require(&self, holds: bool, be: &str) -> Result<(), IssueError> {
        if holds {
            return Ok(());
        }
        let Self { field, kind, name, key } = self;
        let must = format!("must name a usable value: key `{key}` of {kind:?} `{name}` must {be}");
        Err(invalid(field, &must))
    }

    fn read<'v>(&self, sources: &'v Sources) -> Result<&'v str, IssueError> {
        let Self { field, kind, name, key } = *self;
        let objects = match kind {
            CaRefKind::Secret => &sources.secrets,
            CaRefKind::ConfigMap => &sources.config_maps,
        };
        let values: &Values = objects
            .get(name)
            .and_then(Option::as_ref)
            .ok_or_else(|| IssueError::NotSent {
                reason: match kind {
                    CaRefKind::Secret => reason::SECRET_NOT_FOUND,
                    CaRefKind::ConfigMap => reason::REF_NOT_FOUND,
                },
                message: format!("`{field}`: {}", absent(kind, name)),
            })?;
        let value = values.get(key).ok_or_else(|| IssueError::Refused {
            reason: reason::KEY_MISSING,
            message: format!("`{field}`: {kind:?} `{name}` has no key `{key}`; add it or name another"),
        })?;
        self.require(value.is_some(), "be text (UTF-8)")?;
        Ok(value.as_ref().map_or("", SecretValue::expose))
    }
}

/// The certificates to trust, in PEM.
pub fn ca(reference: &CaRef, sources: &Sources) -> Result<String, IssueError> {
    let CaRef { kind, name, key } = reference;
    let source = Source {
        field: "spec.oauth2.tls.caRef",
        kind: *kind,
        name,
        key,
    };
    let pem = source.read(sources)?;
    source.require(pem.len() <= CA_MAX, "be at most 256 KiB of certificates in PEM")?;
    Ok(pem.to_owned())
}

/// Chain and key of a Secret of type `kubernetes.io/tls`.
pub fn certificate(
    field: &str,
    reference: Option<&SecretNameRef>,
    sources: &Sources,
) -> Result<(String, SecretValue), IssueError> {
    let SecretNameRef { name } = reference.ok_or_else(|| unset(field))?;
    let source = |key| Source {
        field,
        kind: CaRefKind::Secret,
        name,
        key,
    };
    let chain = source("tls.crt").pem(sources)?;
    Ok((chain.expose().to_owned(), source("tls.key").pem(sources)?))
}
