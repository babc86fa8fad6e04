//! A Credential that is being deleted: what we issued is revoked, as far as that can be done in time.
//!
//! Workers have lost it by then. The wait for the provider is bounded, because a namespace that cannot be deleted is
//! worse than a key that is named in an event.

use std::time::Duration;

use jiff::SignedDuration;

use crate::api::FINALIZER_REVOKE;
use crate::api::credential::Credential;
use crate::cluster::{Cluster, ClusterError, Notice, Regarding};
use crate::controller::{Context, ReconcileError};
use crate::domain::key::Key;
use crate::domain::rotation::Phase;
use crate::fleet::Fleet;
use crate::provider::IssueError;

use super::report;
use super::scene::{PREVIOUS, Scene};
use super::step::{called, named, of_record};

/// For how long a provider that does not answer is tried.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// Between two tries, where a provider does not say.
const PAUSE: Duration = Duration::from_secs(15);
/// The same where it does: at the end of our patience there is another one.
const LONGEST: Duration = PATIENCE.unsigned_abs();

/// Revokes, or gives up, and lets the object go.
pub(super) async fn reconcile<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: Key,
    credential: Credential,
) -> Result<Option<Duration>, ReconcileError> {
    if !is_guarded(&credential) {
        return Ok(None);
    }
    let deleted = credential.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let now = (context.settings.clock)();
    let late = deleted.is_none_or(|deleted| now.duration_since(deleted) > PATIENCE);
    let scene = match Scene::look(context, &key, &credential).await {
        Err(error @ ClusterError::Forbidden { .. }) if late => {
            let note = format!("what was issued may be left alive at the provider: {error}; revoke it there");
            context.cluster.publish(orphaned(&key, &credential, note)).await;
            context.cluster.set_finalizer(&key, &credential, false).await?;
            return Ok(None);
        }
        scene => report::readable(context, &key, &credential, scene).await?,
    };
    let hands_off = scene.credential.spec.suspend == Some(true);
    // A spec that cannot be read any more, or hands off: nothing to revoke with, or nothing that may be done.
    let (left, asked) = if hands_off || scene.obstacle.is_some() {
        (everything(&scene), None)
    } else {
        revoke_all(context, &scene).await
    };
    if !left.is_empty() && !late && !hands_off && scene.obstacle.is_none() {
        tracing::warn!(%key, left = left.len(), "values of a deleted Credential could not be revoked yet");
        // A provider that is asked sooner than it wants may want still more time, until there is none left.
        return Ok(Some(asked.unwrap_or(PAUSE).clamp(PAUSE, LONGEST)));
    }
    for (name, why) in left {
        let note = format!("`{name}` is left alive at the provider: {why}; revoke it there");
        context.cluster.publish(orphaned(&key, &credential, note)).await;
    }
    context.cluster.set_finalizer(&key, &credential, false).await?;
    Ok(None)
}

/// Whether the Credential stays until what it issued is revoked.
pub(super) fn is_guarded(credential: &Credential) -> bool {
    let mut finalizers = credential.metadata.finalizers.iter().flatten();
    finalizers.any(|name| name == FINALIZER_REVOKE)
}

fn orphaned(key: &Key, credential: &Credential, note: String) -> Notice {
    Notice {
        regarding: Regarding {
            kind: "Credential",
            key: key.clone(),
            uid: credential.metadata.uid.clone().unwrap_or_default(),
        },
        warning: true,
        reason: "Orphaned",
        action: "Revoke",
        note,
    }
}

/// Revokes all that is known; what could not be, by id or attempt, and why, and for how long a provider wants to be left
/// alone.
///
/// The value in use comes last: it may be what authorises the others.
async fn revoke_all<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &Scene,
) -> (Vec<(String, String)>, Option<Duration>) {
    let (mut left, mut asked) = (Vec::new(), None);
    let mut note = |name: String, done: Result<(), IssueError>| {
        if let Err(error) = done {
            if let IssueError::Later { after, .. } = &error {
                asked = asked.max(*after);
            }
            left.push((name, error.to_string()));
        }
    };
    let now = (context.settings.clock)();
    let attempt = scene.attempt.as_ref();
    if let Some(attempt) = attempt {
        let order = scene.order(attempt, now);
        let published = scene
            .record
            .as_ref()
            .is_some_and(|record| record.revision >= attempt.revision);
        match &attempt.minted {
            Some(minted) if !published => {
                let name = called(minted.id.as_deref().unwrap_or(&attempt.id));
                let value = minted.values.get("value");
                note(
                    name,
                    context.providers.revoke(&order, value, minted.id.as_deref()).await,
                );
            }
            None if attempt.sends > 0 && attempt.phase == Phase::Intent => {
                let unknown = || IssueError::Lost {
                    message: "whether it made a value is not known".into(),
                };
                match context
                    .providers
                    .take_away(&order)
                    .await
                    .and_then(|left| left.ok_or_else(unknown))
                {
                    Ok(left) => left.into_iter().for_each(|(id, error)| note(called(&id), Err(error))),
                    Err(error) => note(format!("attempt {}", attempt.id), Err(error)),
                }
            }
            _ => {}
        }
    }
    let Some(record) = &scene.record else {
        return (left, asked);
    };
    let made = of_record(scene);
    let order = scene.order(&made, now);
    let value = |key: &str| scene.issued.as_ref().and_then(|issued| issued.values.get(key));
    if let Some(previous) = &record.previous {
        let name = named(previous.id.as_deref(), previous.revision);
        let previous_value = value(&format!("{PREVIOUS}value"));
        let done = context
            .providers
            .revoke(&order, previous_value, previous.id.as_deref())
            .await;
        note(name, done);
    }
    let name = named(record.id.as_deref(), record.revision);
    note(
        name,
        context
            .providers
            .revoke(&order, value("value"), record.id.as_deref())
            .await,
    );
    (left, asked)
}

/// All that is known, none of it revoked.
fn everything(scene: &Scene) -> Vec<(String, String)> {
    let why = "the Credential is suspended or cannot be used as it stands".to_owned();
    let record = scene.record.iter();
    let names = record.flat_map(|record| {
        let current = named(record.id.as_deref(), record.revision);
        let previous = record.previous.as_ref();
        let previous = previous.map(|it| named(it.id.as_deref(), it.revision));
        previous.into_iter().chain([current])
    });
    names.map(|name| (name, why.clone())).collect()
}
