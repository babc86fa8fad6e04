//! The CustomResourceDefinitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use super::credential::Credential;
use super::integration::Integration;

/// Both CRDs: what the types say, and what their derive cannot say.
pub fn all() -> [CustomResourceDefinition; 2] {
    [Integration::crd(), Credential::crd()].map(|mut crd| {
        for version in &mut crd.spec.versions {
            let schema = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut());
            if let Some(schema) = schema {
                tidy(schema);
                name_the_rest(schema);
                not_yet_observed(schema);
            }
        }
        crd
    })
}

/// A CRD as YAML, as it is kept in `crds/`.
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let mut crd = serde_json::to_value(crd).map_err(|error| error.to_string())?;
    whole_numbers(&mut crd);
    serde_saphyr::to_string(&crd)
}

/// JSON schema has one kind of number, so `maximum: 5` arrives here as `5.0`.
#[expect(clippy::cast_possible_truncation, reason = "bounds are far below 2^53")]
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0) {
                *value = (whole as i64).into();
            }
        }
        _ => (),
    }
}

/// A field that may be absent need not be allowed to be `null` as well, and a description is a paragraph, whose lines
/// are cut by who shows it.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        *description = description.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    }
    for field in schema.properties.iter_mut().flat_map(|fields| fields.values_mut()) {
        tidy(field);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

/// The fields that every object has, in the words of the API conventions; `kubectl explain` shows them.
fn name_the_rest(root: &mut JSONSchemaProps) {
    let fields = root.properties.get_or_insert_default();
    let string = |description: &str| JSONSchemaProps {
        type_: Some("string".into()),
        description: Some(description.into()),
        max_length: Some(253),
        ..JSONSchemaProps::default()
    };
    fields.insert(
        "apiVersion".into(),
        string("Version of the schema that this object is written in: `tidegate.dev/v1alpha1`."),
    );
    fields.insert(
        "kind".into(),
        string("Kind of this object, in CamelCase. Cannot be changed."),
    );
    fields.insert(
        "metadata".into(),
        JSONSchemaProps {
            type_: Some("object".into()),
            ..JSONSchemaProps::default()
        },
    );
    for (field, description) in [
        ("spec", "What is asked for."),
        ("status", "What is known. Written by the controller."),
    ] {
        if let Some(schema) = fields.get_mut(field) {
            schema.description.get_or_insert_with(|| description.into());
        }
    }
}

/// An object nobody has looked at must not count as done (kstatus takes one without conditions for current), so its
/// `status.observedGeneration` begins as one that no generation ever is.
fn not_yet_observed(root: &mut JSONSchemaProps) {
    if let Some(status) = root.properties.as_mut().and_then(|fields| fields.get_mut("status")) {
        status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
    }
}
