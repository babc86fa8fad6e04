//! `tidegate run`: files instead of a cluster, one process instead of two.
//!
//! The reconcilers and the worker are those of a cluster; only the two ports differ: objects come from files, and the
//! one worker runs in this process.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cluster::files::{Follower, Store};
use crate::controller::{self, ControllerError};
use crate::fleet::local::LocalFleet;
use crate::net::Dialer;
use crate::net::policy::AddressPolicy;
use crate::provider::exchange::Network;
use crate::telemetry::admin::{self, Readiness};
use crate::worker::{self, Worker, WorkerError};

pub mod objects;
pub mod provider;
pub mod quickstart;
pub mod table;

/// How long requests and reconciles under way may go on after a stop is asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// Least time between two writes of the status of one object.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// A loop that has been silent for this long hangs.
const PULSE: Duration = Duration::from_secs(30);

/// What `run` is told when it starts.
#[derive(Debug)]
pub struct Settings {
    /// Port under which the worker is reached, for `status.address`.
    pub port: u16,
    /// Takes traffic; see [`listen`].
    pub worker: Worker,
    /// Where the admin endpoints are served.
    pub admin: TcpListener,
}

/// A `run` that could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The reconcilers.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// A part panicked or ended without being asked to.
    #[error("{part} ended unexpectedly{}; this is a bug of Tidegate", detail(.cause.as_ref()))]
    Ended {
        /// Which part.
        part: &'static str,
        /// The panic, if it was one.
        cause: Option<JoinError>,
    },
}

fn detail(cause: Option<&JoinError>) -> String {
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}

/// Loopback may be dialled, because that is where people try things.
fn policy() -> AddressPolicy {
    AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    }
}

/// A worker that listens on `address`.
pub fn listen(address: SocketAddr) -> Result<Worker, WorkerError> {
    Worker::bind(worker::Settings {
        listen: address,
        policy: policy(),
        drain: DRAIN,
        localhost_names: true,
        connections: crate::worker::MAX_CONNECTIONS,
        lanes: 0,
    })
}

/// Serves what `store` holds, which `follower` keeps as the files say, until `stop`; then finishes what is under way.
///
/// The admin endpoints are the last to end, so that a stop can be watched.
pub async fn run(
    settings: Settings,
    store: Store,
    follower: Follower,
    stop: CancellationToken,
) -> Result<(), StandaloneError> {
    let readiness = Readiness::new();
    let admin_stop = CancellationToken::new();
    let objects = objects::routes(store.clone());
    let admin = tokio::spawn(admin::serve(
        settings.admin,
        readiness.clone(),
        objects,
        admin_stop.clone(),
    ));
    let (fleet, ends) = LocalFleet::start(admin_stop.clone());
    let mut parts = Parts::default();
    let pulse = readiness.pulse("files", PULSE);
    parts.spawn("the file follower", {
        let stop = stop.clone();
        async move {
            follower.follow(move || pulse.beat(), stop).await;
            Ok(())
        }
    });
    let pulses = [controller::integration::NAME, controller::credential::NAME];
    let pulses = pulses.map(|name| (name, readiness.pulse(name, PULSE)));
    let port = settings.port;
    let controller_settings = controller::Settings {
        drain: DRAIN,
        // There is no API server to spare, and somebody watches the table.
        status_interval: STATUS_INTERVAL,
        exchange: Arc::new(Network::new(Dialer::new(Arc::new(policy())))),
        address: Arc::new(move |key| format!("http://{}.{}.localhost:{port}", key.name, key.namespace)),
        beat: Arc::new(move |name| {
            let pulse = pulses.iter().find(|(of, _)| *of == name);
            if let Some((_, pulse)) = pulse {
                pulse.beat();
            }
        }),
        ..controller::Settings::default()
    };
    parts.spawn("the controller", {
        let (store, stop) = (Arc::new(store.clone()), stop.clone());
        async move { Ok(controller::run(store, Arc::new(fleet), controller_settings, stop).await?) }
    });
    parts.spawn("the worker", {
        let stop = stop.clone();
        async move {
            settings.worker.run(ends.plans, ends.reports, stop).await;
            Ok(())
        }
    });
    let watching = tokio::spawn(watch_readiness(store, readiness));

    let mut done = Ok(());
    while let Some((part, ended)) = parts.next().await {
        let ended = match ended {
            Ok(Ok(())) if !stop.is_cancelled() => Err(StandaloneError::Ended { part, cause: None }),
            Ok(ended) => ended,
            Err(cause) => Err(StandaloneError::Ended {
                part,
                cause: Some(cause),
            }),
        };
        // The first part to fail says why; the others are asked to stop.
        done = done.and(ended);
        stop.cancel();
    }
    watching.abort();
    admin_stop.cancel();
    // Its only failure would be a panic, and everything else is over.
    let _ = admin.await;
    done
}

/// The parts of this process, by name.
#[derive(Default)]
struct Parts {
    tasks: JoinSet<Result<(), StandaloneError>>,
    names: HashMap<task::Id, &'static str>,
}

impl Parts {
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = Result<(), StandaloneError>> + Send + 'static) {
        self.names.insert(self.tasks.spawn(work).id(), name);
    }

    /// The next part to end, and how.
    async fn next(&mut self) -> Option<(&'static str, Result<Result<(), StandaloneError>, JoinError>)> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.names.get(&id).copied().unwrap_or("a part"), ended))
    }
}

/// Ready means that every object has been looked at once; the traffic port is taken before anything else begins.
async fn watch_readiness(store: Store, readiness: Readiness) {
    let looked_at = readiness.check("objects-looked-at");
    let mut touched = store.touched();
    loop {
        touched.borrow_and_update();
        match waiting(&store) {
            0 => looked_at.pass(),
            count => looked_at.fail(format!("{count} objects are waiting")),
        }
        if touched.changed().await.is_err() {
            return;
        }
    }
}

/// How many objects nobody has looked at since they were made.
fn waiting(store: &Store) -> usize {
    let is_waiting = |observed: Option<i64>| observed.unwrap_or(-1) < 0;
    let integrations = store.integrations().into_iter().filter_map(|object| object.status);
    let credentials = store.credentials().into_iter().filter_map(|object| object.status);
    integrations
        .filter(|status| is_waiting(status.observed_generation))
        .count()
        + credentials
            .filter(|status| is_waiting(status.observed_generation))
            .count()
}
