//! One direction of a WebSocket connection: frames from one side to the other, as fast as the other takes them.
//!
//! So much is read as fits into one buffer, and nothing more before the other side has taken all of it: a side that does
//! not read stops the side that writes, and the memory of a connection is bounded whatever its peers do. While nothing is
//! on its way there is no buffer at all.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::domain::websocket::frame::{CLOSE, CONTROL, PONG, Piece, Reader, Rules, Violation, close_code};

/// So much is read at a time, in bytes; it is also what may be on its way.
const BUFFER: usize = 16 << 10;

/// What is read in one turn before others get theirs, in bytes.
const TURN: usize = 16 * BUFFER;

/// Why a direction cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The side that sends went away without a Close.
    SenderGone,
    /// The side that receives went away.
    ReceiverGone,
    /// The side that sends broke the rules.
    Broken(Violation),
}

/// Frames from one side to the other.
#[derive(Debug)]
pub struct Way {
    reader: Reader,
    /// What the other side has not taken yet.
    pending: Vec<u8>,
    written: usize,
    flushed: bool,
    /// Whether what was read so far ends with a frame, so that one of ours may follow.
    between: bool,
    /// Bytes that were read.
    pub bytes: u64,
    /// When something was last read, or could not be because the other side does not take it.
    pub heard: Instant,
    /// Since when the other side does not take what is on its way.
    pub stalled: Option<Instant>,
    /// The code of the Close that came.
    pub closed: Option<u16>,
    /// A Close is among what goes to the other side: nothing may follow it.
    shut: bool,
    /// Our ping that the sender has not answered: its payload, and when it was sent.
    pub pinged: Option<([u8; 8], Instant)>,
}

impl Way {
    /// For frames that keep `rules`.
    pub fn new(rules: Rules) -> Self {
        Self {
            reader: Reader::new(rules),
            pending: Vec::new(),
            written: 0,
            flushed: true,
            between: true,
            bytes: 0,
            heard: Instant::now(),
            stalled: None,
            closed: None,
            shut: false,
            pinged: None,
        }
    }

    /// Whether a Close came and was passed on.
    pub fn is_over(&self) -> bool {
        self.closed.is_some() && self.is_empty()
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.flushed
    }

    /// Puts a frame of ours behind what is on its way, if it may stand there.
    pub fn insert(&mut self, frame: &[u8]) -> bool {
        let fits = self.between && !self.shut;
        if fits {
            self.pending.extend(frame);
        }
        fits
    }

    /// The same for a Close, after which nothing goes this way any more.
    pub fn insert_close(&mut self, frame: &[u8]) -> bool {
        let fits = self.insert(frame);
        self.shut |= fits;
        fits
    }

    /// Moves what can be moved now; never ready while it can go on.
    pub fn poll<S, R>(&mut self, sender: &mut S, receiver: &mut R, cx: &mut Context<'_>) -> Poll<Stop>
    where
        S: AsyncRead + Unpin,
        R: AsyncWrite + Unpin,
    {
        let mut turn = 0;
        loop {
            if ready!(self.poll_write(receiver, cx)).is_err() {
                return Poll::Ready(Stop::ReceiverGone);
            }
            if self.closed.is_some() {
                return Poll::Pending;
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut space = [const { MaybeUninit::uninit() }; BUFFER];
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *sender).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Stop::SenderGone),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Stop::SenderGone),
                Poll::Ready(Ok(())) => {
                    turn += buffer.filled().len();
                    self.heard = Instant::now();
                    if let Err(violation) = self.take(buffer.filled()) {
                        return Poll::Ready(Stop::Broken(violation));
                    }
                }
            }
        }
    }

    /// Reads without passing anything on, until a Close comes (`true`) or the side is gone or broken.
    pub fn poll_discard<S: AsyncRead + Unpin>(&mut self, sender: &mut S, cx: &mut Context<'_>) -> Poll<bool> {
        while self.closed.is_none() {
            let mut space = [const { MaybeUninit::uninit() }; BUFFER];
            let mut buffer = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut *sender).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(false);
            }
            self.bytes += buffer.filled().len() as u64;
            let mut input = buffer.filled();
            loop {
                match self.reader.read(&mut input) {
                    Ok(None) => break,
                    Ok(Some(Piece::Control {
                        opcode: CLOSE, payload, ..
                    })) => {
                        self.closed = Some(close_code(payload));
                        break;
                    }
                    Ok(Some(_)) => {}
                    Err(_) => return Poll::Ready(false),
                }
            }
        }
        Poll::Ready(true)
    }

    /// Writes what is on its way; ready when all of it is with the receiver's kernel.
    pub fn poll_write<R: AsyncWrite + Unpin>(
        &mut self,
        receiver: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.written < self.pending.len() {
            let Poll::Ready(written) = Pin::new(&mut *receiver).poll_write(cx, &self.pending[self.written..]) else {
                self.stalled.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            match written? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
            self.took();
            self.flushed = false;
        }
        if !self.flushed {
            let Poll::Ready(flushed) = Pin::new(&mut *receiver).poll_flush(cx) else {
                self.stalled.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            flushed?;
            self.flushed = true;
            self.took();
        }
        if self.written > 0 {
            (self.pending, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// The receiver takes something. While it did not, the sender could not be heard.
    fn took(&mut self) {
        if self.stalled.take().is_some() {
            self.heard = Instant::now();
            self.pinged = None;
        }
    }

    /// Takes what came in: it is on its way from now on.
    pub fn take(&mut self, mut input: &[u8]) -> Result<(), Violation> {
        self.bytes += input.len() as u64;
        self.pending.reserve(input.len() + CONTROL);
        while let Some(piece) = self.reader.read(&mut input)? {
            match piece {
                Piece::Data { bytes, ends } => {
                    self.pending.extend(bytes);
                    self.between = ends;
                }
                // It answers us, and the other side asked nothing.
                Piece::Control {
                    opcode: PONG, payload, ..
                } if self.pinged.is_some_and(|(ours, _)| ours == payload) => {
                    self.pinged = None;
                }
                Piece::Control { opcode, payload, frame } => {
                    if !self.shut {
                        self.pending.extend(frame);
                    }
                    if opcode == CLOSE {
                        self.closed = Some(close_code(payload));
                        self.shut = true;
                        // RFC 6455 5.5.1: nothing follows it.
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
