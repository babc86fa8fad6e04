//! How calls fail, and how long they take.

use std::time::Duration;

use super::World;
use super::world::State;

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer is an error and nothing was written.
    Refused,
    /// The answer is an error although it was written.
    AnswerLost,
    /// The process dies before it is written.
    DiesBefore,
    /// The process dies after it was written, without having heard of it.
    DiesAfter,
    /// The process stands still before it is written, until it is released.
    StallsBefore,
    /// It is written, and the process stands still before it hears of it, until it is released.
    StallsAfter,
}

impl Fault {
    /// All after which nobody is left who goes on.
    pub const ALL: [Self; 4] = [Self::Refused, Self::AnswerLost, Self::DiesBefore, Self::DiesAfter];
}

impl World {
    /// Makes the write of this number (the next is 0) fail, counted from now.
    pub fn fail_write(&self, number: usize, fault: Fault) {
        let mut state = self.state();
        let at = state.writes.len() + number;
        state.faults.insert(at, fault);
    }

    /// No write fails any more. Says whether one was still to fail.
    pub fn clear_faults(&self) -> bool {
        !std::mem::take(&mut self.state().faults).is_empty()
    }

    /// Makes every call take a random time up to `longest`.
    pub fn latency(&self, longest: Duration, seed: u64) {
        self.state().latency = Some((longest, seed));
    }

    /// The process that calls this is no more.
    pub async fn die<T>(&self) -> T {
        self.died.notify_one();
        std::future::pending().await
    }

    /// The process that calls this stands still until it is released.
    pub async fn stall(&self) {
        self.stalled.notify_one();
        self.released.notified().await;
    }

    pub(super) async fn read<T>(&self, get: impl FnOnce(&mut State) -> T) -> T {
        self.pause().await;
        let mut state = self.state();
        state.reads += 1;
        get(&mut state)
    }

    /// A write: counted, told, and perhaps made to fail.
    pub(super) async fn write<T, E>(
        &self,
        what: String,
        fail: impl FnOnce() -> E,
        commit: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.pause().await;
        let fault = {
            let mut state = self.state();
            let number = state.writes.len();
            state.writes.push(what);
            state.faults.remove(&number)
        };
        match fault {
            None => commit(&mut self.state()),
            Some(Fault::Refused) => Err(fail()),
            Some(Fault::AnswerLost) => {
                let _ = commit(&mut self.state());
                Err(fail())
            }
            Some(Fault::DiesBefore) => self.die().await,
            Some(Fault::DiesAfter) => {
                let _ = commit(&mut self.state());
                self.die().await
            }
            Some(Fault::StallsBefore) => {
                self.stall().await;
                commit(&mut self.state())
            }
            Some(Fault::StallsAfter) => {
                let done = commit(&mut self.state());
                self.stall().await;
                done
            }
        }
    }

    async fn pause(&self) {
        let pause = {
            let mut state = self.state();
            let Some((longest, seed)) = &mut state.latency else {
                return;
            };
            // A linear congruential step (Knuth's MMIX) is random enough to shuffle what happens first.
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            longest.mul_f64(f64::from(u32::try_from(*seed >> 32).unwrap()) / f64::from(u32::MAX))
        };
        tokio::time::sleep(pause).await;
    }
}
