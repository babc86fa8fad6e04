//! YAML (and so JSON) as a tree that knows the line of everything in it.
//!
//! Values are kept out of every error: a manifest may hold a secret in any place, wrong ones included.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Json};
use serde_saphyr::{DuplicateKeyPolicy, Error, Spanned};

/// A value and the line it begins on, counted from 1.
pub struct Node {
    /// Line in the file.
    pub line: u64,
    /// What stands there.
    pub value: Value,
}

/// What can stand in a manifest.
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// An object; keys are unique.
    Map(Vec<Entry>),
}

/// A field of an object.
pub struct Entry {
    /// Its name.
    pub key: String,
    /// The line its name stands on.
    pub line: u64,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The field `key`, if this is an object that has it and it is not null.
    pub fn field(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// This node without its lines, nulls included.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let field = |entry: &Entry| (entry.key.clone(), entry.node.to_json());
                Json::Object(entries.iter().map(field).collect())
            }
        }
    }

    /// The text of this node, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A document that is not YAML.
pub struct Malformed {
    /// Line in the file, if the parser knows it.
    pub line: Option<u64>,
    /// What is wrong; never a value.
    pub message: String,
}

/// A part of a file between `---` lines.
pub struct Document<'a> {
    /// Line of the file that it begins on, counted from 1.
    pub first_line: u64,
    text: &'a str,
}

/// The documents of a file. Splitting at the markers, before parsing, keeps an error in one document from hiding the
/// others; YAML does not allow the marker at the beginning of a line anywhere else (YAML 1.2.2, 9.1.2).
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut begin, mut first_line) = (0, 1);
    let mut at = 0;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        let marker = line.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            documents.push(Document {
                first_line,
                text: &text[begin..at],
            });
            (begin, first_line) = (at, number);
        }
        at += line.len();
    }
    documents.push(Document {
        first_line,
        text: &text[begin..],
    });
    documents.retain(Document::has_content);
    documents
}

impl Document<'_> {
    fn has_content(&self) -> bool {
        self.text.lines().any(|line| {
            let line = line.strip_prefix("---").unwrap_or(line).trim();
            !(line.is_empty() || line == "..." || line.starts_with(['#', '%']))
        })
    }

    /// Parses the document; `None` if there is nothing in it.
    pub fn parse(&self) -> Result<Option<Node>, Malformed> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        let root: Spanned<Value> =
            serde_saphyr::from_str_with_options(self.text, options).map_err(|error| self.malformed(&error))?;
        let mut root = node(root);
        move_lines(&mut root, self.first_line - 1);
        Ok((!matches!(root.value, Value::Null)).then_some(root))
    }

    fn malformed(&self, error: &Error) -> Malformed {
        let message = match error.without_snippet() {
            Error::DuplicateMappingKey { .. } => "this field is given twice in the same object".to_owned(),
            // Syntax errors speak of what the grammar wants.
            Error::ExternalMessage { msg, .. } => format!("not valid YAML: {msg}"),
            Error::Eof { .. } => "not valid YAML: it ends too early".to_owned(),
            Error::MultipleDocuments { .. } => "not valid YAML: content after the end of the document".to_owned(),
            Error::Budget { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasExpansionLimitExceeded { .. } => "too large or too deeply nested".to_owned(),
            Error::UnknownAnchor { .. } => "not valid YAML: an alias (`*name`) has no anchor (`&name`)".to_owned(),
            // The rest may quote what it found.
            _ => "not valid YAML".to_owned(),
        };
        Malformed {
            line: error.location().map(|location| location.line() + self.first_line - 1),
            message,
        }
    }
}

fn node(spanned: Spanned<Value>) -> Node {
    Node {
        line: spanned.referenced.line(),
        value: spanned.value,
    }
}

fn move_lines(node: &mut Node, by: u64) {
    node.line += by;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| move_lines(item, by)),
        Value::Map(entries) => {
            for entry in entries {
                entry.line += by;
                move_lines(&mut entry.node, by);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Value>>()? {
            map.push(Entry {
                line: key.referenced.line(),
                key: key.value,
                node: node(value),
            });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests;
