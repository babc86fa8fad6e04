//! Random values of our own.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

use super::{IssueError, Order, lookup};
use crate::api::credential::generated::{Encoding, Generated};
use crate::domain::rotation::Minted;
use crate::domain::secret::SecretValue;

#[cfg(test)]
mod tests;

/// Key of the issued Secret that holds the value.
pub const VALUE: &str = "value";

/// Random bytes or characters where the spec does not say how many.
const LENGTH: usize = 32;
/// Most of them, whatever a spec says that nobody checked.
const LENGTH_MAX: usize = 1024;

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A random value. `fill` fills a buffer with random bytes, from a source that is fit for keys.
pub fn make(spec: &Generated, fill: &mut dyn FnMut(&mut [u8])) -> SecretValue {
    let Generated { length, encoding } = spec;
    let length = length.map_or(LENGTH, |length| {
        usize::try_from(length).unwrap_or(1).clamp(1, LENGTH_MAX)
    });
    let mut bytes = Zeroizing::new(vec![0; length]);
    match encoding.unwrap_or_default() {
        Encoding::Base64 => {
            fill(&mut bytes);
            SecretValue::new(STANDARD.encode(&*bytes))
        }
        Encoding::Hex => {
            fill(&mut bytes);
            SecretValue::new(hex(&bytes))
        }
        Encoding::Alphanumeric => {
            let mut text = String::with_capacity(length);
            while text.len() < length {
                fill(&mut bytes);
                let missing = length - text.len();
                text.extend(bytes.iter().filter_map(|byte| character(*byte)).take(missing));
            }
            SecretValue::new(text)
        }
    }
}

/// The bytes in hexadecimal, lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    // As long as it gets, so that no part of a secret stays behind where the text was before.
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]));
    text
}

/// The character that a random byte means. Six of its bits decide, and the two values in 64 that stand for nothing are
/// left out, because any other way of making 62 of them prefers some.
fn character(byte: u8) -> Option<char> {
    ALPHANUMERIC.get(usize::from(byte >> 2)).copied().map(char::from)
}

/// Issues the value that was chosen when the attempt was written down: a crash changes nothing.
pub fn issue(order: &Order<'_>) -> Result<Minted, IssueError> {
    let Some(candidate) = &order.attempt.candidate else {
        return Err(lookup::failed(
            "the attempt has no value to issue; delete the pending Secret and another one is made",
        ));
    };
    Ok(Minted {
        values: BTreeMap::from([(VALUE.to_owned(), candidate.clone())]),
        id: None,
        issued: order.now,
        not_before: None,
        not_after: None,
    })
}
