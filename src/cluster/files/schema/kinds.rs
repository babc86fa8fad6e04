//! The schemas of the kinds that are read.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::Schema;
use crate::api;

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
pub(super) const MEANINGS: [(&str, &str); 4] = [
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
}
