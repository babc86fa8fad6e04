//! The port to workers: give them a plan, learn what they report.
//!
//! Two adapters: `kubernetes` (a Deployment for each Integration, plans pushed over mutual TLS) and `local` (the worker
//! in this process, for `tidegate run`).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::api::integration::Resources;
use crate::domain::health::Report;
use crate::domain::key::Key;
use crate::domain::plan::Plan;

pub mod authority;
pub mod kubernetes;
pub mod local;
#[cfg(test)]
mod sample;

/// A plan and the workers that are to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What to run.
    pub plan: Arc<Plan>,
    /// How many workers.
    pub replicas: i32,
    /// Compute resources of each; absent: the installation's default.
    pub resources: Option<Resources>,
    /// Namespaces that may call, besides the Integration's own.
    pub access: Vec<String>,
}

/// What is known of one worker, from the moment it is seen to the moment it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The Integration it works for.
    pub integration: Key,
    /// Unique name of the worker: the Pod's, or `local`.
    pub worker: Arc<str>,
    /// What is known now.
    pub state: WorkerState,
}

/// State of one worker.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerState {
    /// It exists; `ready` is the orchestrator's word. `report` is its last one while the control connection lives,
    /// `None` before the first and after the connection is lost.
    Present {
        /// Takes traffic.
        ready: bool,
        /// Its picture of things.
        report: Option<Arc<Report>>,
    },
    /// It does not exist any more.
    Gone,
}

/// A call to the fleet that failed.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// An object of the name we need exists and is not ours. Only an edit helps.
    #[error("{kind} {key} exists and does not belong to this Integration; delete it or rename the Integration")]
    NameTaken {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
    },
    /// The API server refuses what we apply (quota, admission, right). What it said is in `detail`, never a value.
    #[error("{kind} {key} was refused: {detail}")]
    Refused {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
        /// Reason, never a value.
        detail: String,
    },
    /// Anything else; worth another try.
    #[error("{verb} {kind} {key} failed: {detail}")]
    Failed {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        key: Key,
        /// Reason, never a value.
        detail: String,
    },
}

/// The port. Every call has a deadline of its own.
pub trait Fleet: Send + Sync + 'static {
    /// What is learned of workers. Taken once.
    fn observations(&self) -> mpsc::Receiver<Observation>;

    /// The plan that was last programmed for this Integration, from where it is stored; `None` if there is none or it
    /// belongs to another UID.
    fn programmed(&self, key: &Key, uid: &str) -> impl Future<Output = Result<Option<Plan>, FleetError>> + Send;

    /// Makes the workers exist and run the plan: mounted objects first, then what mounts them, then the push to those
    /// that run already. Writes nothing that is already so. Returning does not mean adopted; observations tell that.
    fn program(&self, workload: &Workload) -> impl Future<Output = Result<(), FleetError>> + Send;

    /// The Integration is gone: stop talking to its workers. What was made for it goes by owner reference.
    fn forget(&self, key: &Key) -> impl Future<Output = Result<(), FleetError>> + Send;
}

/// Takes the one receiver of a channel out of its place. A second taker gets one that is closed: the first goes on.
fn take_once<T>(place: &Mutex<Option<mpsc::Receiver<T>>>) -> mpsc::Receiver<T> {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    place.take().unwrap_or_else(|| mpsc::channel(1).1)
}
