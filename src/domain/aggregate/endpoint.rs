//! One endpoint, as all workers see it.

use jiff::Timestamp;

use super::count as whole;
use crate::api::integration::{CircuitCounts, CircuitState, CircuitStatus, EndpointStatus, Health, HealthReason};
use crate::domain::health::EndpointReport;

/// Longest message of an endpoint, in characters.
const MESSAGE: usize = 256;

/// Counts the votes; `None` is a worker that does not report on this endpoint. `before` is what was counted last.
pub(super) fn count(
    name: &str,
    votes: &[Option<&EndpointReport>],
    before: Option<&EndpointStatus>,
    now: Timestamp,
) -> EndpointStatus {
    let seen: Vec<&EndpointReport> = votes.iter().copied().flatten().collect();
    let health = health(&seen);
    // The vote that shows: of those that made the whole what it is, the one that is so for longest. It is the least
    // likely to be another one a moment later, so that the reason does not flicker.
    let decisive = seen
        .iter()
        .filter(|vote| vote.health == health)
        .min_by_key(|vote| vote.since);
    let of_that_health = seen.iter().filter(|vote| vote.health == health);
    EndpointStatus {
        name: name.to_owned(),
        health,
        reason: Some(decisive.map_or(HealthReason::NoReport, |vote| vote.reason)),
        message: decisive.map_or(String::new(), |vote| {
            let agreeing = of_that_health.clone().count();
            message(&vote.message, agreeing, votes.len())
        }),
        since: Some(match before {
            Some(before) if before.health == health => before.since.unwrap_or(now),
            _ => turned(health == Health::Healthy, of_that_health.map(|vote| vote.since), now),
        }),
        circuit: circuit(&seen, votes.len(), before.map(|before| &before.circuit), now),
    }
}

/// One worker that sees an endpoint as Unhealthy is a fault worth showing. One that has sent nothing there yet knows
/// nothing, and leaves it to the others.
fn health(seen: &[&EndpointReport]) -> Health {
    let any = |health| seen.iter().any(|vote| vote.health == health);
    if any(Health::Unhealthy) {
        Health::Unhealthy
    } else if any(Health::Healthy) {
        Health::Healthy
    } else {
        Health::Unknown
    }
}

/// Nobody may read one worker's view as everybody's.
fn message(message: &str, agreeing: usize, of: usize) -> String {
    let text = if agreeing == of || message.is_empty() {
        message.to_owned()
    } else {
        format!("{agreeing} of {of} workers: {message}")
    };
    text.chars().take(MESSAGE).collect()
}

fn circuit(seen: &[&EndpointReport], of: usize, before: Option<&CircuitStatus>, now: Timestamp) -> CircuitStatus {
    let number = |state| whole(seen.iter().filter(|vote| vote.circuit.state == state).count());
    let mut workers = CircuitCounts {
        closed: number(CircuitState::Closed),
        half_open: number(CircuitState::HalfOpen),
        open: number(CircuitState::Open),
        unknown: 0,
    };
    workers.unknown = whole(of) - workers.closed - workers.half_open - workers.open;
    let state = if workers.open > 0 {
        CircuitState::Open
    } else if workers.half_open > 0 {
        CircuitState::HalfOpen
    } else if workers.unknown > 0 || of == 0 {
        CircuitState::Unknown
    } else {
        CircuitState::Closed
    };
    let of_that_state = seen.iter().filter(|vote| vote.circuit.state == state);
    let times = of_that_state.clone().map(|vote| vote.circuit.since);
    CircuitStatus {
        state,
        workers,
        since: Some(match before {
            Some(before) if before.state == state => before.since.unwrap_or(now),
            _ => turned(state == CircuitState::Closed, times, now),
        }),
        next_trial_time: match state {
            CircuitState::Open => of_that_state
                .clone()
                .filter_map(|vote| vote.circuit.next_trial)
                .min()
                .map(second_up),
            _ => None,
        },
        tripped_by: of_that_state
            .min_by_key(|vote| vote.circuit.since)
            .and_then(|vote| vote.circuit.tripped_by),
    }
}

/// When the whole turned: with the last vote where all are needed, with the first where one is enough.
fn turned(needs_all: bool, votes: impl Iterator<Item = Timestamp>, now: Timestamp) -> Timestamp {
    let time = if needs_all { votes.max() } else { votes.min() };
    // A worker's clock may be ahead; nothing has happened in the future.
    second(time.map_or(now, |time| time.min(now)))
}

/// Status tells whole seconds, as everything in Kubernetes does.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The next trial is not before the time that is told.
fn second_up(time: Timestamp) -> Timestamp {
    let whole = second(time);
    if whole < time {
        Timestamp::from_second(whole.as_second() + 1).unwrap_or(time)
    } else {
        whole
    }
}
