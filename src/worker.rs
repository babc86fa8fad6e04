//! The data plane: serves traffic from plans.
//!
//! Plans come in through a `watch` channel and reports leave through another, so that the same worker runs behind a
//! mounted Secret and a control connection (`tidegate worker`) and inside one process with the controller
//! (`tidegate run`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::health::{Pauses, Report};
use crate::domain::key::Key;
use crate::domain::plan::Plan;
use crate::net::policy::AddressPolicy;

use lanes::Lanes;
use layer::quota::{self, Share};
pub use serve::MAX_CONNECTIONS;
use table::Table;

pub mod answered;
pub mod asked;
pub mod body;
pub mod connection;
pub mod control;
pub mod credential;
pub mod endpoint;
pub mod expression;
pub mod framing;
pub mod grpc;
pub mod health;
pub mod hop;
pub mod kept;
pub mod lanes;
pub mod layer;
pub mod pause;
pub mod pool;
pub mod probe;
pub mod problem;
pub mod reading;
pub mod report;
pub mod route;
pub mod serve;
#[cfg(test)]
mod simulated;
pub mod source;
pub mod stack;
pub mod standing;
pub mod table;
pub mod websocket;
pub mod wire;

/// The plans a worker serves, by Integration.
pub type Plans = BTreeMap<Key, Arc<Plan>>;
/// The current report of each Integration that is served.
pub type Reports = BTreeMap<Key, Arc<Report>>;

/// What a worker is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where traffic is taken.
    pub listen: SocketAddr,
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// How long requests under way may go on after a stop is asked for.
    pub drain: Duration,
    /// Also answer to `<name>.<namespace>.localhost` (`tidegate run`).
    pub localhost_names: bool,
    /// Callers' connections at a time; those beyond wait in the kernel's queue. [`MAX_CONNECTIONS`] but in tests.
    pub connections: usize,
    /// Threads that serve them, each with a runtime of its own; 0: the runtime that the worker runs in does.
    pub lanes: usize,
}

/// A worker that could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The traffic port cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Reason.
        source: std::io::Error,
    },
}

/// A worker that listens and does not serve yet.
#[derive(Debug)]
pub struct Worker {
    settings: Settings,
    listener: TcpListener,
    share: Option<Share>,
    pauses: Option<pause::Told>,
}

impl Worker {
    /// Listens for traffic. Callers wait in the kernel's queue until [`run`](Self::run).
    pub fn bind(settings: Settings) -> Result<Self, WorkerError> {
        let address = settings.listen;
        let listener = serve::listen(address).map_err(|source| WorkerError::Listen { address, source })?;
        Ok(Self {
            settings,
            listener,
            share: None,
            pauses: None,
        })
    }

    /// This worker is one of several, and has `share` of every rate limit. Without this it is the only one.
    #[must_use]
    pub fn sharing(self, share: Share) -> Self {
        Self {
            share: Some(share),
            ..self
        }
    }

    /// This worker heeds what others were asked for.
    #[must_use]
    pub fn heeding(self, pauses: pause::Told) -> Self {
        Self {
            pauses: Some(pauses),
            ..self
        }
    }

    /// The address that is listened on, which tells the port if port 0 was asked for.
    pub fn address(&self) -> Result<SocketAddr, WorkerError> {
        let address = self.settings.listen;
        self.listener
            .local_addr()
            .map_err(|source| WorkerError::Listen { address, source })
    }

    /// Serves traffic from `plans` until `stop`, then drains. Every change of what is known goes to `reports`.
    pub async fn run(self, plans: watch::Receiver<Plans>, reports: watch::Sender<Reports>, stop: CancellationToken) {
        let Settings {
            policy,
            drain,
            localhost_names,
            connections,
            lanes,
            ..
        } = self.settings;
        let mut table = Table::new(policy, localhost_names, Arc::new(reports), self.share.clone());
        let directory = table.directory();
        let lanes = Lanes::start(lanes).unwrap_or_else(|error| {
            tracing::warn!(%error, "no threads of their own for connections; the others serve them");
            Lanes::default()
        });
        let mut plans = plans;
        let mut share = self.share;
        // What was told before a plan came holds for it too.
        let mut pauses = self.pauses.unwrap_or_else(|| watch::channel(Pauses::new()).1);
        let mut told = true;
        table.apply(&plans.borrow_and_update());
        table.heed(&pauses.borrow_and_update());
        let follow = async {
            loop {
                tokio::select! {
                    changed = plans.changed() => {
                        if changed.is_err() {
                            break;
                        }
                        let wanted = plans.borrow_and_update().clone();
                        table.apply(&wanted);
                        table.heed(&pauses.borrow());
                    }
                    changed = pauses.changed(), if told => match changed {
                        Ok(()) => table.heed(&pauses.borrow_and_update()),
                        Err(_) => told = false,
                    },
                    () = quota::changed(&mut share) => table.publish(),
                }
            }
            // Nobody gives plans any more; those that run stay.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serve::serve(self.listener, directory, connections, &lanes, stop, drain) => {}
            () = follow => {}
        }
    }
}

/// Serves traffic from `plans` until `stop`, then drains. Every change of what is known goes to `reports`.
pub async fn serve(
    settings: Settings,
    plans: watch::Receiver<Plans>,
    reports: watch::Sender<Reports>,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    Worker::bind(settings)?.run(plans, reports, stop).await;
    Ok(())
}
