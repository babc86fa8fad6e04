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

/// Who reads `kubectl explain` learns the bounds without trying them.
#[test]
fn every_description_of_the_spec_names_the_bounds() {
    for crd in crds::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let mut found = Vec::new();
        read_bounds(&schema["openAPIV3Schema"]["properties"]["spec"], "spec", &mut found);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// Bounds in `schema` and below that its description does not name.
fn read_bounds(schema: &Value, path: &str, found: &mut Vec<String>) {
    let description = schema["description"].as_str().unwrap_or_default();
    let mut bounds: Vec<String> = ["minimum", "maximum", "maxItems", "maxProperties"]
        .iter()
        .filter_map(|bound| schema[bound].as_f64())
        .map(|bound| bound.to_string())
        .collect();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        // `must be from '1s' to '1h'`
        let quoted = rule["message"]
            .as_str()
            .and_then(|message| message.strip_prefix("must be from '"));
        if let Some((min, max)) = quoted.and_then(|rest| rest.trim_end_matches('\'').split_once("' to '")) {
            bounds.extend([min, max].map(|bound| format!("`{bound}`")));
        }
    }
    let words: Vec<&str> = description
        .split(|c: char| c.is_whitespace() || ",;:.".contains(c))
        .collect();
    for bound in bounds {
        if !words.contains(&bound.as_str()) {
            found.push(format!("{path}: `{bound}` is not in: {description}"));
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        read_bounds(field, &format!("{path}.{name}"), found);
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
            "a map of any size",
        ),
        (
            r#"{"type": "object", "description": "d", "additionalProperties": {"type": "boolean"}, "maxProperties": 3}"#,
            "a map of any names",
        ),
        (
            r#"{"type": "object", "description": "d", "additionalProperties": {"type": "string"}}"#,
            "x.*: no bound",
        ),
        (
            r#"{"type": "object", "description": "d", "additionalProperties": true, "maxProperties": 3}"#,
            "a map of anything",
        ),
        (
            r#"{"type": "object", "description": "d", "x-kubernetes-preserve-unknown-fields": true}"#,
            "any JSON of any size",
        ),
        (
            r#"{"description": "d", "x-kubernetes-preserve-unknown-fields": true, "maxProperties": 3}"#,
            "no type",
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

#[test]
fn bounds_that_are_not_told_are_seen() {
    let schema = serde_json::json!({"description": "1 to 3.", "minimum": 1.0, "maximum": 30, "properties": {
        "a": {"description": "`1s` to 2s", "x-kubernetes-validations": [{"message": "must be from '1s' to '2s'"}]},
    }});
    let mut found = Vec::new();
    read_bounds(&schema, "x", &mut found);
    assert_eq!(
        found,
        ["x: `30` is not in: 1 to 3.", "x.a: ``2s`` is not in: `1s` to 2s"]
    );
}

/// Everything that is wanting in `schema` and below, with its path.
fn inspect(schema: &Value, path: &str, found: &mut Vec<String>) {
    let mut complain = |complaint: &str| found.push(format!("{path}: {complaint}"));
    let has = |key: &str| schema.get(key).is_some();
    let is_item = path.ends_with("[]") || path.ends_with(".*");
    // What an item of a list or a map is, that says; what metadata is, every object's does.
    if !is_item && !path.ends_with(".metadata") && schema["description"].as_str().is_none_or(str::is_empty) {
        complain("no description");
    }
    for marker in ["nullable", "anyOf", "oneOf", "not"] {
        if has(marker) {
            complain(marker);
        }
    }
    if has("x-kubernetes-preserve-unknown-fields") && !has("maxProperties") {
        complain("any JSON of any size");
    }
    let values = &schema["additionalProperties"];
    if has("additionalProperties") {
        if !has("maxProperties") {
            complain("a map of any size");
        }
        // A schema cannot bound the names of a map, a rule can: `{1,128}` of some characters, from end to end.
        let bounds_names = |rule: &Value| {
            let rule = rule["rule"].as_str().unwrap_or_default();
            rule.starts_with("self.all(name, name.matches(r'^[") && rule.ends_with("}$'))")
        };
        let rules = schema["x-kubernetes-validations"].as_array();
        if !rules.is_some_and(|rules| rules.iter().any(bounds_names)) {
            complain("a map of any names");
        }
        if !values.is_object() {
            complain("a map of anything");
        }
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
    if values.is_object() {
        inspect(values, &format!("{path}.*"), found);
    }
    if has("items") {
        inspect(&schema["items"], &format!("{path}[]"), found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        inspect(field, &format!("{path}.{name}"), found);
    }
}
