//! Both ports in memory: a store with the semantics of an API server that the controller relies on, and workers that
//! adopt a plan as soon as it is programmed. Any write can be made to fail, before or after it takes effect.
//!
//! A [`World`] outlives the controllers that run on it; each of them has [`Ports`] of its own, as each process has
//! connections of its own.

use std::sync::Arc;

use jiff::Timestamp;
use tidegate::controller::{self, ControllerError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use faults::Fault;
pub use ports::Ports;
pub use workers::adopted;
pub use world::World;

mod faults;
mod ports;
mod workers;
mod world;

/// A controller that runs on a [`World`].
pub struct Process {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ControllerError>>,
}

impl Process {
    /// Starts one.
    pub fn start(world: &World) -> Self {
        Self::start_with(world, |_| ())
    }

    /// Starts one with other settings.
    pub fn start_with(world: &World, change: impl FnOnce(&mut controller::Settings)) -> Self {
        let (ports, stop) = (world.ports(), CancellationToken::new());
        let mut settings = controller::Settings {
            clock: clock(),
            ..controller::Settings::default()
        };
        if let Some(exchange) = world.state().exchange.clone() {
            settings.exchange = exchange;
        }
        change(&mut settings);
        let task = tokio::spawn(controller::run(ports.clone(), ports, settings, stop.clone()));
        Self { stop, task }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// The time of day of a test whose time is paused: it moves with tokio's.
pub fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    thread_local! {
        static START: tokio::time::Instant = tokio::time::Instant::now();
    }
    let start = START.with(|start| *start);
    Arc::new(move || Timestamp::from_second(1_800_000_000).unwrap() + start.elapsed())
}
