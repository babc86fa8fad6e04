//! A Credential whose values we issue: one step towards a fresh one in each run.
//!
//! ```text
//! look (everything, live) -> domain::rotation::next -> take the one step -> report -> again, or when it is time
//! ```
//!
//! What a step needs to go on after a crash is in the two Secrets, so a run may end anywhere: the next one, of this
//! process or another, finds out where.

use std::time::Duration;

use crate::api::ANNOTATION_ROTATE;
use crate::api::condition::{ConditionStatus, kind};
use crate::api::credential::Credential;
use crate::cluster::Cluster;
use crate::controller::queue::schedule::Urgency;
use crate::controller::references::Source;
use crate::controller::report::{Reported, again};
use crate::controller::{Context, ReconcileError, lock, resync};
use crate::domain::aggregate;
use crate::domain::key::Key;
use crate::domain::rotation::next::Waiting;
use crate::domain::rotation::{self, Next, Observed, Step};
use crate::domain::status::echo;
use crate::domain::validate::CredentialProblem;
use crate::fleet::Fleet;
use crate::telemetry::controller_metrics;

use super::scene::Scene;
use super::step;
use super::{Findings, consumers, report};

/// A failure of the store in the middle of a step is tried again after the queue's own backoff; a step that waits for
/// nothing that we hear of is looked at again after this time.
const RECHECK: Duration = Duration::from_secs(60);

/// Takes one step.
pub(super) async fn reconcile<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: Key,
    credential: Credential,
) -> Result<Option<Duration>, ReconcileError> {
    let stored = credential.status.clone().unwrap_or_default();
    let scene = Scene::look(context, &key, &credential).await;
    let mut scene = report::readable(context, &key, &credential, scene).await?;
    let first = scene.first_since(&stored, context.now());
    let next = decide(context, &scene, &stored);
    let taken = step::take(context, &mut scene, &next).await;
    let revision = scene
        .current
        .material
        .is_ok()
        .then_some(scene.current.revision)
        .or(stored.revision);
    let consumers = consumers(context, &key, &stored, revision);
    let mut issuing = report::issuing::Issuing::of(&scene, &next, first);
    if let Err(ReconcileError::Cluster(error)) = &taken {
        issuing.refused(error, context.now());
    }
    let refusal = issuing.refusal.clone();
    let obstacle = scene.obstacle.clone().map(Err);
    let findings = Findings {
        // The last good value keeps serving whatever stands in the way of the next one, but an edit is wanted.
        material: obstacle.unwrap_or_else(|| scene.current.material.clone().map_err(|it| issuing.explain(it))),
        revision,
        secret_version: scene.current.secret_version.clone(),
        consumers,
        not_before: None,
        not_after: None,
        issuing: Some(issuing),
    };
    let changed = scene_differs(&stored, &findings);
    if changed {
        lock(&context.values).owe(&key);
    }
    let reported = report::report(context, &key, &scene.credential, &findings).await;
    if let Some(note) = refusal.filter(|note| !is_told(&stored, note)) {
        context
            .cluster
            .publish(step::notice(&scene, true, "RotationFailed", "Rotate", note))
            .await;
    }
    // What the step failed with is what the backoff is about.
    let taken = taken?;
    let reported = reported?;
    let record = scene.record.as_ref();
    let renewal = record.and_then(|record| scene.policy.renewal(record));
    controller_metrics::credential_times(&key, record.and_then(|record| record.not_after), renewal);
    if taken.published || lock(&context.values).owes(&key) {
        if !matches!(reported, Reported::Later(_)) {
            lock(&context.values).paid(&key);
        }
        context.wake_users(&Source::Credential(key.clone()), Urgency::Edited);
    }
    let wait = match &taken.again {
        Some(wait) => *wait,
        None => until(context, &next),
    };
    let settled = context
        .unsettled_until()
        .map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
    let wait = wait.min(settled.unwrap_or(Duration::MAX));
    Ok(Some(again(reported, resync().min(wait))))
}

/// Whether the status says so already: trying again in vain is told once.
fn is_told(stored: &crate::api::credential::CredentialStatus, note: &str) -> bool {
    let mut conditions = stored.conditions.iter();
    conditions.any(|it| it.type_ == kind::ISSUING && note.starts_with(it.message.trim_end_matches('…')))
}

/// What an Integration depends on is another than the status tells.
fn scene_differs(stored: &crate::api::credential::CredentialStatus, findings: &Findings) -> bool {
    // Why there is no value is told by those who use it as well.
    let ready = stored.conditions.iter().find(|it| it.type_ == kind::READY);
    let lacks = findings.material.as_ref().err().map(CredentialProblem::reason);
    let lacked = ready
        .filter(|it| it.status == ConditionStatus::False)
        .map(|it| &*it.reason);
    stored.revision != findings.revision
        || stored.secret_version != findings.secret_version
        || ready.is_some() && lacks != lacked
}

/// The next step, from what was seen.
fn decide<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &Scene,
    stored: &crate::api::credential::CredentialStatus,
) -> Next {
    let idle = Next {
        step: Step::Idle,
        reason: None,
        wake: None,
    };
    // Hands off, or nothing that hands could do.
    if scene.credential.spec.suspend == Some(true) || scene.obstacle.is_some() {
        return idle;
    }
    // A pending Secret that does not decode is of a newer version of this program, which will be back.
    if scene.pending.is_some() && scene.attempt.is_none() {
        return Next {
            step: Step::Wait(Waiting::Edit),
            ..idle
        };
    }
    let annotations = scene.credential.metadata.annotations.as_ref();
    let rotate = annotations
        .and_then(|all| all.get(ANNOTATION_ROTATE))
        .map(|value| echo(value));
    let handled = stored.handled.as_ref().and_then(|handled| handled.rotate.as_deref());
    let revision = scene
        .record
        .as_ref()
        .map_or(scene.current.revision, |record| record.revision);
    let (adopted, refused) = standing(context, &scene.key, revision);
    rotation::next(
        &scene.policy,
        &Observed {
            record: scene.record.as_ref(),
            usable: scene.is_usable(),
            attempt: scene.attempt.as_ref(),
            // Where there is a first value, an issued Secret that is removed is not issued again by itself, and what the
            // status tells may be an edit of the first value, which is no issue.
            last: stored.last_rotation_time.filter(|_| !scene.policy.has_first),
            first: scene.first_since(stored, (context.settings.clock)()),
            sources: &scene.fingerprint,
            rotate: rotate.as_deref(),
            handled,
            refused,
            adopted,
            now: (context.settings.clock)(),
        },
    )
}

/// Whether every worker that uses the Credential uses this revision, and with which status a provider refuses it.
///
/// Right after a start not every worker has been heard of, and what is not known to be adopted is not.
fn standing<C: Cluster, F: Fleet>(context: &Context<C, F>, key: &Key, revision: i64) -> (bool, Option<u16>) {
    let integrations = lock(&context.references).integrations_of(key);
    let reports = lock(&context.reports);
    let mut adopted = context.unsettled_until().is_none();
    let mut refused: Option<u16> = None;
    for integration in &integrations {
        let workers = reports.of(integration);
        adopted &= aggregate::consumer(&workers, &key.name).is_none_or(|used| used >= revision);
        let status = aggregate::refused(&workers, &key.name, revision);
        // 401 is the lower one, and says more.
        refused = refused.into_iter().chain(status).min();
    }
    (adopted, refused)
}

/// How long until `next` says to look again.
fn until<C: Cluster, F: Fleet>(context: &Context<C, F>, next: &Next) -> Duration {
    let now = (context.settings.clock)();
    match next.wake {
        // Rounded up: a timer that ends early would find that there is still nothing to do.
        Some(wake) => Duration::try_from(wake.duration_since(now)).unwrap_or_default() + Duration::from_millis(1),
        None if matches!(next.step, Step::Wait(Waiting::Workers)) => RECHECK,
        None => Duration::MAX,
    }
}
