//! A JSON line written straight into a buffer that is kept for the next one: there is a line for every request, and a map
//! of it would be an allocation for each field.

use std::cell::Cell;
use std::fmt::{self, Write};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::{error_text, key, level};

/// A longer buffer than this is not kept.
const KEPT: usize = 16 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes the line of `event`, which has no fields but its own, and calls `write` with it.
pub fn write_line(metadata: &Metadata<'_>, event: &Event<'_>, now: Timestamp, write: impl FnOnce(&[u8])) {
    // Taken, not borrowed: the fields' own code may log.
    let mut buffer = BUFFER.take();
    buffer.clear();
    buffer.push(b'{');
    event.record(&mut Line(&mut buffer));
    put(&mut buffer, "level", level(*metadata.level()));
    name(&mut buffer, "ts");
    text(&mut buffer, format_args!("{now}"));
    buffer.push(b',');
    put(&mut buffer, "logger", metadata.target());
    buffer.pop();
    buffer.extend_from_slice(b"}\n");
    write(&buffer);
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
}

fn name(buffer: &mut Vec<u8>, name: &str) {
    string(buffer, name);
    buffer.push(b':');
}

fn put(buffer: &mut Vec<u8>, key: &str, value: &str) {
    name(buffer, key);
    string(buffer, value);
    buffer.push(b',');
}

fn string(buffer: &mut Vec<u8>, value: &str) {
    buffer.push(b'"');
    escape(buffer, value);
    buffer.push(b'"');
}

fn text(buffer: &mut Vec<u8>, value: fmt::Arguments<'_>) {
    buffer.push(b'"');
    // Writing into memory does not fail; a value whose own code fails is told as far as it came.
    let _ = Escaping(buffer).write_fmt(value);
    buffer.push(b'"');
}

/// RFC 8259 7.
fn escape(buffer: &mut Vec<u8>, value: &str) {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if value.bytes().all(is_plain) {
        buffer.extend_from_slice(value.as_bytes());
        return;
    }
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => buffer.extend_from_slice(&[b'\\', byte]),
            b'\n' => buffer.extend_from_slice(b"\\n"),
            b'\r' => buffer.extend_from_slice(b"\\r"),
            b'\t' => buffer.extend_from_slice(b"\\t"),
            0..0x20 => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                buffer.extend_from_slice(b"\\u00");
                buffer.extend_from_slice(&[DIGITS[high], DIGITS[low]]);
            }
            _ => buffer.push(byte),
        }
    }
}

struct Escaping<'a>(&'a mut Vec<u8>);

impl Write for Escaping<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        escape(self.0, part);
        Ok(())
    }
}

/// The fields of an event, each followed by a comma.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    /// Begins a field; `None` for one that would pass for what is written last.
    fn begin(&mut self, field: &Field) -> Option<&mut Vec<u8>> {
        let key = key(field);
        if matches!(key, "level" | "ts" | "logger") {
            return None;
        }
        name(self.0, key);
        Some(self.0)
    }

    fn number(&mut self, field: &Field, value: impl serde::Serialize) {
        if let Some(buffer) = self.begin(field) {
            // A number is written into memory; what JSON has no number for is `null`.
            let _ = serde_json::to_writer(&mut *buffer, &value);
            buffer.push(b',');
        }
    }
}

impl Visit for Line<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(buffer) = self.begin(field) {
            string(buffer, value);
            buffer.push(b',');
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &error_text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(buffer) = self.begin(field) {
            text(buffer, format_args!("{value:?}"));
            buffer.push(b',');
        }
    }
}
