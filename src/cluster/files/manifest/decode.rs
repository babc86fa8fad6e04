//! From checked JSON to a typed object, and what only the typed object shows to be wrong.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{Identity, Kind, Object, Values};
use crate::cluster::files::tree::{Node, Value};
use crate::domain::secret::SecretValue;
use crate::domain::validate::{self, References, Violation};

/// What the CRD's rules in CEL would refuse: fields and what they must be. References are not looked at; they may come
/// later, or from another file.
pub(super) fn violations(object: &Object) -> Vec<(String, String)> {
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
pub(super) fn object(identity: &Identity, mut json: Json) -> Result<Object, (String, String)> {
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
pub(super) fn line_of(root: &Node, path: &str) -> u64 {
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
