//! An answer that is put aside while another attempt is made: if that comes to nothing, this is passed on.
//!
//! Its body is read into memory if it is small, so that its connection is free for the next attempt. A larger one keeps
//! its connection. The body of a request is one of these too, which may have been read already.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

/// So much of a body is read ahead.
const AHEAD: usize = 64 << 10;
/// For at most so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// A body of which the beginning may have been read already.
#[derive(Debug)]
pub struct Resumed {
    ahead: VecDeque<Frame<Bytes>>,
    /// Absent once all of it was read.
    rest: Option<Incoming>,
    hint: SizeHint,
    /// It broke while it was read ahead.
    broken: Option<hyper::Error>,
    /// What it has of the room for all, as long as it is there.
    _room: Option<OwnedSemaphorePermit>,
}

impl From<Incoming> for Resumed {
    fn from(body: Incoming) -> Self {
        Self {
            ahead: VecDeque::new(),
            hint: body.size_hint(),
            rest: Some(body),
            broken: None,
            _room: None,
        }
    }
}

impl Resumed {
    /// One that is all here.
    pub fn whole(data: Bytes, trailers: Option<HeaderMap>, room: Option<OwnedSemaphorePermit>) -> Self {
        let hint = if trailers.is_some() {
            SizeHint::new()
        } else {
            SizeHint::with_exact(data.len() as u64)
        };
        let mut ahead = VecDeque::with_capacity(1);
        if !data.is_empty() {
            ahead.push_back(Frame::data(data));
        }
        ahead.extend(trailers.map(Frame::trailers));
        Self {
            ahead,
            rest: None,
            hint,
            broken: None,
            _room: room,
        }
    }

    /// Reads ahead, and says whether the body is all here.
    pub async fn read_ahead(&mut self) -> bool {
        // Dropping the future at the time limit loses nothing: a frame is either not yet there or already kept.
        drop(tokio::time::timeout(PATIENCE, self.fill()).await);
        self.rest.is_none()
    }

    async fn fill(&mut self) {
        let mut bytes = 0;
        while bytes <= AHEAD {
            let Some(rest) = &mut self.rest else { return };
            match rest.frame().await {
                None => self.rest = None,
                Some(Ok(frame)) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.ahead.push_back(frame);
                    if rest.is_end_stream() {
                        self.rest = None;
                    }
                }
                Some(Err(error)) => {
                    self.broken = Some(error);
                    self.rest = None;
                }
            }
        }
    }
}

impl Body for Resumed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(frame) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.broken.is_none() && self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
