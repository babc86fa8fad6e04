//! Frames of our own: pings, and Closes.

use super::frame::{CLOSE, CONTROL, PING, mask};

/// A ping. `key`: the masking key, towards a server (RFC 6455 5.3).
pub fn ping(payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    control(PING, payload, key)
}

/// A Close with `code`, and `reason` as far as there is room for it.
pub fn close(code: u16, reason: &str, key: Option<[u8; 4]>) -> Vec<u8> {
    let mut end = reason.len().min(CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    control(CLOSE, &[&code.to_be_bytes(), &reason.as_bytes()[..end]].concat(), key)
}

fn control(opcode: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let payload = &payload[..payload.len().min(CONTROL)];
    let mut frame = Vec::with_capacity(6 + payload.len());
    let length = u8::try_from(payload.len()).unwrap_or_default();
    frame.extend([0x80 | opcode, length | if key.is_some() { 0x80 } else { 0 }]);
    frame.extend(key.into_iter().flatten());
    let start = frame.len();
    frame.extend(payload);
    if let Some(key) = key {
        mask(&mut frame[start..], key);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::websocket::frame::{Piece, Reader, Rules, close_code};

    #[test]
    fn what_is_written_is_what_the_other_side_reads() {
        let long = "é".repeat(100);
        for (key, code, reason) in [(None, 1001, "going"), (Some([1, 2, 3, 4]), 1011, &*long)] {
            let rules = Rules {
                masked: key.is_some(),
                deflate: false,
                limit: 0,
            };
            let mut reader = Reader::new(rules);
            let frame = close(code, reason, key);
            let Ok(Some(Piece::Control { opcode, payload, .. })) = reader.read(&mut &*frame) else {
                panic!("not a control frame")
            };
            assert_eq!((opcode, close_code(payload)), (CLOSE, code));
            assert!(reason.starts_with(std::str::from_utf8(&payload[2..]).unwrap()));
            let frame = ping(b"are you there", key);
            let Ok(Some(Piece::Control { opcode, payload, .. })) = reader.read(&mut &*frame) else {
                panic!("not a control frame")
            };
            assert_eq!((opcode, payload), (PING, &b"are you there"[..]));
        }
    }
}
