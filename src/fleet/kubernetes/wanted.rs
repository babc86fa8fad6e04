//! The plan that each Integration's workers are to run, for the links to push.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::key::Key;
use crate::domain::plan::Plan;

/// The plans that were programmed by this process.
#[derive(Debug, Default)]
pub struct Wanted {
    plans: Mutex<HashMap<Key, watch::Sender<Option<Arc<Plan>>>>>,
}

impl Wanted {
    /// From now on `plan` is wanted; links push it to workers that run an older one.
    pub fn set(&self, plan: &Arc<Plan>) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = plans.entry(plan.integration.clone()).or_default();
        sender.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != Some(plan);
            if changed {
                *wanted = Some(Arc::clone(plan));
            }
            changed
        });
    }

    /// Nothing is wanted any more.
    pub fn clear(&self, key: &Key) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = plans.remove(key) {
            sender.send_replace(None);
            // Links that still live go on to listen to this one, should the name come back.
            if sender.receiver_count() > 0 {
                plans.insert(key.clone(), sender);
            }
        }
    }

    /// What is wanted of the workers of `key`, now and from now on.
    pub fn of(&self, key: &Key) -> watch::Receiver<Option<Arc<Plan>>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.entry(key.clone()).or_default().subscribe()
    }
}
