//! The steps, each ended by one write.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::{ANNOTATION_ROTATE, SECRET_ISSUED, SECRET_PENDING};
use crate::cluster::{Cluster, ClusterError, Keep, Notice, Regarding};
use crate::controller::{Context, ReconcileError};
use crate::domain::hash;
use crate::domain::rotation::next::{self, Abandoned};
use crate::domain::rotation::{
    Attempt, Class, Failed, Minted, Next, Phase, Previous, Reason, Record, Step, attempt, record,
};
use crate::domain::secret::SecretValue;
use crate::domain::status::echo;
use crate::fleet::Fleet;
use crate::provider;

use super::scene::{ATTEMPT, PREVIOUS, Scene};
use super::withdraw::is_guarded;

mod act;
mod retire;

pub(super) use retire::of_record;

/// What came of a step.
#[derive(Debug, Default)]
pub struct Taken {
    /// When to go on; `None`: when the decision said.
    pub again: Option<Duration>,
    /// A new value is in use.
    pub published: bool,
    /// What people should know.
    pub notices: Vec<Notice>,
}

/// Takes the step; `scene` is then as it is after it.
pub async fn take<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    next: &Next,
) -> Result<Taken, ReconcileError> {
    let taken = match &next.step {
        Step::Idle | Step::Wait(_) => Taken::default(),
        Step::Stage(reason) => stage(context, scene, *reason).await?,
        Step::Act => act::act(context, scene).await?,
        Step::Test => act::test(context, scene).await?,
        Step::Publish => publish(context, scene).await?,
        Step::Clean => clean(context, scene).await?,
        Step::Confirm => confirm(context, scene).await?,
        Step::Retire => retire::retire(context, scene).await?,
        Step::Abandon(why) => retire::abandon(context, scene, *why).await?,
        Step::Lose => lose(context, scene).await?,
    };
    for notice in &taken.notices {
        context.cluster.publish(notice.clone()).await;
    }
    Ok(taken)
}

/// Something to go on with at once.
fn done() -> Taken {
    Taken {
        again: Some(Duration::ZERO),
        ..Taken::default()
    }
}

/// STAGE: the intent is written down before anything is asked of anybody, and that what comes of it can be stored is
/// known before anything is made that would have to be.
async fn stage<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    reason: Reason,
) -> Result<Taken, ReconcileError> {
    let now = (context.settings.clock)();
    if scene.policy.revokes {
        // Not a step of its own: where objects come from files there are no finalizers, and waiting to see it would be for
        // ever.
        context.ensure_finalizer(scene).await?;
    }
    let rehearsal = Keep {
        values: [("value".to_owned(), SecretValue::new("0".repeat(16 << 10)))].into(),
        ..issued(scene, [].into(), [].into())
    };
    context.cluster.rehearse(&rehearsal, scene.issued.as_ref()).await?;
    let record = scene.record.as_ref();
    let attempt = fresh(
        scene,
        reason,
        0,
        rotate(scene).filter(|_| reason == Reason::Requested),
        next::pay(&scene.policy, record, now),
        now,
    );
    let pending = pending(scene, &attempt);
    context.cluster.keep(&pending, None).await?;
    Ok(done())
}

/// A new attempt.
fn fresh(
    scene: &Scene,
    reason: Reason,
    candidate_number: u32,
    requested: Option<String>,
    paid_until: Timestamp,
    now: Timestamp,
) -> Attempt {
    let revision = scene.revision() + 1;
    let id = id_of(scene, revision, candidate_number);
    Attempt {
        format: attempt::FORMAT,
        revision,
        id,
        candidate_number,
        spec: scene.policy.spec.clone(),
        sources: scene.fingerprint.clone(),
        reason,
        requested,
        created: now,
        paid_until,
        candidate: provider::candidate(&scene.credential.spec),
        sends: 0,
        sent: None,
        phase: Phase::Intent,
        minted: None,
        failed: None,
        abandoning: 0,
    }
}

/// The same for whoever makes the same attempt, so that nobody can ask twice under two ids.
fn id_of(scene: &Scene, revision: i64, candidate_number: u32) -> String {
    hash::uuid(&[&scene.uid, &revision.to_string(), &candidate_number.to_string()])
}

/// The `tidegate.dev/rotate` annotation.
fn rotate(scene: &Scene) -> Option<String> {
    let annotations = scene.credential.metadata.annotations.as_ref()?;
    annotations.get(ANNOTATION_ROTATE).map(|value| echo(value))
}

/// PUBLISH: current, previous, revision and record change in one write, so nobody ever sees half of it.
async fn publish<C: Cluster, F: Fleet>(context: &Context<C, F>, scene: &mut Scene) -> Result<Taken, ReconcileError> {
    let Some((attempt, minted)) = scene.attempt.clone().and_then(|it| Some((it.clone(), it.minted?))) else {
        return Ok(done());
    };
    let keep = published(scene, &attempt, &minted, (context.settings.clock)());
    context.cluster.keep(&keep, scene.issued.as_ref()).await?;
    crate::telemetry::controller_metrics::rotated(&scene.key, "success");
    let note = format!("revision {} is in use ({})", attempt.revision, attempt.reason.as_str());
    let mut notices = match scene.record {
        // The first value of all is no rotation.
        None if attempt.reason == Reason::Missing => vec![notice(scene, false, "Issued", "Rotate", note)],
        _ => vec![notice(scene, false, "Rotated", "Rotate", note)],
    };
    // One that could not be revoked in time had to give way.
    let replaced = scene.record.as_ref().and_then(|record| record.previous.as_ref());
    if let Some(gone) = replaced.filter(|_| scene.policy.revokes) {
        let name = named(gone.id.as_deref(), gone.revision);
        let note = format!("`{name}` is alive at the provider and used by nobody: it could not be revoked in time");
        notices.push(notice(scene, true, "Orphaned", "Rotate", note));
    }
    Ok(Taken {
        again: Some(Duration::ZERO),
        published: true,
        notices,
    })
}

/// The issued Secret with `minted` in use.
fn published(scene: &Scene, attempt: &Attempt, minted: &Minted, now: Timestamp) -> Keep {
    let before = scene.record.as_ref();
    let mut values = minted.values.clone();
    let mut previous = None;
    if scene.policy.keeps_previous {
        // The first value, which somebody else wrote, may be taken away as well.
        let first = provider::first_value(&scene.credential.spec, &scene.sources);
        let replaced = match before {
            Some(record) => Some((record.revision, record.id.clone(), record.not_after)),
            None => first.as_ref().map(|_| (scene.current.revision, None, None)),
        };
        previous = replaced.map(|(revision, id, not_after)| Previous {
            revision,
            id,
            not_after,
            confirmed: None,
            failures: 0,
            next_attempt: None,
        });
        let old = match before {
            Some(_) => scene.values(),
            None => first.into_iter().map(|value| ("value".to_owned(), value)).collect(),
        };
        // What goes on from value to value (a refresh token, keys of our own) has no previous one.
        let kept = old
            .into_iter()
            .filter(|(key, _)| provider::VALUE_KEYS.contains(&key.as_str()));
        values.extend(kept.map(|(key, value)| (format!("{PREVIOUS}{key}"), value)));
    }
    let rejections = match (attempt.reason, before) {
        (Reason::Rejected, before) => before.map_or(0, |record| record.rejections).saturating_add(1),
        _ => 0,
    };
    let record = Record {
        format: record::FORMAT,
        revision: attempt.revision,
        attempt: attempt.id.clone(),
        spec: attempt.spec.clone(),
        sources: attempt.sources.clone(),
        id: minted.id.clone(),
        issued: minted.issued,
        published: Some(now),
        not_before: minted.not_before,
        not_after: minted.not_after,
        requested: attempt
            .requested
            .clone()
            .or_else(|| before.and_then(|record| record.requested.clone())),
        rejections,
        paid_until: attempt.paid_until,
        previous,
    };
    issued(scene, annotations(&record), values)
}

/// CLEAN: what waited is published.
async fn clean<C: Cluster, F: Fleet>(context: &Context<C, F>, scene: &mut Scene) -> Result<Taken, ReconcileError> {
    if let Some(pending) = &scene.pending {
        context.cluster.discard(&scene.pending_key, pending).await?;
    }
    (scene.pending, scene.attempt) = (None, None);
    Ok(done())
}

/// CONFIRM: every worker uses the value; from now on the overlap counts.
async fn confirm<C: Cluster, F: Fleet>(context: &Context<C, F>, scene: &mut Scene) -> Result<Taken, ReconcileError> {
    let now = (context.settings.clock)();
    let Some(mut record) = scene.record.clone() else {
        return Ok(done());
    };
    if let Some(previous) = &mut record.previous {
        previous.confirmed = Some(now);
    }
    rewrite(context, scene, record, true).await?;
    Ok(done())
}

/// Writes the issued Secret with another record, with the previous value or without it.
async fn rewrite<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    record: Record,
    with_previous: bool,
) -> Result<(), ClusterError> {
    let Some(issued_now) = &scene.issued else { return Ok(()) };
    let values = if with_previous {
        issued_now.values.clone()
    } else {
        scene.values()
    };
    let keep = issued(scene, annotations(&record), values);
    let held = context.cluster.keep(&keep, scene.issued.as_ref()).await?;
    (scene.issued, scene.record) = (Some(held), Some(record));
    Ok(())
}

/// LOSE: the old value is used up and the new one never came. More calls would only make it worse.
async fn lose<C: Cluster, F: Fleet>(context: &Context<C, F>, scene: &mut Scene) -> Result<Taken, ReconcileError> {
    let (reason, message) = words_of_loss(scene);
    let Some(mut attempt) = scene.attempt.clone() else {
        return Ok(done());
    };
    // An edit that came before is no reason to ask again.
    attempt.spec.clone_from(&scene.policy.spec);
    attempt.failed = Some(Failed {
        times: attempt.failed.map_or(1, |failed| failed.times + 1),
        last: (context.settings.clock)(),
        next: Timestamp::MAX,
        owed: None,
        whole: Some(scene.policy.whole.clone()),
        reason: reason.into(),
        message: message.into(),
        permanent: true,
    });
    save(context, scene, attempt).await?;
    crate::telemetry::controller_metrics::rotated(&scene.key, "lost");
    Ok(Taken {
        notices: vec![notice(scene, true, reason, "Rotate", message.to_owned())],
        ..done()
    })
}

/// Reason and message of a value that is lost for good.
fn words_of_loss(scene: &Scene) -> (&'static str, &'static str) {
    if scene.credential.spec.oauth2.is_some() {
        (
            "ReauthorizationRequired",
            "the provider's answer with the next refresh token was lost, and the grace period for using the old one \
             again is over; authorise anew and put the new refresh token where `spec.oauth2.refreshTokenRef` points",
        )
    } else {
        (
            "IssueFailed",
            "the provider's answer with the next value was lost, and the old value, which authorises the call, may be \
             void; make a new value by hand, put it where `secretRef` points, and delete the issued Secret",
        )
    }
}

/// Writes the attempt down.
async fn save<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    attempt: Attempt,
) -> Result<(), ClusterError> {
    let held = context
        .cluster
        .keep(&pending(scene, &attempt), scene.pending.as_ref())
        .await?;
    (scene.pending, scene.attempt) = (Some(held), Some(attempt));
    Ok(())
}

/// The pending Secret that holds `attempt`.
fn pending(scene: &Scene, attempt: &Attempt) -> Keep {
    // An attempt of strings and numbers always serialises.
    let text = serde_json::to_string(attempt).unwrap_or_default();
    Keep {
        key: scene.pending_key.clone(),
        credential: scene.key.name.to_string(),
        owner: scene.uid.clone(),
        kind: SECRET_PENDING,
        annotations: [].into(),
        values: [(ATTEMPT.to_owned(), SecretValue::new(text))].into(),
    }
}

/// The issued Secret.
fn issued(
    scene: &Scene,
    annotations: std::collections::BTreeMap<String, String>,
    values: std::collections::BTreeMap<String, SecretValue>,
) -> Keep {
    Keep {
        key: scene.issued_key.clone(),
        credential: scene.key.name.to_string(),
        owner: scene.uid.clone(),
        kind: SECRET_ISSUED,
        annotations,
        values,
    }
}

fn annotations(record: &Record) -> std::collections::BTreeMap<String, String> {
    let text = serde_json::to_string(record).unwrap_or_default();
    [
        (record::ANNOTATION.to_owned(), text),
        (record::ANNOTATION_REVISION.to_owned(), record.revision.to_string()),
    ]
    .into()
}

/// How long after `times` failures in a row a step is tried again, full jitter over the upper half, from 1 s to 5 min.
fn backoff(times: u32, random: f64) -> SignedDuration {
    let longest = Duration::from_secs(1)
        .saturating_mul(1 << times.min(12))
        .min(Duration::from_secs(300));
    SignedDuration::try_from(longest.mul_f64(0.5 + random / 2.0)).unwrap_or(SignedDuration::from_secs(300))
}

/// What people should know of the Credential.
pub fn notice(scene: &Scene, warning: bool, reason: &'static str, action: &'static str, note: String) -> Notice {
    Notice {
        regarding: Regarding {
            kind: "Credential",
            key: scene.key.clone(),
            uid: scene.uid.clone(),
        },
        warning,
        reason,
        action,
        note,
    }
}

/// Whether a lost answer may have left something alive at the provider that nobody knows.
fn may_orphan(class: Class) -> bool {
    class == Class::Added
}

/// Most characters of a provider's name for a value in a message.
const CALLED_MAX: usize = 200;

/// What the provider calls a value, as it may be repeated: it can be anything, and a terminal or a log must not obey it.
pub fn called(id: &str) -> String {
    let mut characters = id.escape_debug();
    let mut escaped: String = characters.by_ref().take(CALLED_MAX).collect();
    if characters.next().is_some() {
        escaped.push('…');
    }
    escaped
}

/// The same, or its revision where the provider has no name for it.
pub fn named(id: Option<&str>, revision: i64) -> String {
    id.map_or_else(|| format!("revision {revision}"), called)
}

/// Why an attempt was given up, in a sentence.
fn told(why: Abandoned) -> &'static str {
    match why {
        Abandoned::Outdated => "what it was made for has changed since",
        Abandoned::Expired => "its value expired before it was in use",
        Abandoned::Poisoned => "the provider refuses its value",
    }
}

impl<C: Cluster, F: Fleet> Context<C, F> {
    /// How long the call to the provider has to wait for others; `None`: not at all.
    fn hold_back(&self, scene: &Scene) -> Option<Duration> {
        let host = scene.host()?;
        let end = scene
            .record
            .as_ref()
            .and_then(|record| record.not_after)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let now = tokio::time::Instant::now();
        let turn = crate::controller::lock(&self.pace).ask(&host, &scene.key, end, now);
        turn.err().map(|turn| turn.saturating_duration_since(now))
    }

    /// Makes sure that the Credential is not gone before what we have made is revoked.
    async fn ensure_finalizer(&self, scene: &Scene) -> Result<(), ClusterError> {
        if is_guarded(&scene.credential) {
            return Ok(());
        }
        self.cluster.set_finalizer(&scene.key, &scene.credential, true).await
    }
}
