//! Votes of workers in, status out.

use super::*;
use crate::api::integration::{CircuitCounts, CircuitStatus, HealthReason};
use crate::domain::health::{CircuitReport, CredentialReport, FORMAT};
use crate::domain::key::Key;

const NOW: i64 = 1000;
const PLAN: u64 = 12;
const GENERATION: i64 = 5;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn report(endpoints: Vec<EndpointReport>) -> Report {
    Report {
        format: FORMAT,
        integration: Key::new("shop", "payments-api"),
        uid: "uid".into(),
        plan_revision: PLAN,
        generation: GENERATION,
        credentials: vec![credential(7, None)],
        reset_circuit: None,
        share: None,
        paused_until: std::collections::BTreeMap::new(),
        endpoints,
    }
}

fn credential(revision: i64, rejected_status: Option<u16>) -> CredentialReport {
    CredentialReport {
        name: "payments-key".into(),
        revision,
        rejected_status,
    }
}

fn sees(health: Health, state: CircuitState, since: i64) -> EndpointReport {
    EndpointReport {
        name: "primary".into(),
        health,
        reason: if health == Health::Unhealthy {
            HealthReason::ProbeFailed
        } else {
            HealthReason::ProbeSucceeded
        },
        message: format!("since {since}"),
        since: at(since),
        circuit: CircuitReport {
            state,
            since: at(since),
            next_trial: (state == CircuitState::Open).then(|| at(since + 30)),
            tripped_by: (state != CircuitState::Closed).then_some(TrippedBy::FailureRate),
        },
    }
}

fn worker(name: &str, report: Option<Report>) -> Worker {
    Worker {
        name: name.into(),
        ready: true,
        connected: report.is_some(),
        report: report.map(Arc::new),
    }
}

fn lost(worker: Worker) -> Worker {
    Worker {
        connected: false,
        ..worker
    }
}

fn starting(worker: Worker) -> Worker {
    Worker { ready: false, ..worker }
}

fn count_with(workers: &[Worker], stored: Option<&IntegrationStatus>) -> Picture {
    let endpoints = ["primary".to_owned()];
    let credentials = [("payments-key".to_owned(), 7)];
    let subject = Subject {
        uid: "uid",
        generation: GENERATION,
        endpoints: &endpoints,
        credentials: &credentials,
    };
    aggregate(workers, subject, stored, at(NOW))
}

fn count_all(workers: &[Worker]) -> Picture {
    count_with(workers, None)
}

fn conditions(picture: &Picture) -> [(ConditionStatus, &'static str); 3] {
    picture.findings.clone().map(|finding| (finding.status, finding.reason))
}

use CircuitState::{Closed, HalfOpen, Open};
use ConditionStatus::{False, True, Unknown};
use Health::{Healthy, Unhealthy};

#[test]
fn the_circuit_is_the_worst_of_the_workers_with_counts() {
    let votes = |states: &[Option<CircuitState>]| -> Vec<Worker> {
        let report = |state: CircuitState| report(vec![sees(Healthy, state, 900)]);
        states
            .iter()
            .enumerate()
            .map(|(i, state)| worker(&format!("w{i}"), state.map(report)))
            .collect()
    };
    let counts = |closed, half_open, open, unknown| CircuitCounts {
        closed,
        half_open,
        open,
        unknown,
    };
    let cases: [(&[Option<CircuitState>], CircuitState, CircuitCounts, _); 7] = [
        (&[], CircuitState::Unknown, counts(0, 0, 0, 0), (Unknown, "NoReport")),
        (
            &[None],
            CircuitState::Unknown,
            counts(0, 0, 0, 1),
            (Unknown, "NoReport"),
        ),
        (
            &[Some(Closed), Some(Closed)],
            Closed,
            counts(2, 0, 0, 0),
            (True, "AllClosed"),
        ),
        (
            &[Some(Closed), None],
            CircuitState::Unknown,
            counts(1, 0, 0, 1),
            (Unknown, "NotYetKnown"),
        ),
        (
            &[Some(Closed), Some(HalfOpen), None],
            HalfOpen,
            counts(1, 1, 0, 1),
            (False, "CircuitHalfOpen"),
        ),
        (
            &[Some(HalfOpen), Some(Open)],
            Open,
            counts(0, 1, 1, 0),
            (False, "CircuitOpen"),
        ),
        (&[Some(Open), None], Open, counts(0, 0, 1, 1), (False, "CircuitOpen")),
    ];
    for (states, state, workers, condition) in cases {
        let picture = count_all(&votes(states));
        assert_eq!(picture.circuit, state, "{states:?}");
        assert_eq!(picture.endpoints[0].circuit.workers, workers, "{states:?}");
        assert_eq!(conditions(&picture)[2], condition, "{states:?}");
    }
}

#[test]
fn a_forced_circuit_is_told_as_such() {
    let mut forced = sees(Healthy, Open, 900);
    forced.circuit.tripped_by = Some(TrippedBy::Forced);
    forced.circuit.next_trial = None;
    let picture = count_all(&[worker("a", Some(report(vec![forced])))]);
    assert_eq!(conditions(&picture)[2], (False, "Forced"));
    assert_eq!(picture.endpoints[0].circuit.next_trial_time, None);
}

#[test]
fn one_worker_that_sees_it_unhealthy_makes_it_unhealthy_and_is_named_as_one() {
    let well = worker("a", Some(report(vec![sees(Healthy, Closed, 800)])));
    let ill = worker("b", Some(report(vec![sees(Unhealthy, Closed, 900)])));
    let endpoint = &count_all(&[well, ill]).endpoints[0];
    assert_eq!(
        (endpoint.health, endpoint.reason),
        (Unhealthy, Some(HealthReason::ProbeFailed))
    );
    assert_eq!(endpoint.message, "1 of 2 workers: since 900");
    assert_eq!(endpoint.since, Some(at(900)));
}

#[test]
fn a_worker_that_knows_nothing_leaves_it_to_the_others() {
    let knows = worker("a", Some(report(vec![sees(Healthy, Closed, 800)])));
    let idle = worker("b", Some(report(vec![sees(Health::Unknown, Closed, 700)])));
    let picture = count_all(&[knows, idle]);
    assert_eq!(picture.endpoints[0].health, Healthy);
    assert_eq!(picture.endpoints_healthy, "1/1");
    assert_eq!(conditions(&picture)[1], (True, "AllHealthy"));
}

#[test]
fn a_lost_worker_votes_unknown_and_still_counts_as_running_what_it_ran() {
    let here = worker("a", Some(report(vec![sees(Healthy, Closed, 800)])));
    let gone = lost(worker("b", Some(report(vec![sees(Healthy, Closed, 800)]))));
    let picture = count_all(&[here, gone]);
    assert_eq!(picture.circuit, CircuitState::Unknown);
    assert_eq!(conditions(&picture)[0], (True, "Programmed"));
    assert_eq!(picture.plan_revision, Some(12));
}

#[test]
fn a_worker_that_is_still_starting_has_no_vote() {
    let here = worker("a", Some(report(vec![sees(Healthy, Closed, 800)])));
    let picture = count_all(&[here, starting(worker("b", None))]);
    assert_eq!(picture.circuit, Closed);
    assert_eq!((picture.replicas, picture.ready_replicas), (2, 1));
    assert_eq!(conditions(&picture)[0], (True, "Programmed"));
}

#[test]
fn reports_about_a_namesake_do_not_count() {
    let mut other = report(vec![sees(Unhealthy, Open, 800)]);
    other.uid = "another".into();
    let picture = count_all(&[worker("a", Some(other))]);
    assert_eq!(picture.circuit, CircuitState::Unknown);
    assert_eq!(conditions(&picture)[0], (False, "PlanNotAdopted"));
    assert_eq!(picture.plan_revision, None);
}

#[test]
fn programmed_means_that_every_ready_worker_runs_this_generation_and_one_is_ready() {
    let behind = || {
        let mut report = report(vec![]);
        (report.generation, report.plan_revision) = (GENERATION - 1, PLAN - 1);
        report.credentials = vec![credential(6, None)];
        report
    };
    let current = || report(vec![]);
    let cases = [
        (vec![], (False, "WorkersNotReady"), None, None),
        (
            vec![starting(worker("a", Some(current())))],
            (False, "WorkersNotReady"),
            None,
            None,
        ),
        (vec![worker("a", None)], (False, "PlanNotAdopted"), None, None),
        (
            vec![worker("a", Some(current())), worker("b", None)],
            (False, "PlanNotAdopted"),
            None,
            None,
        ),
        (
            vec![worker("a", Some(current())), worker("b", Some(behind()))],
            (False, "PlanNotAdopted"),
            Some(11),
            Some(6),
        ),
        (
            vec![worker("a", Some(current())), starting(worker("b", Some(behind())))],
            (True, "Programmed"),
            Some(12),
            Some(7),
        ),
        (
            vec![worker("a", Some(current())), worker("b", Some(current()))],
            (True, "Programmed"),
            Some(12),
            Some(7),
        ),
    ];
    for (workers, condition, plan, revision) in cases {
        let picture = count_all(&workers);
        assert_eq!(conditions(&picture)[0], condition, "{workers:?}");
        assert_eq!(picture.plan_revision, plan, "{workers:?}");
        assert_eq!(
            picture.credentials.first().map(|used| used.revision),
            revision,
            "{workers:?}"
        );
    }
}

#[test]
fn a_refused_credential_is_told_until_a_newer_revision_runs() {
    let refuses = |revision, status| {
        let mut report = report(vec![]);
        report.credentials = vec![credential(revision, status)];
        let rejected = count_all(&[worker("a", Some(report))]).rejected;
        rejected
            .into_iter()
            .map(|rejection| (rejection.credential, rejection.status))
            .collect::<Vec<_>>()
    };
    assert_eq!(refuses(7, Some(401)), [("payments-key".to_owned(), 401)]);
    assert_eq!(refuses(7, Some(403)), [("payments-key".to_owned(), 403)]);
    assert_eq!(refuses(6, Some(401)), []);
    assert_eq!(refuses(7, None), []);
}

#[test]
fn a_revision_is_refused_by_whoever_sees_that_now_and_401_wins() {
    let says = |revision, status| {
        let mut report = report(vec![]);
        report.credentials = vec![credential(revision, status)];
        worker("w", Some(report))
    };
    let refused = |workers: &[Worker]| refused(workers, "payments-key", 7);
    assert_eq!(refused(&[says(7, None), says(7, Some(403))]), Some(403));
    assert_eq!(
        refused(&[says(7, Some(403)), says(7, Some(401)), says(7, None)]),
        Some(401)
    );
    assert_eq!(refused(&[starting(says(7, Some(401)))]), Some(401));
    assert_eq!(refused(&[lost(says(7, Some(401)))]), None);
    assert_eq!(refused(&[says(6, Some(401)), says(8, Some(401))]), None);
    assert_eq!(super::refused(&[says(7, Some(401))], "another", 7), None);
    assert_eq!(refused(&[]), None);
}

#[test]
fn a_reset_is_carried_out_when_every_ready_worker_says_so() {
    let done = |token: Option<&str>| {
        let mut report = report(vec![]);
        report.reset_circuit = token.map(Into::into);
        worker(token.unwrap_or("none"), Some(report))
    };
    assert_eq!(
        count_all(&[done(Some("1")), done(Some("1"))]).reset_circuit.as_deref(),
        Some("1")
    );
    assert_eq!(count_all(&[done(Some("2")), done(Some("1"))]).reset_circuit, None);
    assert_eq!(count_all(&[done(Some("1")), done(None)]).reset_circuit, None);
    assert_eq!(
        count_all(&[done(Some("1")), starting(done(None))])
            .reset_circuit
            .as_deref(),
        Some("1")
    );
    assert_eq!(count_all(&[]).reset_circuit, None);
}

fn written(picture: &Picture) -> IntegrationStatus {
    IntegrationStatus {
        endpoints: picture.endpoints.clone(),
        ..IntegrationStatus::default()
    }
}

#[test]
fn times_move_only_with_the_whole() {
    let at_first = count_all(&[worker("a", Some(report(vec![sees(Unhealthy, Open, 800)])))]);
    // Another worker opens later and the first one closes: for the whole, it was open all the time.
    let second = [
        worker("a", Some(report(vec![sees(Healthy, Closed, 950)]))),
        worker("b", Some(report(vec![sees(Unhealthy, Open, 900)]))),
    ];
    let later = count_with(&second, Some(&written(&at_first)));
    assert_eq!(later.endpoints[0].since, Some(at(800)));
    assert_eq!(later.endpoints[0].circuit.since, Some(at(800)));
    assert_eq!(later.endpoints[0].circuit.next_trial_time, Some(at(930)));
}

#[test]
fn the_whole_is_closed_when_the_last_one_is_and_open_when_the_first_one_is() {
    let two = |state| {
        [
            worker("a", Some(report(vec![sees(Healthy, state, 800)]))),
            worker("b", Some(report(vec![sees(Healthy, state, 900)]))),
        ]
    };
    assert_eq!(count_all(&two(Closed)).endpoints[0].circuit.since, Some(at(900)));
    assert_eq!(count_all(&two(Open)).endpoints[0].circuit.since, Some(at(800)));
}

#[test]
fn a_worker_whose_clock_is_ahead_reports_nothing_from_the_future() {
    let picture = count_all(&[worker("a", Some(report(vec![sees(Healthy, Closed, NOW + 500)])))]);
    assert_eq!(picture.endpoints[0].since, Some(at(NOW)));
}

#[test]
fn next_trial_is_told_in_whole_seconds_and_never_too_early() {
    let mut open = sees(Healthy, Open, 900);
    open.circuit.next_trial = Some("1970-01-01T00:15:30.25Z".parse().unwrap());
    let picture = count_all(&[worker("a", Some(report(vec![open])))]);
    assert_eq!(picture.endpoints[0].circuit.next_trial_time, Some(at(931)));
}

#[test]
fn an_endpoint_that_no_worker_knows_is_unknown() {
    let picture = count_all(&[worker("a", Some(report(vec![])))]);
    let CircuitStatus { state, workers, .. } = &picture.endpoints[0].circuit;
    assert_eq!((*state, workers.unknown), (CircuitState::Unknown, 1));
    assert_eq!(picture.endpoints[0].reason, Some(HealthReason::NoReport));
    assert_eq!(picture.endpoints_healthy, "0/1");
}

#[test]
fn a_message_is_cut_at_256_characters() {
    let mut chatty = sees(Unhealthy, Closed, 900);
    chatty.message = "é".repeat(500);
    let picture = count_all(&[worker("a", Some(report(vec![chatty])))]);
    assert_eq!(picture.endpoints[0].message.chars().count(), 256);
}

#[test]
fn a_consumer_has_the_oldest_revision_of_its_ready_workers() {
    let uses = |revision| {
        let mut report = report(vec![]);
        report.credentials = vec![credential(revision, None)];
        worker("w", Some(report))
    };
    let name = "payments-key";
    assert_eq!(consumer(&[uses(7), uses(6)], name), Some(6));
    assert_eq!(consumer(&[uses(7), starting(uses(6))], name), Some(7));
    assert_eq!(consumer(&[uses(7), lost(uses(6))], name), Some(6));
    assert_eq!(consumer(&[uses(7), worker("silent", None)], name), Some(0));
    assert_eq!(consumer(&[uses(7)], "another"), None);
    assert_eq!(consumer(&[], name), None);
}
