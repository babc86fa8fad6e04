//! The breaker once more, written for clarity and not for speed: it keeps everything that ever happened and derives every
//! answer from that. Nothing of the real one is used but its settings.

use crate::api::integration::BreakerMode;
use crate::domain::breaker::Settings;
use crate::domain::classify::Outcome;

/// Nanoseconds since the start.
pub type Time = u64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Closed,
    /// Not before this time.
    Open(Time),
    HalfOpen,
    Forced,
}

/// Why a circuit opened, which decides for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Tripped,
    TrialFailed,
    TrialSaidNothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Became(Phase, Option<Why>),
    /// Counts were cleared.
    Cleared,
    /// The outage was forgiven.
    Forgiven,
    Good,
    Bad,
    Granted,
    Won(usize),
}

/// Where a permit comes from: how many changes of phase there had been, and which trial it is.
#[derive(Clone, Copy, Debug)]
pub struct Slip(usize, Option<usize>);

pub struct Reference {
    settings: Settings,
    log: Vec<(Time, Event)>,
}

impl Reference {
    pub fn new(settings: Settings) -> Self {
        let first = match settings.mode {
            BreakerMode::ForcedOpen => Phase::Forced,
            BreakerMode::Automatic | BreakerMode::ForcedClosed => Phase::Closed,
        };
        Self {
            settings,
            log: vec![(0, Event::Became(first, None))],
        }
    }

    pub fn phase(&self) -> Phase {
        self.changes().last().unwrap().1
    }

    pub fn since(&self) -> Time {
        self.changes().last().unwrap().0
    }

    /// `open` chooses how long to stay open, between two bounds in nanoseconds.
    pub fn admit(&mut self, now: Time, open: &mut dyn FnMut(f64, f64) -> Time) -> Option<Slip> {
        self.expire(now, open);
        match self.phase() {
            Phase::Closed => return Some(Slip(self.changes().count(), None)),
            Phase::Forced => return None,
            Phase::Open(until) if now < until => return None,
            Phase::Open(_) => self.log.push((now, Event::Became(Phase::HalfOpen, None))),
            Phase::HalfOpen => {}
        }
        let granted = self.recent().filter(|(_, event)| *event == Event::Granted).count();
        if granted >= self.settings.half_open_requests as usize {
            return None;
        }
        self.log.push((now, Event::Granted));
        Some(Slip(self.changes().count(), Some(granted)))
    }

    pub fn record(&mut self, slip: Slip, outcome: Outcome, now: Time, open: &mut dyn FnMut(f64, f64) -> Time) {
        self.expire(now, open);
        if slip.0 != self.changes().count() {
            return;
        }
        let good = matches!(outcome, Outcome::Success | Outcome::CallerError | Outcome::Unauthorized);
        match slip.1 {
            None if good => self.log.push((now, Event::Good)),
            None if outcome == Outcome::Failure => {
                self.log.push((now, Event::Bad));
                if self.settings.mode == BreakerMode::Automatic && (self.row_is_long() || self.rate_is_high(now)) {
                    self.open(Why::Tripped, now, open);
                }
            }
            None => {}
            Some(trial) if good => {
                self.log.push((now, Event::Won(trial)));
                let won = self
                    .recent()
                    .filter(|(_, event)| matches!(event, Event::Won(_)))
                    .count();
                if won >= self.settings.half_open_requests as usize {
                    self.log.push((now, Event::Became(Phase::Closed, None)));
                }
            }
            Some(_) if outcome == Outcome::Nothing => self.open(Why::TrialSaidNothing, now, open),
            Some(_) => self.open(Why::TrialFailed, now, open),
        }
    }

    pub fn expire(&mut self, now: Time, open: &mut dyn FnMut(f64, f64) -> Time) {
        if self.phase() != Phase::HalfOpen {
            return;
        }
        let patience = u64::try_from(self.settings.trial_deadline.as_nanos()).unwrap();
        let won: Vec<usize> = self
            .recent()
            .filter_map(|(_, event)| {
                if let Event::Won(trial) = event {
                    Some(trial)
                } else {
                    None
                }
            })
            .collect();
        let granted = self.recent().filter(|(_, event)| *event == Event::Granted);
        let lost = granted
            .enumerate()
            .any(|(trial, (at, _))| !won.contains(&trial) && now >= at + patience);
        if lost {
            self.open(Why::TrialFailed, now, open);
        }
    }

    pub fn reset(&mut self, now: Time) {
        self.log.push((now, Event::Cleared));
        self.log.push((now, Event::Forgiven));
        if matches!(self.phase(), Phase::Open(_) | Phase::HalfOpen) {
            self.log.push((now, Event::Became(Phase::Closed, None)));
        }
    }

    pub fn set_mode(&mut self, mode: BreakerMode, now: Time) {
        self.settings.mode = mode;
        let wanted = match (mode, self.phase()) {
            (BreakerMode::ForcedOpen, Phase::Forced) => return,
            (BreakerMode::ForcedOpen, _) => Phase::Forced,
            (BreakerMode::ForcedClosed, Phase::Open(_) | Phase::HalfOpen) | (_, Phase::Forced) => Phase::Closed,
            _ => return,
        };
        self.log.push((now, Event::Forgiven));
        self.log.push((now, Event::Became(wanted, None)));
    }

    fn changes(&self) -> impl Iterator<Item = (Time, Phase, Option<Why>)> {
        self.log.iter().filter_map(|(at, event)| match event {
            Event::Became(phase, why) => Some((*at, *phase, *why)),
            _ => None,
        })
    }

    /// What happened since the last change of phase or clearing.
    fn recent(&self) -> impl DoubleEndedIterator<Item = (Time, Event)> {
        let begin = self
            .log
            .iter()
            .rposition(|(_, event)| matches!(event, Event::Became(..) | Event::Cleared))
            .unwrap();
        self.log[begin + 1..].iter().copied()
    }

    fn row_is_long(&self) -> bool {
        let row = self
            .recent()
            .rev()
            .filter(|(_, event)| matches!(event, Event::Good | Event::Bad))
            .take_while(|(_, event)| *event == Event::Bad)
            .count();
        self.settings.consecutive_failures > 0 && row >= self.settings.consecutive_failures as usize
    }

    fn rate_is_high(&self, now: Time) -> bool {
        let tenth = u64::try_from(self.settings.window.as_nanos()).unwrap() / 10;
        let counts = |wanted: Event| {
            self.recent()
                .filter(|(at, event)| *event == wanted && at / tenth + 10 > now / tenth)
                .count()
        };
        let (good, bad) = (counts(Event::Good), counts(Event::Bad));
        let percent = self.settings.failure_percent as usize;
        percent > 0 && good + bad >= self.settings.minimum_requests as usize && 100 * bad >= percent * (good + bad)
    }

    fn open(&mut self, why: Why, now: Time, open: &mut dyn FnMut(f64, f64) -> Time) {
        let step = self.step(why, now);
        let until = now + open(step * 0.8, step);
        self.log.push((now, Event::Became(Phase::Open(until), Some(why))));
    }

    /// How long to stay open before jitter, in nanoseconds: the whole past is gone through.
    #[allow(clippy::cast_precision_loss)]
    fn step(&self, why: Why, now: Time) -> f64 {
        let window = u64::try_from(self.settings.window.as_nanos()).unwrap();
        let (mut doublings, mut last_open, mut closed_at) = (0_i32, None, 0);
        let mut opened = |at: Time, why: Why, until: Option<Time>, closed_at: Time| {
            match why {
                Why::Tripped => {
                    let relapse = last_open.is_some_and(|length: Time| at - closed_at < length.max(window));
                    doublings = if relapse { doublings + 1 } else { 0 };
                }
                Why::TrialFailed => doublings += 1,
                Why::TrialSaidNothing => {}
            }
            last_open = until.map(|until| until - at);
            doublings
        };
        // Only what happened after the last pardon counts.
        let begin = self
            .log
            .iter()
            .rposition(|(_, event)| *event == Event::Forgiven)
            .map_or(0, |at| at + 1);
        for (at, event) in &self.log[begin..] {
            match event {
                Event::Became(Phase::Open(until), Some(why)) => {
                    opened(*at, *why, Some(*until), closed_at);
                }
                Event::Became(Phase::Closed, _) => closed_at = *at,
                _ => {}
            }
        }
        let doublings = opened(now, why, None, closed_at);
        let (base, max) = (
            self.settings.open_for.as_nanos() as f64,
            self.settings.max_open_for.as_nanos() as f64,
        );
        (base * 2_f64.powi(doublings)).min(max)
    }
}
