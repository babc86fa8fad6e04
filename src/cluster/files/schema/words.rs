//! What a finding says is wanted.

use serde_json::{Map, Value as Json};

use super::super::spelling::nearest;
use super::super::tree::Value;
use super::kinds;

/// What a pattern wants, in words where it has any.
pub(super) fn demand(pattern: &str) -> String {
    let meaning = kinds::MEANINGS.iter().find(|(of, _)| *of == pattern);
    meaning.map_or_else(|| format!("match `{pattern}`"), |(_, words)| format!("be {words}"))
}

/// The field that was probably meant, or else all there are.
pub(super) fn hint(given: &str, known: &Map<String, Json>) -> String {
    if let Some(near) = nearest(given, known.keys()) {
        return format!("; did you mean `{near}`?");
    }
    let mut names: Vec<_> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    format!("; there are {}", names.join(", "))
}

/// A type of a schema.
pub(super) fn kind_of_type(name: &str) -> &'static str {
    match name {
        "object" => "an object (`field: value` lines)",
        "array" => "a list (`- item` lines)",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

/// What stands in a manifest.
pub(super) fn kind_of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Map(_) => "an object",
    }
}
