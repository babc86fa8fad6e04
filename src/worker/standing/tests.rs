use tokio::sync::watch;

use super::*;
use crate::api::integration::{BreakerMode, TrippedBy};
use crate::domain::breaker::Guard;
use crate::domain::key::Key;
use crate::worker::Reports;

fn standing(probing: Option<Probing>) -> Arc<Standing> {
    let key = Key::new("unit", "standing");
    let settings = Settings {
        consecutive_failures: 1,
        failure_percent: 0,
        window: Duration::from_secs(30),
        minimum_requests: 20,
        open_for: Duration::from_secs(10),
        max_open_for: Duration::from_secs(300),
        half_open_requests: 1,
        mode: BreakerMode::Automatic,
        trial_deadline: Duration::from_secs(3600),
    };
    let (reports, _) = watch::channel(Reports::new());
    let bulletin = Arc::new(Bulletin::new(key.clone(), Arc::new(reports)));
    Arc::new(Standing::new(
        settings,
        probing,
        Arc::new(EndpointMetrics::new(&key, "e0")),
        bulletin,
    ))
}

fn guard(standing: &Arc<Standing>) -> Guard<Arc<Standing>> {
    match standing.admit() {
        Admission::Admit(permit) => Guard::new(standing.clone(), permit),
        Admission::Refuse { .. } => panic!("not admitted: {:?}", standing.report("e0")),
    }
}

fn fail(standing: &Arc<Standing>) {
    let mut guard = guard(standing);
    standing.failed((HealthReason::TrafficFailed, "answered with status 500".to_owned()));
    guard.answered(Outcome::Failure);
}

fn state(standing: &Standing) -> CircuitState {
    standing.report("e0").circuit.state
}

async fn until_trial() {
    tokio::time::advance(Duration::from_secs(11)).await;
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_panics_or_is_dropped_lets_go() {
    let standing = standing(None);
    fail(&standing);
    assert_eq!(state(&standing), CircuitState::Open);
    until_trial().await;
    let tried = standing.clone();
    let panicked = tokio::spawn(async move {
        let _guard = guard(&tried);
        assert_eq!(state(&tried), CircuitState::HalfOpen);
        panic!("in the middle of a trial");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(state(&standing), CircuitState::Open);
    until_trial().await;
    drop(guard(&standing));
    assert_eq!(state(&standing), CircuitState::Open);
    until_trial().await;
    let mut last = guard(&standing);
    last.answered(Outcome::Success);
    standing.served();
    assert_eq!(state(&standing), CircuitState::Closed);
    assert_eq!(standing.report("e0").health, Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn what_opens_the_circuit_is_the_reason_of_the_health_too() {
    let standing = standing(None);
    fail(&standing);
    let report = standing.report("e0");
    assert_eq!(
        (report.health, report.reason),
        (Health::Unhealthy, HealthReason::TrafficFailed)
    );
    assert_eq!(report.message, "answered with status 500");
    assert_eq!(report.circuit.tripped_by, Some(TrippedBy::ConsecutiveFailures));
}

#[tokio::test(start_paused = true)]
async fn a_report_stays_the_same_while_nothing_happens() {
    let standing = standing(None);
    fail(&standing);
    let before = standing.report("e0");
    tokio::time::advance(Duration::from_secs(3)).await;
    standing.change(|_, _| {});
    assert_eq!(standing.report("e0"), before, "times are taken once, not computed anew");
    let trial = before.circuit.next_trial.unwrap().duration_since(before.circuit.since);
    assert!(trial <= jiff::SignedDuration::from_secs(10) && trial >= jiff::SignedDuration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn with_probes_traffic_says_nothing_of_health() {
    let standing = standing(Some(Probing::new(1, 1)));
    fail(&standing);
    assert_eq!(
        (state(&standing), standing.report("e0").health),
        (CircuitState::Open, Health::Unknown)
    );
    standing.probed(&Finding::Good);
    assert_eq!(standing.report("e0").health, Health::Healthy);
    assert!(!standing.for_choice().unhealthy);
    standing.probed(&Finding::Bad {
        reason: HealthReason::ProbeTimeout,
        message: String::new(),
    });
    assert!(standing.for_choice().unhealthy);
}
