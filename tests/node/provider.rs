//! The outside API: a server on this machine, in the node's eyes another host, that wants a key and can be told to fail.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use tokio::net::TcpListener;

use crate::world::Outcome;

/// A running provider.
pub struct Provider {
    /// Its address, as pods reach it.
    pub host: String,
    /// Its port.
    pub port: u16,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: Mutex<BTreeSet<String>>,
    seen: Mutex<Vec<Seen>>,
    broken: AtomicBool,
}

/// A request as it came in.
pub struct Seen {
    /// Its key; empty if it has none.
    pub key: String,
    /// Its path.
    pub path: String,
}

impl Provider {
    /// The name by which pods know it.
    pub const NAME: &str = "api.provider.test";

    /// Serves on `host`, an address of this machine, until the test ends.
    pub async fn start(host: &str) -> Outcome<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Shared::default());
        let router = Router::new()
            .route("/keys", axum::routing::post(make))
            .route("/keys/{key}", axum::routing::delete(remove))
            .fallback(answer)
            .with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let host = host.to_owned();
        Ok(Self { host, port, state })
    }

    /// From now on these keys are good, and no others.
    pub fn accept(&self, keys: &[&str]) {
        *lock(&self.state.keys) = keys.iter().map(|&key| key.to_owned()).collect();
    }

    /// The keys that are good now.
    pub fn keys(&self) -> BTreeSet<String> {
        lock(&self.state.keys).clone()
    }

    /// From now on everything is answered with 500, or is not.
    pub fn set_broken(&self, broken: bool) {
        self.state.broken.store(broken, Ordering::SeqCst);
    }

    /// The requests that came in since this was last asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.state.seen))
    }
}

/// Makes another key, beside those that there are.
async fn make(State(state): State<Arc<Shared>>) -> (StatusCode, String) {
    let key = format!("issued-{:016x}", rand::random::<u64>());
    lock(&state.keys).insert(key.clone());
    (StatusCode::CREATED, serde_json::json!({"key": key}).to_string())
}

/// Takes a key away.
async fn remove(State(state): State<Arc<Shared>>, Path(key): Path<String>) -> StatusCode {
    match lock(&state.keys).remove(&key) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> (StatusCode, &'static str) {
    let key = request
        .headers()
        .get("x-api-key")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    lock(&state.seen).push(Seen {
        key: key.to_owned(),
        path: request.uri().path().to_owned(),
    });
    if state.broken.load(Ordering::SeqCst) {
        (StatusCode::INTERNAL_SERVER_ERROR, "broken\n")
    } else if lock(&state.keys).contains(key) {
        (StatusCode::OK, "charged\n")
    } else {
        (StatusCode::UNAUTHORIZED, "no such key\n")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
