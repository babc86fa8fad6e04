//! The socket of a caller's connection, with an eye on it.
//!
//! It does two things that hyper does not. It lets [`Framing`] see every byte that comes in on HTTP/1, so that ambiguous
//! requests are refused before anything is made of them. And it notes when bytes last moved, so that one timer for each
//! connection (see [`super::connection`]) can tell a quiet peer from a slow one: hyper's own header timeout knows neither
//! the first bytes of a connection nor a peer that does not read.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::{Framing, Phase, Refused};
use super::websocket::Handover;

/// A caller's socket.
#[derive(Debug)]
pub struct Wire<S> {
    socket: S,
    /// What comes before the socket's bytes: what was read to find out which version of HTTP is spoken, or the end of a
    /// head that is refused.
    first: Vec<u8>,
    first_read: usize,
    /// Absent on HTTP/2.
    framing: Option<Framing>,
    refused: bool,
    foreign: bool,
    vitals: Arc<Vitals>,
}

impl<S> Wire<S> {
    /// `socket`, of which `first` was read already. `framing`: HTTP/1 is spoken.
    pub fn new(socket: S, first: Vec<u8>, framing: Option<Framing>, vitals: Arc<Vitals>) -> Self {
        Self {
            socket,
            first,
            first_read: 0,
            framing,
            refused: false,
            foreign: false,
            vitals,
        }
    }

    /// The socket itself, for the end of the connection.
    pub fn into_socket(self) -> S {
        self.socket
    }

    /// Whether what came in was ambiguous, so that nothing that followed was passed on.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether what came in is no HTTP, and nothing of it was passed on.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    fn inspect(&mut self, buffer: &mut ReadBuf<'_>, from: usize) {
        let Some(framing) = &mut self.framing else {
            return;
        };
        if self.vitals.handed_over().is_some() {
            return;
        }
        match framing.read(&mut buffer.filled_mut()[from..]) {
            Ok(()) => {}
            Err(Refused::Ambiguous(end)) => {
                buffer.set_filled(from + end);
                self.refused = true;
                // The parser may look for the end of the head before it looks at the head; it gets one, and a reason to
                // refuse it in case the first NUL fell where it does not look.
                (self.first, self.first_read) = (b"\0\r\n\r\n".to_vec(), 0);
            }
            Err(Refused::Foreign) => {
                // A parser that finds the end of the stream in the middle of a head answers nothing.
                buffer.set_filled(from);
                (self.refused, self.foreign) = (true, true);
            }
        }
        self.vitals.note_phase(framing.phase());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let from = buffer.filled().len();
        if this.first_read < this.first.len() {
            let rest = &this.first[this.first_read..];
            let taken = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..taken]);
            this.first_read += taken;
            if this.first_read == this.first.len() {
                (this.first, this.first_read) = (Vec::new(), 0);
            }
        } else if this.refused {
            // The end of the stream, as far as the parser is told.
            return Poll::Ready(Ok(()));
        } else {
            ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        }
        if !this.refused {
            this.inspect(buffer, from);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.vitals.note_write(written.is_pending());
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        this.vitals.note_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// What is known of a connection's peer: written by the socket and the requests, read by the timer.
#[derive(Debug)]
pub struct Vitals {
    start: Instant,
    phase: AtomicU8,
    /// When the phase, or whether something is under way, last changed; milliseconds after `start`.
    changed: AtomicU64,
    /// Since when the peer does not take what is written; milliseconds after `start` plus 1, 0 while it does.
    stalled: AtomicU64,
    under_way: AtomicU32,
    /// Once it is there, what follows is not HTTP any more.
    handed_over: OnceLock<Handover>,
}

/// What to do about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing now; look again after this time.
    Fine(Duration),
    /// It has been quiet for too long: finish and close.
    Quiet,
    /// Its peer does not send the rest of a head, or does not read: close at once.
    Stuck,
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a head, from its first byte to its last.
    pub head: Duration,
    /// With nothing under way, or without taking what is written.
    pub idle: Duration,
}

impl Default for Vitals {
    /// Of a connection that begins now.
    fn default() -> Self {
        Self {
            start: Instant::now(),
            phase: AtomicU8::new(Phase::Between as u8),
            changed: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            handed_over: OnceLock::new(),
        }
    }
}

impl Vitals {
    fn milliseconds(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note_phase(&self, phase: Phase) {
        if self.phase.swap(phase as u8, Ordering::Relaxed) != phase as u8 {
            self.changed.store(self.milliseconds(), Ordering::Relaxed);
        }
    }

    fn note_write(&self, pending: bool) {
        if !pending {
            self.stalled.store(0, Ordering::Relaxed);
        } else if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(self.milliseconds() + 1, Ordering::Relaxed);
        }
    }

    /// The answer that is written next makes the connection one of another protocol.
    pub fn hand_over(&self, handover: Handover) {
        // It can be the answer to one request alone, and the first one is.
        let _ = self.handed_over.set(handover);
    }

    /// What the connection is to become, if an answer says so.
    pub fn handed_over(&self) -> Option<&Handover> {
        self.handed_over.get()
    }

    /// A request begins; it ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// What to do about the connection now.
    pub fn judge(&self, patience: Patience) -> Verdict {
        let now = self.milliseconds();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled > 0 && since(stalled - 1) >= patience.idle {
            return Verdict::Stuck;
        }
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return Verdict::Fine(patience.head.min(patience.idle));
        }
        let quiet = since(self.changed.load(Ordering::Relaxed));
        let (bound, verdict) = if self.phase.load(Ordering::Relaxed) == Phase::Head as u8 {
            (patience.head, Verdict::Stuck)
        } else {
            (patience.idle, Verdict::Quiet)
        };
        match bound.checked_sub(quiet) {
            Some(rest) if !rest.is_zero() => Verdict::Fine(rest.min(patience.head)),
            _ => verdict,
        }
    }
}

/// A request under way on a connection.
#[derive(Debug)]
pub struct UnderWay(Arc<Vitals>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.changed.store(self.0.milliseconds(), Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(90),
    };

    async fn after(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_nothing_under_way_is_quiet_after_the_idle_time() {
        let vitals = Vitals::default();
        after(89).await;
        assert_eq!(vitals.judge(PATIENCE), Verdict::Fine(Duration::from_secs(1)));
        after(1).await;
        assert_eq!(vitals.judge(PATIENCE), Verdict::Quiet);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_waited_for_ten_seconds_and_not_longer_for_more_bytes() {
        let vitals = Vitals::default();
        after(50).await;
        vitals.note_phase(Phase::Head);
        after(9).await;
        vitals.note_phase(Phase::Head);
        assert_eq!(vitals.judge(PATIENCE), Verdict::Fine(Duration::from_secs(1)));
        after(1).await;
        assert_eq!(vitals.judge(PATIENCE), Verdict::Stuck);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_keeps_the_connection_for_as_long_as_it_takes() {
        let vitals = Arc::new(Vitals::default());
        let request = vitals.begin();
        after(1000).await;
        assert!(matches!(vitals.judge(PATIENCE), Verdict::Fine(_)));
        drop(request);
        assert!(matches!(vitals.judge(PATIENCE), Verdict::Fine(_)));
        after(90).await;
        assert_eq!(vitals.judge(PATIENCE), Verdict::Quiet);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_stuck_even_with_a_request_under_way() {
        let vitals = Arc::new(Vitals::default());
        let _request = vitals.begin();
        vitals.note_write(true);
        after(60).await;
        vitals.note_write(false);
        vitals.note_write(true);
        after(89).await;
        assert!(matches!(vitals.judge(PATIENCE), Verdict::Fine(_)));
        after(1).await;
        assert_eq!(vitals.judge(PATIENCE), Verdict::Stuck);
    }
}
