//! Who uses what: which Integrations use a Credential, which objects use a Secret or a ConfigMap.
//!
//! Synchronous, in memory, and filled by the reconciles themselves: each says what its object refers to, before it reads
//! that. In this order no change can fall between the read and the entry, and a Secret that nobody uses wakes nobody.

use std::collections::{BTreeSet, HashMap};

use crate::domain::key::Key;

/// An object that is reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// An Integration.
    Integration(Key),
    /// A Credential.
    Credential(Key),
}

impl User {
    /// Kind of the object.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Integration(_) => "Integration",
            Self::Credential(_) => "Credential",
        }
    }
}

/// An object that is referred to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A Credential.
    Credential(Key),
    /// A Secret.
    Secret(Key),
    /// A ConfigMap.
    ConfigMap(Key),
}

/// The index, both ways.
#[derive(Debug, Default)]
pub struct References {
    uses: HashMap<User, BTreeSet<Source>>,
    used_by: HashMap<Source, BTreeSet<User>>,
}

impl References {
    /// `user` refers to these and to nothing else. Returns what it began and what it ceased to refer to.
    pub fn set(&mut self, user: &User, sources: BTreeSet<Source>) -> BTreeSet<Source> {
        let before = self.uses.remove(user).unwrap_or_default();
        let changed: BTreeSet<Source> = before.symmetric_difference(&sources).cloned().collect();
        for source in &changed {
            let users = self.used_by.entry(source.clone()).or_default();
            if sources.contains(source) {
                users.insert(user.clone());
            } else {
                users.remove(user);
            }
            if users.is_empty() {
                self.used_by.remove(source);
            }
        }
        if !sources.is_empty() {
            self.uses.insert(user.clone(), sources);
        }
        changed
    }

    /// Everything that refers to `source`.
    pub fn users(&self, source: &Source) -> Vec<User> {
        self.used_by.get(source).into_iter().flatten().cloned().collect()
    }

    /// The Integrations that refer to this Credential, by name.
    pub fn integrations_of(&self, credential: &Key) -> Vec<Key> {
        let users = self.used_by.get(&Source::Credential(credential.clone()));
        let integration = |user: &User| match user {
            User::Integration(key) => Some(key.clone()),
            User::Credential(_) => None,
        };
        users.into_iter().flatten().filter_map(integration).collect()
    }

    /// The Credentials that this Integration refers to.
    pub fn credentials_of(&self, integration: &Key) -> Vec<Key> {
        let sources = self.uses.get(&User::Integration(integration.clone()));
        let credential = |source: &Source| match source {
            Source::Credential(key) => Some(key.clone()),
            Source::Secret(_) | Source::ConfigMap(_) => None,
        };
        sources.into_iter().flatten().filter_map(credential).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integration(name: &str) -> User {
        User::Integration(Key::new("shop", name))
    }

    fn credential(name: &str) -> Source {
        Source::Credential(Key::new("shop", name))
    }

    #[test]
    fn a_source_knows_its_users_until_they_drop_it() {
        let mut references = References::default();
        references.set(&integration("a"), [credential("x"), credential("y")].into());
        references.set(&integration("b"), [credential("x")].into());
        assert_eq!(references.users(&credential("x")), [integration("a"), integration("b")]);
        assert_eq!(
            references.integrations_of(&Key::new("shop", "y")),
            [Key::new("shop", "a")]
        );
        assert_eq!(
            references.credentials_of(&Key::new("shop", "b")),
            [Key::new("shop", "x")]
        );

        let changed = references.set(&integration("a"), [credential("y"), credential("z")].into());
        assert_eq!(changed, [credential("x"), credential("z")].into());
        assert_eq!(references.users(&credential("x")), [integration("b")]);
    }

    #[test]
    fn what_refers_to_nothing_leaves_nothing_behind() {
        let mut references = References::default();
        references.set(&integration("a"), [credential("x")].into());
        references.set(&integration("a"), BTreeSet::new());
        assert!(references.uses.is_empty() && references.used_by.is_empty());
    }

    #[test]
    fn the_same_name_in_another_namespace_or_kind_is_another_source() {
        let mut references = References::default();
        references.set(&integration("a"), [Source::Secret(Key::new("shop", "x"))].into());
        assert!(references.users(&Source::Secret(Key::new("other", "x"))).is_empty());
        assert!(references.users(&Source::ConfigMap(Key::new("shop", "x"))).is_empty());
        assert!(references.users(&credential("x")).is_empty());
    }
}
