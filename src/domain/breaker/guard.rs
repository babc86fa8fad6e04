//! A permit that cannot be lost: dropped in whatever way, it reports.

use super::Permit;
use crate::domain::classify::Outcome;

/// Takes permits back: the breaker behind a lock, with a clock.
pub trait Ledger {
    /// Hands `permit` to [`Breaker::record`](super::Breaker::record) with the time it is now. Called once for every
    /// permit, also while a thread unwinds: it must not panic.
    fn settle(&self, permit: Permit, outcome: Outcome);
}

/// Holds the permit of an attempt from its start to the end of its answer.
///
/// The head of the answer decides a trial and everything that is not a good answer. A good head of ordinary traffic is
/// held until the body has ended, so that an answer that breaks off counts as one failure and not as a success too.
///
/// | exit                                                 | reported                                     |
/// |------------------------------------------------------|----------------------------------------------|
/// | answer, connect error, reset, timeout, upgrade       | [`answered`](Self::answered) with its outcome |
/// | body breaks off                                      | [`broke_off`](Self::broke_off)               |
/// | body ends, or the caller leaves during it            | dropped: what the head said                  |
/// | cancelled, panicked, caller gone before the head     | dropped: Nothing                        |
#[derive(Debug)]
#[must_use = "dropping the guard reports an attempt without a word of the provider"]
pub struct Guard<L: Ledger> {
    held: Option<(L, Permit)>,
    said: Outcome,
}

impl<L: Ledger> Guard<L> {
    /// Guards `permit`, which `ledger` takes back.
    pub fn new(ledger: L, permit: Permit) -> Self {
        Self {
            held: Some((ledger, permit)),
            said: Outcome::Nothing,
        }
    }

    /// The attempt came to this: the head of an answer, or an error.
    pub fn answered(&mut self, outcome: Outcome) {
        let trial = self.held.as_ref().is_some_and(|(_, permit)| permit.is_trial());
        self.said = outcome;
        if trial || outcome != Outcome::Success {
            self.settle();
        }
    }

    /// The answer broke off after its head.
    pub fn broke_off(&mut self) {
        self.said = Outcome::Failure;
        self.settle();
    }

    fn settle(&mut self) {
        if let Some((ledger, permit)) = self.held.take() {
            ledger.settle(permit, self.said);
        }
    }
}

impl<L: Ledger> Drop for Guard<L> {
    fn drop(&mut self) {
        self.settle();
    }
}
