//! The quality of the schemas: everything described, bounded, and mergeable.

use serde_json::Value;
use tidegate::api::crds;

/// `kubectl apply` keeps the whole object in an annotation, and annotations are bounded.
#[test]
fn each_crd_fits_an_annotation() {
    for crd in crds::all() {
        let size = serde_json::to_vec(&crd).unwrap().len();
        assert!(size < 256 << 10, "{} has {size} bytes", crd.spec.names.kind);
    }
}

#[test]
fn every_field_is_described_and_bounded() {
    for crd in crds::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let mut found = Vec::new();
        inspect(&schema["openAPIV3Schema"], &crd.spec.names.kind, &mut found);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

#[test]
fn the_inspection_sees_what_is_missing() {
    for (schema, complaint) in [
        (
            r#"{"type": "object", "properties": {"a": {"type": "boolean"}}}"#,
            "a: no description",
        ),
        (r#"{"type": "string", "description": "d"}"#, "no bound"),
        (r#"{"type": "string", "description": "d", "pattern": "a"}"#, "no bound"),
        (r#"{"type": "integer", "description": "d", "maximum": 3}"#, "no bound"),
        (
            r#"{"type": "array", "description": "d", "maxItems": 1, "items": {"type": "boolean"}}"#,
            "no list type",
        ),
        (
            r#"{"type": "array", "description": "d", "x-kubernetes-list-type": "set", "items": {"type": "boolean"}}"#,
            "no maxItems",
        ),
        (
            r#"{"type": "boolean", "description": "d", "x-kubernetes-validations": [{"rule": "self"}]}"#,
            "a rule without a message",
        ),
        (
            r#"{"type": "boolean", "description": "d", "x-kubernetes-validations": [{"rule": "self", "message": "no"}]}"#,
            "a message that does not say what must be",
        ),
        (
            r#"{"type": "object", "description": "d", "additionalProperties": {"type": "boolean"}}"#,
            "a map",
        ),
        (
            r#"{"type": "boolean", "description": "d", "nullable": true}"#,
            "nullable",
        ),
    ] {
        let mut found = Vec::new();
        inspect(&serde_json::from_str(schema).unwrap(), "x", &mut found);
        assert!(
            found.iter().any(|found| found.contains(complaint)),
            "{schema}: {found:?}"
        );
    }
}

/// Everything that is wanting in `schema` and below, with its path.
fn inspect(schema: &Value, path: &str, found: &mut Vec<String>) {
    let mut complain = |complaint: &str| found.push(format!("{path}: {complaint}"));
    let has = |key: &str| schema.get(key).is_some();
    let is_item = path.ends_with("[]");
    // What an item of a list is, its list says; what metadata is, every object's does.
    if !is_item && !path.ends_with(".metadata") && schema["description"].as_str().is_none_or(str::is_empty) {
        complain("no description");
    }
    for marker in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "anyOf",
        "oneOf",
        "not",
    ] {
        if has(marker) {
            complain(marker);
        }
    }
    if has("additionalProperties") {
        complain("a map, whose keys nobody knows");
    }
    match schema["type"].as_str() {
        Some("string") if !(has("maxLength") || has("enum") || has("format")) => complain("no bound"),
        // A count of ours only ever grows, so its upper bound is that of its format.
        Some("integer") if !(has("minimum") && (has("maximum") || schema["format"] == "int64")) => {
            complain("no bound");
        }
        Some("number") => complain("a floating-point number"),
        Some("array") => {
            if !has("x-kubernetes-list-type") {
                complain("no list type");
            }
            if !has("maxItems") {
                complain("no maxItems");
            }
        }
        Some(_) => (),
        None => complain("no type"),
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        match rule["message"].as_str() {
            None => complain("a rule without a message"),
            Some(message) if !message.contains("must ") => complain("a message that does not say what must be"),
            Some(_) => (),
        }
    }
    if has("items") {
        inspect(&schema["items"], &format!("{path}[]"), found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        inspect(field, &format!("{path}.{name}"), found);
    }
}
