//! Values from where they come from: asked of a provider, or made here.
//!
//! An [`Order`] says what is wanted and what is known; what comes back is a
//! [`Minted`](crate::domain::rotation::Minted), or an [`IssueError`] that says
//! whether the provider may have acted. Nothing is stored here and nothing decided: that is the controller's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::credential::CredentialSpec;
use crate::domain::key::Key;
use crate::domain::plan::Material;
use crate::domain::rotation::{Attempt, Record};
use crate::domain::secret::SecretValue;
use crate::domain::validate::Values;
use exchange::Exchange;

pub mod exchange;
pub mod generated;
pub mod jwt;
pub mod lookup;
pub mod oauth2;
pub mod private_key;

pub mod extract;
#[cfg(test)]
mod sample;
pub mod template;

/// What is wanted, and all that is known.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The Credential.
    pub key: &'a Key,
    /// Its UID.
    pub uid: &'a str,
    /// What it asks for.
    pub spec: &'a CredentialSpec,
    /// The attempt that this is for.
    pub attempt: &'a Attempt,
    /// The value in use, if there is one.
    pub current: Option<Current<'a>>,
    /// What the spec refers to.
    pub sources: &'a Sources,
    /// The time of day.
    pub now: Timestamp,
}

/// The value in use.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// What is known of it.
    pub record: &'a Record,
    /// The issued Secret, all keys.
    pub values: &'a BTreeMap<String, SecretValue>,
}

/// What the spec refers to, as it was read just now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Secrets by name; `None` if there is none of that name.
    pub secrets: BTreeMap<String, Option<Values>>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Option<Values>>,
    /// Credentials by name that authorise calls; `None` if there is none of that name.
    pub credentials: BTreeMap<String, Option<Authority>>,
}

/// A Credential that authorises calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    /// Its `spec.allowedHosts`.
    pub allowed_hosts: Vec<String>,
    /// Its value; `None` if it has none that can be used now.
    pub material: Option<Material>,
}

/// Names of what a spec refers to, for who reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Secrets.
    pub secrets: std::collections::BTreeSet<String>,
    /// ConfigMaps.
    pub config_maps: std::collections::BTreeSet<String>,
    /// Credentials, without the one whose spec it is.
    pub credentials: std::collections::BTreeSet<String>,
}

/// Why nothing was issued, tested or revoked. No message has a secret, a header, or a body of a provider in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// What is referred to is not there yet, or the provider was not reached: it has surely not acted.
    #[error("{message}")]
    NotSent {
        /// Reason of the condition: `SecretNotFound`, `IssueFailed`, …
        reason: &'static str,
        /// What failed and what can be done.
        message: String,
    },
    /// The provider was asked and its answer was lost, or could not be read: it may have acted.
    #[error("{message}")]
    Lost {
        /// What failed and what can be done.
        message: String,
    },
    /// The provider answered that it did not act, and may later: 429, 503.
    #[error("{message}")]
    Later {
        /// When it may be asked again, as far as it said so.
        after: Option<Duration>,
        /// What failed and what can be done.
        message: String,
    },
    /// The provider answered that it did not and will not act, or the spec or a source is wrong: only an edit helps.
    #[error("{message}")]
    Refused {
        /// Reason of the condition: `IssueFailed`, `InvalidSpec`, `KeyMissing`, …
        reason: &'static str,
        /// What failed and what can be done.
        message: String,
    },
    /// A person has to authorise anew.
    #[error("{message}")]
    Reauthorize {
        /// What failed and what can be done.
        message: String,
    },
}

/// Issues, tests and revokes.
#[derive(Clone)]
pub struct Providers {
    /// How providers are called.
    pub exchange: Arc<dyn Exchange>,
}
