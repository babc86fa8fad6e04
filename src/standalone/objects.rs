//! `GET /api/v1/…` on the admin port: the objects as a Kubernetes List, status included.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::files::Store;

/// The routes over `store`. Secrets and ConfigMaps are not among them.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route(
            "/api/v1/integrations",
            get(async |State(store): State<Store>| list(&store.integrations())),
        )
        .route(
            "/api/v1/credentials",
            get(async |State(store): State<Store>| list(&store.credentials())),
        )
        .with_state(store)
}

fn list<T: Serialize>(items: &[T]) -> Json<Value> {
    Json(json!({
        "apiVersion": "v1",
        "kind": "List",
        "metadata": { "resourceVersion": "" },
        "items": items,
    }))
}
