//! The sample provider of the quickstart: an outside API in miniature, on loopback, that can be told to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The port it listens on if nobody else does; it stands in `examples/quickstart` too.
pub const PORT: u16 = 8090;
/// The header that it wants its key in.
const KEY_HEADER: &str = "x-api-key";
/// The keys that it takes. They are no secrets: they are in the examples.
const KEYS: [&str; 2] = ["sample-key-1", "sample-key-2"];

#[derive(Default)]
struct Provider {
    broken: AtomicBool,
    calls: AtomicU64,
}

/// Takes [`PORT`] on loopback, or any other that is free.
pub async fn bind() -> std::io::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await,
    }
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let stopped = async move { stop.cancelled().await };
    tokio::select! {
        served = axum::serve(listener, routes()) => served,
        // Nothing under way here is worth waiting for.
        () = stopped => Ok(()),
    }
}

fn routes() -> Router {
    Router::new()
        .route("/v1/tides", get(tides))
        .route("/healthz", get(health))
        .route(
            "/control/break",
            post(async |State(provider): State<Arc<Provider>>| set(&provider, true)),
        )
        .route(
            "/control/mend",
            post(async |State(provider): State<Arc<Provider>>| set(&provider, false)),
        )
        .with_state(Arc::<Provider>::default())
}

fn set(provider: &Provider, broken: bool) -> Json<serde_json::Value> {
    provider.broken.store(broken, Ordering::Relaxed);
    Json(json!({ "broken": broken }))
}

async fn tides(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let calls = provider.calls.fetch_add(1, Ordering::Relaxed) + 1;
    if provider.broken.load(Ordering::Relaxed) {
        return out_of_order();
    }
    // Exactly one key, as real providers want it.
    let mut given = headers.get_all(KEY_HEADER).iter();
    let key = match (given.next(), given.next()) {
        (Some(given), None) => KEYS.iter().position(|key| given.as_bytes() == key.as_bytes()),
        _ => None,
    };
    let Some(key) = key else {
        let body = Json(json!({ "error": "give a valid key in the header x-api-key" }));
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "ApiKey")], body).into_response();
    };
    let tides = json!([{ "time": "04:12", "metres": 0.4 }, { "time": "10:31", "metres": 3.1 }]);
    Json(json!({ "tides": tides, "key": format!("number {}", key + 1), "call": calls })).into_response()
}

async fn health(State(provider): State<Arc<Provider>>) -> Response {
    if provider.broken.load(Ordering::Relaxed) {
        return out_of_order();
    }
    Json(json!({ "status": "ok" })).into_response()
}

fn out_of_order() -> Response {
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        Json(json!({ "error": "out of order" })),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request};
    use tower::ServiceExt;

    use super::*;

    async fn status(routes: &Router, method: Method, path: &str, keys: &[&str]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for key in keys {
            request = request.header(KEY_HEADER, *key);
        }
        let request = request.body(Body::empty()).unwrap();
        routes.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn it_wants_one_of_its_keys_once() {
        let routes = routes();
        for (keys, wanted) in [
            (&["sample-key-1"][..], 200),
            (&["sample-key-2"], 200),
            (&[], 401),
            (&["other"], 401),
            (&["sample-key-1", "sample-key-1"], 401),
        ] {
            assert_eq!(
                status(&routes, Method::GET, "/v1/tides", keys).await,
                wanted,
                "{keys:?}"
            );
        }
    }

    #[tokio::test]
    async fn it_fails_from_break_to_mend() {
        let routes = routes();
        for (control, wanted) in [("/control/break", 500), ("/control/mend", 200)] {
            assert_eq!(status(&routes, Method::POST, control, &[]).await, 200);
            assert_eq!(
                status(&routes, Method::GET, "/v1/tides", &["sample-key-1"]).await,
                wanted
            );
            assert_eq!(status(&routes, Method::GET, "/healthz", &[]).await, wanted);
        }
    }
}
