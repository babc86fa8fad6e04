//! The steps that take something away at a provider: the previous value, or what an attempt made that is given up.

use std::time::Duration;

use jiff::SignedDuration;

use super::{PREVIOUS, Taken, backoff, called, done, fresh, id_of, may_orphan, notice, rewrite, save, told};
use crate::cluster::Cluster;
use crate::controller::credential::scene::Scene;
use crate::controller::{Context, ReconcileError};
use crate::domain::rotation::next::{self, Abandoned};
use crate::domain::rotation::{Attempt, Class, Failed, Phase, Reason};
use crate::fleet::Fleet;
use crate::provider::IssueError;

/// After so many failures an attempt is given up although what it made may be alive: it is named.
const GIVEN_UP: u32 = 5;

/// RETIRE: nobody uses the previous value any more. It goes at the provider, then here.
pub(super) async fn retire<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
) -> Result<Taken, ReconcileError> {
    let Some(mut record) = scene.record.clone() else {
        return Ok(done());
    };
    let Some(mut previous) = record.previous.take() else {
        return Ok(done());
    };
    if scene.policy.revokes {
        if let Some(wait) = context.hold_back(scene) {
            return Ok(Taken {
                again: Some(wait),
                ..Taken::default()
            });
        }
        let now = (context.settings.clock)();
        let value = scene
            .issued
            .as_ref()
            .and_then(|issued| issued.values.get(&format!("{PREVIOUS}value")));
        // There is no attempt any more; the calls of `revoke` may name the one that made the value in use.
        let attempt = of_record(scene);
        let revoked = context
            .providers
            .revoke(&scene.order(&attempt, now), value, previous.id.as_deref())
            .await;
        if let Err(error) = revoked {
            // The first value, which somebody else wrote: what the provider calls it is known to nobody here, and never
            // will be.
            if previous.id.is_none()
                && scene.policy.class == Class::Added
                && matches!(error, IssueError::Refused { .. })
            {
                let note = format!(
                    "revision {} is left alive at the provider, because what it is called there is not known: {error}; \
                     revoke it there",
                    previous.revision
                );
                // Before the write: whoever goes on after it knows nothing of the value any more.
                context
                    .cluster
                    .publish(notice(scene, true, "Orphaned", "Revoke", note))
                    .await;
                rewrite(context, scene, record, false).await?;
                return Ok(done());
            }
            previous.failures = previous.failures.saturating_add(1);
            let wait = match &error {
                IssueError::Later { after: Some(after), .. } => {
                    SignedDuration::try_from(*after).unwrap_or(SignedDuration::from_hours(1))
                }
                _ => backoff(previous.failures.min(12), rand::random()),
            };
            previous.next_attempt = now.checked_add(wait).ok();
            let first = previous.failures == 1;
            tracing::warn!(key = %scene.key, failures = previous.failures, %error, "the previous value could not be revoked");
            let note = format!(
                "revision {} could not be revoked, which is tried again: {error}",
                previous.revision
            );
            record.previous = Some(previous);
            rewrite(context, scene, record, true).await?;
            let notices = if first {
                vec![notice(scene, true, "RevokeFailed", "Revoke", note)]
            } else {
                Vec::new()
            };
            return Ok(Taken { notices, ..done() });
        }
    }
    rewrite(context, scene, record, false).await?;
    Ok(done())
}

/// ABANDON: what the attempt made is taken away, then the attempt.
pub(super) async fn abandon<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    why: Abandoned,
) -> Result<Taken, ReconcileError> {
    let Some(attempt) = scene.attempt.clone() else {
        return Ok(done());
    };
    let now = (context.settings.clock)();
    let next = attempt
        .failed
        .as_ref()
        .filter(|_| attempt.abandoning > 0)
        .map(|failed| failed.next);
    if let Some(next) = next.filter(|next| now < *next) {
        return Ok(Taken {
            again: Some(Duration::try_from(next.duration_since(now)).unwrap_or_default()),
            ..Taken::default()
        });
    }
    let notices = vec![notice(
        scene,
        why == Abandoned::Poisoned,
        "RotationAbandoned",
        "Rotate",
        format!("attempt {} is given up: {}", attempt.id, told(why)),
    )];
    if scene.policy.revokes
        && let Err(error) = take_away(context, scene, &attempt).await
    {
        if attempt.abandoning < GIVEN_UP {
            return failed_to_abandon(context, scene, attempt, error).await;
        }
        let name = attempt.minted.as_ref().and_then(|minted| minted.id.as_deref());
        let name = called(name.unwrap_or(&attempt.id));
        let note =
            format!("`{name}` may be alive at the provider and is used by nobody; it could not be revoked: {error}");
        // Before the write, after which nobody knows of it any more.
        context
            .cluster
            .publish(notice(scene, true, "Orphaned", "Rotate", note))
            .await;
    }
    // Another candidate, in the same place: the account of what was issued goes on, and the provider may remember the id of
    // this one. What there is to say of the failure stays told until the next try.
    let paid = next::pay_again(&scene.policy, scene.record.as_ref(), &attempt, now);
    let reason = if why == Abandoned::Outdated && scene.record.is_some() {
        Reason::SpecChanged
    } else {
        attempt.reason
    };
    let number = attempt.candidate_number + 1;
    let mut another = fresh(scene, reason, number, attempt.requested.clone(), paid, now);
    another.revision = attempt.revision;
    another.id = id_of(scene, attempt.revision, number);
    save(context, scene, another).await?;
    Ok(Taken { notices, ..done() })
}

/// The step stays Abandon; what failed and when it is tried again is written down.
async fn failed_to_abandon<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    mut attempt: Attempt,
    error: IssueError,
) -> Result<Taken, ReconcileError> {
    let now = (context.settings.clock)();
    attempt.abandoning += 1;
    let wait = backoff(attempt.abandoning + 2, rand::random());
    tracing::warn!(key = %scene.key, attempt = attempt.id, %error, "what a rotation made could not be taken away");
    attempt.failed = Some(Failed {
        times: attempt.abandoning,
        last: now,
        next: now.checked_add(wait).unwrap_or(now),
        owed: None,
        whole: None,
        reason: "IssueFailed".into(),
        message: error.to_string(),
        permanent: false,
    });
    save(context, scene, attempt).await?;
    Ok(done())
}

/// Takes away what the attempt made, as far as it is known or can be found.
async fn take_away<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &Scene,
    attempt: &Attempt,
) -> Result<(), IssueError> {
    let order = scene.order(attempt, (context.settings.clock)());
    if let Some(minted) = &attempt.minted {
        let value = minted.values.get("value");
        return context.providers.revoke(&order, value, minted.id.as_deref()).await;
    }
    if attempt.sends == 0 || attempt.phase != Phase::Intent || !may_orphan(scene.policy.class) {
        return Ok(());
    }
    match context.providers.take_away(&order).await? {
        Some(left) => left.into_iter().next().map_or(Ok(()), |(_, error)| Err(error)),
        None => Err(IssueError::Lost {
            message: "whether the provider made a value is not known, and there is no `rotation.steps.find`".into(),
        }),
    }
}

/// The attempt that made the value in use, as far as it is still known.
pub fn of_record(scene: &Scene) -> Attempt {
    use crate::domain::rotation::attempt;
    let record = scene.record.as_ref();
    let time = record.map_or(jiff::Timestamp::UNIX_EPOCH, |record| record.issued);
    Attempt {
        format: attempt::FORMAT,
        revision: record.map_or(0, |record| record.revision),
        id: record.map(|record| record.attempt.clone()).unwrap_or_default(),
        candidate_number: 0,
        spec: String::new(),
        sources: record.map(|record| record.sources.clone()).unwrap_or_default(),
        reason: Reason::Requested,
        requested: None,
        created: time,
        paid_until: time,
        candidate: None,
        sends: 0,
        sent: None,
        phase: Phase::Tested,
        minted: None,
        failed: None,
        abandoning: 0,
    }
}
