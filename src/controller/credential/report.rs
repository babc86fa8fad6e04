//! The status of a Credential: put together in one place, from one snapshot.

use jiff::Timestamp;

use crate::api::condition::{Condition, ConditionStatus, kind, reason};
use crate::api::credential::{CONSUMERS_MAX, Consumer, Credential, CredentialStatus};
use crate::api::integration::Handled;
use crate::api::{ANNOTATION_RECONCILE, ANNOTATION_ROTATE};
use crate::cluster::{Cluster, ClusterError, Notice, Regarding};
use crate::controller::pacing::Outline;
use crate::controller::queue::Failure;
use crate::controller::references::User;
use crate::controller::report::{Reported, Undecodable, finding};
use crate::controller::{Context, ReconcileError};
use crate::domain::key::Key;
use crate::domain::status::{Finding, Progress, echo, merge};
use crate::fleet::Fleet;

use super::Findings;
use issuing::Issuing;

pub(super) mod issuing;

/// Writes the status, if it differs from what is stored, and tells of what people should act on.
pub(super) async fn report<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    credential: &Credential,
    findings: &Findings,
) -> Result<Reported, ReconcileError> {
    let stored = credential.status.clone().unwrap_or_default();
    let status = compose(credential, &stored, findings, context.now());
    if stored == status {
        return Ok(Reported::Same);
    }
    let uid = credential.metadata.uid.clone().unwrap_or_default();
    let write = context.cluster.write_credential_status(key, &uid, &status);
    let user = User::Credential(key.clone());
    let reported = context.write(&user, outline(&stored), outline(&status), write).await?;
    if reported == Reported::Written {
        for notice in notices(key, &uid, &stored, &status) {
            context.cluster.publish(notice).await;
        }
    }
    Ok(reported)
}

fn outline(status: &CredentialStatus) -> Outline<'_> {
    let is_propagated =
        |condition: &Condition| condition.type_ == kind::PROPAGATED && condition.status == ConditionStatus::True;
    Outline {
        revision: status.revision,
        arrived: status.revision.filter(|_| status.conditions.iter().any(is_propagated)),
        ..Outline::new(status.observed_generation, status.handled.as_ref(), &status.conditions)
    }
}

fn compose(
    credential: &Credential,
    stored: &CredentialStatus,
    findings: &Findings,
    now: Timestamp,
) -> CredentialStatus {
    let generation = credential.metadata.generation.unwrap_or_default();
    let issued = findings.issuing.as_ref();
    let (ready, progress) = match &findings.material {
        Ok(_) => {
            let message = "a usable value is there for those who use it".to_owned();
            (
                finding(kind::READY, ConditionStatus::True, "Usable", message),
                issued.and_then(Issuing::progress).unwrap_or(Progress::Settled),
            )
        }
        Err(problem) => {
            let (reason, message) = (problem.reason(), problem.to_string());
            let ready = finding(kind::READY, ConditionStatus::False, reason, message.clone());
            let progress = match issued.and_then(Issuing::progress) {
                // That the value has ended says nothing of whether another one will come.
                Some(stalled @ Progress::Stalled { .. }) => stalled,
                _ if problem.stalls() => Progress::Stalled { reason, message },
                _ => Progress::Reconciling { reason, message },
            };
            (ready, progress)
        }
    };
    let issuing = issued.map_or_else(|| Issuing::default().issuing(), Issuing::issuing);
    let fresh = match issued {
        Some(issued) => issued.fresh(now),
        None => fresh_of_a_reference(findings, now),
    };
    let all = [ready, issuing, fresh, propagated(findings)];
    CredentialStatus {
        observed_generation: Some(generation),
        type_: credential.spec.credential_type(),
        revision: findings.revision,
        secret_version: findings.secret_version.clone(),
        last_rotation_time: match (stored.revision, findings.revision) {
            (before, Some(revision)) if before != Some(revision) && issued.is_some_and(|it| it.issued.is_some()) => {
                issued.and_then(|issued| issued.issued)
            }
            (Some(before), Some(revision)) if before != revision => Some(now),
            // The interval of a first value, which somebody else wrote, counts from when it was taken up.
            _ => stored
                .last_rotation_time
                .or_else(|| issued.filter(|it| it.first && findings.revision.is_some()).map(|_| now)),
        },
        consumers: listed(findings),
        handled: handled(credential, stored.handled.as_ref(), issued),
        conditions: merge(&stored.conditions, &all, &progress, generation, now),
        not_before: issued.map_or(findings.not_before, |issued| issued.not_before),
        not_after: issued.map_or(findings.not_after, |issued| issued.not_after),
        renewal_time: issued.and_then(|issued| issued.renewal),
        previous: issued.and_then(|issued| issued.previous.clone()),
        pending_secret_name: issued.and_then(|issued| issued.pending.clone()),
        rotation: issued.and_then(|issued| issued.rotation.clone()),
    }
}

/// `Fresh` of a value that somebody else renews.
fn fresh_of_a_reference(findings: &Findings, now: Timestamp) -> Finding {
    let (status, reason, message) = match findings.not_after {
        None => (
            ConditionStatus::True,
            "NoExpiry",
            "the value has no renewal time".to_owned(),
        ),
        Some(end) if end <= now => (
            ConditionStatus::False,
            reason::EXPIRED,
            format!("the value expired at {end}; whoever writes its Secret has to renew it"),
        ),
        Some(end) => (
            ConditionStatus::True,
            "Fresh",
            format!("the value is valid until {end}"),
        ),
    };
    finding(kind::FRESH, status, reason, message)
}

/// As many consumers as fit; where they do not, those that are behind come first, because they are what one looks for.
fn listed(findings: &Findings) -> Vec<Consumer> {
    let mut consumers = findings.consumers.clone();
    if consumers.len() > CONSUMERS_MAX {
        consumers.sort_by_key(|consumer| consumer.revision);
        consumers.truncate(CONSUMERS_MAX);
    }
    consumers
}

fn propagated(findings: &Findings) -> Finding {
    let revision = findings.revision.unwrap_or_default();
    let behind = |consumer: &&Consumer| consumer.revision < revision;
    let waiting: Vec<&str> = findings
        .consumers
        .iter()
        .filter(behind)
        .map(|consumer| consumer.name.as_str())
        .collect();
    if waiting.is_empty() {
        let message = "every worker that uses it runs the current revision".to_owned();
        return finding(kind::PROPAGATED, ConditionStatus::True, "Propagated", message);
    }
    let message = format!("waiting for the workers of {}", waiting.join(", "));
    finding(kind::PROPAGATED, ConditionStatus::False, "WaitingForWorkers", message)
}

/// A value from a Secret is rotated by whoever writes the Secret: a request to do it is carried out by looking, so that
/// nobody waits for it in vain.
fn handled(credential: &Credential, stored: Option<&Handled>, issued: Option<&Issuing>) -> Option<Handled> {
    let mut handled = stored.cloned().unwrap_or_default();
    let asked = |annotation: &str| {
        credential
            .metadata
            .annotations
            .as_ref()?
            .get(annotation)
            .map(|value| echo(value))
    };
    handled.reconcile = asked(ANNOTATION_RECONCILE).or(handled.reconcile);
    handled.rotate = match issued {
        // Carried out once a new value is in use, or once that was given up.
        Some(issued) => issued.requested.clone().or(handled.rotate),
        None => asked(ANNOTATION_ROTATE).or(handled.rotate),
    };
    (handled != Handled::default()).then_some(handled)
}

/// The events of the step from `stored` to `new`.
fn notices(key: &Key, uid: &str, stored: &CredentialStatus, new: &CredentialStatus) -> Vec<Notice> {
    let regarding = Regarding {
        kind: "Credential",
        key: key.clone(),
        uid: uid.to_owned(),
    };
    let told = |warning, reason, action, note| Notice {
        regarding: regarding.clone(),
        warning,
        reason,
        action,
        note,
    };
    // The steps of a rotation tell of themselves.
    let tells_of_steps = new.rotation.is_some();
    let mut notices = Vec::new();
    if let (Some(before), Some(revision)) = (stored.revision, new.revision)
        && before != revision
        && !tells_of_steps
    {
        notices.push(told(
            false,
            "Rotated",
            "Rotate",
            format!("another value was read; it is revision {revision}"),
        ));
    }
    if let Some(now) = ready(new).filter(|ready| ready.status == ConditionStatus::False)
        && !ready(stored).is_some_and(|before| before.status == now.status && before.reason == now.reason)
        && let Some(reason) = ["InvalidSpec", "SecretNotFound", "KeyMissing"]
            .into_iter()
            .find(|it| *it == now.reason)
    {
        notices.push(told(true, reason, "ReadSecret", now.message.clone()));
    }
    let rotate = |status: &CredentialStatus| status.handled.as_ref().and_then(|handled| handled.rotate.clone());
    if rotate(stored) != rotate(new) && !tells_of_steps {
        let note = "the value comes from a Secret; write another value there to rotate it".to_owned();
        notices.push(told(true, "NothingToRotate", "Rotate", note));
    }
    notices
}

fn ready(status: &CredentialStatus) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind::READY)
}

/// The status of a Credential that is stored and does not decode. Workers keep what they have of it.
pub(super) async fn undecodable<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    broken: Undecodable,
) -> Result<Reported, ClusterError> {
    let stored: CredentialStatus = serde_json::from_value(broken.status.clone()).unwrap_or_default();
    let status = CredentialStatus {
        observed_generation: Some(broken.generation),
        conditions: broken.conditions(&stored.conditions, &[kind::READY], context.now()),
        ..stored.clone()
    };
    if stored == status {
        return Ok(Reported::Same);
    }
    let write = context.cluster.write_credential_status(key, &broken.uid, &status);
    context
        .write(
            &User::Credential(key.clone()),
            outline(&stored),
            outline(&status),
            write,
        )
        .await
}

/// What was read. That something may not be read is told, because nothing but a grant helps, which nobody tells us of.
///
/// It is no way to learn which Secrets there are: the API server looks at our rights first, and refuses what does not
/// exist as well. What was known of the value stays in the status, and in use.
pub(super) async fn readable<T, C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    credential: &Credential,
    read: Result<T, ClusterError>,
) -> Result<T, ReconcileError> {
    match read {
        Err(error @ ClusterError::Forbidden { .. }) => {
            let error = ReconcileError::from(error);
            forbidden(context, key, credential, &error).await?;
            Err(error)
        }
        read => Ok(read?),
    }
}

async fn forbidden<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    credential: &Credential,
    error: &ReconcileError,
) -> Result<(), ClusterError> {
    let stored = credential.status.clone().unwrap_or_default();
    let (reason, message) = (error.reason(), error.to_string());
    let unknown = finding(kind::READY, ConditionStatus::Unknown, reason, message.clone());
    let progress = Progress::Reconciling {
        reason,
        message: message.clone(),
    };
    let generation = credential.metadata.generation.unwrap_or_default();
    // Not `observedGeneration`: what this generation comes to is not known.
    let status = CredentialStatus {
        conditions: merge(&stored.conditions, &[unknown], &progress, generation, context.now()),
        ..stored.clone()
    };
    if stored == status {
        return Ok(());
    }
    let uid = credential.metadata.uid.clone().unwrap_or_default();
    let write = context.cluster.write_credential_status(key, &uid, &status);
    let user = User::Credential(key.clone());
    let reported = context.write(&user, outline(&stored), outline(&status), write).await?;
    if reported == Reported::Written && ready(&stored).is_none_or(|before| before.reason != reason) {
        let regarding = Regarding {
            kind: "Credential",
            key: key.clone(),
            uid,
        };
        let notice = Notice {
            regarding,
            warning: true,
            reason,
            action: "ReadSecret",
            note: message,
        };
        context.cluster.publish(notice).await;
    }
    Ok(())
}
