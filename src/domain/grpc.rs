//! What has to be known of gRPC (PROTOCOL-HTTP2 of the grpc repository) to stand between its two ends: status codes and
//! what they mean, the deadline in `grpc-timeout`, the pushback of retries (gRFC A6), and the text of a status.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

pub mod health;

/// The status of a call: in trailers, or in the head of an answer that has no more than that.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Its text, percent-encoded.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How much time the caller gives to a call.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What a server says about another try, in milliseconds.
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Retries of one call, however many the plan allows: gRFC A6 has at most five attempts.
pub const MOST_RETRIES: u32 = 4;

/// Whether a value of `content-type` is gRPC's: `application/grpc`, alone, with a suffix or with a parameter. That of
/// gRPC-Web is another protocol's.
pub fn is_content_type(value: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    value
        .split_at_checked(GRPC.len())
        .is_some_and(|(kind, rest)| kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of gRPC")]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// All of them with their names, in the order of their numbers.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

impl Code {
    /// The status in these headers or trailers. What is there and is no status is `UNKNOWN`, as clients have it.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(STATUS)?.to_str().ok();
        let number = value.and_then(|value| value.parse::<usize>().ok());
        let known = number.and_then(|number| CODES.get(number));
        Some(known.map_or(Self::Unknown, |(code, _)| *code))
    }

    /// Its name, which is what people know it by.
    pub fn name(self) -> &'static str {
        CODES[self as usize].1
    }

    /// Its number, which is what travels.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The HTTP status that means the same for the breaker, the credential and another try.
    ///
    /// `UNIMPLEMENTED` is a caller that asks for what there is not, and so no 501, which would be a failure.
    pub fn decides_as(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound | Self::Unimplemented => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Aborted => StatusCode::CONFLICT,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Cancelled | Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => {
                StatusCode::BAD_REQUEST
            }
            Self::Unknown | Self::Internal | Self::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What a refusal of ours with this HTTP status is in gRPC (contract section 5).
    pub fn of_refusal(status: StatusCode) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Self::ResourceExhausted,
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::BAD_REQUEST => Self::InvalidArgument,
            StatusCode::NOT_FOUND => Self::NotFound,
            _ => Self::Unavailable,
        }
    }
}

/// The time in a `grpc-timeout`: one to eight digits and a unit; `None` if it is none.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// `left` as a `grpc-timeout`: never more than it is, and as fine as eight digits allow.
pub fn written_timeout(left: Duration) -> String {
    let units = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (u128::from(left.as_secs()), 'S'),
        (u128::from(left.as_secs() / 60), 'M'),
    ];
    let fits = units.into_iter().find(|(number, _)| *number < 100_000_000);
    let (number, unit) = fits.unwrap_or((u128::from(left.as_secs() / 3600).min(99_999_999), 'H'));
    format!("{number}{unit}")
}

/// What a server says about another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// There may be one after this time, and not before.
    After(Duration),
    /// There must be none.
    Stop,
}

/// The pushback in an answer. A negative one, and one that is no number, forbid another try (gRFC A6).
pub fn pushback(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all(PUSHBACK).iter();
    let value = values.next()?;
    let milliseconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    Some(match (milliseconds, values.next()) {
        (Some(milliseconds), None) => Pushback::After(Duration::from_millis(milliseconds)),
        _ => Pushback::Stop,
    })
}

/// `text` as a `grpc-message`: all but printable ASCII is percent-encoded, and `%` itself.
pub fn written_message(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            written.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}

#[cfg(test)]
mod tests;
