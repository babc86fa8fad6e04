//! Secrets of ours: whose they are, what they hold, and how they are written down.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;

use crate::api::credential::Credential;
use crate::api::{GROUP, LABEL_CREDENTIAL, VERSION};
use crate::domain::key::Key;
use crate::domain::secret::SecretValue;

/// Prefix of the annotations that are ours.
const OURS: &str = "tidegate.dev/";

/// A Secret of ours as it is stored: with what says whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Its UID.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// UID of the object that owns it as its controller; `None` if it is nobody's.
    pub owner: Option<String>,
    /// Annotations whose names begin with `tidegate.dev/`.
    pub annotations: BTreeMap<String, String>,
    /// Values by key; what is not UTF-8 is not ours and left out.
    pub values: BTreeMap<String, SecretValue>,
}

/// A Secret of ours as it is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    /// Its name.
    pub key: Key,
    /// Name of the Credential that owns it.
    pub credential: String,
    /// UID of that Credential.
    pub owner: String,
    /// `type`; cannot be changed once it is stored.
    pub kind: &'static str,
    /// Annotations, all that begin with `tidegate.dev/`.
    pub annotations: BTreeMap<String, String>,
    /// Values by key, all of them.
    pub values: BTreeMap<String, SecretValue>,
}

impl Held {
    /// The Secret that an API server or a manifest has.
    pub fn of(secret: Secret) -> Self {
        let Secret { metadata, data, .. } = secret;
        let owner = metadata.owner_references.into_iter().flatten();
        Self {
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            owner: owner
                .filter(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid)
                .next(),
            annotations: metadata
                .annotations
                .into_iter()
                .flatten()
                .filter(|(name, _)| name.starts_with(OURS))
                .collect(),
            values: data
                .into_iter()
                .flatten()
                .filter_map(|(key, bytes)| Some((key, SecretValue::new(String::from_utf8(bytes.0).ok()?))))
                .collect(),
        }
    }
}

impl Keep {
    /// The manifest of a new Secret.
    pub fn manifest(&self) -> Secret {
        let bytes = |value: &SecretValue| ByteString(value.expose().as_bytes().to_vec());
        Secret {
            metadata: ObjectMeta {
                name: Some(self.key.name.to_string()),
                namespace: Some(self.key.namespace.to_string()),
                labels: Some(self.labels()),
                annotations: Some(self.annotations.clone()),
                owner_references: Some(vec![OwnerReference {
                    api_version: format!("{GROUP}/{VERSION}"),
                    kind: Credential::kind(&()).into_owned(),
                    name: self.credential.clone(),
                    uid: self.owner.clone(),
                    controller: Some(true),
                    block_owner_deletion: None,
                }]),
                ..ObjectMeta::default()
            },
            type_: Some(self.kind.into()),
            data: Some(
                self.values
                    .iter()
                    .map(|(key, value)| (key.clone(), bytes(value)))
                    .collect(),
            ),
            ..Secret::default()
        }
    }

    /// The labels of everything that we make.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        // A label has at most 63 characters, and the name of a Credential may have more.
        let credential: String = self.credential.chars().take(63).collect();
        let credential = credential.trim_end_matches(['-', '.']).to_owned();
        [
            label("app.kubernetes.io/name", "tidegate"),
            label("app.kubernetes.io/managed-by", "tidegate"),
            (LABEL_CREDENTIAL.to_owned(), credential),
        ]
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_however_long_the_name() {
        let keep = Keep {
            key: Key::new("shop", "key-issued"),
            credential: format!("{}.-tail", "a".repeat(62)),
            owner: "uid".into(),
            kind: "tidegate.dev/credential",
            annotations: BTreeMap::new(),
            values: BTreeMap::new(),
        };
        assert_eq!(keep.labels()[LABEL_CREDENTIAL], "a".repeat(62));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let keep = Keep {
            key: Key::new("shop", "key-issued"),
            credential: "key".into(),
            owner: "uid".into(),
            kind: "tidegate.dev/credential",
            annotations: [("tidegate.dev/revision".into(), "2".into())].into(),
            values: [("value".into(), SecretValue::new("canary"))].into(),
        };
        let held = Held::of(keep.manifest());
        assert_eq!(
            (held.owner.as_deref(), held.annotations, held.values),
            (Some("uid"), keep.annotations, keep.values)
        );
    }
}
