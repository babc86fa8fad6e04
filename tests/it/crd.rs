//! The CRDs on a real API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};

use crate::support::apiserver;

#[tokio::test]
async fn both_crds_become_established() {
    let place = apiserver::namespace("crds").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    for crd in tidegate::api::crds::all() {
        let name = crd.name_any();
        let status = definitions.get(&name).await.unwrap().status.unwrap();
        let conditions: Vec<_> = status.conditions.unwrap_or_default();
        assert!(
            conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True"),
            "{name}: {conditions:?}"
        );
        assert!(
            !conditions
                .iter()
                .any(|c| c.type_ == "NonStructuralSchema" && c.status == "True"),
            "{name}: {conditions:?}"
        );
    }
}
