//! An answer on its way to the caller: the provider's, streamed, or one of our own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{Broken, Pause, clean_trailers};

/// How an answer's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Properly.
    Whole,
    /// The provider broke off, paused for too long or sent more than allowed.
    Broken(Broken),
    /// The caller did not want the rest.
    Dropped,
}

/// What is to be done when an answer has ended, in whatever way; it is told exactly once.
pub trait End {
    /// The answer has ended after so many bytes of body.
    fn end(self, how: Ended, bytes: u64);

    /// A piece of it, or its trailers, is on its way.
    fn pass(&mut self, frame: &Frame<Bytes>) {
        let _ = frame;
    }

    /// The trailers that say to the caller that the answer broke off; absent where only a broken stream can say so.
    fn last_words(&mut self, broken: Broken) -> Option<HeaderMap> {
        let _ = broken;
        None
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum Answer<E: End, B = Incoming> {
    /// One of our own, or none.
    Own(Option<Bytes>),
    /// The provider's.
    Provider(Box<Streamed<E, B>>),
}

/// The provider's body on its way.
#[derive(Debug)]
pub struct Streamed<E: End, B = Incoming> {
    body: B,
    limit: u64,
    read: u64,
    pause: Pause,
    /// When it must be over, where the caller has said so.
    until: Option<Pin<Box<Sleep>>>,
    done: bool,
    end: Option<E>,
}

impl<E: End, B: Body<Data = Bytes> + Unpin> Answer<E, B> {
    /// The provider's `body` of at most `limit` bytes, with pauses of at most `idle`; `end` is told when it is over.
    pub fn provider(body: B, limit: u64, idle: Duration, end: E) -> Self {
        let mut streamed = Streamed {
            body,
            limit,
            read: 0,
            pause: Pause::new(idle),
            until: None,
            done: false,
            end: Some(end),
        };
        if streamed.body.is_end_stream() {
            streamed.finish(Ended::Whole);
            return Self::Own(None);
        }
        Self::Provider(Box::new(streamed))
    }

    /// The same, cut off at `until`, if there is such a time.
    #[must_use]
    pub fn until(mut self, until: Option<Instant>) -> Self {
        if let (Self::Provider(streamed), Some(until)) = (&mut self, until) {
            streamed.until = Some(Box::pin(tokio::time::sleep_until(until)));
        }
        self
    }
}

impl<E: End, B> Streamed<E, B> {
    fn finish(&mut self, how: Ended) {
        self.done = true;
        if let Some(end) = self.end.take() {
            end.end(how, self.read);
        }
    }
}

impl<E: End, B> Drop for Streamed<E, B> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.end(Ended::Dropped, self.read);
        }
    }
}

impl<E: End + Unpin, B: Body<Data = Bytes> + Unpin> Body for Answer<E, B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(body) => Poll::Ready(body.take().map(|data| Ok(Frame::data(data)))),
            Self::Provider(streamed) => streamed.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_none(),
            Self::Provider(streamed) => streamed.done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |data| data.len() as u64)),
            Self::Provider(streamed) => streamed.body.size_hint(),
        }
    }
}

impl<E: End, B: Body<Data = Bytes> + Unpin> Streamed<E, B> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.done {
            return Poll::Ready(None);
        }
        // Asked first: an answer that never pauses has to end as well.
        let late = self
            .until
            .as_mut()
            .is_some_and(|until| until.as_mut().poll(cx).is_ready());
        let broken = match Pin::new(&mut self.body).poll_frame(cx) {
            _ if late => Broken::Late,
            Poll::Pending => std::task::ready!(self.pause.poll(cx)),
            Poll::Ready(None) => {
                self.finish(Ended::Whole);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => Broken::BrokenOff,
            Poll::Ready(Some(Ok(mut frame))) => {
                self.pause.end();
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers, &[]);
                }
                if let Some(end) = &mut self.end {
                    end.pass(&frame);
                }
                self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.read <= self.limit {
                    // A parser that is told of the end with the last piece sends both in one write.
                    if frame.is_trailers() || self.body.is_end_stream() {
                        self.finish(Ended::Whole);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Broken::TooLarge(self.limit)
            }
        };
        let words = self.end.as_mut().and_then(|end| end.last_words(broken));
        self.finish(Ended::Broken(broken));
        Poll::Ready(Some(words.map(Frame::trailers).ok_or(broken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt, Full, StreamBody};

    #[derive(Clone, Debug, Default)]
    struct Told(Arc<Mutex<Vec<(Ended, u64)>>>);

    impl End for Told {
        fn end(self, how: Ended, bytes: u64) {
            self.0.lock().unwrap().push((how, bytes));
        }
    }

    impl Told {
        fn get(&self) -> Vec<(Ended, u64)> {
            self.0.lock().unwrap().clone()
        }
    }

    type Test = BoxBody<Bytes, std::io::Error>;

    fn pieces(pieces: Vec<Result<&'static [u8], std::io::Error>>) -> Test {
        let frames = pieces
            .into_iter()
            .map(|piece| piece.map(|data| Frame::data(Bytes::from_static(data))));
        BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
    }

    fn answer(body: Test, limit: u64, told: &Told) -> Answer<Told, Test> {
        Answer::provider(body, limit, Duration::from_secs(90), told.clone())
    }

    #[tokio::test]
    async fn every_way_for_an_answer_to_end_is_told_once() {
        let told = Told::default();
        let whole = answer(pieces(vec![Ok(b"12"), Ok(b"345")]), 5, &told)
            .collect()
            .await
            .unwrap();
        assert_eq!(whole.to_bytes(), "12345");
        assert_eq!(told.get(), [(Ended::Whole, 5)]);

        let told = Told::default();
        let over = answer(pieces(vec![Ok(b"12"), Ok(b"3456")]), 5, &told).collect().await;
        assert_eq!(over.unwrap_err(), Broken::TooLarge(5));
        assert_eq!(told.get(), [(Ended::Broken(Broken::TooLarge(5)), 6)]);

        let told = Told::default();
        let broken = answer(pieces(vec![Ok(b"12"), Err(std::io::Error::other("reset"))]), 5, &told)
            .collect()
            .await;
        assert_eq!(broken.unwrap_err(), Broken::BrokenOff);
        assert_eq!(told.get(), [(Ended::Broken(Broken::BrokenOff), 2)]);

        let told = Told::default();
        let mut left = answer(pieces(vec![Ok(b"12"), Ok(b"3")]), 5, &told);
        left.frame().await;
        drop(left);
        assert_eq!(told.get(), [(Ended::Dropped, 2)]);

        let told = Told::default();
        let empty = BodyExt::boxed(Full::new(Bytes::new()).map_err(|never| match never {}));
        drop(answer(empty, 5, &told));
        assert_eq!(told.get(), [(Ended::Whole, 0)]);
    }

    #[tokio::test]
    async fn an_end_that_is_known_with_the_last_piece_is_told_with_it() {
        let told = Told::default();
        let body = BodyExt::boxed(Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {}));
        let mut answer = answer(body, 5, &told);
        answer.frame().await.unwrap().unwrap();
        assert!(answer.is_end_stream());
        assert_eq!(told.get(), [(Ended::Whole, 5)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_pauses_for_too_long_breaks_its_answer() {
        let told = Told::default();
        let body = BodyExt::boxed(StreamBody::new(futures::stream::pending::<
            Result<Frame<Bytes>, std::io::Error>,
        >()));
        let broken = answer(body, 5, &told).collect().await.unwrap_err();
        assert_eq!(broken, Broken::Paused(Duration::from_secs(90)));
        assert_eq!(told.get(), [(Ended::Broken(broken), 0)]);
    }
}
