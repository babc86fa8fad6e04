//! Threads that serve connections, each with a runtime of its own.
//!
//! A request passes between two tasks, the caller's connection and the provider's. Where both run on one thread, the one
//! wakes the other without a system call, and neither moves between cores; in a runtime of several threads about half of
//! the requests pay for both. So a connection stays on the lane that it was given to, and [`super::pool`] prefers
//! connections that were opened on the same.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Threads for lookups of names, for each lane; they come when there is one and go again.
const BLOCKING: usize = 2;

thread_local! {
    static LANE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The lane that this thread is; absent where a runtime moves tasks between threads.
pub fn current() -> Option<usize> {
    LANE.get()
}

/// Lanes; they end when this is dropped, and what runs on them with them.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Vec<Lane>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection's place on a lane; it counts until it is dropped.
#[derive(Debug)]
pub struct OnLane {
    /// Where the connection is to be served.
    pub runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Lanes {
    /// Starts so many.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut lanes = Self {
            lanes: Vec::with_capacity(count),
            stop: CancellationToken::new(),
        };
        for index in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .max_blocking_threads(BLOCKING)
                .enable_all()
                .build()?;
            lanes.lanes.push(Lane {
                runtime: runtime.handle().clone(),
                connections: Arc::default(),
            });
            let stop = lanes.stop.clone();
            std::thread::Builder::new()
                .name(format!("lane-{index}"))
                .spawn(move || {
                    LANE.set(Some(index));
                    runtime.block_on(stop.cancelled());
                    // A lookup of a name is not waited for.
                    runtime.shutdown_background();
                })?;
        }
        Ok(lanes)
    }

    /// The lane with the fewest connections; `None` if there are no lanes.
    pub fn place(&self) -> Option<OnLane> {
        let lane = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.connections.load(Ordering::Relaxed))?;
        lane.connections.fetch_add(1, Ordering::Relaxed);
        Some(OnLane {
            runtime: lane.runtime.clone(),
            connections: lane.connections.clone(),
        })
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_and_stay_on_their_lane() {
        let lanes = Lanes::start(2).unwrap();
        let (one, other) = (lanes.place().unwrap(), lanes.place().unwrap());
        let on = |place: &OnLane| place.runtime.spawn(async { current() });
        let found = [on(&one).await.unwrap(), on(&other).await.unwrap()];
        assert_eq!(found, [Some(0), Some(1)]);
        drop(one);
        let next = lanes.place().unwrap();
        assert_eq!(on(&next).await.unwrap(), Some(0), "the one with fewer");
        assert_eq!(current(), None);
    }

    #[test]
    fn without_lanes_there_is_no_place() {
        assert!(Lanes::start(0).unwrap().place().is_none());
    }
}
