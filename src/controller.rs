//! The control plane: two reconcilers over the ports.
//!
//! A change, of an object or of what is known of a worker, wakes the keys it may concern in one of two queues. A run
//! looks at everything there is to know about its object now, never at what woke it, does what is missing, and writes
//! the status if it has changed. Reading order: [`integration`], [`credential`], then what both stand on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::credential::Credential;
use crate::cluster::{Change, Cluster, ClusterError, Data};
use crate::domain::key::Key;
use crate::domain::validate;
use crate::fleet::{Fleet, FleetError, Observation};
use crate::provider::Providers;
use crate::provider::exchange::{Exchange, Unplugged};
use crate::provider::pace::Pace;

pub mod credential;
pub mod integration;
pub mod pacing;
pub mod queue;
pub mod references;
pub mod report;
pub mod reports;

use credential::Values;
use pacing::Pacing;
use queue::Queue;
use queue::schedule::Urgency;
use references::{References, Source, User};
use reports::{Reports, Turn};

/// For one reconcile; every call in it has a shorter deadline of its own.
const DEADLINE: Duration = Duration::from_secs(30);
/// For one reconcile of a Credential: a call to a provider and the saving of its answer fit into it.
const CREDENTIAL_DEADLINE: Duration = Duration::from_secs(120);
/// How long a call to a provider may go on after a stop is asked for; the orchestrator waits for 30 s in all.
const CREDENTIAL_DRAIN: Duration = Duration::from_secs(25);
/// An object is looked at again after this time even if nothing is heard of it, because a watch can miss something;
/// spread over [`RESYNC_SPREAD`] so that what started together does not come back together.
const RESYNC: Duration = Duration::from_secs(600);
/// See [`RESYNC`].
const RESYNC_SPREAD: Duration = Duration::from_secs(300);

/// What the control plane is told when it starts.
#[derive(Clone)]
pub struct Settings {
    /// Addresses that workers may not dial besides those that they refuse by themselves: the API server's own.
    pub denied: Vec<IpNet>,
    /// Reconciles of one kind that may be under way at a time.
    pub concurrency: usize,
    /// How long reconciles under way may go on after a stop is asked for.
    pub drain: Duration,
    /// How long after the start a picture with fewer workers than the status tells of is taken for incomplete.
    pub settle: Duration,
    /// Least time between two writes of the status of one object that nobody waits for; see [`pacing`].
    pub status_interval: Duration,
    /// The URL under which an Integration is called, for `status.address`.
    pub address: Arc<dyn Fn(&Key) -> String + Send + Sync>,
    /// How providers are called.
    pub exchange: Arc<dyn Exchange>,
    /// The time of day.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Called with the name of a reconciler, `integration` or `credential`, whenever its loop has turned and nothing in
    /// it hangs: every 5 s or more often. For `/livez`.
    pub beat: Arc<dyn Fn(&'static str) + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            denied: Vec::new(),
            concurrency: 16,
            drain: Duration::from_secs(10),
            settle: Duration::from_secs(20),
            status_interval: pacing::INTERVAL,
            address: Arc::new(|key| format!("http://{}.{}.svc", key.name, key.namespace)),
            exchange: Arc::new(Unplugged),
            clock: Arc::new(Timestamp::now),
            beat: Arc::new(|_| ()),
        }
    }
}

/// A control plane that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A port has no more to tell, which means that its adapter has ended.
    #[error("the stream of {0} ended; the process must start again")]
    Ended(&'static str),
}

/// A reconcile that failed and is tried again after a backoff.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The workers.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

impl queue::Failure for ReconcileError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Cluster(ClusterError::Undecodable { .. }) => "Undecodable",
            Self::Cluster(ClusterError::Forbidden { .. }) => "Forbidden",
            Self::Cluster(ClusterError::Conflict { .. }) => "Conflict",
            Self::Cluster(ClusterError::Timeout { .. }) => "ClusterTimeout",
            Self::Cluster(ClusterError::Failed { .. }) => "ClusterFailed",
            Self::Fleet(FleetError::NameTaken { .. }) => "NameTaken",
            Self::Cluster(ClusterError::Refused { .. }) | Self::Fleet(FleetError::Refused { .. }) => "Refused",
            Self::Fleet(FleetError::Failed { .. }) => "FleetFailed",
        }
    }
}

/// Reconciles everything that `cluster` announces, with the workers of `fleet`, until `stop`; then finishes what is
/// under way.
pub async fn run<C: Cluster, F: Fleet>(
    cluster: Arc<C>,
    fleet: Arc<F>,
    settings: Settings,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let (changes, observations) = (cluster.changes(), fleet.observations());
    let pace = queue::Pace {
        concurrency: settings.concurrency,
        deadline: DEADLINE,
        drain: settings.drain,
    };
    // A provider's answer, which may be the one copy of a value, is worth a longer wait.
    let credential_pace = queue::Pace {
        deadline: CREDENTIAL_DEADLINE,
        drain: settings.drain.max(CREDENTIAL_DRAIN.min(settings.drain * 2)),
        ..pace
    };
    let beat = settings.beat.clone();
    let context = Arc::new(Context::new(cluster, fleet, settings, stop.clone()));
    // However this ends, by a stop or by a stream that ended, the queues finish what they have begun.
    let over = stop.child_token();
    let hearing = async {
        let ended = tokio::select! {
            () = over.cancelled() => None,
            () = hear_changes(&context, changes) => Some("changes"),
            () = hear_workers(&context, observations) => Some("observations"),
        };
        over.cancel();
        ended.map_or(Ok(()), |stream| Err(ControllerError::Ended(stream)))
    };
    let integrations = context.integrations.work(
        pace,
        |key| integration::reconcile(context.clone(), key),
        || beat(integration::NAME),
        &over,
    );
    let credentials = context.credentials.work(
        credential_pace,
        |key| credential::reconcile(context.clone(), key),
        || beat(credential::NAME),
        &over,
    );
    let (heard, (), ()) = tokio::join!(hearing, integrations, credentials);
    heard
}

async fn hear_changes<C: Cluster, F: Fleet>(context: &Context<C, F>, mut changes: mpsc::Receiver<Change>) {
    while let Some(change) = changes.recv().await {
        context.changed(change);
    }
}

async fn hear_workers<C: Cluster, F: Fleet>(context: &Context<C, F>, mut observations: mpsc::Receiver<Observation>) {
    while let Some(observation) = observations.recv().await {
        context.observed(observation);
    }
}

/// What both reconcilers stand on. Each lock is held for one synchronous step and never over an await.
pub struct Context<C, F> {
    cluster: Arc<C>,
    fleet: Arc<F>,
    settings: Settings,
    started: Instant,
    integrations: Queue<Key>,
    credentials: Queue<Key>,
    references: Mutex<References>,
    reports: Mutex<Reports>,
    pacing: Mutex<Pacing>,
    values: Mutex<Values>,
    providers: Providers,
    /// How many calls each provider gets.
    pace: Mutex<Pace>,
    /// A stop is asked for: nothing new is begun at a provider.
    stopping: CancellationToken,
}

impl<C: Cluster, F: Fleet> Context<C, F> {
    fn new(cluster: Arc<C>, fleet: Arc<F>, settings: Settings, stopping: CancellationToken) -> Self {
        let status_interval = settings.status_interval;
        let providers = Providers {
            exchange: settings.exchange.clone(),
        };
        Self {
            cluster,
            fleet,
            settings,
            started: Instant::now(),
            integrations: Queue::new(integration::NAME),
            credentials: Queue::new(credential::NAME),
            references: Mutex::default(),
            reports: Mutex::default(),
            pacing: Mutex::new(Pacing::new(status_interval)),
            values: Mutex::default(),
            providers,
            pace: Mutex::default(),
            stopping,
        }
    }

    /// Wakes whom a change may concern.
    fn changed(&self, change: Change) {
        match change {
            Change::Integration(key) => self.integrations.ask(key, Urgency::Edited),
            Change::Credential(key) => {
                self.credentials.ask(key.clone(), Urgency::Edited);
                self.wake_users(&Source::Credential(key), Urgency::Nudged);
            }
            Change::Secret(key) => self.wake_users(&Source::Secret(key), Urgency::Edited),
            Change::ConfigMap(key) => self.wake_users(&Source::ConfigMap(key), Urgency::Edited),
            Change::Owned(key) => self.integrations.ask(key, Urgency::Nudged),
        }
    }

    /// Takes in what is learned of a worker, and wakes whom it concerns.
    fn observed(&self, observation: Observation) {
        let key = observation.integration.clone();
        let turn = lock(&self.reports).observe(observation);
        match turn {
            Turn::Nothing => {}
            // Nothing is to be done about the weather but to tell of it, so it waits until that may be written: a
            // flapping endpoint costs no more runs than writes.
            Turn::Weather => {
                let at = lock(&self.pacing).next(&User::Integration(key.clone()), Instant::now());
                self.integrations.ask_at(key, at, Urgency::Nudged);
            }
            Turn::Adoption => {
                for credential in lock(&self.references).credentials_of(&key) {
                    self.credentials.ask(credential, Urgency::Nudged);
                }
                self.integrations.ask(key, Urgency::Nudged);
            }
        }
    }

    /// `user` refers to these and to nothing else. A Credential tells who uses it, so it is woken where that changes.
    fn refer(&self, user: &User, sources: BTreeSet<Source>) {
        let changed = lock(&self.references).set(user, sources);
        for source in changed {
            if let Source::Credential(key) = source {
                self.credentials.ask(key, Urgency::Nudged);
            }
        }
    }

    /// The Secret that a Credential's value comes from, as it is stored now; `None` if there is none.
    async fn secret_of(&self, key: &Key, credential: &Credential) -> Result<Option<Data>, ClusterError> {
        match validate::secret_name(&credential.spec) {
            Some(name) => self.cluster.secret(&Key::new(key.namespace.clone(), name)).await,
            None => Ok(None),
        }
    }

    fn wake_users(&self, source: &Source, urgency: Urgency) {
        for user in lock(&self.references).users(source) {
            match user {
                User::Integration(key) => self.integrations.ask(key, urgency),
                User::Credential(key) => self.credentials.ask(key, urgency),
            }
        }
    }

    /// The time of day in whole seconds, as everything in a status is told.
    fn now(&self) -> Timestamp {
        let now = (self.settings.clock)();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// When the time after the start is over in which a picture of the workers may be incomplete; `None`: it is over.
    fn unsettled_until(&self) -> Option<Instant> {
        Some(self.started + self.settings.settle).filter(|end| Instant::now() < *end)
    }
}

/// When an object is looked at again though nothing is heard of it.
fn resync() -> Duration {
    RESYNC + RESYNC_SPREAD.mul_f64(rand::random())
}

/// What is behind these locks stays whole whoever panicked while holding one: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
