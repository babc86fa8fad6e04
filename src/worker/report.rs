//! What the worker says of itself: a whole picture of an Integration whenever something coarse in it changes.
//!
//! It is published from where the change happens, on the thread that made it: a circuit that opens is on its way to
//! the controller before the request that opened it is answered.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::domain::key::Key;

use super::Reports;
use super::stack::Stack;

/// The reports of one Integration, over all the plans it runs one after the other.
#[derive(Debug)]
pub struct Bulletin {
    key: Key,
    reports: Arc<watch::Sender<Reports>>,
    current: watch::Sender<Weak<Stack>>,
}

impl Bulletin {
    /// Reports of `key` go to `reports`, once there is something to report.
    pub fn new(key: Key, reports: Arc<watch::Sender<Reports>>) -> Self {
        Self {
            key,
            reports,
            current: watch::Sender::new(Weak::new()),
        }
    }

    /// From now on it is `stack` that runs, and that is reported.
    pub fn take_over(&self, stack: &Arc<Stack>) {
        self.current.send_replace(Arc::downgrade(stack));
        self.publish();
    }

    /// The stack that runs; `None` once the Integration is served no more.
    pub fn running(&self) -> Option<Arc<Stack>> {
        self.current.borrow().upgrade()
    }

    /// The stack that runs, now and from now on.
    pub fn follow(&self) -> watch::Receiver<Weak<Stack>> {
        self.current.subscribe()
    }

    /// Something may have changed. Must not be called with a lock held that a report needs.
    pub fn publish(&self) {
        let Some(stack) = self.running() else { return };
        self.reports.send_if_modified(|reports| {
            // Made under the channel's lock, so that of two changes at a time the later picture stands.
            let report = stack.report();
            if reports.get(&self.key).is_some_and(|known| **known == report) {
                return false;
            }
            reports.insert(self.key.clone(), Arc::new(report));
            true
        });
    }

    /// The Integration is served no more.
    pub fn withdraw(&self) {
        self.current.send_replace(Weak::new());
        self.reports
            .send_if_modified(|reports| reports.remove(&self.key).is_some());
    }
}
