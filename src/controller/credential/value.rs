//! Whether a value is another one than before, without keeping it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use crate::api::credential::{CredentialSpec, CredentialStatus};
use crate::domain::key::Key;
use crate::domain::plan::Material;
use crate::domain::validate::CredentialProblem;

/// A hash, under a random key of this process, of everything about a Credential that its Integrations depend on. It
/// tells nothing about a value to who does not have that key, and is of no use in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the value and its place in a request; `None` without a usable value.
    value: Option<u64>,
    /// Of the rest: which hosts are allowed, why there is no value.
    rest: u64,
}

/// What was last seen of each Credential.
#[derive(Debug, Default)]
pub struct Values {
    key: RandomState,
    seen: HashMap<Key, Seen>,
    owed: HashSet<Key>,
}

/// What was last seen of one Credential, and is written down in its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its UID; a namesake is another one.
    uid: String,
    /// What its Integrations depend on.
    pub fingerprint: Fingerprint,
    /// The last usable value, which may be older than that.
    good: Option<u64>,
}

impl Values {
    /// The fingerprint of what was found.
    pub fn fingerprint(&self, spec: &CredentialSpec, material: &Result<Material, CredentialProblem>) -> Fingerprint {
        let mut rest = self.key.build_hasher();
        (&spec.allowed_hosts, spec.suspend).hash(&mut rest);
        if let Err(problem) = material {
            problem.to_string().hash(&mut rest);
        }
        let value = material.as_ref().ok().map(|material| match material {
            Material::Header { name, value } => self.key.hash_one((0, name, value.expose())),
            Material::Query { name, value } => self.key.hash_one((1, name, value.expose())),
            Material::Cookie { name, value } => self.key.hash_one((2, name, value.expose())),
            Material::Certificate { chain, key } => self.key.hash_one((3, chain, key.expose())),
            Material::Unsent { value } => self.key.hash_one((4, value.expose())),
        });
        Fingerprint {
            value,
            rest: rest.finish(),
        }
    }

    /// What was last seen of this Credential.
    pub fn last(&self, key: &Key, uid: &str) -> Option<Seen> {
        self.seen.get(key).filter(|seen| seen.uid == uid).cloned()
    }

    /// This was seen, and is written down. A value that is not to be used yet is not counted as seen.
    pub fn remember(&mut self, key: &Key, uid: &str, fingerprint: Fingerprint, suspended: bool) {
        let before = self.last(key, uid).and_then(|seen| seen.good);
        let good = if suspended {
            before
        } else {
            fingerprint.value.or(before)
        };
        let uid = uid.to_owned();
        self.seen.insert(key.clone(), Seen { uid, fingerprint, good });
    }

    /// The Integrations that use this Credential are to be woken.
    pub fn owe(&mut self, key: &Key) {
        self.owed.insert(key.clone());
    }

    /// Whether they are still to be.
    pub fn owes(&self, key: &Key) -> bool {
        self.owed.contains(key)
    }

    /// They have been.
    pub fn paid(&mut self, key: &Key) {
        self.owed.remove(key);
    }

    /// The Credential is gone.
    pub fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
        self.owed.remove(key);
    }
}

/// The Secret that a Credential points to, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Generation of the Credential.
    pub generation: Option<i64>,
    /// The Credential is suspended: nothing is taken over.
    pub suspended: bool,
    /// resourceVersion of the Secret.
    pub version: Option<&'a str>,
    /// What it holds.
    pub fingerprint: Fingerprint,
}

/// The revision of the value, and the resourceVersion of the Secret it was read from.
///
/// The revision counts up when the value is another one. What is written in the status counts most: where it was written
/// from exactly this Secret and this spec, the value is that one, even if our own memory says otherwise (the answer to
/// the write was lost). Then our memory counts, which knows whether a Secret that was written again holds another value.
/// After a restart there is none, and any write to the Secret or the spec counts as another value: a revision too many
/// costs a plan, one too few would hide a rotation.
pub fn revise(stored: &CredentialStatus, found: Found<'_>, last: Option<&Seen>) -> (Option<i64>, Option<String>) {
    let kept = (stored.revision, stored.secret_version.clone());
    let Some(value) = found.fingerprint.value else {
        return kept;
    };
    let Some(revision) = stored.revision else {
        return (Some(1), found.version.map(str::to_owned));
    };
    if found.suspended {
        return kept;
    }
    let written_from_this =
        stored.secret_version.as_deref() == found.version && stored.observed_generation == found.generation;
    let another = match last.and_then(|seen| seen.good) {
        _ if written_from_this => false,
        Some(good) => good != value,
        None => true,
    };
    (Some(revision + i64::from(another)), found.version.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::SecretValue;

    const GENERATION: Option<i64> = Some(4);

    fn fingerprint(value: Option<u64>) -> Fingerprint {
        Fingerprint { value, rest: 0 }
    }

    fn check(
        stored: (Option<i64>, Option<i64>, &str),
        found: (Option<i64>, &str, Option<u64>),
        good: Option<u64>,
    ) -> Option<i64> {
        let (revision, observed_generation, version) = stored;
        let stored = CredentialStatus {
            revision,
            observed_generation,
            secret_version: Some(version.into()),
            ..CredentialStatus::default()
        };
        let (generation, version, value) = found;
        let found = Found {
            generation,
            suspended: false,
            version: Some(version),
            fingerprint: fingerprint(value),
        };
        let last = good.map(|good| Seen {
            uid: "u".into(),
            fingerprint: fingerprint(Some(good)),
            good: Some(good),
        });
        revise(&stored, found, last.as_ref()).0
    }

    #[test]
    fn the_revision_counts_up_when_the_value_is_another_one() {
        let at = |version| (Some(7), GENERATION, version);
        let cases = [
            (
                "the first value",
                (None, None, ""),
                (GENERATION, "v1", Some(1)),
                None,
                Some(1),
            ),
            ("no value yet", (None, None, ""), (GENERATION, "v1", None), None, None),
            (
                "nothing happened",
                at("v1"),
                (GENERATION, "v1", Some(1)),
                Some(1),
                Some(7),
            ),
            ("another value", at("v1"), (GENERATION, "v2", Some(2)), Some(1), Some(8)),
            (
                "the Secret was written again",
                at("v1"),
                (GENERATION, "v2", Some(1)),
                Some(1),
                Some(7),
            ),
            (
                "the Secret is broken",
                at("v1"),
                (GENERATION, "v2", None),
                Some(1),
                Some(7),
            ),
            (
                "the spec puts it elsewhere",
                at("v1"),
                (Some(5), "v1", Some(2)),
                Some(1),
                Some(8),
            ),
            (
                "the spec allows another host",
                at("v1"),
                (Some(5), "v1", Some(1)),
                Some(1),
                Some(7),
            ),
            (
                "the answer to the write was lost",
                at("v2"),
                (GENERATION, "v2", Some(2)),
                Some(1),
                Some(7),
            ),
            ("a restart", at("v1"), (GENERATION, "v1", Some(1)), None, Some(7)),
            (
                "written while we were away",
                at("v1"),
                (GENERATION, "v2", Some(1)),
                None,
                Some(8),
            ),
            (
                "edited while we were away",
                at("v1"),
                (Some(5), "v1", Some(1)),
                None,
                Some(8),
            ),
        ];
        for (case, stored, found, good, expected) in cases {
            assert_eq!(check(stored, found, good), expected, "{case}");
        }
    }

    #[test]
    fn a_value_that_went_and_came_back_is_the_same() {
        let (mut values, key) = (Values::default(), Key::new("shop", "payments-key"));
        values.remember(&key, "u", fingerprint(Some(1)), false);
        values.remember(&key, "u", fingerprint(None), false);
        assert_eq!(values.last(&key, "u").unwrap().good, Some(1));
        assert_eq!(values.last(&key, "namesake"), None);
    }

    #[test]
    fn a_suspended_value_is_taken_over_only_later() {
        let (mut values, key) = (Values::default(), Key::new("shop", "payments-key"));
        values.remember(&key, "u", fingerprint(Some(1)), false);
        values.remember(&key, "u", fingerprint(Some(2)), true);
        let stored = CredentialStatus {
            revision: Some(7),
            secret_version: Some("v1".into()),
            ..CredentialStatus::default()
        };
        let mut found = Found {
            generation: GENERATION,
            suspended: true,
            version: Some("v2"),
            fingerprint: fingerprint(Some(2)),
        };
        let last = values.last(&key, "u");
        assert_eq!(revise(&stored, found, last.as_ref()), (Some(7), Some("v1".into())));
        found.suspended = false;
        assert_eq!(revise(&stored, found, last.as_ref()), (Some(8), Some("v2".into())));
    }

    #[test]
    fn a_fingerprint_tells_values_and_places_apart_and_prints_neither() {
        let values = Values::default();
        let spec = CredentialSpec {
            allowed_hosts: vec!["api.example.com".into()],
            api_key: None,
            basic: None,
            bearer: None,
            oauth2: None,
            jwt: None,
            certificate: None,
            generated: None,
            secret_name: None,
            rotation: None,
            suspend: None,
        };
        let (name, value) = ("x".to_owned(), SecretValue::new("canary"));
        let header = Material::Header {
            name: name.clone(),
            value: value.clone(),
        };
        let query = Material::Query { name, value };
        let [header, again, query] = [&header, &header, &query].map(|it| values.fingerprint(&spec, &Ok(it.clone())));
        assert_eq!(header, again);
        assert_ne!(header, query);
        assert!(!format!("{header:?}").contains("canary"));
        let elsewhere = Values::default().fingerprint(
            &spec,
            &Ok(Material::Cookie {
                name: "x".into(),
                value: SecretValue::new("canary"),
            }),
        );
        assert_ne!(header, elsewhere);
    }
}
