//! Puts the name of a CA into a certificate, byte for byte, and signs it.
//!
//! A certificate belongs to the CA whose subject its issuer repeats (RFC 5280, 4.1.2.4). rcgen writes a name from what
//! it has read of it, and that has at most one attribute of a kind: `DC=corp, DC=example` becomes another name.

use rcgen::{KeyPair, SigningKey};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// `certificate` with `issuer` for its issuer, signed by `key`, whose algorithm it names already. `None` if it is no
/// certificate or cannot be signed.
pub fn by(certificate: &[u8], issuer: &[u8], key: &KeyPair) -> Option<Vec<u8>> {
    let (content, _) = split(certificate)?;
    let (signed, rest) = element(content)?;
    let (algorithm, _) = element(rest)?;
    // Version, serial number and algorithm stand before the issuer (RFC 5280, 4.1).
    let (fields, _) = split(signed)?;
    let mut rest = fields;
    for _ in 0..3 {
        (_, rest) = element(rest)?;
    }
    let before = &fields[..fields.len() - rest.len()];
    let (_, after) = element(rest)?;
    let signed = write(SEQUENCE, &[before, issuer, after]);
    let signature = key.sign(&signed).ok()?;
    let signature = write(BIT_STRING, &[&[0], &signature]);
    Some(write(SEQUENCE, &[&signed, algorithm, &signature]))
}

/// The first element and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = split(der)?;
    der.split_at_checked(der.len() - rest.len())
}

/// The content of the first element, and what follows the element. Lengths are those of DER up to four bytes.
fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    if !(1..=4).contains(&length.len()) {
        return None;
    }
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match (length, u8::try_from(length.len())) {
        ([], _) => der.push(0),
        ([short], _) if *short < 0x80 => der.push(*short),
        (_, count) => {
            der.push(0x80 | count.unwrap_or(0x7f));
            der.extend(length);
        }
    }
    der.extend(content);
    der
}
