//! Frames (RFC 6455 5.2), read as they come in and without ever holding a message.
//!
//! Frames pass through as the bytes they are. What is read of them is what a proxy must know: where one ends, so that a
//! frame of our own can stand behind it; what is a control frame; and whether either side breaks the rules that the other
//! may rely on. Whether text is UTF-8 is left to the ends, which alone see it uncompressed.

use std::str;

/// Opcodes (RFC 6455 11.8).
pub const CONTINUATION: u8 = 0;
/// Text.
pub const TEXT: u8 = 1;
/// Binary.
pub const BINARY: u8 = 2;
/// Close.
pub const CLOSE: u8 = 8;
/// Ping.
pub const PING: u8 = 9;
/// Pong.
pub const PONG: u8 = 10;

/// The longest payload of a control frame, in bytes (RFC 6455 5.5).
pub const CONTROL: usize = 125;

/// The longest head of a frame: two bytes, eight of length, four of the masking key.
const HEAD: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_3: u8 = 0x30;
const MASKED: u8 = 0x80;

/// What holds for the frames of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether its frames are masked: a client's are, a server's are not (RFC 6455 5.1).
    pub masked: bool,
    /// Whether `permessage-deflate` was agreed upon, which gives RSV1 a meaning (RFC 7692 6).
    pub deflate: bool,
    /// Largest message, in bytes on the wire: the payload of all its fragments, and the heads of those after the first,
    /// so that fragments without payload cannot go on for ever.
    pub limit: u64,
}

/// A side broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that the protocol does not allow (1002).
    #[error("{0}")]
    Protocol(&'static str),
    /// The reason of a Close is not UTF-8 (1007).
    #[error("the reason of a Close is not UTF-8")]
    NotText,
    /// A message is larger than this many bytes (1009).
    #[error("a message is larger than {0} bytes")]
    TooLarge(u64),
}

impl Violation {
    /// The close code that says so (RFC 6455 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotText => 1007,
            Self::TooLarge(_) => 1009,
        }
    }
}

/// A piece of what came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Of a data frame: bytes to be passed on as they are. `ends`: the frame ends with them.
    Data {
        /// The bytes.
        bytes: &'a [u8],
        /// Whether the frame ends with them.
        ends: bool,
    },
    /// A whole control frame.
    Control {
        /// [`CLOSE`], [`PING`] or [`PONG`].
        opcode: u8,
        /// Its payload, unmasked.
        payload: &'a [u8],
        /// The frame as it came.
        frame: &'a [u8],
    },
}

/// The code in the payload of a Close; 1005 stands for none (RFC 6455 7.1.5).
pub fn close_code(payload: &[u8]) -> u16 {
    match payload {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 1005,
    }
}

/// Reads the frames of one side.
#[derive(Debug)]
pub struct Reader {
    rules: Rules,
    state: State,
    /// The head of a frame, then the rest of a control frame, as they came.
    kept: [u8; HEAD + CONTROL],
    length: usize,
    /// The payload of a control frame, unmasked.
    payload: [u8; CONTROL],
    /// Bytes of the message that is under way, if one is.
    message: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// In a data frame, so many bytes of payload before its end; the head may be still to be given out.
    Data {
        rest: u64,
        last: bool,
    },
    /// In a control frame whose head has so many bytes and which has so many in all.
    Control {
        head: usize,
        whole: usize,
    },
}

impl Reader {
    /// At the start of a side's frames.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Head,
            kept: [0; HEAD + CONTROL],
            length: 0,
            payload: [0; CONTROL],
            message: None,
        }
    }

    /// Reads the next piece from the beginning of `input` and takes it off; `None`: more bytes are needed, and all of
    /// `input` was taken. After a violation nothing that follows means anything.
    pub fn read<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'a>>, Violation> {
        if self.state == State::Head {
            // Two bytes say how long the head is, and are judged first, so that it does not matter how they came in.
            let began = self.length;
            if !self.fill(input, 2) {
                return Ok(None);
            }
            if began < 2 {
                self.check_start()?;
            }
            let head = head_length(self.kept[1]);
            if !self.fill(input, head) {
                return Ok(None);
            }
            self.begin_frame(head)?;
            if let State::Data { rest, last } = self.state {
                self.length = 0;
                self.progress(rest, last);
                return Ok(Some(Piece::Data {
                    bytes: &self.kept[..head],
                    ends: rest == 0,
                }));
            }
        }
        match self.state {
            State::Head => Ok(None),
            State::Data { rest, last } => {
                if input.is_empty() {
                    return Ok(None);
                }
                let taken = usize::try_from(rest).map_or(input.len(), |rest| rest.min(input.len()));
                let (bytes, left) = input.split_at(taken);
                *input = left;
                let rest = rest - taken as u64;
                self.progress(rest, last);
                Ok(Some(Piece::Data { bytes, ends: rest == 0 }))
            }
            State::Control { head, whole } => {
                if !self.fill(input, whole) {
                    return Ok(None);
                }
                self.state = State::Head;
                self.length = 0;
                let size = whole - head;
                self.payload[..size].copy_from_slice(&self.kept[head..whole]);
                if self.rules.masked {
                    let mut key = [0; 4];
                    key.copy_from_slice(&self.kept[head - 4..head]);
                    mask(&mut self.payload[..size], key);
                }
                let (opcode, payload) = (self.kept[0] & 0x0f, &self.payload[..size]);
                if opcode == CLOSE {
                    check_close(payload)?;
                }
                let frame = &self.kept[..whole];
                Ok(Some(Piece::Control { opcode, payload, frame }))
            }
        }
    }

    /// Takes bytes from `input` until `wanted` are kept; says whether they are.
    fn fill(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let taken = wanted.saturating_sub(self.length).min(input.len());
        let (bytes, left) = input.split_at(taken);
        self.kept[self.length..self.length + taken].copy_from_slice(bytes);
        self.length += taken;
        *input = left;
        self.length >= wanted
    }

    fn progress(&mut self, rest: u64, last: bool) {
        if rest > 0 {
            self.state = State::Data { rest, last };
            return;
        }
        self.state = State::Head;
        if last {
            self.message = None;
        }
    }

    /// What the first two bytes of a frame must be.
    fn check_start(&self) -> Result<(), Violation> {
        let [first, second, ..] = self.kept;
        let (opcode, fin, length) = (first & 0x0f, first & FIN != 0, second & !MASKED);
        if (second & MASKED != 0) != self.rules.masked {
            return Err(Violation::Protocol(if self.rules.masked {
                "a frame of a client is not masked"
            } else {
                "a frame of a server is masked"
            }));
        }
        let compressed = first & RSV1 != 0;
        let may_be_compressed = self.rules.deflate && matches!(opcode, TEXT | BINARY);
        if first & RSV2_3 != 0 || (compressed && !may_be_compressed) {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        match opcode {
            CONTINUATION if self.message.is_none() => Err(Violation::Protocol("there is no message to continue")),
            TEXT | BINARY if self.message.is_some() => Err(Violation::Protocol("a message begins inside another")),
            CLOSE | PING | PONG if !fin => Err(Violation::Protocol("a control frame is fragmented")),
            CLOSE | PING | PONG if usize::from(length) > CONTROL => {
                Err(Violation::Protocol("a control frame is longer than 125 bytes"))
            }
            CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => Ok(()),
            _ => Err(Violation::Protocol("an opcode is reserved")),
        }
    }

    /// The head of a frame is whole, and has `head` bytes.
    fn begin_frame(&mut self, head: usize) -> Result<(), Violation> {
        let mut long = [0; 8];
        let size = match self.kept[1] & !MASKED {
            126 => {
                long[6..].copy_from_slice(&self.kept[2..4]);
                u64::from_be_bytes(long)
            }
            127 => {
                long.copy_from_slice(&self.kept[2..10]);
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        let least = match self.kept[1] & !MASKED {
            126 => 126,
            127 => 1 << 16,
            _ => 0,
        };
        if size < least {
            return Err(Violation::Protocol("a length is not written as short as it can be"));
        }
        if size >> 63 != 0 {
            return Err(Violation::Protocol("a length is over 63 bits"));
        }
        let opcode = self.kept[0] & 0x0f;
        if opcode >= CLOSE {
            self.state = State::Control {
                head,
                // At most 125, as the first two bytes have shown.
                whole: head + usize::try_from(size).unwrap_or(CONTROL).min(CONTROL),
            };
            return Ok(());
        }
        let so_far = self.message.map_or(0, |bytes| bytes.saturating_add(head as u64));
        let message = so_far.saturating_add(size);
        if message > self.rules.limit {
            return Err(Violation::TooLarge(self.rules.limit));
        }
        self.message = Some(message);
        self.state = State::Data {
            rest: size,
            last: self.kept[0] & FIN != 0,
        };
        Ok(())
    }
}

fn head_length(second: u8) -> usize {
    let length = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & MASKED == 0 { 0 } else { 4 }
}

/// Masks or unmasks (RFC 6455 5.3).
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// RFC 6455 7.4: no payload, or a code that may be sent and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload {
        [] => Ok(()),
        [_] => Err(Violation::Protocol("a Close has half a code")),
        [_, _, reason @ ..] => match close_code(payload) {
            1000..=1003 | 1007..=1014 | 3000..=4999 => str::from_utf8(reason).map(drop).map_err(|_| Violation::NotText),
            _ => Err(Violation::Protocol("a Close has a code that must not be sent")),
        },
    }
}

#[cfg(test)]
mod tests;
