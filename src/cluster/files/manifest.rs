//! Manifests: the text of a file in, the objects in it and what is wrong with it out.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::schema::{self, Schema};
use super::tree::{self, Node, Value};
use crate::api::credential::Credential;
use crate::api::integration::Integration;
use crate::domain::key::Key;
use crate::domain::secret::SecretValue;
use crate::domain::validate::{self, References, Violation};

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
    const ALL: [Self; 4] = [Self::Integration, Self::Credential, Self::Secret, Self::ConfigMap];

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
        let violations = match object(&identity, json) {
            Ok(object) => {
                let violations = violations(&object);
                if violations.is_empty() {
                    self.objects.push((node.line, object));
                }
                violations
            }
            Err(wrong) => vec![wrong],
        };
        for (field, message) in violations {
            self.refuse(&identity, line_of(node, &field), &field, message);
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

/// What the CRD's rules in CEL would refuse: fields and what they must be. References are not looked at; they may come
/// later, or from another file.
fn violations(object: &Object) -> Vec<(String, String)> {
    let violations = match object {
        Object::Integration(object) => match validate::integration(object, &References::default()) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                let violation = |problem| match problem {
                    validate::Problem::InvalidSpec(violation) => Some(violation),
                    _ => None,
                };
                problems.into_iter().filter_map(violation).collect()
            }
        },
        Object::Credential(object) => validate::credential_spec(&object.spec),
        Object::Secret(..) | Object::ConfigMap(..) => Vec::new(),
    };
    let pair = |Violation { field, must }| (field, must);
    violations.into_iter().map(pair).collect()
}

/// The typed object, or the field that has no such type and why.
fn object(identity: &Identity, mut json: Json) -> Result<Object, (String, String)> {
    json["metadata"]["namespace"] = (*identity.key.namespace).into();
    Ok(match identity.kind {
        Kind::Integration => Object::Integration(Box::new(typed(json)?)),
        Kind::Credential => Object::Credential(Box::new(typed(json)?)),
        Kind::Secret => {
            let mut values = decoded(&json, "data")?;
            // As the API server does it: what is given as text wins.
            values.extend(texts(&json, "stringData"));
            Object::Secret(identity.key.clone(), values)
        }
        Kind::ConfigMap => {
            let mut values = decoded(&json, "binaryData")?;
            values.extend(texts(&json, "data"));
            Object::ConfigMap(identity.key.clone(), values)
        }
    })
}

fn typed<T: DeserializeOwned>(json: Json) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(json).map_err(|error| (error.path().to_string(), error.into_inner().to_string()))
}

fn texts(json: &Json, field: &str) -> Values {
    let entries = json[field].as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), value.as_str().map(SecretValue::new)))
        .collect()
}

fn decoded(json: &Json, field: &str) -> Result<Values, (String, String)> {
    let mut values = Values::new();
    for (key, value) in json[field].as_object().into_iter().flatten() {
        // People wrap base64 in block scalars, as the API server allows.
        let packed: String = value.as_str().unwrap_or_default().split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(packed).map_err(|_| {
            let hint = if field == "data" {
                "; write plain text under `stringData`"
            } else {
                ""
            };
            (format!("{field}.{key}"), format!("must be base64{hint}"))
        })?;
        values.insert(key.clone(), String::from_utf8(bytes).ok().map(SecretValue::new));
    }
    Ok(values)
}

/// The line of a field given by its path, or of the nearest thing around it.
fn line_of(root: &Node, path: &str) -> u64 {
    let mut node = root;
    // A key of a Secret may have dots in it, so what is left of the path is tried as a whole first.
    let mut rest = path;
    while !rest.is_empty() {
        let Value::Map(entries) = &node.value else {
            let Value::List(items) = &node.value else { break };
            let Some((index, after)) = rest.trim_start_matches('[').split_once(']') else {
                break;
            };
            let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                break;
            };
            (node, rest) = (item, after.trim_start_matches('.'));
            continue;
        };
        let found = entries.iter().filter_map(|entry| {
            let after = rest.strip_prefix(entry.key.as_str())?;
            (after.is_empty() || after.starts_with(['.', '['])).then_some((entry, after))
        });
        let Some((entry, after)) = found.max_by_key(|(entry, _)| entry.key.len()) else {
            break;
        };
        if after.is_empty() {
            return entry.line;
        }
        (node, rest) = (&entry.node, after.trim_start_matches('.'));
    }
    node.line
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
data:
  packed: c2Vj
    cmV0
  binary: /w==
  over: YQ==
stringData:
  plain: text
  over: b
";

    fn told(text: &str) -> Vec<String> {
        let problems = read(text).problems;
        let line = |problem: &Problem| {
            let object = problem.object.as_ref().map_or_else(String::new, Identity::to_string);
            let (number, field) = (problem.line.unwrap(), problem.field.clone().unwrap_or_default());
            format!("{number}|{object}|{field}|{}", problem.message)
        };
        problems.iter().map(line).collect()
    }

    #[test]
    fn a_secret_is_decoded_and_text_wins() {
        let reading = read(SECRET);
        assert_eq!(reading.problems, []);
        let Object::Secret(key, values) = &reading.objects[0].1 else {
            panic!()
        };
        assert_eq!(key.to_string(), "shop/key");
        let exposed: Vec<_> = values
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_ref().map(SecretValue::expose)))
            .collect();
        let wanted = [
            ("binary", None),
            ("over", Some("b")),
            ("packed", Some("secret")),
            ("plain", Some("text")),
        ];
        assert_eq!(exposed, wanted);
    }

    #[test]
    fn a_list_gives_each_of_its_objects_in_json_too() {
        let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 5}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}]}"#;
        let reading = read(text);
        let names: Vec<_> = reading
            .objects
            .iter()
            .map(|(line, object)| (*line, object.identity().to_string()))
            .collect();
        assert_eq!(
            names,
            [(2, "ConfigMap default/a".into()), (4, "ConfigMap default/b".into())]
        );
        assert_eq!(
            told(text),
            ["3||metadata.name|must be a string, not a number; put it in quotes"]
        );
        assert!(reading.unidentified);
    }

    #[test]
    fn a_problem_names_object_line_and_field() {
        let integration = "apiVersion: tidegate.dev/v1alpha1\nkind: Integration\nmetadata: {name: a}\n";
        for (text, wanted) in [
            ("a: 1\n".to_owned(), "1||kind|must be given"),
            ("- a\n".to_owned(), "1||kind|must be given; this is no"),
            (
                SECRET.replace("c2Vj", "c2V"),
                "5|Secret shop/key|data.packed|must be base64; write plain text",
            ),
            (
                SECRET.replace("apiVersion: v1", "apiVersion: v2"),
                "1|Secret shop/key|apiVersion|must be `v1`",
            ),
            (
                format!("{SECRET}---\n{integration}"),
                "13|Integration default/a|spec|must be given",
            ),
            (
                format!("{integration}spec: {{endpoints: [{{name: a, url: 'http://u:p@a.example'}}]}}\n"),
                "4|Integration default/a|spec.endpoints[0].url|must",
            ),
            (format!("{integration}spec: {{endpoints: [}}\n"), "4|||not valid YAML"),
        ] {
            let told = told(&text);
            assert!(told.iter().any(|line| line.starts_with(wanted)), "{wanted}\n{told:#?}");
        }
    }

    #[test]
    fn a_kind_that_is_not_ours_is_skipped_with_a_remark() {
        let reading = read("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n");
        assert!(reading.objects.is_empty() && !reading.unidentified);
        assert!(!reading.problems[0].error);
        assert!(reading.problems[0].message.contains("`Deployment`"));
    }

    #[test]
    fn a_broken_object_is_still_known_by_its_name() {
        let reading = read(&SECRET.replace("stringData:", "stringDate:"));
        assert_eq!(reading.broken[0].to_string(), "Secret shop/key");
        assert!(!reading.unidentified);
    }
}
