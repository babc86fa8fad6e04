//! The fleet against a real API server, with workers that are the product's own control port.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use tidegate::domain::plan::Plan;
use tidegate::fleet::kubernetes::{KubernetesFleet, Settings, names};

use crate::support::apiserver::Place;
use crate::support::sample;

mod apply;
mod follow;
mod trust;

/// The sample plan, for an Integration in this place.
fn plan(place: &Place) -> Plan {
    let mut plan = sample::plan();
    plan.integration.namespace = place.namespace.as_str().into();
    plan.uid = format!("uid-{}", place.namespace);
    plan
}

/// Settings of a controller that runs in the same namespace, so that every test has an authority of its own.
fn settings(place: &Place) -> Settings {
    Settings::new("registry.example/tidegate:1", &place.namespace)
}

fn fleet(place: &Place, settings: Settings) -> Arc<KubernetesFleet> {
    Arc::new(KubernetesFleet::new(
        place.client.clone(),
        place.client.clone(),
        settings,
    ))
}

/// The Secret that the workers of `plan` mount.
async fn secret(place: &Place, plan: &Plan) -> Secret {
    let name = names::worker(&plan.integration.name);
    place.api::<Secret>().get(&name).await.unwrap()
}
