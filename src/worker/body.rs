//! Bodies, streamed both ways: what a caller sends on its way to the provider, and the answer on its way back.
//!
//! Neither is ever whole in memory, but for the part of a request that may have to be sent again. Each is bounded in
//! bytes and in the pause between two pieces, and a body that does not come to its proper end is never made to look as
//! if it had.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, Sleep};

pub mod answer;
pub mod outgoing;

/// Why a body did not come to its proper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// More bytes than allowed.
    #[error("the body is over the limit of {0} bytes")]
    TooLarge(u64),
    /// Too long a pause.
    #[error("the body paused for longer than {0:?}")]
    Paused(Duration),
    /// The connection it came on broke, or what came is not a body.
    #[error("the body broke off")]
    BrokenOff,
    /// Another attempt sends it now.
    #[error("the body is sent by a later attempt")]
    Superseded,
    /// The caller's own time for the call is over.
    #[error("the caller's deadline has passed")]
    Late,
    /// It was taken back because nobody reads it.
    #[error("the body is not read")]
    Unread,
}

/// The longest pause inside a body. The timer is made at the first pause and armed again only when it fires early, so
/// a body that flows costs none.
#[derive(Debug)]
struct Pause {
    bound: Duration,
    moved: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    fn new(bound: Duration) -> Self {
        Self {
            bound,
            moved: None,
            timer: None,
        }
    }

    /// A piece has come.
    fn end(&mut self) {
        self.moved = None;
    }

    /// No piece has come; ready when that has been so for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let moved = *self.moved.get_or_insert_with(Instant::now);
        let until = moved + self.bound;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(Broken::Paused(self.bound));
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

/// Takes from trailers what is not the sender's to say to the one behind us: what belongs to one hop, and what would
/// frame or route the message (RFC 9110 6.5.1). `injected` is what we inject ourselves.
fn clean_trailers(trailers: &mut HeaderMap, injected: &[http::HeaderName]) {
    use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    for name in [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_LENGTH,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        trailers.remove(name);
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
    ] {
        trailers.remove(name);
    }
    for name in injected {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_with_each_piece_and_breaks_the_body_when_it_is_too_long() {
        let mut pause = Pause::new(Duration::from_secs(10));
        for _ in 0..3 {
            let waited = tokio::time::timeout(Duration::from_secs(9), poll_fn(|cx| pause.poll(cx))).await;
            assert!(waited.is_err());
            pause.end();
        }
        let start = Instant::now();
        assert_eq!(
            poll_fn(|cx| pause.poll(cx)).await,
            Broken::Paused(Duration::from_secs(10))
        );
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
