//! Random histories, played on the breaker and on a published one (`failsafe`) side by side, under what both can express: a
//! row of failures opens, one trial closes or opens again, and reports from before the last change are not told to the
//! other, because it cannot tell them apart; ours has to ignore them by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use failsafe::StateMachine;
use failsafe::failure_policy::consecutive_failures;

use super::histories::{OUTCOMES, Random, full};
use super::*;

/// How long the published one stays open: not at all, or for longer than the test takes. It keeps a clock of its own.
#[derive(Clone, Debug)]
struct Stay(Arc<AtomicBool>);

impl Iterator for Stay {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(if self.0.load(Ordering::Relaxed) {
            3600 * SECOND
        } else {
            Duration::ZERO
        })
    }
}

/// What is planted to see that the comparison can fail.
#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// One failure more is needed to open.
    LaterTrip,
    /// Reports from before the last change count.
    StaleReports,
}

fn play(seed: u64, planted: Planted) -> Result<(), String> {
    let mut random = Random::new(seed);
    let row = random.one(&[1, 2, 3, 5]);
    let mut now = Instant::now();
    let mut ours = Breaker::new(
        Settings {
            consecutive_failures: row + u32::from(planted == Planted::LaterTrip),
            failure_percent: 0,
            ..settings()
        },
        seed,
        now,
    );
    let long = Arc::new(AtomicBool::new(false));
    let theirs = StateMachine::new(consecutive_failures(row, Stay(long.clone())), ());
    let mut permits: Vec<(Permit, u64)> = Vec::new();
    let mut trial_under_way = false;
    for step in 0..60 {
        let before = ours.epoch;
        if permits.is_empty() || random.below(3) == 0 {
            // The published one lets everything through while it is half open.
            if trial_under_way {
                continue;
            }
            let admitted = ours.admit(now);
            if matches!(admitted, Admission::Admit(_)) != theirs.is_call_permitted() {
                return Err(format!(
                    "history {seed}, step {step}: {admitted:?}, and the other not so"
                ));
            }
            if let Admission::Admit(permit) = admitted {
                trial_under_way = permit.is_trial();
                permits.push((permit, ours.epoch));
            }
            continue;
        }
        let index = usize::try_from(random.below(permits.len() as u64)).unwrap();
        let (permit, epoch) = permits.swap_remove(index);
        let outcome = random.one(&OUTCOMES);
        let trial = permit.is_trial();
        let current = epoch == before || planted == Planted::StaleReports;
        let stays = random.below(2) == 0;
        long.store(stays, Ordering::Relaxed);
        ours.record(permit, outcome, now);
        if current {
            match outcome {
                Outcome::Success | Outcome::CallerError | Outcome::Unauthorized => theirs.on_success(),
                Outcome::Failure => theirs.on_error(),
                Outcome::RateLimited | Outcome::Nothing if trial => theirs.on_error(),
                Outcome::RateLimited | Outcome::Nothing => {}
            }
            trial_under_way &= !trial;
        }
        if ours.epoch != before && ours.snapshot().state == CircuitState::Open && !stays {
            now = ours.snapshot().next_trial.unwrap();
            // Its clock has to move on too.
            let opened = Instant::now();
            while Instant::now() <= opened {}
        }
    }
    Ok(())
}

#[test]
fn a_million_random_histories_agree_with_a_published_breaker() {
    let histories = if full() { 1_000_000 } else { 50_000 };
    for seed in 0..histories {
        play(seed, Planted::Nothing).unwrap();
    }
    println!("{histories} histories agree");
}

#[test]
fn what_is_planted_parts_it_from_the_published_one() {
    for planted in [Planted::LaterTrip, Planted::StaleReports] {
        assert!(
            (0..2_000).any(|seed| play(seed, planted).is_err()),
            "the comparison cannot fail"
        );
    }
}
