//! A manifest against its schema: what the API server would refuse is refused here, with the line it stands on.
//!
//! The schemas of our kinds are those of the CRDs, so a bound is written down once. Rules in CEL
//! (`x-kubernetes-validations`) are not evaluated here: `domain::validate` says the same, and is asked next.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::spelling::nearest;
use super::tree::{Entry, Node, Value};
use words::{demand, hint, kind_of_type, kind_of_value};

mod kinds;
mod words;

pub use kinds::{CONFIG_MAP, CREDENTIAL, INTEGRATION, SECRET};

/// Something wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path of the field, such as `spec.endpoints[0].url`.
    pub field: String,
    /// Line in the file.
    pub line: u64,
    /// What is wrong and what is allowed; never the value.
    pub message: String,
}

/// A schema, ready to check manifests.
pub struct Schema {
    root: Json,
    patterns: HashMap<String, Regex>,
}

impl Schema {
    fn new(mut root: Json) -> Self {
        if root["properties"].get("spec").is_some()
            && let Some(required) = root["required"].as_array_mut()
        {
            required.push("spec".into());
        }
        let mut patterns = HashMap::new();
        collect_patterns(&root, &mut patterns);
        Self { root, patterns }
    }

    /// Whether `text` is as `pattern` wants it, which is one of this schema.
    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.patterns.get(pattern).is_none_or(|regex| regex.is_match(text))
    }

    /// The manifest as JSON, defaults filled in and nulls left out, or everything that is wrong with it.
    pub fn check(&self, node: &Node) -> Result<Json, Vec<Finding>> {
        let mut check = Check {
            schema: self,
            findings: Vec::new(),
        };
        let json = check.value(&self.root, node, &Path::Root);
        if check.findings.is_empty() {
            Ok(json)
        } else {
            Err(check.findings)
        }
    }
}

fn collect_patterns(schema: &Json, patterns: &mut HashMap<String, Regex>) {
    match schema {
        Json::Object(fields) => {
            if let Some(Json::String(pattern)) = fields.get("pattern")
                && let Ok(regex) = Regex::new(pattern)
            {
                patterns.insert(pattern.clone(), regex);
            }
            fields.values().for_each(|field| collect_patterns(field, patterns));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_patterns(item, patterns)),
        _ => (),
    }
}

/// Where in the manifest we are; written out only for a finding.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Check<'a> {
    schema: &'a Schema,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn find(&mut self, path: &Path<'_>, line: u64, message: impl Into<String>) {
        self.findings.push(Finding {
            field: path.to_string(),
            line,
            message: message.into(),
        });
    }

    fn value(&mut self, schema: &Json, node: &Node, path: &Path<'_>) -> Json {
        match (&node.value, schema["type"].as_str()) {
            (Value::Map(entries), Some("object")) => self.map(schema, node.line, entries, path),
            (Value::List(items), Some("array")) => self.list(schema, node.line, items, path),
            (Value::String(text), Some("string")) => {
                self.text(schema, node.line, text, path);
                text.clone().into()
            }
            (Value::Bool(value), Some("boolean")) => (*value).into(),
            (Value::Number(number), Some("integer")) if number.is_i64() || number.is_u64() => {
                self.bounds(schema, node.line, number.as_f64(), path);
                number.clone().into()
            }
            (Value::Number(number), Some("number")) => {
                self.bounds(schema, node.line, number.as_f64(), path);
                number.clone().into()
            }
            (_, None) => Json::Null,
            (found, Some(wanted)) => {
                let mut message = format!("must be {}, not {}", kind_of_type(wanted), kind_of_value(found));
                let as_text = match found {
                    Value::Number(number) => Some(number.to_string()),
                    Value::Bool(value) => Some(value.to_string()),
                    _ => None,
                };
                if let (Some(text), "string") = (as_text, wanted) {
                    match schema["pattern"].as_str() {
                        // Quotes alone would not help `request: 30`.
                        Some(pattern) if !self.schema.matches(pattern, &text) => {
                            message = format!("must {}, not {}", demand(pattern), kind_of_value(found));
                        }
                        _ => message.push_str("; put it in quotes"),
                    }
                }
                self.find(path, node.line, message);
                Json::Null
            }
        }
    }

    fn map(&mut self, schema: &Json, line: u64, entries: &[Entry], path: &Path<'_>) -> Json {
        let mut map = Map::new();
        let known = schema["properties"].as_object();
        for entry in entries {
            let path = Path::Field(path, &entry.key);
            let of_field = known.and_then(|known| known.get(&entry.key));
            let of_any = schema.get("additionalProperties").filter(|schema| schema.is_object());
            match of_field.or(of_any) {
                Some(_) if matches!(entry.node.value, Value::Null) => (),
                Some(schema) => {
                    let value = self.value(schema, &entry.node, &path);
                    map.insert(entry.key.clone(), value);
                }
                None if schema["x-kubernetes-preserve-unknown-fields"] == true => {
                    map.insert(entry.key.clone(), entry.node.to_json());
                }
                None => {
                    let hint = known.map(|known| hint(&entry.key, known)).unwrap_or_default();
                    self.find(&path, entry.line, format!("no such field{hint}"));
                }
            }
        }
        for (name, schema) in known.into_iter().flatten() {
            if let Some(default) = schema.get("default").filter(|_| !map.contains_key(name)) {
                let mut value = default.clone();
                fill_defaults(schema, &mut value);
                map.insert(name.clone(), value);
            }
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            // A field with a finding of its own is there.
            if !map.contains_key(name) {
                self.find(&Path::Field(path, name), line, "must be given");
            }
        }
        self.size(
            schema,
            "minProperties",
            "maxProperties",
            entries.len(),
            "entries",
            line,
            path,
        );
        map.into()
    }

    fn list(&mut self, schema: &Json, line: u64, items: &[Node], path: &Path<'_>) -> Json {
        self.size(schema, "minItems", "maxItems", items.len(), "items", line, path);
        let mut list: Vec<Json> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = Path::Item(path, index);
            let value = self.value(&schema["items"], item, &path);
            let identity = |value: &Json| match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Some(value.clone()),
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
                    keys.iter().map(|key| value.get(key.as_str()?).cloned()).collect()
                }
                _ => None,
            };
            if let Some(this) = identity(&value)
                && list.iter().any(|other| identity(other).as_ref() == Some(&this))
            {
                self.find(&path, item.line, "must not be given twice in this list");
            }
            list.push(value);
        }
        list.into()
    }

    fn text(&mut self, schema: &Json, line: u64, text: &str, path: &Path<'_>) {
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.iter().any(|allowed| allowed == text)
        {
            let names: Vec<_> = allowed.iter().filter_map(Json::as_str).collect();
            let near = nearest(text, names.iter().copied());
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            self.find(path, line, format!("must be one of {}{hint}", names.join(", ")));
            return;
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !self.schema.matches(pattern, text)
        {
            self.find(path, line, format!("must {}", demand(pattern)));
            return;
        }
        self.size(
            schema,
            "minLength",
            "maxLength",
            text.chars().count(),
            "characters",
            line,
            path,
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "three pairs of the same shape; a struct would hide the calls"
    )]
    fn size(&mut self, schema: &Json, least: &str, most: &str, size: usize, of: &str, line: u64, path: &Path<'_>) {
        let (least, most) = (schema[least].as_u64(), schema[most].as_u64());
        let size = size as u64;
        if least.is_some_and(|least| size < least) || most.is_some_and(|most| size > most) {
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("at least {least}"),
                (None, Some(most)) => format!("at most {most}"),
                (None, None) => return,
            };
            self.find(path, line, format!("must have {range} {of}, not {size}"));
        }
    }

    fn bounds(&mut self, schema: &Json, line: u64, value: Option<f64>, path: &Path<'_>) {
        let (mut least, mut most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        if schema["format"] == "int32" {
            // The format is a bound as well.
            least = least.or(Some(f64::from(i32::MIN)));
            most = most.or(Some(f64::from(i32::MAX)));
        }
        let Some(value) = value else { return };
        if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
            return;
        }
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, most) => format!("at most {}", most.unwrap_or_default()),
        };
        self.find(path, line, format!("must be {range}"));
    }
}

/// Fills in what a default leaves out and has a default itself.
fn fill_defaults(schema: &Json, value: &mut Json) {
    let Json::Object(map) = value else { return };
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = schema.get("default").filter(|_| !map.contains_key(name)) {
            map.insert(name.clone(), default.clone());
        }
        if let Some(value) = map.get_mut(name) {
            fill_defaults(schema, value);
        }
    }
}

#[cfg(test)]
mod tests;
