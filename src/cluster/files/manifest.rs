//! Manifests: the text of a file in, the objects in it and what is wrong with it out.

use std::collections::BTreeMap;
use std::fmt;

use super::schema::{self, Schema};
use super::tree::{self, Node, Value};
use crate::api::credential::Credential;
use crate::api::integration::Integration;
use crate::domain::key::Key;
use crate::domain::secret::SecretValue;

mod decode;

/// Namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `tidegate.dev/v1alpha1`.
    Integration,
    /// `tidegate.dev/v1alpha1`.
    Credential,
    /// `v1`.
    Secret,
    /// `v1`.
    ConfigMap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Integration, Self::Credential, Self::Secret, Self::ConfigMap];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integration => "Integration",
            Self::Credential => "Credential",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::Integration | Self::Credential => "tidegate.dev/v1alpha1",
            Self::Secret | Self::ConfigMap => "v1",
        }
    }
}

/// Kind, namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.key)
    }
}

/// The data of a Secret or ConfigMap; `None` where the bytes are not UTF-8.
pub type Values = BTreeMap<String, Option<SecretValue>>;

/// An object as it is written in a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// An Integration.
    Integration(Box<Integration>),
    /// A Credential.
    Credential(Box<Credential>),
    /// The data of a Secret.
    Secret(Key, Values),
    /// The data of a ConfigMap.
    ConfigMap(Key, Values),
}

impl Object {
    /// What it is and is called; an object without a namespace is in `default`.
    pub fn identity(&self) -> Identity {
        let of = |metadata: &kube::api::ObjectMeta| {
            let namespace = metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
            Key::new(namespace, metadata.name.as_deref().unwrap_or_default())
        };
        let (kind, key) = match self {
            Self::Integration(object) => (Kind::Integration, of(&object.metadata)),
            Self::Credential(object) => (Kind::Credential, of(&object.metadata)),
            Self::Secret(key, _) => (Kind::Secret, key.clone()),
            Self::ConfigMap(key, _) => (Kind::ConfigMap, key.clone()),
        };
        Identity { kind, key }
    }
}

/// Something wrong with a file. It never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1, where it is known.
    pub line: Option<u64>,
    /// The object, where it is known.
    pub object: Option<Identity>,
    /// Path of the field, where it is about one.
    pub field: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
    /// Whether the object is lost by it; otherwise it is only a remark.
    pub error: bool,
}

/// What is in a file.
#[derive(Debug, Default)]
pub struct Reading {
    /// Good objects with the line they begin on.
    pub objects: Vec<(u64, Object)>,
    /// Objects that are named but not good.
    pub broken: Vec<Identity>,
    /// Some part is so broken that what it names cannot be known.
    pub unidentified: bool,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// Reads a file's text.
pub fn read(text: &str) -> Reading {
    let mut reading = Reading::default();
    for document in tree::documents(text) {
        match document.parse() {
            Ok(Some(node)) => reading.take(&node),
            Ok(None) => (),
            Err(malformed) => {
                reading.unidentified = true;
                reading.problems.push(Problem {
                    line: malformed.line.or(Some(document.first_line)),
                    object: None,
                    field: None,
                    message: malformed.message,
                    error: true,
                });
            }
        }
    }
    reading
}

impl Reading {
    fn lose(&mut self, line: u64, field: &str, message: impl Into<String>) {
        self.unidentified = true;
        self.problems.push(Problem {
            line: Some(line),
            object: None,
            field: Some(field.to_owned()),
            message: message.into(),
            error: true,
        });
    }

    /// Takes an object, or every item of a list of objects.
    fn take(&mut self, node: &Node) {
        if !matches!(node.value, Value::Map(_)) {
            return self.lose(node.line, "kind", "must be given; this is no Kubernetes object");
        }
        let Some(kind) = node.field("kind") else {
            return self.lose(node.line, "kind", "must be given, such as `kind: Integration`");
        };
        let Some(kind_name) = kind.text() else {
            return self.lose(kind.line, "kind", "must be a string");
        };
        if kind_name.ends_with("List") && node.field("items").is_some() {
            match node.field("items").map(|items| (items.line, &items.value)) {
                Some((_, Value::List(items))) => items.iter().for_each(|item| self.take(item)),
                Some((line, _)) => self.lose(line, "items", "must be a list"),
                None => (),
            }
            return;
        }
        match Kind::ALL.into_iter().find(|kind| kind.name() == kind_name) {
            Some(kind) => self.take_kind(kind, node),
            None => self.problems.push(Problem {
                line: Some(kind.line),
                object: None,
                field: Some("kind".into()),
                message: format!(
                    "`{}` is not one of Integration, Credential, Secret and ConfigMap; skipped",
                    printable(kind_name)
                ),
                error: false,
            }),
        }
    }

    fn take_kind(&mut self, kind: Kind, node: &Node) {
        let version = node.field("apiVersion");
        if version.and_then(Node::text) != Some(kind.api_version()) {
            let line = version.map_or(node.line, |version| version.line);
            let message = format!("must be `{}` for kind {}", kind.api_version(), kind.name());
            return match identify(kind, node) {
                Some(identity) => self.refuse(&identity, line, "apiVersion", message),
                None => self.lose(line, "apiVersion", message),
            };
        }
        let schema: &Schema = match kind {
            Kind::Integration => &schema::INTEGRATION,
            Kind::Credential => &schema::CREDENTIAL,
            Kind::Secret => &schema::SECRET,
            Kind::ConfigMap => &schema::CONFIG_MAP,
        };
        let identity = identify(kind, node);
        let json = match schema.check(node) {
            Ok(json) => json,
            Err(findings) => {
                self.unidentified |= identity.is_none();
                self.broken.extend(identity.clone());
                self.problems.extend(findings.into_iter().map(|finding| Problem {
                    line: Some(finding.line),
                    object: identity.clone(),
                    field: Some(finding.field),
                    message: finding.message,
                    error: true,
                }));
                return;
            }
        };
        let Some(identity) = identity else {
            return self.lose(node.line, "metadata.name", "must be given");
        };
        let violations = match decode::object(&identity, json) {
            Ok(object) => {
                let violations = decode::violations(&object);
                if violations.is_empty() {
                    self.objects.push((node.line, object));
                }
                violations
            }
            Err(wrong) => vec![wrong],
        };
        for (field, message) in violations {
            self.refuse(&identity, decode::line_of(node, &field), &field, message);
        }
    }

    fn refuse(&mut self, identity: &Identity, line: u64, field: &str, message: String) {
        self.broken.push(identity.clone());
        self.problems.push(Problem {
            line: Some(line),
            object: Some(identity.clone()),
            field: Some(field.to_owned()),
            message,
            error: true,
        });
    }
}

/// What the object is called, as far as that can be read whatever else is wrong with it.
fn identify(kind: Kind, node: &Node) -> Option<Identity> {
    let metadata = node.field("metadata")?;
    let name = metadata.field("name")?.text()?;
    let namespace = match metadata.field("namespace") {
        Some(namespace) => namespace.text()?,
        None => DEFAULT_NAMESPACE,
    };
    Some(Identity {
        kind,
        key: Key::new(printable(namespace), printable(name)),
    })
}

/// A name fit for a message: as long as a name may be, without control characters.
fn printable(name: &str) -> String {
    name.chars()
        .take(253)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
