//! The data plane: serves traffic from plans.
//!
//! Plans come in through a `watch` channel and reports leave through another, so that the same worker runs behind a
//! mounted Secret and a control connection (`tidegate worker`) and inside one process with the controller
//! (`tidegate run`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::health::Report;
use crate::domain::key::Key;
use crate::domain::plan::Plan;
use crate::net::policy::AddressPolicy;

pub mod asked;
pub mod body;
pub mod connection;
pub mod framing;
pub mod hop;
pub mod layer;
pub mod pool;
pub mod problem;
pub mod route;
pub mod wire;

pub mod expression;

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

/// Serves traffic from `plans` until `stop`, then drains. Every change of what is known goes to `reports`.
pub async fn serve(
    settings: Settings,
    plans: watch::Receiver<Plans>,
    reports: watch::Sender<Reports>,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let _ = (settings, plans, reports, stop);
    todo!()
}
