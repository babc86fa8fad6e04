//! The plan that each Integration's workers are to run, for the links to push, and what the workers run already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::key::Key;
use crate::domain::plan::Plan;

/// The plans that were programmed by this process, by Integration.
#[derive(Debug, Default)]
pub struct Wanted {
    integrations: Mutex<HashMap<Key, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    plan: watch::Sender<Option<Arc<Plan>>>,
    heard: Option<Heard>,
}

/// The highest revision that a worker was heard to run, or to refuse because another of that number runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    uid: Arc<str>,
    revision: u64,
}

impl Wanted {
    /// From now on `plan` is wanted; links push it to workers that run an older one.
    pub fn set(&self, plan: &Arc<Plan>) {
        let mut integrations = self.lock();
        let entry = integrations.entry(plan.integration.clone()).or_default();
        entry.plan.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != Some(plan);
            if changed {
                *wanted = Some(Arc::clone(plan));
            }
            changed
        });
    }

    /// The plan that is wanted of the workers of this Integration.
    pub fn get(&self, key: &Key, uid: &str) -> Option<Arc<Plan>> {
        let integrations = self.lock();
        let plan = integrations.get(key)?.plan.borrow().clone();
        plan.filter(|plan| plan.uid == uid)
    }

    /// What is wanted of the workers of `key`, now and from now on.
    pub fn of(&self, key: &Key) -> watch::Receiver<Option<Arc<Plan>>> {
        self.lock().entry(key.clone()).or_default().plan.subscribe()
    }

    /// Nothing is wanted of the workers of `key` any more.
    pub fn clear(&self, key: &Key) {
        let mut integrations = self.lock();
        if let Some(entry) = integrations.get_mut(key) {
            entry.plan.send_replace(None);
            entry.heard = None;
        }
        // Links that still live go on to listen, should the name come back; what nobody listens to goes.
        integrations.retain(|_, entry| entry.plan.receiver_count() > 0 || entry.plan.borrow().is_some());
    }

    /// A worker of the Integration `uid` runs this revision.
    pub fn hear(&self, key: &Key, uid: &Arc<str>, revision: u64) {
        let mut integrations = self.lock();
        let Some(entry) = integrations.get_mut(key) else {
            return;
        };
        let known = entry.heard.as_ref().filter(|heard| heard.uid == *uid);
        if known.is_none_or(|known| known.revision < revision) {
            let uid = Arc::clone(uid);
            entry.heard = Some(Heard { uid, revision });
        }
    }

    /// `plan`, under a revision that its workers take for a newer one.
    ///
    /// Revisions are counted in the Secret. Should that be lost, counting begins again at 1, and workers that run
    /// revision 12 would refuse whatever comes until they are restarted.
    pub fn overtake(&self, plan: &Arc<Plan>) -> Arc<Plan> {
        let integrations = self.lock();
        let heard = integrations
            .get(&plan.integration)
            .and_then(|entry| entry.heard.as_ref());
        match heard {
            Some(heard) if *heard.uid == *plan.uid && heard.revision > plan.revision => Arc::new(Plan {
                revision: heard.revision + 1,
                ..Plan::clone(plan)
            }),
            _ => Arc::clone(plan),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.integrations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample;

    fn uid() -> Arc<str> {
        sample::plan().uid.into()
    }

    #[test]
    fn plan_that_workers_would_take_for_an_old_one_overtakes_what_they_run() {
        let wanted = Wanted::default();
        let plan = Arc::new(sample::plan());
        let key = &plan.integration;
        let _link = wanted.of(key);
        assert_eq!(wanted.overtake(&plan), plan, "nothing was heard");
        for (heard, revision) in [(6, 7), (7, 7), (12, 13), (9, 13)] {
            wanted.hear(key, &uid(), heard);
            assert_eq!(wanted.overtake(&plan).revision, revision, "heard {heard}");
        }
        let namesake = Arc::new(Plan {
            uid: "another".into(),
            ..sample::plan()
        });
        assert_eq!(wanted.overtake(&namesake), namesake);
        wanted.clear(key);
        assert_eq!(wanted.overtake(&plan), plan);
    }

    #[test]
    fn same_plan_again_wakes_nobody() {
        let wanted = Wanted::default();
        let mut link = wanted.of(&sample::plan().integration);
        wanted.set(&Arc::new(sample::plan()));
        assert!(link.has_changed().unwrap());
        link.mark_unchanged();
        wanted.set(&Arc::new(sample::plan()));
        assert!(!link.has_changed().unwrap());
    }

    #[test]
    fn what_is_over_is_not_kept() {
        let wanted = Wanted::default();
        let plan = Arc::new(sample::plan());
        wanted.set(&plan);
        let link = wanted.of(&plan.integration);
        assert_eq!(wanted.get(&plan.integration, &plan.uid), Some(Arc::clone(&plan)));
        assert_eq!(wanted.get(&plan.integration, "another"), None);
        wanted.clear(&plan.integration);
        assert_eq!(*link.borrow(), None);
        assert_eq!(wanted.lock().len(), 1, "the link listens on");
        drop(link);
        wanted.clear(&Key::new("shop", "other"));
        assert_eq!(wanted.lock().len(), 0);
    }
}
