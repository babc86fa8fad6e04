//! The CRDs on a real API server.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};
use tidegate::api::crds;

use crate::support::apiserver;

#[test]
fn the_stored_crds_are_what_the_types_say() {
    let update = std::env::var_os("TIDEGATE_UPDATE").is_some();
    for crd in crds::all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{}.yaml", crd.spec.names.plural));
        let generated = crds::yaml(&crd).unwrap();
        if update {
            std::fs::write(&path, &generated).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == generated,
            "crds/ is out of date; run `TIDEGATE_UPDATE=1 cargo test stored_crds`"
        );
    }
}

/// `kubectl apply` keeps the whole object in an annotation, and annotations are bounded.
#[test]
fn each_crd_fits_an_annotation() {
    for crd in crds::all() {
        let size = serde_json::to_vec(&crd).unwrap().len();
        assert!(size < 256 << 10, "{} has {size} bytes", crd.name_any());
    }
}

#[tokio::test]
async fn both_crds_become_established() {
    let place = apiserver::namespace("crds").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    for crd in crds::all() {
        let name = crd.name_any();
        let status = definitions.get(&name).await.unwrap().status.unwrap();
        let conditions = status.conditions.unwrap_or_default();
        let is_true = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        assert!(is_true("Established"), "{name}: {conditions:?}");
        assert!(!is_true("NonStructuralSchema"), "{name}: {conditions:?}");
    }
}
