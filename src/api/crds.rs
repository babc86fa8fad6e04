//! The CustomResourceDefinitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;

use super::credential::Credential;
use super::integration::Integration;

/// Both CRDs: what the types say, and what their derive cannot say.
pub fn all() -> [CustomResourceDefinition; 2] {
    [Integration::crd(), Credential::crd()].map(|mut crd| {
        crd.spec.versions.iter_mut().for_each(|version| {
            let schema = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut());
            if let Some(schema) = schema {
                not_yet_observed(schema);
            }
        });
        crd
    })
}

/// An object nobody has looked at must not count as done (kstatus takes one without conditions for current), so its
/// `status.observedGeneration` begins as one that no generation ever is.
fn not_yet_observed(root: &mut JSONSchemaProps) {
    if let Some(status) = root.properties.as_mut().and_then(|fields| fields.get_mut("status")) {
        status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
    }
}

/// A CRD as YAML, as it is kept in `crds/`.
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}
