//! The pauses that workers were asked for, for the links to tell to the others.
//!
//! A provider asks one worker and means all. What it asked for outlives the worker that heard it. Each worker is told the
//! whole of it, its own part included, which changes nothing for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::domain::health::Pauses as Asked;
use crate::domain::key::Key;

/// More hosts than an Integration can have; what a worker says beyond that is not kept.
const MAX_HOSTS: usize = 16;

/// The pauses of every Integration.
#[derive(Debug, Default)]
pub struct Pauses {
    integrations: Mutex<HashMap<Key, watch::Sender<Asked>>>,
}

impl Pauses {
    /// A worker of `key` was asked for these.
    pub fn hear(&self, key: &Key, asked: &Asked, now: Timestamp) {
        if asked.is_empty() {
            return;
        }
        let mut integrations = self.lock();
        let known = integrations.entry(key.clone()).or_default();
        known.send_if_modified(|known| merge(known, asked, now));
    }

    /// The pauses of `key`, now and from now on.
    pub fn of(&self, key: &Key) -> watch::Receiver<Asked> {
        self.lock().entry(key.clone()).or_default().subscribe()
    }

    /// `key` is gone.
    pub fn clear(&self, key: &Key) {
        let mut integrations = self.lock();
        let Some(known) = integrations.get(key) else { return };
        known.send_replace(Asked::new());
        // Those who listen may be there for longer, and for an heir of the same name.
        if known.receiver_count() == 0 {
            integrations.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<Asked>>> {
        self.integrations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes `asked` into what is `known`, and says whether there is something to tell.
fn merge(known: &mut Asked, asked: &Asked, now: Timestamp) -> bool {
    known.retain(|_, until| *until > now);
    let mut news = false;
    for (host, until) in asked.iter().filter(|(_, until)| **until > now) {
        let longer = known.get(host).is_none_or(|known| known < until);
        if longer && (known.contains_key(host) || known.len() < MAX_HOSTS) {
            known.insert(host.clone(), *until);
            news = true;
        }
    }
    news
}

/// What of `asked` has not ended and was not `told`; `None` if that is nothing.
pub fn to_tell(asked: &Asked, told: &Asked, now: Timestamp) -> Option<Arc<Asked>> {
    let lasting = asked.iter().filter(|(_, until)| **until > now);
    let lasting: Asked = lasting.map(|(host, until)| (host.clone(), *until)).collect();
    let is_news = lasting.iter().any(|(host, until)| told.get(host) != Some(until));
    is_news.then(|| Arc::new(lasting))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn asked(pairs: &[(&str, i64)]) -> Asked {
        pairs
            .iter()
            .map(|(host, until)| ((*host).to_owned(), at(*until)))
            .collect()
    }

    #[test]
    fn the_longest_pause_of_each_host_is_kept_until_it_ends() {
        let mut known = Asked::new();
        assert!(merge(&mut known, &asked(&[("a", 10), ("b", 5)]), at(0)));
        assert!(!merge(&mut known, &asked(&[("a", 9), ("c", 0)]), at(0)));
        assert!(merge(&mut known, &asked(&[("a", 12)]), at(6)));
        assert_eq!(known, asked(&[("a", 12)]));
    }

    #[test]
    fn a_worker_cannot_name_more_hosts_than_there_are() {
        let many: Vec<_> = (0..100).map(|number| format!("host-{number}")).collect();
        let many = many.iter().map(|host| (host.clone(), at(10))).collect();
        let mut known = Asked::new();
        assert!(merge(&mut known, &many, at(0)));
        assert_eq!(known.len(), MAX_HOSTS);
    }

    #[test]
    fn nothing_is_told_twice_or_too_late() {
        let known = asked(&[("a", 10), ("b", 5)]);
        let told = to_tell(&known, &Asked::new(), at(0)).unwrap();
        assert_eq!(*told, known);
        assert_eq!(to_tell(&known, &told, at(0)), None);
        assert_eq!(*to_tell(&known, &Asked::new(), at(6)).unwrap(), asked(&[("a", 10)]));
        assert_eq!(to_tell(&known, &Asked::new(), at(10)), None);
    }
}
