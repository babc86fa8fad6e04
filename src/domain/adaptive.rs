//! How many requests may be under way, as the provider's answers say it (a gradient limiter, after Envoy's and Netflix's).
//!
//! A provider that has room answers in the same time however much it is asked. Once it has a queue, answers take longer, and
//! more requests under way only make the queue longer. So the limit follows the gradient, which is how long answers take
//! with a short queue over how long they take now:
//!
//! ```text
//!   limit' = limit * min(1, TOLERANCE * base / now) + sqrt(limit)
//! ```
//!
//! With a provider that does `c` requests at a time this settles a little above `1.25 c`: never idle for want of requests,
//! and a request waits there for a third of its own time or less.
//!
//! `base` is measured and not remembered: at the start, and every half minute or so, the limit is the minimum for as long
//! as it takes to drain and to see some answers. A base that was only ever the shortest time seen would be wrong for good
//! once the provider became slower for another reason, and one that follows the average would take a queue for normal.
//!
//! A provider that says that it has too much to do (429, 503), or nothing in time, is believed without a measurement.

use std::time::{Duration, Instant};

/// Answers may take so much longer than with a short queue before the limit falls.
const TOLERANCE: f64 = 1.25;
/// The limit falls by no more than half in a window.
const STEEPEST: f64 = 0.5;
/// What is left of the limit after a window with refusals.
const AFTER_REFUSAL: f64 = 0.8;
/// A window has at least so many answers,
const ENOUGH: u32 = 10;
/// and lasts at least so long. With this or more, and any answer at all, it is over after ten times that.
const WINDOW: Duration = Duration::from_millis(100);
/// Between two measurements of the base; spread, so that workers do not measure together.
const MEASURE_EVERY: Duration = Duration::from_secs(30);
/// A measurement does not wait longer than this for what was under way before it.
const DRAIN: Duration = Duration::from_secs(2);

/// The limit of one Integration in one worker.
#[derive(Clone, Debug)]
pub struct Limit {
    minimum: u32,
    maximum: u32,
    aim: f64,
    /// In seconds, with a short queue; absent until it was measured.
    base: Option<f64>,
    measuring: Option<Measuring>,
    measure_at: Instant,
    every: Duration,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
struct Measuring {
    since: Instant,
    drained: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    answers: u32,
    seconds: f64,
    refused: bool,
    most_under_way: u32,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            answers: 0,
            seconds: 0.0,
            refused: false,
            most_under_way: 0,
        }
    }
}

impl Limit {
    /// A limit from `minimum` to `maximum`, which begins at the least. `spread` is a random number from 0 to 1, of its own
    /// for each worker.
    pub fn new(minimum: u32, maximum: u32, spread: f64, now: Instant) -> Self {
        let every = MEASURE_EVERY.mul_f64(0.75 + 0.5 * spread.clamp(0.0, 1.0));
        Self {
            minimum,
            maximum: maximum.max(minimum),
            aim: f64::from(minimum),
            base: None,
            measuring: Some(Measuring {
                since: now,
                drained: true,
            }),
            measure_at: now + every,
            every,
            window: Window::new(now),
        }
    }

    /// Other bounds; what was learned stays.
    pub fn adjust(&mut self, minimum: u32, maximum: u32) {
        self.minimum = minimum;
        self.maximum = maximum.max(minimum);
        self.aim = self.bounded(self.aim);
    }

    /// How many requests may be under way now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between two whole numbers of this type"
    )]
    pub fn get(&self) -> u32 {
        if self.measuring.is_some() {
            return self.minimum;
        }
        self.aim as u32
    }

    /// An answer took so long, while so many requests were under way.
    pub fn answered(&mut self, took: Duration, under_way: u32, now: Instant) {
        if let Some(measuring) = &mut self.measuring
            && !measuring.drained
        {
            // What was under way before stood in the queue, and so does what came right behind it.
            let is_over = now.saturating_duration_since(measuring.since) >= DRAIN;
            if under_way <= self.minimum || is_over {
                measuring.drained = true;
                self.window = Window::new(now);
            }
            return;
        }
        let began = now.checked_sub(took).unwrap_or(now);
        if self.measuring.is_some() && began < self.window.since {
            return;
        }
        self.window.answers += 1;
        self.window.seconds += took.as_secs_f64();
        self.window.most_under_way = self.window.most_under_way.max(under_way);
        self.conclude(now);
    }

    /// The provider said that it has too much to do, or nothing in time.
    pub fn refused(&mut self, now: Instant) {
        self.window.refused = true;
        self.conclude(now);
    }

    fn conclude(&mut self, now: Instant) {
        let Window {
            since,
            answers,
            seconds,
            refused,
            most_under_way,
        } = self.window;
        let passed = now.saturating_duration_since(since);
        let is_full = passed >= WINDOW && answers >= ENOUGH;
        if !is_full && passed < 10 * WINDOW {
            return;
        }
        self.window = Window::new(now);
        if refused {
            self.aim = self.bounded(self.aim * AFTER_REFUSAL);
        }
        if answers == 0 {
            return;
        }
        let mean = seconds / f64::from(answers);
        if self.measuring.take().is_some() {
            self.base = Some(mean);
            return;
        }
        let base = self.base.map_or(mean, |base| base.min(mean));
        self.base = Some(base);
        if !refused {
            let gradient = (TOLERANCE * base / mean.max(f64::MIN_POSITIVE)).clamp(STEEPEST, 1.0);
            let next = self.bounded(self.aim * gradient + self.aim.sqrt());
            // What is not used says nothing of what could be.
            let is_used = most_under_way.saturating_mul(2) >= self.get();
            if is_used || next < self.aim {
                self.aim = next;
            }
        }
        if now >= self.measure_at {
            self.measure_at = now + self.every;
            self.measuring = Some(Measuring {
                since: now,
                drained: false,
            });
        }
    }

    fn bounded(&self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.minimum), f64::from(self.maximum))
    }
}

#[cfg(test)]
mod tests;
