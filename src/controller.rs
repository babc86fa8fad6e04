//! The control plane: two reconcilers over the ports.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::fleet::Fleet;

/// What the control plane is told when it starts.
#[derive(Clone)]
pub struct Settings {
    /// Addresses that workers may not dial besides those that they refuse by themselves: the API server's own.
    pub denied: Vec<IpNet>,
    /// Reconciles of one kind that may be under way at a time.
    pub concurrency: usize,
    /// How long reconciles under way may go on after a stop is asked for.
    pub drain: Duration,
    /// The time of day.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Called whenever the loops have turned and nothing hangs, at least every 5 s; for `/livez`.
    pub beat: Arc<dyn Fn() + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            denied: Vec::new(),
            concurrency: 16,
            drain: Duration::from_secs(10),
            clock: Arc::new(Timestamp::now),
            beat: Arc::new(|| ()),
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

/// Reconciles everything that `cluster` announces, with the workers of `fleet`, until `stop`; then finishes what is
/// under way.
pub async fn run<C: Cluster, F: Fleet>(
    cluster: Arc<C>,
    fleet: Arc<F>,
    settings: Settings,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let _ = (cluster, fleet, settings);
    stop.cancelled().await;
    Ok(())
}
