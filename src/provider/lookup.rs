//! Values that a spec refers to, found among what was read, within bounds.

use super::{IssueError, Sources};
use crate::api::condition::reason;
use crate::api::integration::CaRefKind;
use crate::domain::secret::SecretValue;
use crate::domain::validate::absent;

/// Most bytes of a value that is read: a key, a chain, a bundle.
pub const VALUE_MAX: usize = 64 << 10;

/// A value of a Secret, and how to speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The field that names it.
    pub field: &'static str,
    /// The Secret.
    pub secret: &'a str,
    /// The key in it.
    pub key: &'a str,
}

impl Source<'_> {
    /// The value.
    ///
    /// A Secret that is not there may be on its way; a key that is missing, or a value that is no text or longer than
    /// [`VALUE_MAX`], only an edit mends.
    pub fn read<'s>(&self, sources: &'s Sources) -> Result<&'s SecretValue, IssueError> {
        let Self { field, secret, key } = *self;
        self.find(sources)?.ok_or_else(|| IssueError::Refused {
            reason: reason::KEY_MISSING,
            message: format!("`{field}`: Secret `{secret}` has no key `{key}`; add it or name another"),
        })
    }

    /// The value, which may be absent from its Secret.
    pub fn find<'s>(&self, sources: &'s Sources) -> Result<Option<&'s SecretValue>, IssueError> {
        let Self { field, secret, key } = *self;
        let Some(Some(values)) = sources.secrets.get(secret) else {
            return Err(IssueError::NotSent {
                reason: reason::SECRET_NOT_FOUND,
                message: format!("`{field}`: {}", absent(CaRefKind::Secret, secret)),
            });
        };
        match values.get(key) {
            None => Ok(None),
            Some(None) => Err(self.unusable("be text (UTF-8)")),
            Some(Some(value)) if value.expose().len() > VALUE_MAX => Err(self.unusable("be at most 64 KiB long")),
            Some(Some(value)) => Ok(Some(value)),
        }
    }

    /// The value must `be` something else. `be` has no part of it.
    pub fn unusable(&self, be: impl std::fmt::Display) -> IssueError {
        let Self { field, secret, key } = *self;
        refused(format!(
            "`{field}` must name a usable value: key `{key}` of Secret `{secret}` must {be}"
        ))
    }
}

/// The spec or what it refers to is wrong.
pub fn refused(message: String) -> IssueError {
    IssueError::Refused {
        reason: reason::INVALID_SPEC,
        message,
    }
}

/// Something failed here that another try may mend.
pub fn failed(message: &str) -> IssueError {
    IssueError::NotSent {
        reason: reason::ISSUE_FAILED,
        message: message.to_owned(),
    }
}
