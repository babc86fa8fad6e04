//! What a person should act on, from the status as it was and as it is. Transitions alone: a restart repeats nothing.

use crate::api::condition::{Condition, ConditionStatus, kind, reason};
use crate::api::integration::{CircuitState, EndpointStatus, Health, IntegrationStatus};
use crate::cluster::{Notice, Regarding};
use crate::controller::ReconcileError;
use crate::domain::key::Key;
use crate::domain::validate::FIRST_VALUE_IS_ON_ITS_WAY;
use crate::fleet::FleetError;

/// The events of the step from `stored` to `new`, which a run came to that ended with `failure`, if it failed.
pub(super) fn notices(
    key: &Key,
    uid: &str,
    stored: &IntegrationStatus,
    new: &IntegrationStatus,
    failure: Option<&ReconcileError>,
) -> Vec<Notice> {
    let of_endpoints = new.endpoints.iter().flat_map(|endpoint| {
        let before = stored.endpoints.iter().find(|before| before.name == endpoint.name);
        [circuit(before, endpoint), health(before, endpoint)]
            .into_iter()
            .flatten()
    });
    let of_conditions = [(kind::ACCEPTED, "Accept"), (kind::CREDENTIALS_READY, "UseCredentials")]
        .into_iter()
        .filter_map(|(kind, action)| {
            let newly_false = condition(new, kind).filter(|new| {
                let same = |before: &Condition| {
                    before.status == new.status && before.reason == new.reason && !is_on_its_way(before)
                };
                let is_told = new.status == ConditionStatus::False && !is_on_its_way(new);
                is_told && !condition(stored, kind).is_some_and(same)
            })?;
            Some((true, told(&newly_false.reason)?, action, newly_false.message.clone()))
        });
    // Only with a status that tells something new, so that trying again in vain is told once.
    let refused = match failure {
        Some(ReconcileError::Fleet(error @ FleetError::Refused { .. })) => {
            Some((true, "Refused", "Program", error.to_string()))
        }
        _ => None,
    };
    let regarding = Regarding {
        kind: "Integration",
        key: key.clone(),
        uid: uid.to_owned(),
    };
    of_endpoints
        .chain(of_conditions)
        .chain(refused)
        .map(|(warning, reason, action, note)| Notice {
            regarding: regarding.clone(),
            warning,
            reason,
            action,
            note,
        })
        .collect()
}

/// A Credential that waits for its first value is nothing to act on; that the value does not come is.
fn is_on_its_way(condition: &Condition) -> bool {
    condition.reason == reason::CREDENTIAL_NOT_READY && condition.message.ends_with(FIRST_VALUE_IS_ON_ITS_WAY)
}

type Telling = (bool, &'static str, &'static str, String);

fn circuit(before: Option<&EndpointStatus>, now: &EndpointStatus) -> Option<Telling> {
    let (name, counts) = (&now.name, now.circuit.workers);
    let workers = counts.closed + counts.half_open + counts.open + counts.unknown;
    match (
        before.map(|before| before.circuit.state).unwrap_or_default(),
        now.circuit.state,
    ) {
        (CircuitState::Open | CircuitState::HalfOpen, CircuitState::Open) => None,
        (_, CircuitState::Open) => {
            let cause = now
                .circuit
                .tripped_by
                .map_or(String::new(), |cause| format!(" by {cause:?}"));
            let note = format!(
                "circuit to endpoint {name} opened{cause}, in {} of {workers} workers",
                counts.open
            );
            Some((true, "CircuitOpened", "Break", note))
        }
        (CircuitState::Open | CircuitState::HalfOpen, CircuitState::Closed) => Some((
            false,
            "CircuitClosed",
            "Mend",
            format!("circuit to endpoint {name} closed"),
        )),
        _ => None,
    }
}

fn health(before: Option<&EndpointStatus>, now: &EndpointStatus) -> Option<Telling> {
    let name = &now.name;
    match (before.map(|before| before.health).unwrap_or_default(), now.health) {
        (Health::Healthy | Health::Unknown, Health::Unhealthy) => {
            let reason = now.reason.map_or(String::new(), |reason| format!(" ({reason:?})"));
            let message = if now.message.is_empty() {
                String::new()
            } else {
                format!(": {}", now.message)
            };
            Some((
                true,
                "EndpointUnhealthy",
                "Probe",
                format!("endpoint {name} is unhealthy{reason}{message}"),
            ))
        }
        (Health::Unhealthy, Health::Healthy) => {
            Some((false, "EndpointHealthy", "Probe", format!("endpoint {name} is healthy")))
        }
        _ => None,
    }
}

/// The reasons of conditions that are told of as events; the list is closed.
fn told(of: &str) -> Option<&'static str> {
    [
        "InvalidSpec",
        "RefNotFound",
        "HostNotAllowed",
        "AddressTaken",
        "CredentialNotReady",
        "CredentialNotFound",
        "CredentialRejected",
    ]
    .into_iter()
    .find(|known| *known == of)
}

fn condition<'a>(status: &'a IntegrationStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}
