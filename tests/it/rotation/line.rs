//! The line to a provider, on which any call can fail as any write can.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate::provider::exchange::{Answer, Call, Exchange, ExchangeError};

use crate::support::memory::{Fault, World};
use crate::support::simulator::{Fault as AtProvider, Simulator};

/// Counts calls and lets some of them fail. Clones are the same line.
#[derive(Clone)]
pub struct Line {
    world: World,
    simulator: Simulator,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: usize,
    faults: BTreeMap<usize, Fault>,
    /// Every call fails before it is sent.
    down: bool,
}

impl Line {
    pub fn new(world: &World, simulator: &Simulator) -> Self {
        Self {
            world: world.clone(),
            simulator: simulator.clone(),
            state: Arc::default(),
        }
    }

    /// Makes the call of this number (the next is 0) fail, counted from now. A refused one breaks off before the provider
    /// has acted, and nobody knows.
    pub fn fail_call(&self, number: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        let at = state.calls + number;
        state.faults.insert(at, fault);
    }

    /// No call fails any more. Says whether one was still to fail.
    pub fn clear_faults(&self) -> bool {
        !std::mem::take(&mut self.state.lock().unwrap().faults).is_empty()
    }

    /// How many calls there have been.
    pub fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// The provider itself does `fault` to `call`.
    async fn as_asked(&self, call: Call, fault: AtProvider) -> Result<Answer, ExchangeError> {
        let first = call
            .url
            .path_segments()
            .and_then(|mut it| it.next())
            .unwrap_or_default();
        let route = format!("{} /{first}", call.method);
        let nth = self.simulator.read(|it| it.calls_of(&route)) + 1;
        self.simulator.fault(&route, nth, fault);
        self.simulator.exchange(call).await
    }

    /// Whether nothing gets through.
    pub fn cut(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }
}

impl Exchange for Line {
    fn exchange(&self, call: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>> {
        let (fault, down) = {
            let mut state = self.state.lock().unwrap();
            state.calls += 1;
            let number = state.calls - 1;
            (state.faults.remove(&number), state.down)
        };
        async move {
            if down {
                return Err(ExchangeError::NotSent("connection refused".into()));
            }
            let lost = || ExchangeError::Lost("the connection broke off".into());
            match fault {
                // Of what is seen there, the provider alone decides.
                None | Some(Fault::SeenLate) => self.simulator.exchange(call).await,
                Some(Fault::Refused) => Err(lost()),
                Some(Fault::AnswerLost) => {
                    let _ = self.simulator.exchange(call).await;
                    Err(lost())
                }
                Some(Fault::DiesBefore) => self.world.die().await,
                Some(Fault::DiesAfter) => {
                    let _ = self.simulator.exchange(call).await;
                    self.world.die().await
                }
                Some(Fault::StallsBefore) => {
                    self.world.stall().await;
                    self.simulator.exchange(call).await
                }
                Some(Fault::StallsAfter) => {
                    let answer = self.simulator.exchange(call).await;
                    self.world.stall().await;
                    answer
                }
                Some(Fault::Throttled) => self.as_asked(call, AtProvider::Throttled).await,
                Some(Fault::Twice) => self.as_asked(call, AtProvider::Twice).await,
            }
        }
        .boxed()
    }
}
