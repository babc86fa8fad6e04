//! The rules one by one. `tests/exits.rs` goes through every way in which requests can end together, `tests/histories.rs`
//! compares with a reference that is written differently, `tests/published.rs` with a breaker of somebody else.

use std::time::{Duration, Instant};

use super::*;
use crate::domain::plan::BreakerPlan;

mod exits;
mod histories;
mod published;
mod reference;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        consecutive_failures: 3,
        failure_percent: 50,
        window: 10 * SECOND,
        minimum_requests: 10,
        open_for: 30 * SECOND,
        max_open_for: 300 * SECOND,
        half_open_requests: 1,
        mode: BreakerMode::Automatic,
        trial_deadline: 5 * SECOND,
    }
}

/// A breaker and a clock that is moved by hand.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            breaker: Breaker::new(settings, 7, now),
            now,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn admit(&mut self) -> Option<Permit> {
        match self.breaker.admit(self.now) {
            Admission::Admit(permit) => Some(permit),
            Admission::Refuse { .. } => None,
        }
    }

    fn record(&mut self, permit: Permit, outcome: Outcome) {
        self.breaker.record(permit, outcome, self.now);
    }

    /// One request that is admitted and ends like this.
    fn send(&mut self, outcome: Outcome) {
        let permit = self.admit().expect("admitted");
        self.record(permit, outcome);
    }

    fn fail_until_open(&mut self) {
        for _ in 0..3 {
            self.send(Outcome::Failure);
        }
        assert_eq!(self.state(), CircuitState::Open);
    }

    fn state(&self) -> CircuitState {
        self.breaker.snapshot().state
    }

    /// How long it stays open from now on.
    fn open_for(&self) -> Duration {
        self.breaker.snapshot().next_trial.expect("open") - self.now
    }

    fn pass_until_trial(&mut self) {
        self.now += self.open_for();
    }
}

/// `actual` is `nominal`, shortened by at most the jitter.
fn assert_about(actual: Duration, nominal: Duration) {
    assert!(
        actual <= nominal && actual >= nominal.mul_f64(1.0 - MAX_JITTER),
        "{actual:?} is not about {nominal:?}"
    );
}

#[test]
fn failures_in_a_row_open_the_circuit() {
    let mut bench = Bench::new(settings());
    for outcome in [
        Outcome::Failure,
        Outcome::Failure,
        Outcome::Success,
        Outcome::Failure,
        Outcome::Failure,
    ] {
        bench.send(outcome);
    }
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.send(Outcome::Failure);
    let snapshot = bench.breaker.snapshot();
    assert_eq!(snapshot.state, CircuitState::Open);
    assert_eq!(snapshot.tripped_by, Some(TrippedBy::ConsecutiveFailures));
    assert_eq!(snapshot.since, bench.now);
}

#[test]
fn a_failure_rate_opens_the_circuit_once_there_are_enough_requests() {
    let mut bench = Bench::new(settings());
    for _ in 0..4 {
        bench.send(Outcome::Failure);
        bench.send(Outcome::Success);
    }
    bench.send(Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.send(Outcome::Failure);
    assert_eq!(bench.breaker.snapshot().tripped_by, Some(TrippedBy::FailureRate));
}

#[test]
fn one_failure_of_one_request_does_not_open_a_quiet_circuit() {
    let mut bench = Bench::new(Settings {
        consecutive_failures: 0,
        failure_percent: 1,
        ..settings()
    });
    for _ in 0..100 {
        bench.send(Outcome::Failure);
        bench.pass(60 * SECOND);
    }
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn what_has_left_the_window_does_not_count() {
    let mut bench = Bench::new(Settings {
        consecutive_failures: 0,
        ..settings()
    });
    for _ in 0..9 {
        bench.send(Outcome::Failure);
    }
    bench.pass(10 * SECOND);
    for _ in 0..9 {
        bench.send(Outcome::Failure);
    }
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.send(Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Open);
}

#[test]
fn zero_switches_a_trigger_off() {
    let mut bench = Bench::new(Settings {
        consecutive_failures: 0,
        failure_percent: 0,
        ..settings()
    });
    for _ in 0..1000 {
        bench.send(Outcome::Failure);
    }
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn callers_and_credentials_at_fault_never_open_the_circuit() {
    let mut bench = Bench::new(settings());
    for outcome in [
        Outcome::CallerError,
        Outcome::Unauthorized,
        Outcome::RateLimited,
        Outcome::Nothing,
    ] {
        for _ in 0..100 {
            bench.send(outcome);
        }
        assert_eq!(bench.state(), CircuitState::Closed, "{outcome:?}");
    }
}

#[test]
fn neither_429_nor_a_caller_that_left_ends_a_row_of_failures() {
    for between in [Outcome::RateLimited, Outcome::Nothing] {
        let mut bench = Bench::new(settings());
        for outcome in [Outcome::Failure, between, Outcome::Failure, between, Outcome::Failure] {
            bench.send(outcome);
        }
        assert_eq!(bench.state(), CircuitState::Open, "{between:?}");
    }
}

#[test]
fn an_open_circuit_refuses_until_its_time_is_over_and_says_until_when() {
    let mut bench = Bench::new(settings());
    bench.fail_until_open();
    assert_about(bench.open_for(), 30 * SECOND);
    let until = bench.now + bench.open_for();
    bench.now = until.checked_sub(Duration::from_nanos(1)).unwrap();
    assert_eq!(bench.breaker.gate(bench.now), Gate::Shut);
    assert_eq!(
        bench.breaker.admit(bench.now),
        Admission::Refuse {
            next_trial: Some(until)
        }
    );
    bench.now = until;
    assert_eq!(bench.breaker.gate(bench.now), Gate::TrialDue);
    assert!(bench.admit().is_some_and(|permit| permit.is_trial()));
    assert_eq!(bench.state(), CircuitState::HalfOpen);
}

#[test]
fn a_half_open_circuit_lets_exactly_its_trials_through() {
    for trials in [1_u32, 3] {
        let mut bench = Bench::new(Settings {
            half_open_requests: trials,
            ..settings()
        });
        bench.fail_until_open();
        bench.pass_until_trial();
        let admitted: Vec<_> = (0..1000).filter_map(|_| bench.admit()).collect();
        assert_eq!(admitted.len(), trials as usize);
        assert_eq!(bench.breaker.gate(bench.now), Gate::Shut);
        for (sent, permit) in admitted.into_iter().enumerate() {
            assert_eq!(bench.state(), CircuitState::HalfOpen, "after {sent} good trials");
            bench.record(permit, Outcome::Success);
        }
        assert_eq!(bench.state(), CircuitState::Closed);
        assert_eq!(bench.breaker.snapshot().tripped_by, None);
    }
}

#[test]
fn the_outcome_of_a_trial_decides_as_documented() {
    for (outcome, state, next) in [
        (Outcome::Success, CircuitState::Closed, None),
        (Outcome::CallerError, CircuitState::Closed, None),
        (Outcome::Unauthorized, CircuitState::Closed, None),
        (Outcome::Failure, CircuitState::Open, Some(60 * SECOND)),
        (Outcome::RateLimited, CircuitState::Open, Some(60 * SECOND)),
        (Outcome::Nothing, CircuitState::Open, Some(30 * SECOND)),
    ] {
        let mut bench = Bench::new(settings());
        bench.fail_until_open();
        bench.pass_until_trial();
        bench.send(outcome);
        assert_eq!(bench.state(), state, "{outcome:?}");
        if let Some(next) = next {
            assert_about(bench.open_for(), next);
            assert_eq!(
                bench.breaker.snapshot().tripped_by,
                Some(TrippedBy::ConsecutiveFailures)
            );
        }
    }
}

#[test]
fn the_time_to_stay_open_doubles_up_to_its_maximum() {
    let mut bench = Bench::new(settings());
    bench.fail_until_open();
    for seconds in [30, 60, 120, 240, 300, 300, 300] {
        assert_about(bench.open_for(), seconds * SECOND);
        bench.pass_until_trial();
        bench.send(Outcome::Failure);
    }
    for _ in 0..100 {
        bench.pass_until_trial();
        bench.send(Outcome::Failure);
        assert_about(bench.open_for(), 300 * SECOND);
    }
}

#[test]
fn a_relapse_stays_open_for_longer_and_a_new_outage_does_not() {
    for (healthy_for, nominal) in [(20 * SECOND, 120 * SECOND), (60 * SECOND, 30 * SECOND)] {
        let mut bench = Bench::new(settings());
        bench.fail_until_open();
        bench.pass_until_trial();
        bench.send(Outcome::Failure); // open for 60 s
        bench.pass_until_trial();
        bench.send(Outcome::Success);
        bench.pass(healthy_for);
        bench.fail_until_open();
        assert_about(bench.open_for(), nominal);
    }
}

#[test]
fn breakers_that_open_together_do_not_try_together() {
    let mut offsets: Vec<u64> = (0..50_u64)
        .map(|worker| {
            let mut bench = Bench::new(settings());
            bench.breaker = Breaker::new(settings(), worker, bench.now);
            bench.fail_until_open();
            u64::try_from((30 * SECOND).checked_sub(bench.open_for()).unwrap().as_millis()).unwrap()
        })
        .collect();
    offsets.sort_unstable();
    let spread = offsets[49] - offsets[0];
    assert!(spread > 6000 * 8 / 10, "the trials are spread over {spread} ms of 6000");
    offsets.dedup();
    assert!(offsets.len() > 45);
}

#[test]
fn a_trial_that_nobody_reports_counts_as_failed_after_its_deadline() {
    let mut bench = Bench::new(settings());
    bench.fail_until_open();
    bench.pass_until_trial();
    let lost = bench.admit().unwrap();
    assert_eq!(bench.breaker.next_tick(), Some(bench.now + 5 * SECOND));
    bench.pass(5 * SECOND);
    bench.breaker.tick(bench.now);
    assert_eq!(bench.state(), CircuitState::Open);
    assert_about(bench.open_for(), 60 * SECOND);
    bench.record(lost, Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Open, "it came too late");
}

#[test]
fn a_report_from_another_epoch_is_ignored() {
    let mut bench = Bench::new(settings());
    let (early, old) = (bench.admit().unwrap(), bench.admit().unwrap());
    bench.fail_until_open();
    bench.record(early, Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Open);
    bench.pass_until_trial();
    let trial = bench.admit().unwrap();
    bench.record(old, Outcome::Success);
    assert_eq!(bench.state(), CircuitState::HalfOpen);
    bench.record(trial, Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn forced_modes_hold_whatever_happens() {
    let mut open = Bench::new(Settings {
        mode: BreakerMode::ForcedOpen,
        ..settings()
    });
    open.pass(1000 * SECOND);
    assert_eq!(open.breaker.admit(open.now), Admission::Refuse { next_trial: None });
    open.breaker.reset(open.now);
    let snapshot = open.breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.next_trial), (CircuitState::Open, None));
    assert_eq!(snapshot.tripped_by, Some(TrippedBy::Forced));

    let mut closed = Bench::new(Settings {
        mode: BreakerMode::ForcedClosed,
        ..settings()
    });
    for _ in 0..1000 {
        closed.send(Outcome::Failure);
    }
    assert_eq!(closed.state(), CircuitState::Closed);
    closed.breaker.update(settings(), closed.now);
    closed.send(Outcome::Failure);
    assert_eq!(
        closed.state(),
        CircuitState::Open,
        "what was seen while forced counts afterwards"
    );
}

#[test]
fn a_mode_that_changes_takes_effect_at_once() {
    let with = |mode| Settings { mode, ..settings() };
    let mut bench = Bench::new(settings());
    bench.fail_until_open();
    bench.breaker.update(with(BreakerMode::ForcedClosed), bench.now);
    assert_eq!(bench.state(), CircuitState::Closed);
    let under_way = bench.admit().unwrap();
    bench.breaker.update(with(BreakerMode::ForcedOpen), bench.now);
    assert!(bench.admit().is_none());
    bench.record(under_way, Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Open);
    bench.breaker.update(with(BreakerMode::Automatic), bench.now);
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.fail_until_open();
    assert_about(bench.open_for(), 30 * SECOND);
}

#[test]
fn other_settings_keep_what_is_known() {
    let mut bench = Bench::new(settings());
    bench.send(Outcome::Failure);
    bench.send(Outcome::Failure);
    let under_way = bench.admit().unwrap();
    bench.breaker.update(
        Settings {
            open_for: 20 * SECOND,
            ..settings()
        },
        bench.now,
    );
    bench.record(under_way, Outcome::Failure);
    assert_about(bench.open_for(), 20 * SECOND);
    let before = bench.open_for();
    bench.breaker.update(settings(), bench.now);
    assert_eq!(bench.open_for(), before);
    bench.breaker.update(
        Settings {
            max_open_for: 2 * SECOND,
            ..settings()
        },
        bench.now,
    );
    assert_eq!(bench.open_for(), 2 * SECOND);
}

#[test]
fn fewer_trials_asked_for_meanwhile_do_not_leave_the_circuit_half_open() {
    let with = |half_open_requests| Settings {
        half_open_requests,
        ..settings()
    };
    let mut bench = Bench::new(with(3));
    bench.fail_until_open();
    bench.pass_until_trial();
    bench.send(Outcome::Success);
    bench.breaker.update(with(1), bench.now);
    assert_eq!(
        bench.state(),
        CircuitState::Closed,
        "one trial was asked for, and one was good"
    );
}

#[test]
fn reset_closes_the_circuit_and_forgets_the_outage() {
    let mut bench = Bench::new(settings());
    bench.fail_until_open();
    for _ in 0..3 {
        bench.pass_until_trial();
        bench.send(Outcome::Failure);
    }
    bench.breaker.reset(bench.now);
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.fail_until_open();
    assert_about(bench.open_for(), 30 * SECOND);
}

#[test]
fn reset_of_a_closed_circuit_forgets_the_failures_so_far() {
    let mut bench = Bench::new(settings());
    bench.send(Outcome::Failure);
    bench.send(Outcome::Failure);
    bench.breaker.reset(bench.now);
    bench.send(Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn a_clock_that_stands_or_steps_back_changes_nothing() {
    let mut bench = Bench::new(settings());
    bench.pass(100 * SECOND);
    bench.fail_until_open();
    let later = bench.now;
    bench.now -= 50 * SECOND;
    assert!(bench.admit().is_none());
    bench.now = later;
    bench.pass_until_trial();
    bench.send(Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn extreme_settings_do_not_overflow() {
    let plan = BreakerPlan {
        consecutive_failures: 1,
        failure_percent: u32::MAX,
        window: Duration::MAX,
        minimum_requests: u32::MAX,
        open_for: Duration::MAX,
        max_open_for: Duration::MAX,
        half_open_requests: u32::MAX,
        mode: BreakerMode::Automatic,
    };
    let mut bench = Bench::new(Settings::new(&plan, Duration::MAX));
    bench.send(Outcome::Failure);
    bench.pass_until_trial();
    bench.send(Outcome::Failure);
    let mut none = Bench::new(Settings::new(
        &BreakerPlan {
            window: Duration::ZERO,
            open_for: Duration::ZERO,
            max_open_for: Duration::ZERO,
            half_open_requests: 0,
            ..plan
        },
        Duration::ZERO,
    ));
    for _ in 0..3 {
        none.send(Outcome::Failure);
        none.send(Outcome::Success);
    }
}
