//! The circuit breaker of one endpoint: a synchronous state machine. The caller brings the lock and the clock.
//!
//! ```text
//!            failures in a row, or failure rate                  the time is over, and somebody asks
//!   Closed ------------------------------------> Open --------------------------------------------> HalfOpen
//!     ^                                           ^                                                    |
//!     |                                           +---- a trial fails, is lost or says nothing --------+
//!     +------------------------------- every trial succeeds -------------------------------------------+
//! ```
//!
//! # Guarantees
//!
//! - Every transition starts a new epoch, and what a permit of an older epoch reports is ignored: a slow request from
//!   before the outage cannot close the circuit, and one from before the recovery cannot open it again.
//! - HalfOpen is left within [`Settings::trial_deadline`] of the last trial, whatever becomes of the trials: each has a
//!   deadline after which it counts as failed, besides the [`Guard`] that reports when it is dropped.
//! - [`Breaker::admit`] and [`Breaker::record`] neither allocate nor lock, and take constant time (in HalfOpen: time
//!   proportional to the number of trials).
//!
//! # What counts
//!
//! | outcome                          | Closed                         | HalfOpen                             |
//! |----------------------------------|--------------------------------|--------------------------------------|
//! | Success, CallerError, Unauthorized | success: ends a row of failures | the trial succeeds                 |
//! | Failure                          | failure                        | reopens, for twice as long           |
//! | RateLimited                      | nothing                        | reopens, for twice as long           |
//! | Nothing (caller gone, not asked) | nothing                        | reopens, for as long as before       |
//! | lost (past its deadline)         | nothing                        | reopens, for twice as long           |
//!
//! *RateLimited*: a provider that says 429 is alive, so it must not open the circuit; but the answer often comes from a
//! gateway in front of what failed, so it must not end a row of failures either, and letting all traffic back on a
//! provider that asks for less would be the wrong answer to it.
//!
//! *Nothing*: a caller that goes away says nothing about the provider. The trial's place must come back, though, and
//! nothing says that the provider is well: the circuit stays open for another while, but no longer than before, so
//! that one impatient caller cannot keep everybody out for `maxOpenFor`.

use std::time::{Duration, Instant};

use super::classify::Outcome;
use crate::api::integration::{BreakerMode, CircuitState, TrippedBy};

pub use guard::{Guard, Ledger};
pub use settings::Settings;
use window::Window;

mod guard;
mod settings;
mod window;

/// Leave to send one attempt. It is given back with what came of it, once; see [`Guard`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped silently is a trial lost until its deadline; wrap it in a `Guard`"]
pub struct Permit {
    epoch: u64,
    trial: Option<usize>,
}

impl Permit {
    /// Whether the attempt is a trial of a half-open circuit.
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }
}

/// The answer to [`Breaker::admit`].
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead.
    Admit(Permit),
    /// The circuit is open.
    Refuse {
        /// When it is worth asking again: the next trial, or now if trials are under way. `None`: forced open.
        next_trial: Option<Instant>,
    },
}

/// What [`Breaker::admit`] would say, for a choice among endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Traffic flows.
    Flows,
    /// The next request is let through as a trial.
    TrialDue,
    /// Nothing is let through.
    Shut,
}

/// The breaker as a report shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Closed, HalfOpen or Open.
    pub state: CircuitState,
    /// When `state` last changed.
    pub since: Instant,
    /// While Open: when the next trial is let through; `None` if forced open.
    pub next_trial: Option<Instant>,
    /// While not Closed: what opened it.
    pub tripped_by: Option<TrippedBy>,
}

#[derive(Clone, Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
    ForcedOpen,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    deadline: Instant,
    succeeded: bool,
}

/// The circuit breaker of one endpoint.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    since: Instant,
    /// Changes with every transition.
    epoch: u64,
    tripped_by: Option<TrippedBy>,
    /// Failures in a row while closed.
    row: u32,
    /// `first`: successes; `second`: failures.
    window: Window,
    /// Trials of this half-open epoch; its capacity is reserved when the settings are taken.
    trials: Vec<Trial>,
    /// How often the time to stay open has doubled.
    doublings: u32,
    /// How long it was open last, which is how long it must stay closed before `doublings` is forgotten.
    opened_for: Duration,
    /// State of the generator that the jitter comes from.
    seed: u64,
}

impl Breaker {
    /// A closed breaker, or what the mode says. `seed` is a random number of its own for each breaker: the times to
    /// stay open are spread by it.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        let mut breaker = Self {
            window: Window::new(settings.window, now),
            trials: Vec::with_capacity(settings.half_open_requests as usize),
            settings,
            state: State::Closed,
            since: now,
            epoch: 0,
            tripped_by: None,
            row: 0,
            doublings: 0,
            opened_for: Duration::ZERO,
            seed,
        };
        if breaker.settings.mode == BreakerMode::ForcedOpen {
            breaker.force_open(now);
        }
        breaker
    }

    /// Asks to send one attempt.
    pub fn admit(&mut self, now: Instant) -> Admission {
        self.tick(now);
        match self.state {
            State::Closed => Admission::Admit(Permit {
                epoch: self.epoch,
                trial: None,
            }),
            State::ForcedOpen => Admission::Refuse { next_trial: None },
            State::Open { until } if now < until => Admission::Refuse {
                next_trial: Some(until),
            },
            State::Open { .. } => {
                self.enter(State::HalfOpen, now);
                self.admit_trial(now)
            }
            State::HalfOpen if self.trials.len() < self.settings.half_open_requests as usize => self.admit_trial(now),
            // The trials under way are about to decide.
            State::HalfOpen => Admission::Refuse { next_trial: Some(now) },
        }
    }

    /// What [`admit`](Self::admit) would say, without asking.
    pub fn gate(&self, now: Instant) -> Gate {
        match self.state {
            State::Closed => Gate::Flows,
            State::Open { until } if now >= until => Gate::TrialDue,
            State::HalfOpen if self.trials.len() < self.settings.half_open_requests as usize => Gate::TrialDue,
            State::Open { .. } | State::HalfOpen | State::ForcedOpen => Gate::Shut,
        }
    }

    /// Takes a permit back with what came of it.
    pub fn record(&mut self, permit: Permit, outcome: Outcome, now: Instant) {
        self.tick(now);
        if permit.epoch != self.epoch {
            return;
        }
        match (&self.state, permit.trial) {
            (State::Closed, _) => self.record_closed(outcome, now),
            (State::HalfOpen, Some(trial)) => self.record_trial(trial, outcome, now),
            (State::HalfOpen | State::Open { .. } | State::ForcedOpen, _) => {}
        }
    }

    /// Carries out what time alone brings: a half-open circuit with a trial past its deadline opens again.
    pub fn tick(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen)
            && self
                .trials
                .iter()
                .any(|trial| !trial.succeeded && now >= trial.deadline)
        {
            self.doublings = self.doublings.saturating_add(1);
            self.open(now);
        }
    }

    /// When [`tick`](Self::tick) may next change something, for a caller that wants to report it without traffic.
    pub fn next_tick(&self) -> Option<Instant> {
        match self.state {
            State::HalfOpen => self
                .trials
                .iter()
                .filter(|trial| !trial.succeeded)
                .map(|trial| trial.deadline)
                .min(),
            _ => None,
        }
    }

    /// Closes the circuit and forgets what opened it (annotation `tidegate.dev/reset-circuit`). A forced mode stays.
    pub fn reset(&mut self, now: Instant) {
        self.clear();
        self.forget();
        if matches!(self.state, State::Open { .. } | State::HalfOpen) {
            self.close(now);
        }
    }

    /// Takes over other settings without losing what is known: an open circuit stays open, for no longer than the new
    /// `max_open_for`; a window of another length starts empty. Leaving `ForcedOpen` closes the circuit, because who
    /// lifts the force says that the provider is to be used again.
    pub fn update(&mut self, settings: Settings, now: Instant) {
        if settings.window != self.settings.window {
            self.window = Window::new(settings.window, now);
        }
        self.trials
            .reserve((settings.half_open_requests as usize).saturating_sub(self.trials.len()));
        self.settings = settings;
        match (self.settings.mode, &mut self.state) {
            (BreakerMode::ForcedOpen, State::ForcedOpen) => {}
            (BreakerMode::ForcedOpen, _) => self.force_open(now),
            (BreakerMode::Automatic, State::Open { until }) => {
                *until = (*until).min(self.since + self.settings.max_open_for);
            }
            (BreakerMode::ForcedClosed, State::Open { .. } | State::HalfOpen) | (_, State::ForcedOpen) => {
                self.forget();
                self.close(now);
            }
            (BreakerMode::Automatic, State::HalfOpen) => self.close_if_proven(now),
            (_, State::Closed) => {}
        }
    }

    /// The breaker as a report shows it.
    pub fn snapshot(&self) -> Snapshot {
        let (state, next_trial) = match self.state {
            State::Closed => (CircuitState::Closed, None),
            State::Open { until } => (CircuitState::Open, Some(until)),
            State::HalfOpen => (CircuitState::HalfOpen, None),
            State::ForcedOpen => (CircuitState::Open, None),
        };
        Snapshot {
            state,
            since: self.since,
            next_trial,
            tripped_by: self.tripped_by,
        }
    }

    fn admit_trial(&mut self, now: Instant) -> Admission {
        let trial = self.trials.len();
        self.trials.push(Trial {
            deadline: now + self.settings.trial_deadline,
            succeeded: false,
        });
        Admission::Admit(Permit {
            epoch: self.epoch,
            trial: Some(trial),
        })
    }

    fn record_closed(&mut self, outcome: Outcome, now: Instant) {
        self.window.advance(now);
        match outcome {
            Outcome::Success | Outcome::CallerError | Outcome::Unauthorized => {
                self.row = 0;
                self.window.add_first();
            }
            Outcome::Failure => {
                self.row = self.row.saturating_add(1);
                self.window.add_second();
                if self.settings.mode == BreakerMode::Automatic
                    && let Some(cause) = self.cause()
                {
                    self.trip(cause, now);
                }
            }
            Outcome::RateLimited | Outcome::Nothing => {}
        }
    }

    /// What opens the circuit now. Asked after a failure only: a success never opens it.
    fn cause(&self) -> Option<TrippedBy> {
        let settings = &self.settings;
        if settings.consecutive_failures > 0 && self.row >= settings.consecutive_failures {
            return Some(TrippedBy::ConsecutiveFailures);
        }
        let (failures, total) = (self.window.second(), self.window.first() + self.window.second());
        let over = settings.failure_percent > 0
            && total >= u64::from(settings.minimum_requests)
            && failures * 100 >= total * u64::from(settings.failure_percent);
        over.then_some(TrippedBy::FailureRate)
    }

    fn record_trial(&mut self, trial: usize, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Success | Outcome::CallerError | Outcome::Unauthorized => {
                if let Some(trial) = self.trials.get_mut(trial) {
                    trial.succeeded = true;
                }
                self.close_if_proven(now);
            }
            Outcome::Failure | Outcome::RateLimited => {
                self.doublings = self.doublings.saturating_add(1);
                self.open(now);
            }
            Outcome::Nothing => self.open(now),
        }
    }

    /// Closes a half-open circuit of which enough trials were good.
    fn close_if_proven(&mut self, now: Instant) {
        let good = self.trials.iter().filter(|trial| trial.succeeded).count();
        if good >= self.settings.half_open_requests as usize {
            self.close(now);
        }
    }

    /// Opens a closed circuit. One that was closed for less than it had been open before, or for less than a window,
    /// has not recovered: a single good trial proves little. It stays open for twice as long. After that it is a new
    /// outage and starts from `open_for`.
    fn trip(&mut self, cause: TrippedBy, now: Instant) {
        let closed_for = now.saturating_duration_since(self.since);
        let relapse = self.opened_for > Duration::ZERO && closed_for < self.opened_for.max(self.settings.window);
        self.doublings = if relapse { self.doublings.saturating_add(1) } else { 0 };
        self.tripped_by = Some(cause);
        self.open(now);
    }

    fn open(&mut self, now: Instant) {
        let factor = 1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        let step = self
            .settings
            .open_for
            .saturating_mul(factor)
            .min(self.settings.max_open_for);
        self.opened_for = step.mul_f64(1.0 - self.jitter() * MAX_JITTER);
        self.enter(
            State::Open {
                until: now + self.opened_for,
            },
            now,
        );
    }

    fn close(&mut self, now: Instant) {
        self.tripped_by = None;
        self.enter(State::Closed, now);
    }

    fn force_open(&mut self, now: Instant) {
        self.tripped_by = Some(TrippedBy::Forced);
        self.forget();
        self.enter(State::ForcedOpen, now);
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.epoch += 1;
        self.clear();
    }

    /// The next outage starts from `open_for`.
    fn forget(&mut self) {
        self.doublings = 0;
        self.opened_for = Duration::ZERO;
    }

    fn clear(&mut self) {
        self.row = 0;
        self.window.clear();
        self.trials.clear();
    }

    /// The next number of a splitmix64 generator, in [0, 1).
    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    fn jitter(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The time to stay open is shortened by up to this share, so that the workers of one Integration, which opened
/// together, do not try together. Shortened and not lengthened, because `maxOpenFor` is a bound.
const MAX_JITTER: f64 = 0.2;

#[cfg(test)]
mod tests;
