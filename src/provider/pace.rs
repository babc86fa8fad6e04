//! How many calls a provider's host gets from us: a bucket of tokens for each, and those first whose value ends first.
//!
//! Two thousand values that were issued together end together. A provider that is asked for all of them at once refuses
//! most; asked one by one, in the order in which they end, it gives all of them in time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::key::Key;

/// Calls that a host gets in a second, for long.
const RATE: f64 = 20.0;
/// Calls that it gets at once after a quiet time.
const BURST: f64 = 20.0;
/// Who was told to wait and does not come back for this long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The buckets of all hosts.
#[derive(Debug, Default)]
pub struct Pace {
    hosts: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Calls that may be made at once, as of `at`.
    tokens: f64,
    at: Instant,
    /// Nobody calls before.
    paused_until: Instant,
    /// Who waits, by the end of the value: the first come first.
    waiting: BTreeSet<(Timestamp, Key)>,
    /// When each of them asked last.
    asked: HashMap<Key, (Timestamp, Instant)>,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            at: now,
            paused_until: now,
            waiting: BTreeSet::new(),
            asked: HashMap::new(),
        }
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * RATE;
        self.tokens = (self.tokens + gained).min(BURST);
        self.at = now;
    }

    fn leave(&mut self, key: &Key) {
        if let Some((end, _)) = self.asked.remove(key) {
            self.waiting.remove(&(end, key.clone()));
        }
    }

    /// Drops those who do not come back: they must not hold up the others.
    fn forget_lost(&mut self, now: Instant) {
        let lost: Vec<Key> = self
            .asked
            .iter()
            .filter(|(_, (_, asked))| now.saturating_duration_since(*asked) > PATIENCE)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &lost {
            self.leave(key);
        }
    }
}

impl Pace {
    /// Whether `key`, whose value ends at `end`, may call `host` now; `Err`: not before that time.
    pub fn ask(&mut self, host: &str, key: &Key, end: Timestamp, now: Instant) -> Result<(), Instant> {
        let bucket = self.hosts.entry(host.to_owned()).or_insert_with(|| Bucket::new(now));
        bucket.fill(now);
        bucket.leave(key);
        bucket.forget_lost(now);
        let before = bucket.waiting.range(..(end, key.clone())).count();
        // More than that many do not wait for one host.
        let before = f64::from(u32::try_from(before).unwrap_or(u32::MAX));
        if now >= bucket.paused_until && bucket.tokens >= before + 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        bucket.waiting.insert((end, key.clone()));
        bucket.asked.insert(key.clone(), (end, now));
        let missing = (before + 1.0 - bucket.tokens).max(0.0) / RATE;
        // Not all at the same instant, so that those who are first come first.
        let turn = now + Duration::from_secs_f64(missing.max(1.0 / RATE)).min(PATIENCE / 2);
        Err(turn.max(bucket.paused_until.min(now + PATIENCE / 2)))
    }

    /// `host` asked to be left alone until then.
    pub fn pause(&mut self, host: &str, until: Instant) {
        let now = Instant::now();
        let bucket = self.hosts.entry(host.to_owned()).or_insert_with(|| Bucket::new(now));
        bucket.paused_until = bucket.paused_until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_host_gets_no_more_than_its_rate_and_the_first_to_end_come_first() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let keys: Vec<Key> = (0..200)
            .map(|number| Key::new("shop", format!("key-{number:03}")))
            .collect();
        // The last to ask ends first.
        let end_of = |index: usize| end(10_000 - i64::try_from(index).unwrap());
        let mut due: Vec<(Instant, usize)> = (0..keys.len()).map(|index| (start, index)).collect();
        let mut served = Vec::new();
        while let Some(position) = (0..due.len()).min_by_key(|position| due[*position]) {
            let (now, index) = due.swap_remove(position);
            match pace.ask("idp", &keys[index], end_of(index), now) {
                Ok(()) => served.push((now, index)),
                Err(next) => due.push((next, index)),
            }
        }
        let last = served.iter().map(|(at, _)| *at).max().unwrap();
        let took = last.duration_since(start).as_secs_f64();
        // 20 at once, then 180 at 20 a second.
        assert!((8.9..12.0).contains(&took), "{took}");
        for (at, _) in &served {
            let within = served
                .iter()
                .filter(|(other, _)| other >= at && *other < *at + Duration::from_secs(1))
                .count();
            assert!(within <= 41, "{within} in a second");
        }
        // Those who were not among the first at the door are served by the end of their value.
        let order: Vec<usize> = served[20..].iter().map(|(_, index)| *index).collect();
        let inversions = order.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!(
            inversions <= order.len() / 10,
            "{inversions} of {}: {order:?}",
            order.len()
        );
    }

    #[test]
    fn a_host_that_asks_to_be_left_alone_is() {
        let mut pace = Pace::default();
        let now = Instant::now();
        let key = Key::new("shop", "key");
        pace.pause("idp", now + Duration::from_secs(10));
        assert_eq!(pace.ask("idp", &key, end(0), now), Err(now + Duration::from_secs(10)));
        assert_eq!(pace.ask("other", &key, end(0), now), Ok(()));
        assert_eq!(pace.ask("idp", &key, end(0), now + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn who_does_not_come_back_holds_nobody_up() {
        let mut pace = Pace::default();
        let start = Instant::now();
        for number in 0..40 {
            let _ = pace.ask("idp", &Key::new("shop", format!("gone-{number}")), end(1), start);
        }
        let key = Key::new("shop", "key");
        assert!(pace.ask("idp", &key, end(2), start).is_err());
        let later = start + PATIENCE + Duration::from_secs(1);
        assert_eq!(pace.ask("idp", &key, end(2), later), Ok(()));
    }
}
