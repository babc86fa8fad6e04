//! A request body on its way to the provider: streamed, and kept while it may have to be sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};

use super::{Broken, Pause, clean_trailers};
use crate::worker::kept::Resumed;

/// So much of a body is kept for another attempt (contract section 8).
pub const KEPT: usize = 1 << 20;

/// A caller's body, which attempts send one after the other.
#[derive(Debug)]
pub struct Source<B = Resumed> {
    /// Absent: there is no body.
    shared: Option<Arc<Mutex<Shared<B>>>>,
    idle: Duration,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is true or not whatever the others are"
)]
struct Shared<B> {
    body: B,
    /// What has been read, as long as all of it is kept.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    keep: bool,
    /// Something was read that is not kept: no other attempt can send the body.
    lost: bool,
    read: u64,
    limit: u64,
    length: Option<u64>,
    trailers: Option<HeaderMap>,
    injected: Arc<[HeaderName]>,
    ended: bool,
    broken: Option<Broken>,
    /// The last piece that was asked for is not there yet.
    waits: bool,
    /// No other attempt will be made.
    settled: bool,
    /// The newest attempt has sent all of it.
    sent: bool,
    /// The answer has begun, and with it the caller may be quiet for as long as it likes.
    unhurried: bool,
    /// Counts attempts; only the newest reads on.
    attempt: u64,
}

/// The body as one attempt sends it.
#[derive(Debug)]
pub struct Outgoing<B = Resumed> {
    shared: Option<Arc<Mutex<Shared<B>>>>,
    attempt: u64,
    next: usize,
    sent: u64,
    length: Option<u64>,
    ended: bool,
    pause: Pause,
    /// A body of our own, if there is no caller's.
    own: Option<Bytes>,
}

impl<B: Body<Data = Bytes> + Unpin> Source<B> {
    /// The body of a request, of at most `limit` bytes and with pauses of at most `idle`; kept, up to [`KEPT`] bytes, if
    /// `keep`. Trailers may not carry what is `injected`.
    pub fn new(body: B, limit: u64, idle: Duration, keep: bool, injected: Arc<[HeaderName]>) -> Self {
        let length = body.size_hint().exact();
        let shared = (!body.is_end_stream()).then(|| {
            Arc::new(Mutex::new(Shared {
                body,
                kept: VecDeque::new(),
                kept_bytes: 0,
                // A body that is known to be too large to keep is not kept in part either.
                keep: keep && length.is_none_or(|length| length <= KEPT as u64),
                lost: false,
                read: 0,
                limit,
                length,
                trailers: None,
                injected,
                ended: false,
                broken: None,
                waits: false,
                settled: false,
                sent: false,
                unhurried: false,
                attempt: 0,
            }))
        });
        Self { shared, idle }
    }

    /// The body for one more attempt; `None` when it cannot be sent again. What an earlier attempt still holds of it
    /// comes to nothing.
    pub fn attempt(&self) -> Option<Outgoing<B>> {
        let (attempt, length) = match &self.shared {
            None => (0, Some(0)),
            Some(shared) => {
                let mut shared = lock(shared);
                if shared.lost || shared.broken.is_some() {
                    return None;
                }
                shared.attempt += 1;
                shared.sent = false;
                (shared.attempt, shared.length)
            }
        };
        Some(Outgoing {
            shared: self.shared.clone(),
            attempt,
            next: 0,
            sent: 0,
            length,
            ended: false,
            pause: Pause::new(self.idle),
            own: None,
        })
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.shared.is_none()
    }

    /// Whether another attempt could send the body.
    pub fn can_repeat(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| {
            let shared = lock(shared);
            !shared.lost && shared.broken.is_none()
        })
    }

    /// Whether an attempt waits for the caller to send more: then a provider that has not answered is not slow.
    pub fn waits_for_caller(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| lock(shared).waits)
    }

    /// No other attempt will be made, so nothing more is kept. `unhurried`: pauses are not bounded any more.
    pub fn settle(&self, unhurried: bool) {
        if let Some(shared) = &self.shared {
            let mut shared = lock(shared);
            shared.settled = true;
            shared.unhurried = unhurried;
            shared.keep = false;
            shared.let_go();
        }
    }

    /// How the caller's side of the body broke, if it did: then whatever became of the attempt is not the provider's
    /// doing.
    pub fn broken(&self) -> Option<Broken> {
        self.shared.as_ref().and_then(|shared| lock(shared).broken)
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    // A panic while it was held left numbers, not broken promises.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data = Bytes> + Unpin> Shared<B> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(broken) = self.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let next = Pin::new(&mut self.body).poll_frame(cx);
        self.waits = next.is_pending();
        Poll::Ready(match std::task::ready!(next) {
            None => {
                self.ended = true;
                None
            }
            Some(Err(_)) => Some(Err(self.fail(Broken::BrokenOff))),
            Some(Ok(frame)) => Some(self.take(frame)),
        })
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Broken> {
        let frame = match frame.into_data() {
            Ok(data) => {
                self.read += data.len() as u64;
                if self.read > self.limit {
                    return Err(self.fail(Broken::TooLarge(self.limit)));
                }
                self.keep(&data);
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    self.ended = true;
                    clean_trailers(&mut trailers, &self.injected);
                    self.trailers = Some(trailers.clone());
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            },
        };
        Ok(frame)
    }

    fn keep(&mut self, data: &Bytes) {
        // Many tiny pieces would cost more than their bytes; each counts as if it had this many.
        const PIECE: usize = 64;
        self.kept_bytes += data.len().max(PIECE);
        if self.keep && self.kept_bytes <= KEPT {
            self.kept.push_back(data.clone());
        } else {
            self.kept = VecDeque::new();
            self.keep = false;
            self.lost = true;
        }
    }

    fn note_sent(&mut self) {
        self.sent = true;
        self.let_go();
    }

    /// Frees what was kept for another attempt once there is none and the last one needs it no more.
    fn let_go(&mut self) {
        if self.settled && self.sent {
            self.kept = VecDeque::new();
        }
    }

    fn fail(&mut self, broken: Broken) -> Broken {
        self.broken = Some(broken);
        broken
    }
}

impl<B> Outgoing<B> {
    /// No body.
    pub fn empty() -> Self {
        Self {
            shared: None,
            attempt: 0,
            next: 0,
            sent: 0,
            length: Some(0),
            ended: true,
            pause: Pause::new(Duration::ZERO),
            own: None,
        }
    }

    /// A body of our own.
    pub fn own(body: Vec<u8>) -> Self {
        Self {
            length: Some(body.len() as u64),
            own: Some(body.into()),
            ended: false,
            ..Self::empty()
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let Some(shared) = &this.shared else {
            this.ended = true;
            return Poll::Ready(this.own.take().map(|body| Ok(Frame::data(body))));
        };
        if this.ended {
            return Poll::Ready(None);
        }
        let mut shared = lock(shared);
        if shared.attempt != this.attempt {
            return Poll::Ready(Some(Err(Broken::Superseded)));
        }
        if let Some(data) = shared.kept.get(this.next) {
            this.next += 1;
            this.sent += data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if let Some(trailers) = shared.trailers.clone() {
            this.ended = true;
            shared.note_sent();
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match shared.poll_next(cx) {
            Poll::Pending if shared.unhurried => Poll::Pending,
            Poll::Pending => this.pause.poll(cx).map(|broken| Some(Err(shared.fail(broken)))),
            Poll::Ready(next) => {
                this.pause.end();
                this.next = shared.kept.len();
                match &next {
                    Some(Ok(frame)) => match frame.data_ref() {
                        Some(data) => this.sent += data.len() as u64,
                        None => this.ended = true,
                    },
                    _ => this.ended = true,
                }
                if this.ended {
                    shared.note_sent();
                }
                Poll::Ready(next)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.shared.is_none() && self.own.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            None => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests;
