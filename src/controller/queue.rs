//! The work queue: which object runs next, never the same one twice at once.
//!
//! kube's own `Controller` is not used, for two reasons. Both adapters of [`Cluster`](crate::cluster::Cluster) must be
//! able to feed it, and in kube's scheduler any event cancels a backoff, because the earlier of two times wins whatever
//! it is about.
//!
//! Guarantees: a key that is asked for runs after that moment, at least once; the same key never runs beside itself;
//! keys run in the order in which they became due; a run that panics, fails or takes longer than its deadline concerns
//! its own key alone.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub mod schedule;

use schedule::{Ended, Schedule, Urgency};

use crate::telemetry::controller_metrics;

/// How often the loop turns when there is nothing to do.
const TURN: Duration = Duration::from_secs(5);
/// A run that is still there this long after its deadline hangs: it has not come back to the runtime to be cancelled.
const GRACE: Duration = Duration::from_secs(15);

/// A queue of keys of one kind.
pub struct Queue<K> {
    name: &'static str,
    schedule: Mutex<Schedule<K>>,
    changed: Notify,
}

/// How a queue is worked off.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Runs under way at a time.
    pub concurrency: usize,
    /// For one run; then it counts as failed.
    pub deadline: Duration,
    /// For the runs that are under way when a stop is asked for.
    pub drain: Duration,
}

/// Why a run failed, as the queue needs to know it.
pub trait Failure: fmt::Display {
    /// CamelCase or snake case word from a closed list, for metrics.
    fn reason(&self) -> &'static str;
}

impl<K: Clone + Eq + Hash + fmt::Display + Send + 'static> Queue<K> {
    /// An empty queue; `name` is the controller's in metrics and logs.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            schedule: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Makes `key` run now, or when its backoff is over.
    pub fn ask(&self, key: K, urgency: Urgency) {
        self.ask_at(key, Instant::now(), urgency);
    }

    /// Makes `key` run at that time, or when its backoff is over.
    pub fn ask_at(&self, key: K, at: Instant, urgency: Urgency) {
        let depth = {
            let mut schedule = self.lock();
            schedule.ask(key, at, urgency);
            schedule.depth(Instant::now())
        };
        controller_metrics::queue_depth(self.name, depth);
        self.changed.notify_one();
    }

    /// Runs what is due until `stop`, then lets what is under way finish. `beat` is called whenever the loop has turned
    /// and no run hangs.
    pub async fn work<F, R, E>(&self, pace: Pace, reconcile: R, beat: impl Fn(), stop: &CancellationToken)
    where
        R: Fn(K) -> F,
        F: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
        E: Failure + Send + 'static,
    {
        let mut runs = Runs {
            set: JoinSet::new(),
            keys: HashMap::new(),
        };
        while !stop.is_cancelled() {
            let due = self.start(&mut runs, pace, &reconcile);
            tokio::select! {
                () = stop.cancelled() => {}
                Some(joined) = runs.set.join_next_with_id() => self.end(&mut runs, joined),
                () = self.changed.notified() => {}
                () = wait_until(due) => {}
                () = sleep(TURN) => {}
            }
            let now = Instant::now();
            if runs
                .keys
                .values()
                .all(|(_, since)| now.duration_since(*since) < pace.deadline + GRACE)
            {
                beat();
            }
        }
        let drained = timeout(pace.drain, async {
            while let Some(joined) = runs.set.join_next_with_id().await {
                self.end(&mut runs, joined);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                controller = self.name,
                runs = runs.keys.len(),
                "stopped in the middle of reconciles"
            );
        }
    }

    /// Starts as many runs as there is room for; says when the next key is due if there is room for it.
    fn start<F, R, E>(&self, runs: &mut Runs<K, E>, pace: Pace, reconcile: &R) -> Option<Instant>
    where
        R: Fn(K) -> F,
        F: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
        E: Failure + Send + 'static,
    {
        let now = Instant::now();
        let mut schedule = self.lock();
        let mut due = None;
        while runs.set.len() < pace.concurrency {
            let Some(key) = schedule.take(now) else {
                due = schedule.next_due(now);
                break;
            };
            let span = tracing::info_span!("reconcile", controller = self.name, object = %key);
            let run = timeout(pace.deadline, reconcile(key.clone()));
            let handle = runs
                .set
                .spawn(async { run.await.map_or(Run::Late, Run::InTime) }.instrument(span));
            runs.keys.insert(handle.id(), (key, now));
        }
        controller_metrics::queue_depth(self.name, schedule.depth(now));
        controller_metrics::under_way(self.name, runs.set.len());
        due
    }

    fn end<E: Failure>(&self, runs: &mut Runs<K, E>, joined: Result<(Id, Run<E>), JoinError>) {
        let (id, run) = match joined {
            Ok((id, run)) => (id, Some(run)),
            Err(error) => (error.id(), None),
        };
        let Some((key, since)) = runs.keys.remove(&id) else {
            return;
        };
        let now = Instant::now();
        let (ended, result) = match run {
            Some(Run::InTime(Ok(after))) => (Ended::Done(after), "success"),
            Some(Run::InTime(Err(error))) => {
                tracing::warn!(controller = self.name, object = %key, reason = error.reason(), %error, "reconcile failed");
                (Ended::Failed, error.reason())
            }
            Some(Run::Late) => {
                tracing::warn!(controller = self.name, object = %key, "reconcile took too long");
                (Ended::Failed, "Timeout")
            }
            // The panic's message is in the log already, and may hold anything.
            None => {
                tracing::error!(controller = self.name, object = %key, "reconcile panicked");
                (Ended::Failed, "Panic")
            }
        };
        controller_metrics::reconciled(self.name, result, now.duration_since(since));
        self.lock().end(key, ended, now, rand::random());
    }

    /// A schedule stays whole whoever panicked while holding it: nothing in it panics half way.
    fn lock(&self) -> MutexGuard<'_, Schedule<K>> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs under way.
struct Runs<K, E> {
    set: JoinSet<Run<E>>,
    keys: HashMap<Id, (K, Instant)>,
}

enum Run<E> {
    InTime(Result<Option<Duration>, E>),
    Late,
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
