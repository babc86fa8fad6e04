//! The status of an Integration: put together in one place, from one snapshot, also when a step has failed.

use jiff::Timestamp;

use crate::api::condition::{ConditionStatus, kind};
use crate::api::integration::{CircuitState, Handled, Integration, IntegrationStatus};
use crate::api::{ANNOTATION_RECONCILE, ANNOTATION_RESET_CIRCUIT, LABEL_INTEGRATION};
use crate::cluster::{Cluster, ClusterError};
use crate::controller::pacing::Outline;
use crate::controller::queue::Failure;
use crate::controller::references::User;
use crate::controller::report::{Reported, Undecodable, finding};
use crate::controller::{Context, ReconcileError};
use crate::domain::aggregate::Picture;
use crate::domain::key::Key;
use crate::domain::status::{Finding, Progress, echo, merge};
use crate::fleet::{Fleet, FleetError};

use super::{Pursuit, notice, rejection};

/// Writes the status, if it differs from what is stored, and tells of what people should act on.
pub(super) async fn report<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    integration: &Integration,
    pursuit: &Pursuit,
    picture: Picture,
    failure: Option<&ReconcileError>,
) -> Result<Reported, ReconcileError> {
    let stored = integration.status.clone().unwrap_or_default();
    if let Some(until) = context.unsettled_until()
        && incomplete(&stored, integration, &picture)
    {
        return Ok(Reported::Later(until));
    }
    // A hiccup of the store is no news about an Integration that works, and the next try may find it over.
    if pursuit.references.is_none() && failure.is_some() && works(&stored, integration) {
        return Ok(Reported::Same);
    }
    let now = context.now();
    let address = (context.settings.address)(key);
    let status = compose(key, address, integration, pursuit, picture, failure, now);
    if same(&stored, &status, now) {
        return Ok(Reported::Same);
    }
    let uid = integration.metadata.uid.clone().unwrap_or_default();
    let write = context.cluster.write_integration_status(key, &uid, &status);
    let user = User::Integration(key.clone());
    let reported = context.write(&user, outline(&stored), outline(&status), write).await?;
    if reported == Reported::Written {
        for notice in notice::notices(key, &uid, &stored, &status, failure) {
            context.cluster.publish(notice).await;
        }
    }
    Ok(reported)
}

/// Whether the picture lacks workers that the status tells of, while the spec is as it was: right after a start they
/// have only not been heard of yet.
fn incomplete(stored: &IntegrationStatus, integration: &Integration, picture: &Picture) -> bool {
    let seen = stored.observed_generation == integration.metadata.generation;
    seen && (picture.ready_replicas < stored.ready_replicas.unwrap_or_default()
        || picture.plan_revision.is_none() && stored.plan_revision.is_some())
}

fn works(stored: &IntegrationStatus, integration: &Integration) -> bool {
    stored.observed_generation == integration.metadata.generation && outline(stored).ready
}

fn outline(status: &IntegrationStatus) -> Outline<'_> {
    Outline {
        arrived: status.plan_revision,
        ..Outline::new(status.observed_generation, status.handled.as_ref(), &status.conditions)
    }
}

/// Whether `new` tells nothing that `stored` does not. The time of the next trial is news only once the stored one is
/// over: it comes with a change of state, and must not cause writes of its own.
fn same(stored: &IntegrationStatus, new: &IntegrationStatus, now: Timestamp) -> bool {
    let mut new = new.clone();
    for endpoint in &mut new.endpoints {
        let before = stored.endpoints.iter().find(|before| before.name == endpoint.name);
        let told = before.and_then(|before| before.circuit.next_trial_time);
        if endpoint.circuit.state == CircuitState::Open && told.is_some_and(|told| told > now) {
            endpoint.circuit.next_trial_time = told;
        }
    }
    *stored == new
}

fn compose(
    key: &Key,
    address: String,
    integration: &Integration,
    pursuit: &Pursuit,
    picture: Picture,
    failure: Option<&ReconcileError>,
    now: Timestamp,
) -> IntegrationStatus {
    let generation = integration.metadata.generation.unwrap_or_default();
    let stored = integration.status.as_ref();
    let conditions = stored.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let handled = handled(
        integration,
        stored.and_then(|status| status.handled.as_ref()),
        &picture,
        failure,
    );
    let (findings, progress) = verdict(integration, pursuit, &picture, failure);
    IntegrationStatus {
        observed_generation: Some(generation),
        address: Some(address),
        circuit: Some(picture.circuit),
        endpoints_healthy: Some(picture.endpoints_healthy),
        replicas: Some(picture.replicas),
        ready_replicas: Some(picture.ready_replicas),
        selector: Some(format!("{LABEL_INTEGRATION}={}", key.name)),
        plan_revision: picture.plan_revision,
        credentials: picture.credentials,
        endpoints: picture.endpoints,
        handled,
        conditions: merge(conditions, &findings, &progress, generation, now),
    }
}

/// All conditions, and how far we are.
fn verdict(
    integration: &Integration,
    pursuit: &Pursuit,
    picture: &Picture,
    failure: Option<&ReconcileError>,
) -> (Vec<Finding>, Progress) {
    let suspended = integration.spec.suspend == Some(true);
    let [programmed, endpoints_healthy, circuit_closed] = picture.findings.clone();
    let (accepted, accepted_stalls) = accepted(pursuit, failure);
    let (credentials, credentials_stall) = credentials_ready(pursuit, picture);
    let programmed = match failure {
        // Why they do not run it, where we know.
        Some(failure) if programmed.status == ConditionStatus::False && pursuit.references.is_some() => Finding {
            message: format!("{}; {failure}", programmed.message),
            ..programmed
        },
        _ if suspended && programmed.status == ConditionStatus::False => Finding {
            message: format!("{}; suspended, so nothing is changed", programmed.message),
            ..programmed
        },
        _ => programmed,
    };
    let parts = [
        (&accepted, accepted_stalls),
        (&credentials, credentials_stall),
        (&programmed, suspended),
    ];
    let missing = parts.into_iter().find(|(part, _)| part.status != ConditionStatus::True);
    let (ready, progress) = match missing {
        None => {
            let message = "accepted, with its credentials, and run by every ready worker".to_owned();
            let ready = finding(kind::READY, ConditionStatus::True, "Ready", message);
            (ready, failure.map_or(Progress::Settled, unfinished))
        }
        Some((part, stalls)) => {
            let (reason, message) = (part.reason, part.message.clone());
            let ready = finding(kind::READY, ConditionStatus::False, reason, message.clone());
            let progress = if stalls {
                Progress::Stalled { reason, message }
            } else {
                Progress::Reconciling { reason, message }
            };
            (ready, progress)
        }
    };
    (
        vec![
            ready,
            accepted,
            credentials,
            programmed,
            endpoints_healthy,
            circuit_closed,
        ],
        progress,
    )
}

/// What an Integration that is Ready still waits for: what only a person can grant, such as quota for more workers. What
/// passes by itself is no news.
fn unfinished(failure: &ReconcileError) -> Progress {
    match failure {
        ReconcileError::Fleet(FleetError::Refused { .. }) | ReconcileError::Cluster(ClusterError::Forbidden { .. }) => {
            Progress::Reconciling {
                reason: failure.reason(),
                message: failure.to_string(),
            }
        }
        ReconcileError::Fleet(_) | ReconcileError::Cluster(_) => Progress::Settled,
    }
}

fn accepted(pursuit: &Pursuit, failure: Option<&ReconcileError>) -> (Finding, bool) {
    let found = |status, reason, message| finding(kind::ACCEPTED, status, reason, message);
    match (&pursuit.refusal, &pursuit.references, failure) {
        (Some(refusal), _, _) => (
            found(ConditionStatus::False, refusal.reason, refusal.message.clone()),
            refusal.stalls,
        ),
        (None, None, Some(failure)) => (
            found(ConditionStatus::Unknown, failure.reason(), failure.to_string()),
            false,
        ),
        (None, _, _) => (
            found(
                ConditionStatus::True,
                "Accepted",
                "the spec and what it refers to can be used".into(),
            ),
            false,
        ),
    }
}

fn credentials_ready(pursuit: &Pursuit, picture: &Picture) -> (Finding, bool) {
    let found = |status, reason, message| finding(kind::CREDENTIALS_READY, status, reason, message);
    let Some(references) = &pursuit.references else {
        return (
            found(
                ConditionStatus::Unknown,
                "NotRead",
                "the Credentials could not be read".into(),
            ),
            false,
        );
    };
    let unready = references.unready();
    if let Some(first) = unready.first() {
        let messages: Vec<&str> = unready.iter().map(|unready| unready.message.as_str()).collect();
        let stalls = unready.iter().any(|unready| unready.stalls);
        return (found(ConditionStatus::False, first.reason, messages.join("; ")), stalls);
    }
    if !picture.rejected.is_empty() {
        let used = pursuit.plan.as_ref().map(|plan| plan.credentials.as_slice());
        let (message, stalls) = rejection::told(&picture.rejected, used.unwrap_or_default());
        return (found(ConditionStatus::False, "CredentialRejected", message), stalls);
    }
    (
        found(
            ConditionStatus::True,
            "CredentialsReady",
            "every referenced Credential has a usable value".into(),
        ),
        false,
    )
}

/// The requests that were carried out: a reconcile by a run that got through, a reset by every ready worker. What was
/// carried out stays, so that it is not told of twice.
fn handled(
    integration: &Integration,
    stored: Option<&Handled>,
    picture: &Picture,
    failure: Option<&ReconcileError>,
) -> Option<Handled> {
    let mut handled = stored.cloned().unwrap_or_default();
    let annotations = integration.metadata.annotations.as_ref();
    let asked = |annotation: &str| {
        annotations
            .and_then(|annotations| annotations.get(annotation))
            .map(|value| echo(value))
    };
    if failure.is_none()
        && let Some(token) = asked(ANNOTATION_RECONCILE)
    {
        handled.reconcile = Some(token);
    }
    if let Some(token) = asked(ANNOTATION_RESET_CIRCUIT)
        && picture.reset_circuit.as_ref() == Some(&token)
    {
        handled.reset_circuit = Some(token);
    }
    (handled != Handled::default()).then_some(handled)
}

/// The status of an Integration that is stored and does not decode. Its workers keep what they have.
pub(super) async fn undecodable<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    broken: Undecodable,
) -> Result<Reported, ClusterError> {
    let stored: IntegrationStatus = serde_json::from_value(broken.status.clone()).unwrap_or_default();
    let status = IntegrationStatus {
        observed_generation: Some(broken.generation),
        conditions: broken.conditions(&stored.conditions, &[kind::READY, kind::ACCEPTED], context.now()),
        ..stored.clone()
    };
    if stored == status {
        return Ok(Reported::Same);
    }
    let write = context.cluster.write_integration_status(key, &broken.uid, &status);
    context
        .write(
            &User::Integration(key.clone()),
            outline(&stored),
            outline(&status),
            write,
        )
        .await
}
