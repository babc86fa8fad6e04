//! The messages of `grpc.health.v1.Health/Check`, by hand: one string out, one number back.

/// The method.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// A message goes behind five bytes: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What a health service says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Nothing that is known.
    Unknown,
    /// It serves.
    Serving,
    /// It does not.
    NotServing,
    /// There is none of that name.
    ServiceUnknown,
}

impl Serving {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// The question about `service`, framed. An empty name asks about the server as a whole.
pub fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a string.
        message.push(0x0a);
        write_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], length.as_slice(), &message].concat()
}

/// What the framed message says; `None` if it is no whole answer, or is compressed, which we never asked for.
pub fn answer(framed: &[u8]) -> Option<Serving> {
    let (prefix, message) = framed.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    if prefix[0] != 0 || message.len() != length {
        return None;
    }
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = read_varint(&mut rest)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(match status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

fn write_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push((value & 0x7f) as u8);
}

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_framed_and_names_the_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), [&[0, 0, 0, 0, 5, 0x0a, 3], b"a.B".as_slice()].concat());
        let long = question(&"s".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn an_answer_is_read_whatever_else_it_says() {
        for (framed, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(Serving::Serving)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(Serving::NotServing)),
            (&[0, 0, 0, 0, 2, 8, 3], Some(Serving::ServiceUnknown)),
            (&[0, 0, 0, 0, 2, 8, 9], Some(Serving::Unknown)),
            (&[0, 0, 0, 0, 0], Some(Serving::Unknown)),
            (&[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 1], Some(Serving::Serving)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[0, 0, 0, 0, 2, 0x12, 9], None),
            (&[0, 0, 0, 0, 1, 0x0b], None),
            (&[0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(answer(framed), expected, "{framed:?}");
        }
        let endless = [&[0, 0, 0, 0, 11], [0xff; 11].as_slice()].concat();
        assert_eq!(answer(&endless), None);
    }
}
