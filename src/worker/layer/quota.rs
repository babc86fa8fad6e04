//! The rate limit: every attempt takes a token, and waits for one in the order of arrival.
//!
//! Nothing is taken before it is used: only the first in the line looks for a token, so whoever stops waiting has nothing
//! to give back. Who would wait too long is told so at once, and when to come back.
//!
//! A worker of a cluster has the share that the controller told it last ([`crate::domain::quota::split`]). One that was
//! never told a share waits for [`PATIENCE`], because whoever was here before it may still be at work, and then takes a
//! share that is smaller than those of its peers: the controller is away, and traffic goes on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::domain::plan::RateLimitPlan;
use crate::domain::quota::{Bucket, allowance};

/// The share that the controller told this worker last, `None` before it did: one part of so many.
pub type Share = watch::Receiver<Option<u32>>;

/// How long one waits for the controller that was never told its share: longer than a worker that is replaced goes on.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rate limit of one Integration in this worker.
#[derive(Debug)]
pub struct Quota {
    plan: RateLimitPlan,
    bucket: Arc<Mutex<Bucket>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    waiting: Arc<AtomicU32>,
    /// Absent: this worker is the only one.
    share: Option<Share>,
    since: Instant,
}

/// There is no token in time; the time until there is one, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken(pub Option<Duration>);

impl Quota {
    /// The limit of `plan`, of which this worker has `share`, or all.
    pub fn new(plan: &RateLimitPlan, share: Option<Share>) -> Self {
        let now = Instant::now();
        let bucket = match &share {
            None => Bucket::full(allowance(plan, 1), now.into_std()),
            Some(_) => Bucket::empty(None, now.into_std()),
        };
        Self {
            plan: plan.clone(),
            bucket: Arc::new(Mutex::new(bucket)),
            turn: Arc::default(),
            waiting: Arc::default(),
            share,
            since: now,
        }
    }

    /// The limit of another plan for the same Integration: what was taken stays taken, and who waits goes on waiting.
    #[must_use]
    pub fn following(&self, plan: &RateLimitPlan) -> Self {
        Self {
            plan: plan.clone(),
            bucket: self.bucket.clone(),
            turn: self.turn.clone(),
            waiting: self.waiting.clone(),
            share: self.share.clone(),
            since: self.since,
        }
    }

    /// What the controller told.
    pub fn told(&self) -> Option<u32> {
        self.share.as_ref().and_then(|share| *share.borrow())
    }

    /// How long an attempt waits for its turn.
    pub fn max_wait(&self) -> Duration {
        self.plan.max_wait
    }

    /// Takes a token, when there is one within `maxWait` and before `deadline`.
    #[cfg(test)]
    async fn take(&self, deadline: Instant) -> Result<(), NoToken> {
        self.take_within(deadline.min(Instant::now() + self.plan.max_wait))
            .await
    }

    /// Takes a token, when there is one before `until`.
    pub async fn take_within(&self, until: Instant) -> Result<(), NoToken> {
        let waiting = Waiting::begin(&self.waiting);
        let now = Instant::now();
        // Without a share there is no telling; it may come at any time.
        let wait = self.adjusted(now).wait(waiting.ahead, now.into_std());
        // One that is there is taken, though `until` is now.
        if wait.is_some_and(|wait| !wait.is_zero() && now + wait > until) {
            return Err(NoToken(wait));
        }
        let Ok(_turn) = timeout_at(until, self.turn.lock()).await else {
            return Err(self.too_late(&waiting));
        };
        let mut share = self.share.clone();
        loop {
            let now = Instant::now();
            let taken = self.adjusted(now).take(now.into_std());
            let wait = match taken {
                Ok(()) => return Ok(()),
                Err(wait) => wait,
            };
            let wake = match wait {
                Some(wait) if now + wait > until => return Err(NoToken(Some(wait))),
                _ if now >= until => return Err(self.too_late(&waiting)),
                Some(wait) => now + wait,
                None if self.since + PATIENCE > now => until.min(self.since + PATIENCE),
                None => until,
            };
            tokio::select! {
                () = sleep_until(wake) => {}
                () = changed(&mut share) => {}
            }
        }
    }

    /// Gives back a token with which nothing was asked.
    pub fn refund(&self) {
        self.lock().refund();
    }

    fn too_late(&self, waiting: &Waiting<'_>) -> NoToken {
        let now = Instant::now();
        NoToken(self.adjusted(now).wait(waiting.ahead, now.into_std()))
    }

    /// The bucket, with the share that holds now.
    fn adjusted(&self, now: Instant) -> MutexGuard<'_, Bucket> {
        let of = match &self.share {
            None => 1,
            Some(share) => match *share.borrow() {
                Some(of) => of,
                None if now < self.since + PATIENCE => 0,
                None => self.plan.workers.saturating_add(1),
            },
        };
        let mut bucket = self.lock();
        bucket.adjust(allowance(&self.plan, of), now.into_std());
        bucket
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another share was told.
pub async fn changed(share: &mut Option<Share>) {
    if let Some(share) = share
        && share.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// One that stands in line, until it is dropped.
struct Waiting<'a> {
    line: &'a AtomicU32,
    /// How many stood there before it.
    ahead: u32,
}

impl<'a> Waiting<'a> {
    fn begin(line: &'a AtomicU32) -> Self {
        Self {
            line,
            ahead: line.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.line.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
