//! The port to stored objects: read them, learn that they changed, write status, publish events.
//!
//! Two adapters: `kubernetes` (the API server) and `files` (manifests on disk, for `tidegate run`). Reads are live: a
//! reconcile decides on what the store says now, never on a cache that may lag behind our own writes. Watches carry
//! metadata only and do nothing but wake a reconcile.

use std::collections::BTreeMap;
use std::future::Future;

use tokio::sync::mpsc;

use crate::api::credential::{Credential, CredentialStatus};
use crate::api::integration::{Integration, IntegrationStatus};
use crate::domain::key::Key;
use crate::domain::secret::SecretValue;

pub mod files;
mod held;
pub mod kubernetes;

pub use held::{Held, Keep};

/// Something that may concern a reconcile. It says where to look, never what happened there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// An Integration was made, edited, annotated or deleted.
    Integration(Key),
    /// A Credential was made, edited, annotated or deleted.
    Credential(Key),
    /// A Secret changed, of whoever.
    Secret(Key),
    /// A ConfigMap changed, of whoever.
    ConfigMap(Key),
    /// An object that we made for this Integration changed or went.
    Owned(Key),
}

/// The data of a Secret or ConfigMap, as far as it is text; bytes that are not UTF-8 are kept as `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// `metadata.resourceVersion`: changes with every write.
    pub version: String,
    /// Values by key; `None` where the bytes are not UTF-8.
    pub values: BTreeMap<String, Option<SecretValue>>,
}

/// What a person should act on, attached to an object (events.k8s.io/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The object it is about.
    pub regarding: Regarding,
    /// Warning, or Normal.
    pub warning: bool,
    /// CamelCase, from a closed list that the docs name.
    pub reason: &'static str,
    /// What was being done, CamelCase.
    pub action: &'static str,
    /// A sentence; never a secret, a body or a header.
    pub note: String,
}

/// The object a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regarding {
    /// `Integration` or `Credential`.
    pub kind: &'static str,
    /// Its namespace and name.
    pub key: Key,
    /// Its UID.
    pub uid: String,
}

/// A call to the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The object is there but does not decode; only an edit helps.
    #[error("{kind} {key} does not decode: {detail}")]
    Undecodable {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
        /// Its UID.
        uid: String,
        /// Its generation.
        generation: i64,
        /// Its status as stored, `null` if there is none: it may decode where the rest does not.
        status: Box<serde_json::Value>,
        /// Field and reason, never a value.
        detail: String,
    },
    /// We are not allowed to; the installation's RBAC needs the right that is named.
    #[error("not allowed to {verb} {kind} {key}; grant it to the controller's ServiceAccount")]
    Forbidden {
        /// API verb.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
    },
    /// The API server will not have it, whoever asks; only a person can change that.
    #[error("the API server refuses to {verb} {kind} {key}: {why}")]
    Refused {
        /// API verb.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
        /// Why, and what helps.
        why: &'static str,
    },
    /// It was written, made or removed by somebody else since it was read. The next look tells more.
    #[error("{kind} {key} was changed by somebody else meanwhile")]
    Conflict {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
    },
    /// The call did not end in time.
    #[error("{verb} {kind} {key} took longer than {seconds} s")]
    Timeout {
        /// API verb.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
        /// The deadline, in seconds.
        seconds: u64,
    },
    /// Anything else; worth another try.
    #[error("{verb} {kind} {key} failed: {detail}")]
    Failed {
        /// API verb.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
        /// Reason, never a value.
        detail: String,
    },
}

/// The port. Every call has a deadline of its own.
pub trait Cluster: Send + Sync + 'static {
    /// The stream of changes; everything that exists is announced once at the start. Taken once.
    fn changes(&self) -> mpsc::Receiver<Change>;

    /// The Integration as stored now; `None` if there is none.
    fn integration(&self, key: &Key) -> impl Future<Output = Result<Option<Integration>, ClusterError>> + Send;

    /// The Credential as stored now.
    fn credential(&self, key: &Key) -> impl Future<Output = Result<Option<Credential>, ClusterError>> + Send;

    /// The data of a Secret that somebody names, as stored now; `None` if there is none, and also if there is one that is
    /// not its namespace's to hand out: one of Tidegate's own, or a token of the cluster. Nobody learns by naming it which.
    fn secret(&self, key: &Key) -> impl Future<Output = Result<Option<Data>, ClusterError>> + Send;

    /// The ConfigMap's data as stored now.
    fn config_map(&self, key: &Key) -> impl Future<Output = Result<Option<Data>, ClusterError>> + Send;

    /// Writes the whole status of an Integration, under its field manager. `uid` guards against a namesake.
    fn write_integration_status(
        &self,
        key: &Key,
        uid: &str,
        status: &IntegrationStatus,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Writes the whole status of a Credential, under its field manager.
    fn write_credential_status(
        &self,
        key: &Key,
        uid: &str,
        status: &CredentialStatus,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// The Secret as stored now, with what says whose it is.
    fn held(&self, key: &Key) -> impl Future<Output = Result<Option<Held>, ClusterError>> + Send;

    /// Stores a Secret of ours in one write, in the place of `before`, or as a new one. Whatever is there instead of
    /// `before` makes it a [`ClusterError::Conflict`]. Labels and annotations of others stay. Returns it as it is then.
    fn keep(&self, secret: &Keep, before: Option<&Held>) -> impl Future<Output = Result<Held, ClusterError>> + Send;

    /// Whether `keep` would be accepted, without doing it.
    fn rehearse(&self, secret: &Keep, before: Option<&Held>) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Removes a Secret of ours, if it is still as it was read. One that is gone is no error.
    fn discard(&self, key: &Key, held: &Held) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Puts our finalizer on a Credential, or takes it off. `credential` is as it was read; another one since is a
    /// [`ClusterError::Conflict`].
    fn set_finalizer(
        &self,
        key: &Key,
        credential: &Credential,
        present: bool,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Publishes an event. A failure is logged, never returned: telling must not stop doing.
    fn publish(&self, notice: Notice) -> impl Future<Output = ()> + Send;
}
