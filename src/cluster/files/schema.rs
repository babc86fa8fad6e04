//! A manifest against its schema: what the API server would refuse is refused here, with the line it stands on.
//!
//! The schemas of our kinds are those of the CRDs, so a bound is written down once. Rules in CEL
//! (`x-kubernetes-validations`) are not evaluated here: `domain::validate` says the same, and is asked next.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value as Json, json};

use super::tree::{Entry, Node, Value};
use crate::api;

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

/// Schema of an Integration, an empty one if the CRD has none (a test says that it has).
pub static INTEGRATION: LazyLock<Schema> = LazyLock::new(|| Schema::of_crd("Integration"));
/// Schema of a Credential.
pub static CREDENTIAL: LazyLock<Schema> = LazyLock::new(|| Schema::of_crd("Credential"));
/// Schema of a Secret.
pub static SECRET: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(object(json!({
        "data": text_map(), "stringData": text_map(),
        "type": {"type": "string"}, "immutable": {"type": "boolean"},
    })))
});
/// Schema of a ConfigMap.
pub static CONFIG_MAP: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(object(json!({
        "data": text_map(), "binaryData": text_map(), "immutable": {"type": "boolean"},
    })))
});

fn text_map() -> Json {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// An object with these fields, and what every Kubernetes object has. What only a server writes may be there too,
/// because people save what `kubectl get -o yaml` prints.
fn object(fields: Json) -> Json {
    let anything = json!({"x-kubernetes-preserve-unknown-fields": true});
    let mut root = json!({"type": "object", "required": ["metadata"], "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 253, "pattern": NAME},
            "namespace": {"type": "string", "maxLength": 63, "pattern": LABEL},
            "labels": text_map(), "annotations": text_map(),
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "uid": anything, "generation": anything, "resourceVersion": anything, "creationTimestamp": anything,
            "ownerReferences": anything, "managedFields": anything, "selfLink": anything, "generateName": anything,
            "deletionTimestamp": anything, "deletionGracePeriodSeconds": anything,
        }},
    }});
    if let (Json::Object(all), Json::Object(fields)) = (&mut root["properties"], fields) {
        all.extend(fields);
    }
    root
}

const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// What the patterns that people meet most mean, in words.
const MEANINGS: [(&str, &str); 4] = [
    (
        NAME,
        "lower case letters, digits, `-` and `.`, beginning and ending with a letter or digit",
    ),
    (
        LABEL,
        "lower case letters, digits and `-`, beginning and ending with a letter or digit",
    ),
    (
        api::duration::PATTERN,
        "a duration of one to four parts such as `1h30m`, `10s` or `250ms`",
    ),
    (api::quantity::PATTERN, "a size such as `64Ki`, `10Mi` or `1Gi`"),
];

impl Schema {
    fn of_crd(kind: &str) -> Self {
        let crd = api::crds::all().into_iter().find(|crd| crd.spec.names.kind == kind);
        let schema = crd
            .and_then(|crd| crd.spec.versions.into_iter().next())
            .and_then(|version| version.schema);
        let props = schema.and_then(|schema| schema.open_api_v3_schema);
        let fields = props
            .and_then(|props| serde_json::to_value(props).ok())
            .unwrap_or_default();
        Self::new(object(json!({
            "spec": fields["properties"]["spec"],
            // Ours to write; a saved object may have one.
            "status": {"x-kubernetes-preserve-unknown-fields": true},
        })))
    }

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
                let quote = match (found, wanted) {
                    (Value::Number(_) | Value::Bool(_), "string") => "; put it in quotes",
                    _ => "",
                };
                let message = format!("must be {}, not {}{quote}", kind_of_type(wanted), kind_of_value(found));
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
                None if schema["x-kubernetes-preserve-unknown-fields"] == true => (),
                None => {
                    let near = known.and_then(|known| nearest(&entry.key, known.keys()));
                    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
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
            && self
                .schema
                .patterns
                .get(pattern)
                .is_some_and(|regex| !regex.is_match(text))
        {
            let meaning = MEANINGS.iter().find(|(of, _)| *of == pattern);
            let wanted = meaning.map_or_else(|| format!("match `{pattern}`"), |(_, words)| format!("be {words}"));
            self.find(path, line, format!("must {wanted}"));
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

fn kind_of_type(name: &str) -> &'static str {
    match name {
        "object" => "an object (`field: value` lines)",
        "array" => "a list (`- item` lines)",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn kind_of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Map(_) => "an object",
    }
}

/// The name that was probably meant: at most two edits away, or the same but for case.
fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(given: &str, known: impl Iterator<Item = &'a S>) -> Option<&'a str> {
    known
        .map(|name| (distance(given, name.as_ref()), name.as_ref()))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance, not counting case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::tree::documents;
    use super::*;

    const GOOD: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {name: payments-api, namespace: shop, labels: null}
spec:
  endpoints:
  - name: primary
    url: https://api.example.com
  retries:
    limit: 3
";

    fn check(schema: &Schema, text: &str) -> Result<Json, Vec<Finding>> {
        let node = documents(text)[0].parse().ok().flatten().unwrap();
        schema.check(&node)
    }

    fn message(schema: &Schema, text: &str) -> String {
        let findings = check(schema, text).unwrap_err();
        let told = |finding: &Finding| format!("{}: {}: {}", finding.line, finding.field, finding.message);
        findings.iter().map(told).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_crds_have_a_schema() {
        for schema in [&INTEGRATION, &CREDENTIAL] {
            assert!(
                schema.root["properties"]["spec"]["properties"]
                    .as_object()
                    .is_some_and(|fields| fields.len() > 3)
            );
        }
    }

    #[test]
    fn a_good_manifest_passes_without_its_nulls() {
        let json = check(&INTEGRATION, GOOD).unwrap();
        assert_eq!(json["metadata"], json!({"name": "payments-api", "namespace": "shop"}));
        assert_eq!(json["spec"]["endpoints"][0]["url"], "https://api.example.com");
        assert_eq!(json["spec"]["workers"]["replicas"], 2, "a default inside a default");
    }

    #[test]
    fn a_finding_names_line_and_field_and_what_is_allowed() {
        for (from, to, wanted) in [
            (
                "limit: 3",
                "limits: 3",
                "9: spec.retries.limits: no such field; did you mean `limit`?",
            ),
            (
                "limit: 3",
                "limit: '3'",
                "9: spec.retries.limit: must be a whole number, not a string",
            ),
            (
                "limit: 3",
                "limit: 3.5",
                "9: spec.retries.limit: must be a whole number, not a number",
            ),
            ("limit: 3", "limit: 99999999999", "9: spec.retries.limit: must be from"),
            (
                "limit: 3",
                "backoff: {base: soon}",
                "9: spec.retries.backoff.base: must be a duration of one to",
            ),
            (
                "limit: 3",
                "methods: idempotent",
                "9: spec.retries.methods: must be one of",
            ),
            ("limit: 3", "methods: idempotent", "did you mean `Idempotent`?"),
            (
                "name: primary",
                "name: 7",
                "6: spec.endpoints[0].name: must be a string, not a number; put it in quotes",
            ),
            (
                "name: payments-api",
                "name: Payments",
                "3: metadata.name: must be lower case letters",
            ),
            (
                "- name: primary",
                "- {}\n  - name: primary",
                "6: spec.endpoints[0].name: must be given",
            ),
            (
                "retries:\n    limit: 3",
                "retries: no",
                "8: spec.retries: must be an object",
            ),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let told = message(&INTEGRATION, &text);
            assert!(told.contains(wanted), "{told}\n  has no\n{wanted}\n{text}");
        }
    }

    #[test]
    fn every_finding_is_told_at_once_and_none_quotes_a_value() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: 4711}\ndata: canary\ncanaries: canary\n";
        let told = message(&SECRET, text);
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(
            !told.contains("4711") && !told.contains("canary\n") && !told.contains("`canary`"),
            "{told}"
        );
    }

    #[test]
    fn what_only_a_server_writes_is_let_through() {
        let text =
            GOOD.replace("labels: null", "uid: x, managedFields: [{a: 1}], resourceVersion: '7'") + "status: {x: 1}\n";
        let json = check(&INTEGRATION, &text).unwrap();
        assert!(json["status"].is_null());
    }
}
