//! How calls fail, and how long they take.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate::api::credential::Credential;
use tidegate::cluster::Held;
use tidegate::domain::key::Key;
use tokio::time::Instant;

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
    /// The answer is 429, to this and to every other call of whoever for [`THROTTLED`].
    Throttled,
    /// It is written, and whoever reads Secrets or Credentials sees for [`SEEN_LATE`] what there was before.
    SeenLate,
    /// It is written twice, as by something on the way that sends again; the second answer is given.
    Twice,
}

/// For how long an API server that throttles does so.
const THROTTLED: Duration = Duration::from_secs(30);
/// For how long what was written is not seen.
const SEEN_LATE: Duration = Duration::from_secs(5);
/// How long a read takes meanwhile.
const LOOK: Duration = Duration::from_millis(20);

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

    /// A read: counted, and refused while the API server throttles.
    pub(super) async fn read<T, E>(
        &self,
        fail: impl FnOnce() -> E,
        get: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.pause().await;
        if self.state().behind().is_some() {
            // So that the time in which it is comes to an end, even for who looks again at once.
            tokio::time::sleep(LOOK).await;
        }
        let mut state = self.state();
        state.reads += 1;
        if state.throttles() {
            return Err(fail());
        }
        get(&mut state)
    }

    /// A write: counted, told, and perhaps made to fail.
    pub(super) async fn write<T, E>(
        &self,
        what: String,
        fail: impl FnOnce() -> E,
        mut commit: impl FnMut(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.pause().await;
        let fault = {
            let mut state = self.state();
            let number = state.writes.len();
            state.writes.push(what);
            let fault = state.faults.remove(&number);
            if state.throttles() {
                return Err(fail());
            }
            fault
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
            Some(Fault::Throttled) => {
                self.state().throttled = Some(Instant::now() + THROTTLED);
                Err(fail())
            }
            Some(Fault::SeenLate) => {
                let mut state = self.state();
                state.behind = Some(Behind {
                    until: Instant::now() + SEEN_LATE,
                    held: state.held.clone(),
                    credentials: state.credentials.clone(),
                });
                commit(&mut state)
            }
            Some(Fault::Twice) => {
                let mut state = self.state();
                let _ = commit(&mut state);
                commit(&mut state)
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

/// What is seen in the place of what there is.
pub struct Behind {
    until: Instant,
    held: BTreeMap<Key, Held>,
    credentials: BTreeMap<Key, Credential>,
}

impl State {
    fn throttles(&self) -> bool {
        self.throttled.is_some_and(|until| Instant::now() < until)
    }

    fn behind(&self) -> Option<&Behind> {
        self.behind.as_ref().filter(|behind| Instant::now() < behind.until)
    }

    /// The Secret of ours that a read finds.
    pub(super) fn seen_held(&self, key: &Key) -> Option<Held> {
        let held = self.behind().map_or(&self.held, |behind| &behind.held);
        held.get(key).cloned()
    }

    /// The Credential that a read finds.
    pub(super) fn seen_credential(&self, key: &Key) -> Option<Credential> {
        let credentials = self.behind().map_or(&self.credentials, |behind| &behind.credentials);
        credentials.get(key).cloned()
    }
}
