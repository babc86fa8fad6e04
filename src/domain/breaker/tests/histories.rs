//! Random histories, played on the breaker and on the reference side by side.

use super::reference::{Phase, Reference, Slip};
use super::*;

/// Nanoseconds of a millisecond.
const NANOS: u64 = 1_000_000;

/// Whether everything is played, and not a sample that takes seconds.
pub fn full() -> bool {
    std::env::var_os("TIDEGATE_FULL_HISTORIES").is_some()
}

/// A small generator, so that a history is named by one number.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn settings(&mut self) -> Settings {
        let millis = |ms: u64| Duration::from_millis(ms);
        let open_for = self.one(&[50, 200, 1000]);
        Settings {
            consecutive_failures: self.one(&[0, 1, 2, 3, 5]),
            failure_percent: self.one(&[0, 10, 50, 60, 100]),
            window: millis(self.one(&[100, 500, 2000])),
            minimum_requests: self.one(&[1, 2, 4, 6]),
            open_for: millis(open_for),
            max_open_for: millis(open_for * self.one(&[1, 2, 5, 16])),
            half_open_requests: self.one(&[1, 1, 2, 3]),
            mode: BreakerMode::Automatic,
            trial_deadline: millis(self.one(&[20, 100, 1000])),
        }
    }
}

/// Good and bad in the same number, and what is neither.
pub const OUTCOMES: [Outcome; 10] = [
    Outcome::Success,
    Outcome::Success,
    Outcome::Success,
    Outcome::CallerError,
    Outcome::RateLimited,
    Outcome::Unauthorized,
    Outcome::Nothing,
    Outcome::Failure,
    Outcome::Failure,
    Outcome::Failure,
];

/// What is planted to see that the comparison can fail.
#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// A report is lost now and then.
    LostReport,
    /// 429 is taken for a success.
    RateLimitIsSuccess,
    /// Lost trials are given twice the time.
    LongerDeadline,
}

/// Plays one history; an error says at which step the two part.
fn play(seed: u64, planted: Planted) -> Result<(), String> {
    let mut random = Random::new(seed);
    let settings = random.settings();
    let start = Instant::now();
    let mut real_settings = settings.clone();
    if planted == Planted::LongerDeadline {
        real_settings.trial_deadline *= 2;
    }
    let mut real = Breaker::new(real_settings.clone(), seed, start);
    let mut reference = Reference::new(settings);
    let mut permits: Vec<(Permit, Slip)> = Vec::new();
    let mut now = 0;
    for step in 0..60 {
        now += NANOS
            * match random.below(20) {
                0..=7 => 0,
                8..=15 => random.below(20),
                16..=18 => random.below(500),
                _ => random.below(5000),
            };
        let at = start + Duration::from_nanos(now);
        let fail = |what: String| Err(format!("history {seed}, step {step}, {now} ns: {what}"));
        match random.below(40) {
            0 => {
                real.reset(at);
                reference.reset(now);
            }
            1 => {
                let mode = random.one(&[
                    BreakerMode::Automatic,
                    BreakerMode::ForcedOpen,
                    BreakerMode::ForcedClosed,
                ]);
                real_settings.mode = mode;
                real.update(real_settings.clone(), at);
                reference.set_mode(mode, now);
            }
            2..=3 => {
                real.tick(at);
                let mut bounds = None;
                reference.expire(now, &mut adopt(&real, at, &mut bounds));
                within(bounds).or_else(fail)?;
            }
            4..=21 => {
                let gate = real.gate(at);
                let admitted = match real.admit(at) {
                    Admission::Admit(permit) => Some(permit),
                    Admission::Refuse { .. } => None,
                };
                let mut bounds = None;
                let slip = reference.admit(now, &mut adopt(&real, at, &mut bounds));
                within(bounds).or_else(fail)?;
                match (admitted, slip) {
                    (Some(_), Some(_)) if gate == Gate::Shut => {
                        return fail("the gate was shut, yet it was admitted".into());
                    }
                    (Some(permit), Some(slip)) => permits.push((permit, slip)),
                    (None, None) => {}
                    (admitted, _) => return fail(format!("admitted: {}, and the reference not", admitted.is_some())),
                }
            }
            _ if permits.is_empty() => {}
            _ => {
                let index = usize::try_from(random.below(permits.len() as u64)).unwrap();
                let (permit, slip) = permits.swap_remove(index);
                let outcome = random.one(&OUTCOMES);
                let told = match planted {
                    Planted::RateLimitIsSuccess if outcome == Outcome::RateLimited => Some(Outcome::Success),
                    Planted::LostReport if random.below(10) == 0 => None,
                    _ => Some(outcome),
                };
                if let Some(told) = told {
                    real.record(permit, told, at);
                }
                let mut bounds = None;
                reference.record(slip, outcome, now, &mut adopt(&real, at, &mut bounds));
                within(bounds).or_else(fail)?;
            }
        }
        let snapshot = real.snapshot();
        let (state, next_trial) = match reference.phase() {
            Phase::Closed => (CircuitState::Closed, None),
            Phase::Open(until) => (CircuitState::Open, Some(until)),
            Phase::HalfOpen => (CircuitState::HalfOpen, None),
            Phase::Forced => (CircuitState::Open, None),
        };
        let shown = (
            snapshot.state,
            snapshot.since,
            snapshot.next_trial.map(|next| next.duration_since(start).as_nanos()),
        );
        let expected = (
            state,
            start + Duration::from_nanos(reference.since()),
            next_trial.map(u128::from),
        );
        if shown != expected {
            return fail(format!("{shown:?}, and the reference {expected:?}"));
        }
        if (snapshot.tripped_by.is_some()) != (state != CircuitState::Closed) {
            return fail(format!("tripped by {:?} while {state:?}", snapshot.tripped_by));
        }
    }
    Ok(())
}

/// The reference cannot foresee jitter, so it takes over how long the real one stays open; the bounds are checked apart.
#[allow(clippy::cast_precision_loss)]
fn adopt<'a>(
    real: &Breaker,
    at: Instant,
    bounds: &'a mut Option<(f64, f64, f64)>,
) -> impl FnMut(f64, f64) -> u64 + use<'a> {
    let chosen = real
        .snapshot()
        .next_trial
        .map_or(Duration::ZERO, |next| next.saturating_duration_since(at));
    move |low, high| {
        *bounds = Some((low, chosen.as_nanos() as f64, high));
        u64::try_from(chosen.as_nanos()).unwrap()
    }
}

fn within(bounds: Option<(f64, f64, f64)>) -> Result<(), String> {
    match bounds {
        Some((low, chosen, high)) if chosen < low - 1.0 || chosen > high + 1.0 => {
            Err(format!("open for {chosen} ns, and not for {low} to {high}"))
        }
        _ => Ok(()),
    }
}

#[test]
fn a_million_random_histories_agree_with_the_reference() {
    let histories = if full() { 1_000_000 } else { 20_000 };
    for seed in 0..histories {
        play(seed, Planted::Nothing).unwrap();
    }
    println!("{histories} histories agree");
}

#[test]
fn planted_faults_are_found() {
    for planted in [
        Planted::LostReport,
        Planted::RateLimitIsSuccess,
        Planted::LongerDeadline,
    ] {
        assert!(
            (0..5_000).any(|seed| play(seed, planted).is_err()),
            "the comparison cannot fail"
        );
    }
}
