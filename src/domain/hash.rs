//! Hashes: fingerprints of what must not be kept, and numbers that are the same for the same object.

use aws_lc_rs::digest::{SHA256, digest};

/// The first 128 bits of SHA-256, in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    hexadecimal(&digest.as_ref()[..16])
}

/// From 0 to 999, the same for the same `name`.
pub fn spread(name: &str) -> u32 {
    let digest = digest(&SHA256, name.as_bytes());
    let first = u32::from_be_bytes([0, digest.as_ref()[0], digest.as_ref()[1], digest.as_ref()[2]]);
    first % 1000
}

/// A UUID (version 8, RFC 9562, 5.8) that is the same for the same parts.
pub fn uuid(parts: &[&str]) -> String {
    // A part's length stands before it, so that no two lists of parts are the same bytes.
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let digest = digest(&SHA256, &bytes);
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_ref()[..16]);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = hexadecimal(&id);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_8_and_tells_its_parts_apart() {
        let id = uuid(&["a", "bc"]);
        assert_eq!(id.len(), 36);
        assert_eq!((&id[14..15], &id[8..9]), ("8", "-"));
        assert!("89ab".contains(&id[19..20]));
        assert_eq!(id, uuid(&["a", "bc"]));
        assert_ne!(id, uuid(&["ab", "c"]));
    }

    #[test]
    fn a_spread_is_even() {
        let mut tenths = [0; 10];
        for number in 0..1000 {
            tenths[spread(&format!("uid-{number}")) as usize / 100] += 1;
        }
        assert!(tenths.iter().all(|tenth| (60..140).contains(tenth)), "{tenths:?}");
    }
}
