//! Values that a spec refers to, found among what was read, within bounds.

use super::{IssueError, Sources};
use crate::api::condition::reason;
use crate::api::credential::{SecretKeyRef, SecretNameRef};
use crate::api::integration::{CaRef, CaRefKind};
use crate::domain::secret::SecretValue;
use crate::domain::validate::absent;

/// Most bytes of a value that is read: a key, a chain, a bundle.
pub const VALUE_MAX: usize = 64 << 10;

/// Most bytes of a secret or a token that is sent.
pub const TEXT_MAX: usize = 16 << 10;

/// Most bytes of certificates to trust, in PEM.
const CA_MAX: usize = 256 << 10;

/// A value of a Secret or ConfigMap, and how to speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    field: &'static str,
    kind: CaRefKind,
    name: &'a str,
    key: &'a str,
}

impl<'a> Source<'a> {
    /// The value of key `key` in the Secret `name`, which stands in `field`.
    pub fn secret(field: &'static str, name: &'a str, key: &'a str) -> Self {
        Self {
            field,
            kind: CaRefKind::Secret,
            name,
            key,
        }
    }

    /// What `reference`, which must stand in `field`, names.
    pub fn of(field: &'static str, reference: Option<&'a SecretKeyRef>) -> Result<Self, IssueError> {
        let SecretKeyRef { name, key } = reference.ok_or_else(|| unset(field))?;
        Ok(Self::secret(field, name, key))
    }

    /// The value.
    ///
    /// An object that is not there may be on its way; a key that is missing, or a value that is no text or longer than
    /// [`VALUE_MAX`], only an edit mends.
    pub fn read<'s>(&self, sources: &'s Sources) -> Result<&'s SecretValue, IssueError> {
        self.read_within(sources, VALUE_MAX)
    }

    /// The value, which may be absent from its object.
    pub fn find<'s>(&self, sources: &'s Sources) -> Result<Option<&'s SecretValue>, IssueError> {
        self.find_within(sources, VALUE_MAX)
    }

    /// The text that is meant to be sent: not empty, at most [`TEXT_MAX`], without control characters. One newline at its
    /// end is dropped, because editors and `echo` leave one.
    pub fn text(&self, sources: &Sources) -> Result<SecretValue, IssueError> {
        let value = self.read(sources)?.expose();
        let value = value
            .strip_suffix('\n')
            .map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
        match value {
            "" => Err(self.unusable("not be empty")),
            long if long.len() > TEXT_MAX => Err(self.unusable("be at most 16 KiB long")),
            odd if odd.contains(char::is_control) => Err(self.unusable("not contain control characters")),
            text => Ok(SecretValue::new(text)),
        }
    }

    /// The value must `be` something else. `be` has no part of it.
    pub fn unusable(&self, be: impl std::fmt::Display) -> IssueError {
        let Self { field, kind, name, key } = *self;
        refused(format!(
            "`{field}` must name a usable value: key `{key}` of {kind:?} `{name}` must {be}"
        ))
    }

    fn read_within<'s>(&self, sources: &'s Sources, most: usize) -> Result<&'s SecretValue, IssueError> {
        let Self { field, kind, name, key } = *self;
        self.find_within(sources, most)?.ok_or_else(|| IssueError::Refused {
            reason: reason::KEY_MISSING,
            message: format!("`{field}`: {kind:?} `{name}` has no key `{key}`; add it or name another"),
        })
    }

    fn find_within<'s>(&self, sources: &'s Sources, most: usize) -> Result<Option<&'s SecretValue>, IssueError> {
        let Self { field, kind, name, key } = *self;
        let (objects, reason) = match kind {
            CaRefKind::Secret => (&sources.secrets, reason::SECRET_NOT_FOUND),
            CaRefKind::ConfigMap => (&sources.config_maps, reason::REF_NOT_FOUND),
        };
        let Some(Some(values)) = objects.get(name) else {
            let message = format!("`{field}`: {}", absent(kind, name));
            return Err(IssueError::NotSent { reason, message });
        };
        match values.get(key) {
            None => Ok(None),
            Some(None) => Err(self.unusable("be text (UTF-8)")),
            // Before anybody parses it.
            Some(Some(value)) if value.expose().len() > most => {
                Err(self.unusable(format_args!("be at most {} KiB long", most >> 10)))
            }
            Some(Some(value)) => Ok(Some(value)),
        }
    }
}

/// The certificates to trust that `field` names, in PEM.
pub fn ca(field: &'static str, reference: &CaRef, sources: &Sources) -> Result<String, IssueError> {
    let CaRef { kind, name, key } = reference;
    let source = Source {
        field,
        kind: *kind,
        name,
        key,
    };
    Ok(source.read_within(sources, CA_MAX)?.expose().to_owned())
}

/// Chain and key of a Secret of type `kubernetes.io/tls`.
pub fn certificate(
    field: &'static str,
    reference: Option<&SecretNameRef>,
    sources: &Sources,
) -> Result<(String, SecretValue), IssueError> {
    let SecretNameRef { name } = reference.ok_or_else(|| unset(field))?;
    let chain = Source::secret(field, name, "tls.crt").read(sources)?;
    let key = Source::secret(field, name, "tls.key").read(sources)?;
    Ok((chain.expose().to_owned(), key.clone()))
}

/// The spec or what it refers to is wrong.
pub fn refused(message: String) -> IssueError {
    IssueError::Refused {
        reason: reason::INVALID_SPEC,
        message,
    }
}

/// Only an edit of the spec, or of what `field` names, helps.
pub fn invalid(field: &str, must: &str) -> IssueError {
    refused(format!("`{field}` {must}"))
}

/// The same where it is not there.
pub fn unset(field: &str) -> IssueError {
    invalid(field, "must be set")
}

/// Something failed here that another try may mend.
pub fn failed(message: &str) -> IssueError {
    IssueError::NotSent {
        reason: reason::ISSUE_FAILED,
        message: message.to_owned(),
    }
}
