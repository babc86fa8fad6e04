//! Names of the two Secrets of a Credential: functions of what it is, so that whoever continues finds them.

use crate::api::credential::CredentialSpec;
use crate::domain::hash;

/// Longest name of an object.
const LONGEST: usize = 253;

/// The Secret that holds the value in use.
pub fn issued(spec: &CredentialSpec, name: &str) -> String {
    match &spec.secret_name {
        Some(chosen) => chosen.clone(),
        None => with_suffix(name, "-issued"),
    }
}

/// The Secret in which a new value waits. It is of this Credential alone: a namesake that was deleted had another UID.
pub fn pending(name: &str, uid: &str) -> String {
    let id = hash::hex(uid.as_bytes());
    with_suffix(name, &format!("-pending-{}", &id[..8]))
}

/// `name` with this at its end, cut where the whole would be too long.
fn with_suffix(name: &str, suffix: &str) -> String {
    let room = LONGEST - suffix.len();
    // Names of objects are ASCII, so every byte is a boundary.
    let kept = name.get(..room).unwrap_or(name).trim_end_matches(['-', '.']);
    format!("{kept}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_gets_its_suffix() {
        let long = "a".repeat(253);
        assert_eq!(pending(&long, "u").len(), LONGEST);
        assert!(pending(&long, "u").contains("-pending-"));
        assert_ne!(pending("key", "u"), pending("key", "v"));
    }
}
