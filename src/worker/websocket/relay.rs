//! Two sides of a WebSocket connection, and what becomes of both when something happens to one.
//!
//! | what happens                                     | the caller gets | the provider gets |
//! |--------------------------------------------------|-----------------|-------------------|
//! | a side closes                                    | the same Close  | the same Close    |
//! | the caller breaks the protocol, or its message is too large | 1002, 1007, 1009 | 1001   |
//! | the provider does                                | 1011            | 1002, 1007, 1009  |
//! | the caller is gone without a Close, or silent    |                 | 1001              |
//! | the provider is                                  | 1011            |                   |
//! | a side does not read                             | 1011            | 1001              |
//! | the worker stops, or the connection has to move  | 1001            | 1001              |
//! | the credential was withdrawn                     | 1008            | 1001              |
//!
//! The side to blame gets its Close too, where it can still be reached. A Close cannot stand inside another frame: a side
//! that is in the middle of one when the other ends is cut off, which it sees as 1006.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::way::{Stop, Way};
use crate::domain::websocket::frame::{Rules, Violation};
use crate::domain::websocket::write;

/// How long a side may take to answer a Close, and to take what goes before it.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a side may take to hang up after that.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest message of the caller, in bytes.
    pub from_caller: u64,
    /// Largest message of the provider, in bytes.
    pub from_provider: u64,
    /// A side that says nothing for half of it is pinged, one that says nothing for all of it is dead; as is one that
    /// takes nothing for so long.
    pub idle: Duration,
    /// Whether `permessage-deflate` was agreed upon.
    pub deflate: bool,
}

/// One side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The application.
    Caller,
    /// The outside API.
    Provider,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides sent their Close.
    Closed,
    /// This side was closed and did not answer.
    Unanswered(Side),
    /// This side broke the protocol.
    Broken(Side, Violation),
    /// This side went away without a Close.
    Gone(Side),
    /// This side answers no ping.
    Silent(Side),
    /// This side takes nothing.
    Stuck(Side),
    /// The worker stops, or the connection leads where it should not any more.
    Moved,
    /// A credential that the handshake carried was withdrawn.
    Withdrawn,
}

impl End {
    /// What is counted: `answered` if it was closed as it should be, `cancelled` if the caller is to blame, else `cut`.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Closed => "answered",
            Self::Unanswered(Side::Caller)
            | Self::Broken(Side::Caller, _)
            | Self::Gone(Side::Caller)
            | Self::Silent(Side::Caller)
            | Self::Stuck(Side::Caller) => "cancelled",
            _ => "cut",
        }
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it ended.
    pub end: End,
    /// The close code: of the side that closed first, else the one that the caller was given; 1006 if it was given none.
    pub code: u16,
    /// Bytes that came from the caller.
    pub from_caller: u64,
    /// Bytes that came from the provider.
    pub from_provider: u64,
}

/// Passes frames between `caller` and `provider` until one of them, or `stop`, ends that. `early`: what came from the
/// caller already.
pub async fn relay<C, P>(caller: C, provider: P, early: &[u8], bounds: Bounds, stop: impl Future<Output = End>) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    P: AsyncRead + AsyncWrite + Unpin,
{
    let rules = |masked, limit| Rules {
        masked,
        deflate: bounds.deflate,
        limit,
    };
    let mut relay = Relay {
        caller,
        provider,
        up: Way::new(rules(true, bounds.from_caller)),
        down: Way::new(rules(false, bounds.from_provider)),
        first: None,
        idle: bounds.idle,
    };
    let end = match relay.up.take(early) {
        Ok(()) => relay.run(stop).await,
        Err(violation) => End::Broken(Side::Caller, violation),
    };
    relay.finish(end).await
}

struct Relay<C, P> {
    caller: C,
    provider: P,
    /// From the caller to the provider.
    up: Way,
    /// From the provider to the caller.
    down: Way,
    /// Who closed first, with which code, and when.
    first: Option<(Side, u16, Instant)>,
    idle: Duration,
}

impl<C, P> Relay<C, P>
where
    C: AsyncRead + AsyncWrite + Unpin,
    P: AsyncRead + AsyncWrite + Unpin,
{
    async fn run(&mut self, stop: impl Future<Output = End>) -> End {
        let mut stop = pin!(stop);
        let beat = (self.idle / 8).min(CLOSING);
        let mut timer = pin!(tokio::time::sleep(beat));
        loop {
            tokio::select! {
                biased;
                end = stop.as_mut() => return end,
                end = poll_fn(|cx| self.poll(cx)) => return end,
                () = timer.as_mut() => {
                    let now = Instant::now();
                    if let Some(end) = self.look(now) {
                        return end;
                    }
                    timer.as_mut().reset(now + beat);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let up = self.up.poll(&mut self.caller, &mut self.provider, cx);
        let down = self.down.poll(&mut self.provider, &mut self.caller, cx);
        for (side, way) in [(Side::Caller, &self.up), (Side::Provider, &self.down)] {
            if let (None, Some(code)) = (self.first, way.closed) {
                self.first = Some((side, code, Instant::now()));
            }
        }
        if self.up.is_over() && self.down.is_over() {
            return Poll::Ready(End::Closed);
        }
        for (sender, receiver, stop) in [(Side::Caller, Side::Provider, up), (Side::Provider, Side::Caller, down)] {
            let gone = match stop {
                Poll::Pending => continue,
                Poll::Ready(Stop::Broken(violation)) => return Poll::Ready(End::Broken(sender, violation)),
                Poll::Ready(Stop::SenderGone) => sender,
                Poll::Ready(Stop::ReceiverGone) => receiver,
            };
            return Poll::Ready(match self.first {
                // Who hangs up in the middle of closing has had what it wanted, or leaves the other without an answer.
                Some((side, ..)) if side == gone => End::Closed,
                Some(_) => End::Unanswered(gone),
                None => End::Gone(gone),
            });
        }
        Poll::Pending
    }

    /// What time has brought about; pings who was silent for long.
    fn look(&mut self, now: Instant) -> Option<End> {
        let since = |then: Instant| now.saturating_duration_since(then);
        for (way, receiver) in [(&self.up, Side::Provider), (&self.down, Side::Caller)] {
            if way.stalled.is_some_and(|stalled| since(stalled) >= self.idle) {
                return Some(End::Stuck(receiver));
            }
        }
        if let Some((side, _, at)) = self.first {
            let other = side.other();
            return (since(at) >= CLOSING).then_some(End::Unanswered(other));
        }
        let silent = listen(Side::Caller, &mut self.up, &mut self.down, self.idle, now);
        silent.or_else(|| listen(Side::Provider, &mut self.down, &mut self.up, self.idle, now))
    }

    /// Ends both sides as they are to be ended.
    async fn finish(mut self, end: End) -> Ended {
        let (to_caller, to_provider) = closes(end, self.first.map(|(side, code, _)| (side, code)));
        let told = to_caller.filter(|(code, reason)| self.down.insert_close(&write::close(*code, reason, None)));
        if let Some((code, reason)) = to_provider {
            self.up.insert_close(&write::close(code, reason, Side::Provider.key()));
        }
        let code = match self.first {
            Some((_, code, _)) => code,
            None => told.map_or(1006, |(code, _)| code),
        };
        let gone = |side| match end {
            End::Gone(gone) | End::Silent(gone) | End::Stuck(gone) | End::Unanswered(gone) => gone == side,
            _ => false,
        };
        // One that broke the protocol says nothing any more that could be understood.
        let broken = |side| matches!(end, End::Broken(broken, _) if broken == side);
        let Self {
            mut caller,
            mut provider,
            mut up,
            mut down,
            ..
        } = self;
        {
            // Each side is written what is left for it, and then read until it closes in turn.
            let (mut caller_done, mut provider_done) = (gone(Side::Caller), gone(Side::Provider));
            let (caller_broken, provider_broken) = (broken(Side::Caller), broken(Side::Provider));
            let part = poll_fn(|cx| {
                if !caller_done && let Poll::Ready(written) = down.poll_write(&mut caller, cx) {
                    caller_done = written.is_err() || caller_broken || up.poll_discard(&mut caller, cx).is_ready();
                }
                if !provider_done && let Poll::Ready(written) = up.poll_write(&mut provider, cx) {
                    provider_done =
                        written.is_err() || provider_broken || down.poll_discard(&mut provider, cx).is_ready();
                }
                if caller_done && provider_done {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            // Whatever comes of it: the connection is over.
            drop(tokio::time::timeout(CLOSING, part).await);
        }
        let ended = Ended {
            end,
            code,
            from_caller: up.bytes,
            from_provider: down.bytes,
        };
        tokio::join!(
            hang_up(caller, gone(Side::Caller)),
            hang_up(provider, gone(Side::Provider))
        );
        ended
    }
}

/// Pings `side` if it was silent for half of `idle`, by a frame among those that go `to` it; its end if it does not answer.
fn listen(side: Side, from: &mut Way, to: &mut Way, idle: Duration, now: Instant) -> Option<End> {
    let since = |then: Instant| now.saturating_duration_since(then);
    let half = idle / 2;
    // What is not read because the other side does not take it says nothing of this one.
    if from.stalled.is_some() || since(from.heard) < half {
        return None;
    }
    match from.pinged {
        Some((_, at)) if at >= from.heard => {
            (since(at) >= half && since(from.heard) >= idle).then_some(End::Silent(side))
        }
        _ => {
            let payload: [u8; 8] = rand::random();
            if to.insert(&write::ping(&payload, side.key())) {
                from.pinged = Some((payload, now));
            }
            None
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Caller => Self::Provider,
            Self::Provider => Self::Caller,
        }
    }

    /// The key of a frame to this side: what goes to the provider is masked.
    fn key(self) -> Option<[u8; 4]> {
        (self == Self::Provider).then(rand::random)
    }
}

type Close = Option<(u16, &'static str)>;

/// What the caller and the provider are told when a connection ends. `first` is who closed first, and with what.
fn closes(end: End, first: Option<(Side, u16)>) -> (Close, Close) {
    use Side::{Caller, Provider};
    // Who has closed gets its own code back.
    let own = |side| match first {
        // 1005 must not be sent.
        Some((closed, code)) if closed == side => Some((if code == 1005 { 1000 } else { code }, "")),
        _ => None,
    };
    let leaving = Some((1001, "the caller is gone"));
    let lost = Some((1011, "the connection to the provider is lost"));
    let (caller, provider) = match end {
        End::Closed => (None, None),
        End::Broken(Caller, violation) => (Some((violation.code(), "tidegate: protocol or limit")), leaving),
        End::Broken(Provider, violation) => (
            Some((1011, "the provider broke the protocol or a limit")),
            Some((violation.code(), "")),
        ),
        End::Gone(Caller) | End::Silent(Caller) | End::Stuck(Caller) | End::Unanswered(Caller) => (None, leaving),
        End::Gone(Provider) | End::Silent(Provider) | End::Stuck(Provider) | End::Unanswered(Provider) => (lost, None),
        End::Moved => (Some((1001, "tidegate: connect again")), Some((1001, ""))),
        End::Withdrawn => (Some((1008, "tidegate: the credential was withdrawn")), Some((1001, ""))),
    };
    (own(Caller).or(caller), own(Provider).or(provider))
}

/// Closes a connection so that what was last written arrives: one with unread bytes in it would be reset.
async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut side: S, gone: bool) {
    if gone {
        return;
    }
    let end = async {
        side.shutdown().await?;
        tokio::io::copy(&mut (&mut side).take(256 << 10), &mut tokio::io::sink()).await
    };
    drop(tokio::time::timeout(LINGER, end).await);
}
