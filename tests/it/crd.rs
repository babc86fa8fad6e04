//! The CRDs: as files, as schemas, and on a real API server.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};
use tidegate::api::crds;

use crate::support::apiserver;

mod admission;
mod kinds;
mod odd;
mod pages;
mod schema;
mod serving;
mod table;

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
