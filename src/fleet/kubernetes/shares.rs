//! The shares of rate limits: who holds which, for the links to tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::key::Key;
use crate::domain::plan::RateLimitPlan;
use crate::domain::quota::split::Split;

/// The shares of every Integration's workers.
#[derive(Debug, Default)]
pub struct Shares {
    integrations: Mutex<HashMap<Key, watch::Sender<Split>>>,
}

impl Shares {
    /// The promise of `key`, if there is one.
    pub fn want(&self, key: &Key, plan: Option<&RateLimitPlan>) {
        let mut integrations = self.lock();
        if plan.is_none() && !integrations.contains_key(key) {
            return;
        }
        let split = integrations.entry(key.clone()).or_default();
        split.send_if_modified(|split| split.want(plan, now()));
    }

    /// A worker of `key` exists.
    pub fn see(&self, key: &Key, worker: &Arc<str>) {
        let mut integrations = self.lock();
        let split = integrations.entry(key.clone()).or_default();
        split.send_modify(|split| split.see(worker));
    }

    /// A worker of `key` does not exist any more.
    pub fn lose(&self, key: &Key, worker: &str) {
        self.change(key, |split| split.lose(worker, now()));
        let mut integrations = self.lock();
        if integrations.get(key).is_some_and(|split| split.borrow().is_over()) {
            integrations.remove(key);
        }
    }

    /// A worker of `key` says what it was told last.
    pub fn hear(&self, key: &Key, worker: &str, of: Option<u32>) {
        self.change(key, |split| split.hear(worker, of));
    }

    /// What `worker` is to be told now, if anything; [`until_news`] says when to ask again.
    pub fn tell(&self, key: &Key, worker: &str) -> Option<u32> {
        let integrations = self.lock();
        let mut next = None;
        // Nobody else gets anything to do by this.
        integrations.get(key)?.send_if_modified(|split| {
            next = split.tell(worker, now());
            false
        });
        next
    }

    /// `worker` has what it was told.
    pub fn confirm(&self, key: &Key, worker: &str, of: u32) {
        self.change(key, |split| split.confirm(worker, of));
    }

    /// The connection to `worker` is lost.
    pub fn disconnect(&self, key: &Key, worker: &str) {
        self.change(key, |split| split.disconnect(worker));
    }

    /// The shares of `key`, to wait for changes.
    pub fn of(&self, key: &Key) -> watch::Receiver<Split> {
        self.lock().entry(key.clone()).or_default().subscribe()
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut Split)) {
        if let Some(split) = self.lock().get(key) {
            split.send_modify(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<Split>>> {
        self.integrations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until it is worth asking again what to tell. To be called after asking, with the receiver marked as seen before
/// that.
pub async fn until_news(shares: &mut watch::Receiver<Split>) {
    let look = shares.borrow().next_look(now());
    let later = async {
        match look {
            Some(look) => tokio::time::sleep_until(look.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        changed = shares.changed() => if changed.is_err() {
            // The Integration and its workers are gone; so is this one in a moment.
            std::future::pending::<()>().await;
        },
        () = later => {}
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
