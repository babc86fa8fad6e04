//! How time passes, what happens in it, and what must hold.

use super::*;
use crate::domain::rotation::next::{GRACE, cost};

/// A small generator, so that a history is named by one number.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap())
}

impl World {
    pub fn new(seed: u64, class: Class, lifetime: i64, tests: bool, overlap: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let revokes = class == Class::Added;
        let policy = Policy {
            tests,
            overlap: Duration::from_secs(overlap),
            keeps_previous: revokes || overlap > 0,
            follows_sources: class == Class::Chained,
            spread: u32::try_from(random.below(1000)).unwrap(),
            ..plain(class)
        };
        Self {
            random,
            policy,
            lifetime,
            now: at(0),
            stepped: false,
            record: None,
            attempt: None,
            last: None,
            sources: 1,
            edits: 0,
            rotate: None,
            presses: 0,
            refused: None,
            adopts: at(0),
            calm: false,
            live: BTreeMap::new(),
            left: BTreeSet::new(),
            made: 0,
            uses: BTreeMap::new(),
            paid: Vec::new(),
            reasons: Vec::new(),
            told: false,
        }
    }

    /// What they are made from, as it is now.
    pub fn sources(&self) -> String {
        format!("secret:{}", self.sources)
    }

    fn decide_at(&self, now: Timestamp) -> Next {
        let sources = self.sources();
        let observed = Observed {
            record: self.record.as_ref(),
            usable: self.record.is_some(),
            attempt: self.attempt.as_ref(),
            last: self.last,
            first: None,
            sources: &sources,
            rotate: self.rotate.as_deref(),
            handled: None,
            refused: self.refused,
            adopted: self.adopts <= self.now,
            now,
        };
        next(&self.policy, &observed)
    }

    /// Takes steps until there is none to take.
    pub fn settle(&mut self) -> Next {
        for _ in 0..40 {
            let next = self.decide_at(self.now);
            assert_eq!(next, self.decide_at(self.now));
            if matches!(next.step, Step::Idle | Step::Wait(_)) {
                self.check_wake(&next);
                return next;
            }
            self.take(&next.step);
            self.check_values();
        }
        panic!("no end of steps at one instant: {:?} {:?}", self.record, self.attempt);
    }

    /// Nothing that time brings about is forgotten.
    fn check_wake(&mut self, next: &Next) {
        assert!(next.wake.is_none_or(|wake| wake > self.now), "{next:?} at {}", self.now);
        let until = next.wake.unwrap_or(self.now + SignedDuration::from_hours(24 * 4000));
        let span = u64::try_from(until.duration_since(self.now).as_nanos()).unwrap();
        for part in [1, 2, 10, 1000, 1_000_000_000] {
            let within = 1 + self.random.below((span / part).max(1));
            let then = self.now + SignedDuration::from_nanos(i64::try_from(within).unwrap());
            if then < until {
                let other = self.decide_at(then);
                // What was ahead of a clock is believed again when the clock comes near it: then one waits.
                if self.stepped && matches!(other.step, Step::Idle | Step::Wait(_)) {
                    continue;
                }
                assert_eq!(
                    other.step, next.step,
                    "{} of {next:?}: {:?} {:?}",
                    then, self.record, self.attempt
                );
            }
        }
    }

    fn check_values(&self) {
        let known = self.live.keys().filter(|id| !self.left.contains(id)).count();
        if self.policy.revokes {
            let most = if self.attempt.is_some() { 3 } else { 2 };
            assert!(known <= most, "{:?} {:?}", self.live, self.record);
            if let Some(id) = self.record.as_ref().and_then(|record| record.id.clone()) {
                assert!(
                    self.live.contains_key(&id.parse().unwrap()),
                    "the value in use was revoked"
                );
            }
        }
        if self.stepped {
            return;
        }
        for uses in self.uses.values() {
            assert!(uses.len() <= 2, "{uses:?}");
            if let [first, second] = uses[..] {
                assert!(second <= first + SignedDuration::try_from(GRACE).unwrap(), "{uses:?}");
            }
        }
    }

    /// Seven at once, then one for each cost.
    pub fn check_cap(&self) {
        let Some(record) = &self.record else { return };
        let cost = i64::try_from(cost(&self.policy, Some(record)).as_secs()).unwrap();
        for (index, first) in self.paid.iter().enumerate() {
            let hour = *first + SignedDuration::from_hours(1);
            let within = self.paid[index..].iter().filter(|at| **at < hour).count();
            // An issued Secret that was removed takes the account with it.
            let removed = self.reasons.iter().filter(|reason| **reason == Reason::Missing).count();
            let most = 8 + usize::try_from(3600 / cost.max(1)).unwrap() + 8 * removed;
            assert!(within <= most, "{within} in an hour, {cost} s each");
        }
    }

    /// Time passes until something is due, or an event comes before that.
    pub fn pass(&mut self) {
        let next = self.decide_at(self.now);
        let mut until = next.wake;
        if self.adopts > self.now {
            until = until.into_iter().chain([self.adopts]).min();
        }
        let until = until.unwrap_or(self.now + SignedDuration::from_hours(1));
        let whole = until.duration_since(self.now);
        let early = !self.calm && self.random.below(3) == 0;
        let span = if early {
            let most = u64::try_from(whole.as_millis()).unwrap().max(1);
            SignedDuration::from_millis(i64::try_from(self.random.below(most)).unwrap())
        } else {
            whole
        };
        self.now += span;
    }

    /// Something that nobody asked us about.
    pub fn happen(&mut self, clocks: bool) {
        match self.random.below(if clocks { 13 } else { 12 }) {
            0 => self.edit_spec(),
            1 => self.sources += 1,
            2 | 3 => {
                self.presses += 1;
                self.rotate = Some(format!("press {}", self.presses));
            }
            4 if self.record.is_some() => self.refused = Some(self.random.one(&[401, 401, 403])),
            // Whoever removes the issued Secret removes the next token with it: they begin with the first one again.
            5 if self.random.below(4) == 0 && self.policy.class != Class::Added => {
                self.record = None;
                self.uses.clear();
            }
            6 => self.authorise(),
            12 => {
                let step = self.random.one(&[-30 * 86_400, -600, -60, 60, 600, 30 * 86_400]);
                self.stepped = true;
                self.now += SignedDuration::from_secs(step);
                // What is ahead of them are times of theirs.
                self.adopts += SignedDuration::from_secs(step);
            }
            _ => {}
        }
        if self.sources > 1 || self.told {
            self.reset_uses();
        }
    }

    fn edit_spec(&mut self) {
        self.edits += 1;
        self.policy.spec = format!("spec {}", self.edits);
        // Whoever was told and edits has it tried again.
        if self.told {
            self.told = false;
            self.uses.clear();
        }
    }

    /// A person who was told to does.
    fn authorise(&mut self) {
        if self.told {
            self.sources += 1;
            self.told = false;
            self.uses.clear();
        }
    }

    /// Another refresh token is another chain: its names are made of its sources.
    fn reset_uses(&mut self) {
        let sources = self.sources();
        self.uses.retain(|authority, _| authority.starts_with(&sources));
    }

    /// From now on all is well.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.refused = None;
        if self.adopts > self.now + seconds(60) {
            self.adopts = self.now + seconds(60);
        }
    }

    /// A valid value comes into use, and stays so; it is renewed as often as it must be.
    pub fn check_that_it_goes_on(&mut self) {
        let deadline = self.now + SignedDuration::from_hours(24 * 100);
        let mut turns = 0;
        loop {
            let next = self.settle();
            if next.step == Step::Idle && self.is_well() {
                break;
            }
            self.authorise();
            self.pass();
            turns += 1;
            assert!(
                turns < 2000 && self.now < deadline,
                "{next:?} {:?} {:?}",
                self.record,
                self.attempt
            );
        }
        let begun = self.now;
        let before = self.reasons.len();
        let lifetime = if self.lifetime == 0 { 86_400 } else { self.lifetime };
        let end = begun + SignedDuration::from_secs(5 * lifetime);
        while self.now < end {
            self.settle();
            self.pass();
        }
        let after = &self.reasons[before..];
        let (least, most) = if self.lifetime == 0 { (0, 0) } else { (5, 10) };
        assert!((least..=most).contains(&after.len()), "{after:?} in five lifetimes");
        assert!(after.iter().all(|reason| *reason == Reason::NearingExpiry), "{after:?}");
    }

    fn is_well(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.spec == self.policy.spec && record.not_after.is_none_or(|end| end > self.now))
    }
}

impl World {
    pub fn wait(&mut self, times: u32) -> SignedDuration {
        let longest = (1_u64 << times.min(12)).min(300) * 1000;
        SignedDuration::from_millis(i64::try_from(longest / 2 + self.random.below(longest / 2)).unwrap())
    }

    pub fn slow(&mut self) -> SignedDuration {
        if self.calm {
            return seconds(self.random.below(60));
        }
        let most = self.random.one(&[1, 60, 1200]);
        seconds(self.random.below(most))
    }
}
