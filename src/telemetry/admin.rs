//! The admin endpoints: `/metrics`, `/livez` and `/readyz`, and what else the caller adds.
//!
//! `/livez` answers 200 while every [`Pulse`] beats: a loop that hangs fails it, an API server or a provider that is down
//! does not, because a restart would not help. `/readyz` answers 200 while every [`Check`] passes. Both name what they
//! looked at, one line each, as kube-apiserver does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus::{Encoder, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; those beyond wait in the listener's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long answers under way may go on after a stop is asked for.
const DRAIN: Duration = Duration::from_secs(2);

/// An admin port that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port cannot be listened on.
    #[error("cannot listen on {address} for metrics and probes: {source}; choose another address with --admin")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Reason.
        source: std::io::Error,
    },
}

/// What `/readyz` and `/livez` look at. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
    pulses: Arc<Mutex<BTreeMap<&'static str, Beat>>>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    last: Instant,
    within: Duration,
}

/// One named condition of being ready. It fails until [`Check::pass`] is called.
#[derive(Clone, Debug)]
pub struct Check {
    name: &'static str,
    readiness: Readiness,
}

/// One loop that must go on turning. It counts as beating when it is made.
#[derive(Clone, Debug)]
pub struct Pulse {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Nothing to look at yet, which is both live and ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that must hold for `/readyz`; it fails with `not yet` at first. `name` is lower case with dashes.
    pub fn check(&self, name: &'static str) -> Check {
        let check = Check {
            name,
            readiness: self.clone(),
        };
        check.fail("not yet");
        check
    }

    /// Adds a loop that must beat at least once `within` that time for `/livez`.
    pub fn pulse(&self, name: &'static str, within: Duration) -> Pulse {
        let beat = Beat {
            last: Instant::now(),
            within,
        };
        lock(&self.pulses).insert(name, beat);
        Pulse {
            name,
            readiness: self.clone(),
        }
    }

    /// Whether every check passes.
    pub fn is_ready(&self) -> bool {
        lock(&self.checks).values().all(Result::is_ok)
    }

    /// Every check with its verdict, by name.
    fn verdicts(&self) -> Vec<(&'static str, Result<(), String>)> {
        lock(&self.checks)
            .iter()
            .map(|(name, verdict)| (*name, verdict.clone()))
            .collect()
    }

    /// Every pulse with its verdict, by name.
    fn beats(&self, now: Instant) -> Vec<(&'static str, Result<(), String>)> {
        let verdict = |beat: &Beat| match now.saturating_duration_since(beat.last) {
            silent if silent > beat.within => Err(format!("silent for {} s", silent.as_secs())),
            _ => Ok(()),
        };
        lock(&self.pulses)
            .iter()
            .map(|(name, beat)| (*name, verdict(beat)))
            .collect()
    }
}

impl Check {
    /// The condition holds.
    pub fn pass(&self) {
        lock(&self.readiness.checks).insert(self.name, Ok(()));
    }

    /// The condition does not hold; `why` is shown on `/readyz`, so it has no secret in it.
    pub fn fail(&self, why: impl Into<String>) {
        lock(&self.readiness.checks).insert(self.name, Err(why.into()));
    }
}

impl Pulse {
    /// The loop turned.
    pub fn beat(&self) {
        if let Some(beat) = lock(&self.readiness.pulses).get_mut(self.name) {
            beat.last = Instant::now();
        }
    }
}

/// A map stays whole whoever panicked while holding it: every change is one insert.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the port, so that a port in use is known before anything else starts.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AdminError::Listen { address, source })
}

/// Serves the admin endpoints and `extra` routes until `stop`.
pub async fn serve(listener: TcpListener, readiness: Readiness, extra: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(routes(readiness).merge(extra));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
                tokio::spawn(async move {
                    // How a client ends its connection is its own business.
                    let _ = connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: go on when some are free again.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "admin port cannot accept a connection"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// The routes that every process has.
fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route(
            "/livez",
            get(async |State(readiness): State<Readiness>| answer(&readiness.beats(Instant::now()))),
        )
        .route(
            "/readyz",
            get(async |State(readiness): State<Readiness>| answer(&readiness.verdicts())),
        )
        .with_state(readiness)
}

fn answer(verdicts: &[(&'static str, Result<(), String>)]) -> Response {
    let mut text = String::new();
    for (name, verdict) in verdicts {
        // Writing to a String cannot fail.
        let _ = match verdict {
            Ok(()) => writeln!(text, "[+] {name} ok"),
            Err(why) => writeln!(text, "[-] {name} failed: {why}"),
        };
    }
    if verdicts.iter().all(|(_, verdict)| verdict.is_ok()) {
        text.push_str("ok\n");
        (StatusCode::OK, text).into_response()
    } else {
        text.push_str("failed\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics() -> Response {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&prometheus::gather(), &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
