//! Answers on their way over HTTP/2, and whether the caller reads them.
//!
//! On HTTP/1 a caller that does not read stops the socket, which [`super::wire`] sees. On HTTP/2 it may stop one stream
//! and keep the connection busy with others: nothing asks for the rest of that answer any more, so no timer inside it
//! would ever run, and it would hold a connection to the provider and a place among the requests under way for as long
//! as the caller likes. So somebody outside looks, and takes the body back.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::body::Broken;
use super::wire::UnderWay;

/// The answers under way on one connection.
#[derive(Debug)]
pub struct Reading<B> {
    answers: Arc<Mutex<Vec<Weak<Mutex<Held<B>>>>>>,
}

impl<B> Clone for Reading<B> {
    fn clone(&self) -> Self {
        Self {
            answers: self.answers.clone(),
        }
    }
}

impl<B> Default for Reading<B> {
    fn default() -> Self {
        Self {
            answers: Arc::default(),
        }
    }
}

/// An answer's body, which counts as under way until it ends.
#[derive(Debug)]
pub enum Watched<B> {
    /// Nobody but the connection holds it.
    Given(B, UnderWay),
    /// It may be taken back.
    Lent(Lent<B>),
}

/// An answer's body that may be taken back.
#[derive(Debug)]
pub struct Lent<B>(Arc<Mutex<Held<B>>>);

#[derive(Debug)]
struct Held<B> {
    /// Absent once it was taken back.
    body: Option<(B, UnderWay)>,
    /// Since when the next piece is not asked for though the last one was given.
    unread: Option<Instant>,
}

impl<B> Reading<B> {
    /// Keeps an eye on `body`.
    pub fn lend(&self, body: B, under_way: UnderWay) -> Watched<B> {
        let held = Arc::new(Mutex::new(Held {
            body: Some((body, under_way)),
            unread: None,
        }));
        let mut answers = lock(&self.answers);
        if answers.len() == answers.capacity() {
            // Before it would grow: what has ended makes room.
            answers.retain(|answer| answer.strong_count() > 0);
        }
        answers.push(Arc::downgrade(&held));
        Watched::Lent(Lent(held))
    }

    /// Takes back what was not read for longer than `bound`.
    pub fn take_back(&self, bound: Duration) {
        let now = Instant::now();
        let answers: Vec<_> = lock(&self.answers).iter().filter_map(Weak::upgrade).collect();
        for answer in answers {
            let mut held = lock(&answer);
            if held.unread.is_some_and(|since| now.duration_since(since) >= bound) {
                let body = held.body.take();
                // Its end is told to others, who need not wait for this lock.
                drop(held);
                drop(body);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data = Bytes, Error = Broken> + Unpin> Lent<B> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut held = lock(&self.0);
        let Some((body, _)) = &mut held.body else {
            return Poll::Ready(Some(Err(Broken::Unread)));
        };
        let polled = Pin::new(body).poll_frame(cx);
        held.unread = matches!(polled, Poll::Ready(Some(Ok(_)))).then(Instant::now);
        polled
    }
}

impl<B: Body<Data = Bytes, Error = Broken> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Given(body, _) => Pin::new(body).poll_frame(cx),
            Self::Lent(lent) => lent.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Given(body, _) => body.is_end_stream(),
            Self::Lent(Lent(held)) => lock(held).body.as_ref().is_some_and(|(body, _)| body.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Given(body, _) => body.size_hint(),
            Self::Lent(Lent(held)) => lock(held)
                .body
                .as_ref()
                .map_or_else(SizeHint::new, |(body, _)| body.size_hint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::wire::{Patience, Verdict, Vitals};
    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt, StreamBody};

    type Test = BoxBody<Bytes, Broken>;

    fn pieces(count: usize) -> Test {
        let pieces = (0..count).map(|_| Ok(Frame::data(Bytes::from_static(b"piece"))));
        BodyExt::boxed(StreamBody::new(futures::stream::iter(pieces.collect::<Vec<_>>())))
    }

    const BOUND: Duration = Duration::from_secs(90);
    const ALMOST: Duration = Duration::from_secs(89);

    #[tokio::test(start_paused = true)]
    async fn what_is_not_read_for_too_long_is_taken_back_and_no_longer_under_way() {
        let vitals = Arc::new(Vitals::default());
        let reading = Reading::default();
        let mut body = reading.lend(pieces(2), vitals.begin());
        body.frame().await.unwrap().unwrap();
        tokio::time::advance(ALMOST).await;
        reading.take_back(BOUND);
        body.frame().await.unwrap().unwrap();
        tokio::time::advance(BOUND).await;
        reading.take_back(BOUND);
        assert_eq!(body.frame().await.unwrap().unwrap_err(), Broken::Unread);
        tokio::time::advance(BOUND).await;
        let patience = Patience {
            head: BOUND,
            idle: BOUND,
        };
        assert_eq!(vitals.judge(patience), Verdict::Quiet, "the connection counts as idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_slow_is_not_taken_for_a_caller_that_does_not_read() {
        let reading = Reading::default();
        let slow = BodyExt::boxed(StreamBody::new(
            futures::stream::pending::<Result<Frame<Bytes>, Broken>>(),
        ));
        let mut body = reading.lend(slow, Arc::new(Vitals::default()).begin());
        assert!(tokio::time::timeout(BOUND, body.frame()).await.is_err());
        reading.take_back(BOUND);
        assert!(tokio::time::timeout(BOUND, body.frame()).await.is_err());
    }

    #[tokio::test]
    async fn answers_that_have_ended_cost_no_memory() {
        let reading = Reading::default();
        let vitals = Arc::new(Vitals::default());
        for _ in 0..10_000 {
            drop(reading.lend(pieces(1), vitals.begin()));
        }
        assert!(lock(&reading.answers).capacity() <= 8);
    }
}
