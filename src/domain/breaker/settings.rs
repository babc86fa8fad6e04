//! What a breaker goes by.

use std::time::Duration;

use crate::api::integration::BreakerMode;
use crate::domain::plan::BreakerPlan;

/// No time of a breaker is longer, so that no sum of times overflows whatever a plan says.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// More trials at once than this are no trial.
const MAX_TRIALS: u32 = 100;

/// What a breaker goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row that open the circuit; 0: never.
    pub consecutive_failures: u32,
    /// Failure rate that opens it, in percent; 0: never.
    pub failure_percent: u32,
    /// The rate is taken over this window.
    pub window: Duration,
    /// With at least this many requests in it.
    pub minimum_requests: u32,
    /// First time to stay open.
    pub open_for: Duration,
    /// Longest time to stay open.
    pub max_open_for: Duration,
    /// Trials while half open; all must succeed. At least 1.
    pub half_open_requests: u32,
    /// Automatic, or forced by the user.
    pub mode: BreakerMode,
    /// After this long a trial that nobody reported counts as failed: longer than an attempt can take.
    pub trial_deadline: Duration,
}

impl Settings {
    /// The settings of a plan whose attempts end within `attempt`. The second on top keeps the deadline from racing
    /// the attempt's own timeout, which reports sooner and better.
    pub fn new(plan: &BreakerPlan, attempt: Duration) -> Self {
        Self {
            consecutive_failures: plan.consecutive_failures,
            failure_percent: plan.failure_percent,
            window: plan.window.min(LONGEST),
            minimum_requests: plan.minimum_requests,
            open_for: plan.open_for.min(LONGEST),
            max_open_for: plan.max_open_for.min(LONGEST),
            half_open_requests: plan.half_open_requests.clamp(1, MAX_TRIALS),
            mode: plan.mode,
            trial_deadline: attempt.min(LONGEST) + Duration::from_secs(1),
        }
    }
}
