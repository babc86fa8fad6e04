//! A new value on its way, as the pending Secret holds it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reason;
use crate::domain::secret::SecretValue;

/// Version of the shape below. An attempt of a higher format is left alone.
pub const FORMAT: u32 = 1;

/// A new value on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Version of this shape, [`FORMAT`] when written by this code.
    pub format: u32,
    /// The revision that the value is to be.
    pub revision: i64,
    /// Identifies this attempt at the provider, as idempotency key or label: a UUID made of the Credential's UID,
    /// `revision` and `candidate_number`, so that nobody can ask twice under two ids.
    pub id: String,
    /// How many candidates for this revision were given up before this one.
    pub candidate_number: u32,
    /// What of the spec decides over the value, as a hash: as of when it was written down, or of when a person was told that
    /// it is not tried again by itself.
    pub spec: String,
    /// What the value is made from, as a hash: as of the last try, which writes it down before it begins.
    pub sources: String,
    /// Why the value is replaced.
    pub reason: Reason,
    /// The `tidegate.dev/rotate` annotation that this attempt answers: as of the last try before which no call was without
    /// an answer.
    pub requested: Option<String>,
    /// When it was written down.
    pub created: Timestamp,
    /// Until when issuing is paid for; see [`super::Record::paid_until`].
    pub paid_until: Timestamp,
    /// The value, where we choose it: the provider is given the same one however often it is asked.
    pub candidate: Option<SecretValue>,
    /// How often the provider may have acted: counted up before it is asked, and down again where it surely did not.
    pub sends: u32,
    /// When it was asked last, of the calls that `sends` counts: where a call is not counted any more, this is when the one
    /// before it was. A grace period is counted from here.
    pub sent: Option<Timestamp>,
    /// How far it has come.
    pub phase: Phase,
    /// What the provider gave, once it is saved.
    pub minted: Option<Minted>,
    /// What went wrong since the last step that succeeded.
    pub failed: Option<Failed>,
    /// How often what it made could not be taken away, once it is given up.
    #[serde(default)]
    pub abandoning: u32,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Written down; the provider was asked [`Attempt::sends`] times, and no answer was saved.
    Intent,
    /// The value is saved.
    Minted,
    /// The value was tried and works.
    Tested,
}

/// What was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Minted {
    /// The keys of the issued Secret: `token`, `value`, `tls.crt`, …
    pub values: BTreeMap<String, SecretValue>,
    /// What the provider calls it.
    pub id: Option<String>,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it begins to be valid, where that is known.
    pub not_before: Option<Timestamp>,
    /// When it ceases to be valid, where that is known.
    pub not_after: Option<Timestamp>,
}

/// Failures of one step in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// How many.
    pub times: u32,
    /// When the last one was.
    pub last: Timestamp,
    /// When it is tried again.
    pub next: Timestamp,
    /// Until when calls that were refused for good are paid for: they come no more often than those that succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<Timestamp>,
    /// The whole spec that it failed with, as a hash: any edit ends a wait for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
    /// Reason of the condition: `IssueFailed`, `InvalidSpec`, `ReauthorizationRequired`, …
    pub reason: String,
    /// What failed and what can be done; never a value, a header or a body.
    pub message: String,
    /// Only an edit helps, of the spec or of what the value is made from: it is not tried again until then.
    pub permanent: bool,
}
