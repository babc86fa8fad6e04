//! The steps that a provider is asked in: a value is made, and tried.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};

use super::{Taken, backoff, called, done, may_orphan, notice, rotate, save, words_of_loss};
use crate::api::condition::reason;
use crate::cluster::{Cluster, ClusterError, Notice};
use crate::controller::credential::scene::Scene;
use crate::controller::{Context, ReconcileError, lock};
use crate::domain::rotation::next::{call, ends, refused_until};
use crate::domain::rotation::{Attempt, Class, Failed, Minted, Phase};
use crate::domain::validate;
use crate::fleet::Fleet;
use crate::provider::steps::Trial;
use crate::provider::{self, IssueError, WAIT_MAX};
use crate::telemetry::controller_metrics;

/// A process that was held up for longer between writing down that it asks and asking does not ask any more: another
/// one may have taken over.
const FRESH: Duration = Duration::from_secs(3);
/// For how long a value that was just made is tried to be saved.
const SAVING: Duration = Duration::from_secs(60);
/// So many answers in a row that cannot be used are not an error page that passes.
const PATIENCE: u32 = 3;

/// ACT: that the provider is asked is written down first, and its answer is saved before anything else is done with it.
pub(super) async fn act<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
) -> Result<Taken, ReconcileError> {
    let Some(mut attempt) = scene.attempt.clone() else {
        return Ok(done());
    };
    if let Some(wait) = context.hold_back(scene) {
        return Ok(Taken {
            again: Some(wait),
            ..Taken::default()
        });
    }
    let begun = Instant::now();
    let before = attempt.sent;
    let unanswered = attempt.sends > 0;
    attempt.sends += 1;
    attempt.sent = Some((context.settings.clock)());
    attempt.sources.clone_from(&scene.fingerprint);
    attempt.requested = pressed(scene, &attempt);
    save(context, scene, attempt.clone()).await?;
    if begun.elapsed() > FRESH || context.stopping.is_cancelled() {
        return failed(
            context,
            scene,
            attempt,
            before,
            IssueError::NotSent {
                reason: "IssueFailed",
                message: "the controller was held up, and asks again".into(),
            },
        )
        .await;
    }
    let mut notices = Vec::new();
    if unanswered && may_orphan(scene.policy.class) && !provider::is_idempotent(&scene.credential.spec) {
        // An answer that was lost may have left a value behind. Without a way to find it, it is named.
        let order = scene.order(&attempt, (context.settings.clock)());
        match context.providers.take_away(&order).await {
            Ok(Some(left)) => {
                if let Some((_, error)) = left.into_iter().next() {
                    return failed(context, scene, attempt, before, error).await;
                }
            }
            Ok(None) => notices.push(notice(
                scene,
                true,
                "OrphanPossible",
                "Rotate",
                format!(
                    "an answer was lost: a value of attempt {} may be alive at the provider; look for it there, or give \
                     `rotation.steps.find`",
                    attempt.id
                ),
            )),
            Err(error) => return failed(context, scene, attempt, before, error).await,
        }
    }
    let now = (context.settings.clock)();
    let issued = {
        let order = scene.order(&attempt, now);
        timeout(
            call(scene.policy.class) + Duration::from_secs(1),
            context.providers.issue(&order),
        )
        .await
    };
    let issued = issued.unwrap_or_else(|_| {
        Err(IssueError::Lost {
            message: "the provider did not answer in time".into(),
        })
    });
    let issued = match issued {
        Ok(minted) => match useless(scene, &minted, (context.settings.clock)()) {
            Some(error) => Err((error, Some(minted))),
            None => Ok(minted),
        },
        Err(error) => Err((error, None)),
    };
    let mut taken = match issued {
        Ok(minted) => keep(context, scene, attempt, minted).await?,
        Err((error, minted)) => {
            if matches!(error, IssueError::Unusable { .. }) && may_orphan(scene.policy.class) {
                let (left, settled) = take_back(context, scene, &attempt, minted.as_ref()).await;
                notices.extend(left);
                if settled {
                    attempt.sends -= 1;
                    attempt.sent = before.filter(|_| attempt.sends > 0);
                }
            }
            failed(context, scene, attempt, before, error).await?
        }
    };
    taken.notices.splice(..0, notices);
    Ok(taken)
}

/// Why a value that came is none: to ask again at once would bring the same. It never takes the place of one that works.
fn useless(scene: &Scene, minted: &Minted, now: Timestamp) -> Option<IssueError> {
    // What came with a value that replaces itself authorises the next one, and the one before it is used up.
    if scene.policy.class == Class::Chained {
        return None;
    }
    if minted.not_after.is_some_and(|end| ends(end) <= now) {
        let message = "the value that the provider gave had already expired; look at the provider's clock and lifetime";
        return Some(match scene.policy.class {
            Class::Free => IssueError::Later {
                after: None,
                message: message.into(),
            },
            _ => IssueError::Unusable {
                message: message.into(),
            },
        });
    }
    let problem = validate::issued(&scene.credential.spec, &minted.values).err()?;
    Some(IssueError::Unusable {
        message: problem.to_string(),
    })
}

/// Takes what was made and cannot be used away again: `minted`, as far as it is known, else what can be found. What is left
/// is told of. Says as well whether that is all of it, so that nobody needs to look for it before the next call.
async fn take_back<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &Scene,
    attempt: &Attempt,
    minted: Option<&Minted>,
) -> (Vec<Notice>, bool) {
    let order = scene.order(attempt, (context.settings.clock)());
    if let Some(minted) = minted.filter(|_| scene.policy.revokes) {
        let name = called(minted.id.as_deref().unwrap_or(&attempt.id));
        let value = minted.values.get("value");
        let revoked = context.providers.revoke(&order, value, minted.id.as_deref()).await;
        let left = revoked.err().map(|error| {
            let note =
                format!("`{name}` is alive at the provider and used by nobody, and could not be revoked: {error}");
            notice(scene, true, "Orphaned", "Rotate", note)
        });
        return (left.into_iter().collect(), true);
    }
    // A provider that knows the attempt gives the same again once the filter is right.
    let mut left = Vec::new();
    if provider::is_idempotent(&scene.credential.spec) {
        return (left, false);
    }
    match context.providers.take_away(&order).await {
        // A provider may list it only later.
        Ok(Some(ids)) => {
            for (id, error) in ids {
                let name = called(&id);
                let note =
                    format!("`{name}` is alive at the provider and used by nobody, and could not be revoked: {error}");
                left.push(notice(scene, true, "Orphaned", "Rotate", note));
            }
            (left, false)
        }
        Ok(None) => {
            let note = format!(
                "a value of attempt {} is alive at the provider and used by nobody, because it could not be taken out of \
                 the answer; look for it there, or give `rotation.steps.find`",
                attempt.id
            );
            left.push(notice(scene, true, "OrphanPossible", "Rotate", note));
            (left, true)
        }
        Err(_) => (left, false),
    }
}

/// The request for a rotation that this attempt carries out as well.
fn pressed(scene: &Scene, attempt: &Attempt) -> Option<String> {
    // Nothing was asked of the provider yet, so what comes is new enough for whoever asked.
    if attempt.sends == 1 {
        rotate(scene).or_else(|| attempt.requested.clone())
    } else {
        attempt.requested.clone()
    }
}

/// Saves what was made, as hard as it takes: this may be the one copy of it.
async fn keep<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    mut attempt: Attempt,
    minted: Minted,
) -> Result<Taken, ReconcileError> {
    attempt.phase = Phase::Minted;
    attempt.minted = Some(minted.clone());
    attempt.failed = None;
    let deadline = Instant::now() + SAVING;
    let mut pause = Duration::from_millis(50);
    loop {
        let error = match save(context, scene, attempt.clone()).await {
            Ok(()) => return Ok(done()),
            Err(error) => error,
        };
        // The write may have been done although we were told that it failed.
        if let Ok(held) = context.cluster.held(&scene.pending_key).await {
            let stored = held.as_ref().and_then(super::super::scene::read_attempt);
            if stored.as_ref() == Some(&attempt) {
                (scene.pending, scene.attempt) = (held, stored);
                return Ok(done());
            }
            let untouched = held.as_ref().map(|held| &held.version) == scene.pending.as_ref().map(|held| &held.version);
            if !untouched {
                // Somebody else has gone on with this attempt: what we made is one too many.
                return Ok(give_back(context, scene, &attempt, &minted).await);
            }
        }
        if Instant::now() > deadline {
            tracing::error!(key = %scene.key, attempt = attempt.id, %error, "a value that was made could not be saved");
            return Err(error.into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Takes a value away that nobody will use: not one that whoever went on was given as well, by a provider that gives the
/// same answer to the same attempt.
async fn give_back<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &Scene,
    attempt: &Attempt,
    minted: &Minted,
) -> Taken {
    if !scene.policy.revokes {
        return done();
    }
    let name = called(minted.id.as_deref().unwrap_or(&attempt.id));
    match is_of_use(context, scene, attempt, minted).await {
        Some(true) => return done(),
        Some(false) => {}
        None => {
            let note = format!("`{name}` may be alive at the provider and used by nobody; look for it there");
            return Taken {
                notices: vec![notice(scene, true, "OrphanPossible", "Rotate", note)],
                ..done()
            };
        }
    }
    let order = scene.order(attempt, (context.settings.clock)());
    let value = minted.values.get("value");
    let Err(error) = context.providers.revoke(&order, value, minted.id.as_deref()).await else {
        return done();
    };
    let note = format!("`{name}` is alive at the provider and used by nobody, and could not be revoked: {error}");
    Taken {
        notices: vec![notice(scene, true, "Orphaned", "Rotate", note)],
        ..done()
    }
}

/// Whether what we made is the value that is used, or is about to be; `None` if that cannot be found out.
///
/// As long as whoever went on has no answer, it is not known which value that will be.
async fn is_of_use<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &Scene,
    attempt: &Attempt,
    minted: &Minted,
) -> Option<bool> {
    let deadline = Instant::now() + SAVING;
    loop {
        let pending = context.cluster.held(&scene.pending_key).await;
        let issued = context.cluster.held(&scene.issued_key).await;
        if let (Ok(pending), Ok(issued)) = (pending, issued) {
            let other = pending.as_ref().and_then(super::super::scene::read_attempt);
            let undecided = |other: &Attempt| other.id == attempt.id && other.phase == Phase::Intent;
            if !other.as_ref().is_some_and(undecided) {
                let made = minted.values.get("value");
                let on_its_way = other.and_then(|other| other.minted);
                let next = on_its_way.as_ref().and_then(|minted| minted.values.get("value"));
                let in_use = issued.iter().flat_map(|issued| issued.values.values());
                return Some(made.is_some() && in_use.chain(next).any(|value| Some(value) == made));
            }
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// TEST: the value is tried before anybody uses it.
pub(super) async fn test<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
) -> Result<Taken, ReconcileError> {
    let Some(mut attempt) = scene.attempt.clone() else {
        return Ok(done());
    };
    let Some(minted) = attempt.minted.clone() else {
        return Ok(done());
    };
    if let Some(wait) = context.hold_back(scene) {
        return Ok(Taken {
            again: Some(wait),
            ..Taken::default()
        });
    }
    let now = (context.settings.clock)();
    match context.providers.test(&scene.order(&attempt, now), &minted).await {
        Ok(Trial::Fails { message }) => {
            let reason = reason::ISSUE_FAILED;
            failed(context, scene, attempt, None, IssueError::Refused { reason, message }).await
        }
        Ok(Trial::Works) => {
            attempt.phase = Phase::Tested;
            attempt.failed = None;
            save(context, scene, attempt).await?;
            Ok(done())
        }
        // A trial that could not be made says nothing about the value: it is no reason to give it up.
        Err(IssueError::Refused { message, .. }) => {
            let after = Some(Duration::from_secs(30));
            failed(context, scene, attempt, None, IssueError::Later { after, message }).await
        }
        Err(error) => failed(context, scene, attempt, None, error).await,
    }
}

/// So many answers in a row that cannot be used are for good.
fn patience(scene: &Scene) -> u32 {
    let spec = &scene.credential.spec;
    let finds = || spec.steps().is_some_and(|steps| steps.find.is_some()) || provider::is_idempotent(spec);
    match scene.policy.class {
        // Each of them may be alive at the provider and used by nobody.
        Class::Added if !finds() => 1,
        Class::Chained => u32::MAX,
        Class::Free | Class::Ours | Class::Added | Class::Replaced => PATIENCE,
    }
}

/// Writes down what went wrong, and when it is tried again. `sent` is when the provider was asked before this time.
async fn failed<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    scene: &mut Scene,
    mut attempt: Attempt,
    sent: Option<Timestamp>,
    error: IssueError,
) -> Result<Taken, ReconcileError> {
    let now = (context.settings.clock)();
    let before = attempt.failed.take();
    // What was refused with another spec says nothing of this one.
    let whole = Some(&scene.policy.whole);
    let alike = before
        .as_ref()
        .filter(|failed| failed.whole.is_none() || failed.whole.as_ref() == whole);
    let times = alike.map_or(0, |failed| failed.times) + 1;
    let intent = attempt.phase == Phase::Intent;
    let free = scene.policy.class == Class::Free;
    let made = matches!(error, IssueError::Unusable { .. }) && !free;
    // What surely did nothing does not count as a call, and a token too many is nothing. What cannot be used was not made
    // again if it is taken away already.
    if intent && !made && !matches!(error, IssueError::Lost { .. }) {
        attempt.sends = attempt.sends.saturating_sub(1);
        attempt.sent = sent.filter(|_| attempt.sends > 0);
    }
    let replay = intent && scene.policy.class == Class::Chained && attempt.sends > 0;
    let wait = match &error {
        // Inside the grace period, which is short.
        _ if replay && times <= 2 => SignedDuration::from_secs(2),
        IssueError::Later { after: Some(after), .. } => SignedDuration::try_from(*after)
            .unwrap_or(SignedDuration::from_hours(1))
            .max(backoff(times, rand::random())),
        _ => backoff(times, rand::random()),
    };
    let (reason, permanent): (&str, bool) = match &error {
        IssueError::NotSent { reason, .. } => (*reason, false),
        IssueError::Lost { .. } | IssueError::Later { .. } => ("IssueFailed", false),
        IssueError::Unusable { .. } => ("IssueFailed", times >= patience(scene)),
        IssueError::Refused { reason, .. } => (*reason, true),
        IssueError::Reauthorize { .. } => ("ReauthorizationRequired", true),
    };
    let mut owed = alike.and_then(|failed| failed.owed);
    let next = match &error {
        IssueError::Reauthorize { .. } => Timestamp::MAX,
        // A replay that is refused has used the old value up for good.
        IssueError::Refused { .. } if replay => Timestamp::MAX,
        IssueError::Refused { .. } | IssueError::Unusable { .. } if intent && permanent => {
            refused_until(&scene.policy, scene.record.as_ref(), owed, now)
        }
        _ => now.checked_add(wait).unwrap_or(Timestamp::MAX),
    };
    if permanent && intent && next < Timestamp::MAX {
        owed = Some(next);
    }
    if let IssueError::Later { after: Some(after), .. } = &error
        && let Some(host) = scene.host()
    {
        lock(&context.pace).pause(&host, Instant::now() + (*after).min(WAIT_MAX));
    }
    // The old value was used up the first time, and what came of it is lost.
    let lost = replay && permanent;
    let (reason, message) = if lost {
        let (reason, message) = words_of_loss(scene);
        (reason, format!("{message}; {error}"))
    } else {
        (reason, error.to_string())
    };
    if next == Timestamp::MAX {
        // An edit that came before is no reason to ask again.
        attempt.spec.clone_from(&scene.policy.spec);
    }
    attempt.failed = Some(Failed {
        times,
        last: now.max(attempt.sent.unwrap_or(now)),
        next,
        owed,
        whole: whole.cloned(),
        reason: reason.to_owned(),
        message: message.clone(),
        permanent,
    });
    controller_metrics::rotated(&scene.key, if lost { "lost" } else { "failure" });
    tracing::warn!(key = %scene.key, attempt = attempt.id, times, reason, %error, "a rotation failed");
    // Told once for each reason, not with every try.
    let told = before.is_some_and(|before| before.reason == reason && before.message == message);
    let warning = match reason {
        "ReauthorizationRequired" => "ReauthorizationRequired",
        _ if lost => "IssueFailed",
        _ => "RotationFailed",
    };
    let notices = if told {
        Vec::new()
    } else {
        vec![notice(scene, true, warning, "Rotate", message)]
    };
    match save(context, scene, attempt).await {
        // After a conflict somebody else has gone on, and what they know is newer.
        Ok(()) | Err(ClusterError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Taken { notices, ..done() })
}
