//! A value in a referenced Secret: the field that names it, and what the field names.

use super::value;
use crate::api::credential::SecretKeyRef;
use crate::domain::secret::SecretValue;
use crate::domain::validate::{CredentialProblem, Values, Violation};

/// Where a value comes from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The field that names it.
    pub field: &'static str,
    /// Name of the Secret.
    pub secret: &'a str,
    /// Key in it.
    pub key: &'a str,
}

impl<'a> Source<'a> {
    /// The value that `reference`, which stands in `field`, names.
    pub fn named(field: &'static str, SecretKeyRef { name, key }: &'a SecretKeyRef) -> Self {
        Self {
            field,
            secret: name,
            key,
        }
    }

    /// The value as it stands there.
    pub fn read_whole<'v>(&self, secret: Option<&'v Values>) -> Result<&'v str, CredentialProblem> {
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
        let value = value.as_ref().map(SecretValue::expose);
        value.ok_or_else(|| self.must("be text (UTF-8)"))
    }

    /// The value, without one newline at its end.
    pub fn read<'v>(&self, secret: Option<&'v Values>) -> Result<&'v str, CredentialProblem> {
        let value = self.read_whole(secret)?;
        let value = value
            .strip_suffix('\n')
            .map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
        value::require_length(value).map_err(|be| self.must(be))?;
        Ok(value)
    }

    /// The value must `be` something else. The message has no part of it.
    pub fn must(&self, be: &str) -> CredentialProblem {
        let Self { field, secret, key } = *self;
        Violation {
            field: field.to_owned(),
            must: format!("must name a usable value: key `{key}` of Secret `{secret}` must {be}"),
        }
        .into()
    }
}
