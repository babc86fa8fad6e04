//! A provider that stands still in the middle of a call, at a moment that a test has chosen, until the test lets it go on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::oneshot;

use super::Simulator;

/// A moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The request is there, and nothing was done.
    Arrived,
    /// It is done, and nothing was answered.
    Committed,
    /// The answer is on its way. The provider does not stand still then.
    Answered,
}

/// A call in which the provider is to stand still.
pub(super) struct Halt {
    route: String,
    nth: usize,
    moment: Moment,
    reached: oneshot::Sender<()>,
    goes_on: oneshot::Receiver<bool>,
}

/// The test's side of it. Dropped, the provider hangs up.
pub struct Halted {
    reached: oneshot::Receiver<()>,
    goes_on: oneshot::Sender<bool>,
}

impl Halted {
    /// Waits until the call has come there.
    pub async fn reached(&mut self) {
        (&mut self.reached).await.unwrap();
    }

    /// The provider goes on, whoever is still there to hear its answer.
    pub fn go_on(self) {
        // Who has answered already does not wait.
        let _ = self.goes_on.send(true);
    }
}

impl Simulator {
    /// The provider stands still at this moment of the `nth` call of `route`, from 1.
    pub fn halt(&self, route: &str, nth: usize, moment: Moment) -> Halted {
        let ((told, reached), (goes_on, going)) = (oneshot::channel(), oneshot::channel());
        self.lock().halts.push(Halt {
            route: route.to_owned(),
            nth,
            moment,
            reached: told,
            goes_on: going,
        });
        Halted { reached, goes_on }
    }

    /// Stands still, if it is to. Says whether to go on.
    pub(super) async fn stand_still(&self, route: &str, nth: usize, moment: Moment) -> bool {
        let Some(halt) = self.take_halt(route, nth, moment) else {
            return true;
        };
        let _ = halt.reached.send(());
        halt.goes_on.await.unwrap_or(false)
    }

    /// The body of an answer that tells when it was taken.
    pub(super) fn telling(&self, route: &str, body: String) -> Telling {
        let nth = self.lock().ledger.calls_of(route);
        let told = self.take_halt(route, nth, Moment::Answered).map(|halt| halt.reached);
        let body = Full::from(body);
        Telling { body, told }
    }

    fn take_halt(&self, route: &str, nth: usize, moment: Moment) -> Option<Halt> {
        let halts = &mut self.lock().halts;
        let is_it = |it: &Halt| it.route == route && it.nth == nth && it.moment == moment;
        let at = halts.iter().position(is_it)?;
        Some(halts.swap_remove(at))
    }
}

/// A body that tells when the connection has taken it.
pub(super) struct Telling {
    body: Full<Bytes>,
    told: Option<oneshot::Sender<()>>,
}

impl Body for Telling {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            let _ = told.send(());
        }
    }
}
