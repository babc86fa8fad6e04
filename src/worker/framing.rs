//! Where requests begin and end on an HTTP/1 connection, read more strictly than the parser behind it reads.
//!
//! hyper repairs: of a request with both `Content-Length` and `Transfer-Encoding` it drops the length, equal lengths it
//! folds into one, and a bare LF ends a line for it. Each is what request smuggling is made of (RFC 9112 11.2): a proxy
//! in front of us may have read the same bytes otherwise. By the time a parsed request is seen, the evidence is gone, so
//! this reads the bytes on their way in. It decides nothing but "one meaning or not": what is ambiguous is spoilt in
//! place (one byte becomes NUL, which no grammar allows), so that the parser behind it refuses with 400 and closes.
//! What is not ambiguous passes untouched, and is judged by the parser and by [`super::asked`] alone.
//!
//! It also tells a peer that speaks HTTP/1 badly, who is owed a 400, from one that speaks something else, to whom an
//! answer of HTTP/1 means nothing: a broken preface of HTTP/2 wants the end of the connection (RFC 9113 3.4).

/// Reads the bytes of one connection as they come in.
#[derive(Debug)]
pub struct Framing {
    state: State,
    line: Line,
    length: Option<u64>,
    chunked: bool,
    /// The first request line has been read.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a request line; nothing of the next request is there yet.
    Start,
    /// In a request line.
    RequestLine,
    /// In a header line.
    Header,
    /// In a body of known length, so many bytes before its end.
    Body(u64),
    /// In the line that gives the size of a chunk.
    ChunkSize,
    /// In a chunk, so many bytes before its end, its CRLF not counted.
    ChunkData(u64),
    /// In the CRLF that ends a chunk.
    ChunkEnd,
    /// In a trailer line.
    Trailer,
    /// Ambiguous; nothing that follows means anything.
    Refused,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A request.
    Between,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// More than one meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Why bytes are not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A request is ambiguous. So many of the bytes are to be passed on, and nothing after them.
    Ambiguous(usize),
    /// What is spoken is another protocol. None of the bytes are to be passed on.
    Foreign,
}

/// Why a line is refused.
#[derive(Clone, Copy)]
enum Bad {
    Ambiguous,
    Foreign,
}

impl From<Ambiguous> for Bad {
    fn from(_: Ambiguous) -> Self {
        Self::Ambiguous
    }
}

/// The longest line that is kept over several reads. Every line that matters here is shorter, unless somebody pads it;
/// then it is refused.
pub const KEPT: usize = 64;

/// The part of a line that came with earlier reads.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT],
    length: usize,
    last: u8,
}

impl Default for Framing {
    /// At the start of a connection.
    fn default() -> Self {
        Self {
            state: State::Start,
            line: Line {
                kept: [0; KEPT],
                length: 0,
                last: 0,
            },
            length: None,
            chunked: false,
            begun: false,
        }
    }
}

impl Framing {
    /// What the connection waits for after the bytes that were read so far.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Start => Phase::Between,
            State::RequestLine | State::Header | State::Refused => Phase::Head,
            _ => Phase::Body,
        }
    }

    /// Reads `bytes`, the next ones of the connection. At the first that makes a request ambiguous it puts a NUL in its
    /// place and returns how many bytes are to be passed on: up to and with the NUL. Nothing may be passed on after it.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<(), Refused> {
        let mut position = 0;
        while position < bytes.len() {
            match self.step(&bytes[position..]) {
                Ok(read) => position += read,
                Err((read, bad)) => {
                    self.state = State::Refused;
                    if matches!(bad, Bad::Foreign) {
                        return Err(Refused::Foreign);
                    }
                    let spoilt = position + read - 1;
                    bytes[spoilt] = 0;
                    return Err(Refused::Ambiguous(spoilt + 1));
                }
            }
        }
        Ok(())
    }

    /// Reads a part of `bytes`, which are not empty, and says how many it read, at least one.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, (usize, Bad)> {
        match self.state {
            State::Refused => Err((1, Bad::Ambiguous)),
            State::Body(rest) => Ok(self.skip(rest, bytes, State::Start, State::Body)),
            State::ChunkData(rest) => Ok(self.skip(rest, bytes, State::ChunkEnd, State::ChunkData)),
            _ => {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                    if self.state == State::Start {
                        self.state = State::RequestLine;
                    }
                    self.line.keep(bytes);
                    return Ok(bytes.len());
                };
                self.end_line(&bytes[..end]).map_err(|bad| (end + 1, bad))?;
                self.line.length = 0;
                Ok(end + 1)
            }
        }
    }

    fn skip(&mut self, rest: u64, bytes: &[u8], after: State, within: fn(u64) -> State) -> usize {
        let read = usize::try_from(rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
        let rest = rest - read as u64;
        self.state = if rest == 0 { after } else { within(rest) };
        read
    }

    /// A line has ended; `tail` is what came of it with this read, without the LF.
    fn end_line(&mut self, tail: &[u8]) -> Result<(), Bad> {
        let mut whole = [0; KEPT];
        let line = if self.line.length == 0 {
            tail.strip_suffix(b"\r").ok_or(Ambiguous)?
        } else {
            if tail.last().copied().unwrap_or(self.line.last) != b'\r' {
                return Err(Bad::Ambiguous);
            }
            self.line.join(tail, &mut whole)
        };
        self.state = match self.state {
            // RFC 9112 2.2: an empty line before a request line is to be ignored; after trailers it ends the request.
            State::Start | State::RequestLine | State::Trailer if line.is_empty() => State::Start,
            State::Start | State::RequestLine => {
                if !std::mem::replace(&mut self.begun, true) && is_foreign(line) {
                    return Err(Bad::Foreign);
                }
                (self.length, self.chunked) = (None, false);
                State::Header
            }
            State::Header if line.is_empty() => match (self.length, self.chunked) {
                (Some(_), true) => return Err(Bad::Ambiguous),
                (_, true) => State::ChunkSize,
                (None | Some(0), false) => State::Start,
                (Some(length), false) => State::Body(length),
            },
            State::Header => {
                self.read_header(line)?;
                State::Header
            }
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailer,
                size => State::ChunkData(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::Trailer => {
                refuse_folding(line)?;
                State::Trailer
            }
            State::ChunkEnd | State::Body(_) | State::ChunkData(_) | State::Refused => return Err(Bad::Ambiguous),
        };
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        refuse_folding(line)?;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            // No header at all, or one whose name is longer than what is kept; the parser has the rest of it.
            return if line.len() < KEPT { Err(Ambiguous) } else { Ok(()) };
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || line.len() >= KEPT {
                return Err(Ambiguous);
            }
            self.length = Some(decimal(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || line.len() >= KEPT || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.chunked = true;
        }
        Ok(())
    }
}

impl Line {
    fn keep(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(KEPT - self.length);
        self.kept[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// The first [`KEPT`] bytes of the whole line, without its CR.
    fn join<'w>(&self, tail: &[u8], whole: &'w mut [u8; KEPT]) -> &'w [u8] {
        whole[..self.length].copy_from_slice(&self.kept[..self.length]);
        let taken = tail.len().min(KEPT - self.length);
        whole[self.length..self.length + taken].copy_from_slice(&tail[..taken]);
        let line = &whole[..self.length + taken];
        // Where the line is longer than what is kept, its CR is not in it.
        if self.length + tail.len() <= KEPT {
            line.strip_suffix(b"\r").unwrap_or(line)
        } else {
            line
        }
    }
}

/// Whether the first line of a connection is one of another protocol: it ends with the name of a version, as a request
/// line does, and that is not HTTP's; or it is the first of HTTP/2's preface, whose rest was not right. A line with fewer
/// words or of more than what is kept is the parser's to judge.
fn is_foreign(line: &[u8]) -> bool {
    line == b"PRI * HTTP/2.0" || (line.len() < KEPT && version(line).is_some_and(|version| !is_http(version)))
}

/// Whether `first`, which begins a connection, may turn out to be foreign with the end of its line. A parser would answer
/// 400 before.
pub fn may_be_foreign(first: &[u8]) -> bool {
    let line = first.trim_ascii();
    first.len() < KEPT
        && !first.ends_with(b"\n")
        && !line.contains(&b'\n')
        && version(line).is_some_and(|version| !is_http(version))
}

/// The last of at least three words, of a line that is text.
fn version(line: &[u8]) -> Option<&[u8]> {
    if !line.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return None;
    }
    let words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.skip(2).last()
}

/// Whether a word, or what there is of it, may be a version of HTTP.
fn is_http(word: &[u8]) -> bool {
    const HTTP: &[u8] = b"HTTP";
    let known = word.len().min(HTTP.len());
    word[..known].eq_ignore_ascii_case(&HTTP[..known])
}

/// RFC 9112 5.2: a line that begins with white space continues the one before (obs-fold), or does not.
fn refuse_folding(line: &[u8]) -> Result<(), Ambiguous> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        Err(Ambiguous)
    } else {
        Ok(())
    }
}

fn decimal(text: &[u8]) -> Result<u64, Ambiguous> {
    number(text, 10)
}

/// RFC 9112 7.1: hexadecimal digits, then perhaps extensions, which nobody uses and everybody parses otherwise; they are
/// let through here because hyper takes them off. White space that the grammar has between the two only for the sake of
/// old senders is refused: some end the size there, and some do not. So are more digits than any size needs, because they
/// would not all be among those that are kept of the line.
fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    const DIGITS: usize = 16;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    match line.get(digits) {
        None | Some(b';') if digits <= DIGITS => number(&line[..digits], 16),
        _ => Err(Ambiguous),
    }
}

fn number(text: &[u8], radix: u32) -> Result<u64, Ambiguous> {
    // `from_str_radix` would take a sign.
    if text.is_empty() || !text.iter().all(|byte| char::from(*byte).is_digit(radix)) {
        return Err(Ambiguous);
    }
    let text = std::str::from_utf8(text).map_err(|_| Ambiguous)?;
    u64::from_str_radix(text, radix).map_err(|_| Ambiguous)
}

#[cfg(test)]
mod tests;
