//! The Credential reconciler: observes the Secret, counts revisions, and tells who runs which.
//!
//! ```text
//! read the Secret -> domain::validate -> revise (is it another value?) -> observe (who runs it)
//!   -> report (writes the status, if it differs) -> wake the Integrations that use it
//! ```
//!
//! The value itself goes to workers in the plans of those Integrations; nothing of it is kept here but a hash under a
//! key that dies with the process. The order of the last two steps matters: an Integration that is woken finds the
//! revision written down.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::credential::{Consumer, CredentialStatus};
use crate::cluster::Cluster;
use crate::domain::aggregate::consumer;
use crate::domain::key::Key;
use crate::domain::plan::Material;
use crate::domain::validate::{self, CredentialProblem};
use crate::fleet::Fleet;
use crate::telemetry::controller_metrics;

use super::queue::schedule::Urgency;
use super::references::{Source, User};
use super::report::{Reported, Undecodable, again};
use super::{Context, ReconcileError, lock, resync};

mod current;
mod issue;
mod report;
mod scene;
mod step;
mod value;
mod withdraw;

pub use current::{CurrentValue, read as read_current};

pub use value::Values;
use value::{Found, revise};

/// Name of this reconciler in metrics and logs.
pub const NAME: &str = "credential";

/// What a run has found.
struct Findings {
    /// The value, or why there is none.
    material: Result<Material, CredentialProblem>,
    /// Which revision it is; `None` as long as there has been no value.
    revision: Option<i64>,
    /// resourceVersion of the Secret that the revision was read from.
    secret_version: Option<String>,
    /// The Integrations whose workers use it.
    consumers: Vec<Consumer>,
    /// When the value begins to be valid, where that is known.
    not_before: Option<Timestamp>,
    /// When it ceases to be.
    not_after: Option<Timestamp>,
    /// How its replacement goes, where we replace it.
    issuing: Option<report::issuing::Issuing>,
}

/// Brings the status of the Credential of that name up to date, and its value to those who use it.
pub async fn reconcile<C: Cluster, F: Fleet>(
    context: Arc<Context<C, F>>,
    key: Key,
) -> Result<Option<Duration>, ReconcileError> {
    let credential = match context.cluster.credential(&key).await {
        Ok(credential) => credential,
        Err(error) => {
            let reported = report::undecodable(&context, &key, Undecodable::of(error)?).await?;
            return Ok(Some(again(reported, resync())));
        }
    };
    let Some(credential) = credential else {
        forget(&context, &key);
        return Ok(None);
    };
    if credential.metadata.deletion_timestamp.is_some() {
        // Withdrawn at once, and revoked where it can be.
        forget(&context, &key);
        return withdraw::reconcile(&context, key, credential).await;
    }
    if credential.spec.issues() {
        return issue::reconcile(&context, key, credential).await;
    }
    let uid = credential.metadata.uid.clone().unwrap_or_default();
    let stored = credential.status.clone().unwrap_or_default();
    let sources =
        validate::secret_name(&credential.spec).map(|name| Source::Secret(Key::new(key.namespace.clone(), name)));
    // Before the Secret is read: what changes from here on wakes this Credential again.
    context.refer(&User::Credential(key.clone()), sources.into_iter().collect());

    let data = context.secret_of(&key, &credential).await;
    let data = report::readable(&context, &key, &credential, data).await?;
    let material = validate::credential(&credential.spec, data.as_ref().map(|data| &data.values));
    let fingerprint = lock(&context.values).fingerprint(&credential.spec, &material);
    let last = lock(&context.values).last(&key, &uid);
    let found = Found {
        generation: credential.metadata.generation,
        suspended: credential.spec.suspend == Some(true),
        version: data.as_ref().map(|data| data.version.as_str()),
        fingerprint,
    };
    let (revision, secret_version) = revise(&stored, found, last.as_ref());
    let times = match &material {
        Ok(Material::Certificate { chain, .. }) => validate::certificate_times(chain),
        _ => None,
    };
    let findings = Findings {
        material,
        not_before: times.map(|(begin, _)| begin),
        not_after: times.map(|(_, end)| end),
        issuing: None,
        consumers: consumers(&context, &key, &stored, revision),
        revision,
        secret_version,
    };
    // What an Integration waits for is that this value and this spec have a revision, in writing. That it is owed a
    // wake-up is remembered over a write that fails, because the write may be done all the same.
    let revised = stored.revision != findings.revision
        || stored.secret_version != findings.secret_version
        || stored.observed_generation != credential.metadata.generation;
    if revised || last.is_some_and(|last| last.fingerprint != fingerprint) {
        lock(&context.values).owe(&key);
    }
    let reported = report::report(&context, &key, &credential, &findings).await?;
    lock(&context.values).remember(&key, &uid, fingerprint, found.suspended);
    controller_metrics::credential_times(&key, findings.not_after, None);
    if lock(&context.values).owes(&key) {
        if !matches!(reported, Reported::Later(_)) {
            lock(&context.values).paid(&key);
        }
        // There are no more of these than edits, and the value that an Integration fails with may be the one before.
        context.wake_users(&Source::Credential(key), Urgency::Edited);
    }
    let settled = context
        .unsettled_until()
        .map(|until| until.saturating_duration_since(Instant::now()));
    Ok(Some(again(reported, resync().min(settled.unwrap_or(Duration::MAX)))))
}

/// The Integrations whose workers use this Credential, with the revision that every ready worker of each runs.
///
/// Right after a start workers have not been heard of yet; as long as they may still be, what is stored is kept rather
/// than an incomplete picture.
fn consumers<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    stored: &CredentialStatus,
    revision: Option<i64>,
) -> Vec<Consumer> {
    let integrations = lock(&context.references).integrations_of(key);
    let reports = lock(&context.reports);
    let seen: Vec<Consumer> = integrations
        .iter()
        .filter_map(|integration| {
            let revision = consumer(&reports.of(integration), &key.name)?;
            let name = integration.name.to_string();
            Some(Consumer { name, revision })
        })
        .collect();
    drop(reports);
    let complete = |before: &Consumer| {
        seen.iter()
            .any(|now| now.name == before.name && now.revision >= before.revision)
    };
    if context.unsettled_until().is_some() && stored.revision == revision && !stored.consumers.iter().all(complete) {
        return stored.consumers.clone();
    }
    seen
}

/// The Credential is gone: those who use it are to stop at once.
fn forget<C: Cluster, F: Fleet>(context: &Context<C, F>, key: &Key) {
    let user = User::Credential(key.clone());
    context.refer(&user, [].into());
    lock(&context.pacing).forget(&user);
    lock(&context.values).forget(key);
    controller_metrics::credential_gone(key);
    for integration in lock(&context.references).integrations_of(key) {
        context.integrations.ask(integration, Urgency::Nudged);
    }
}
