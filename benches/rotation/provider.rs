//! What the workers are in front of: it takes every value, gives another one to whoever asks, and remembers when each
//! worker sent which one first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Outcome;

/// The header in which a caller says through which worker it calls.
pub const WORKER: &str = "x-worker";

/// The value that each worker sent last, and since when.
pub type Seen = BTreeMap<String, (String, Instant)>;

/// The provider; clones are the same one.
#[derive(Clone)]
pub struct Provider {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Sender<()>,
    answered: Arc<AtomicUsize>,
}

impl Provider {
    /// Serves until the process ends.
    pub async fn start() -> Outcome<Self> {
        // The API server has 127.0.0.1, and what is there is never dialled for a tenant.
        let listener = TcpListener::bind(("127.0.0.2", 0)).await?;
        let provider = Self {
            address: listener.local_addr()?,
            seen: Arc::default(),
            changed: watch::Sender::new(()),
            answered: Arc::default(),
        };
        tokio::spawn({
            let provider = provider.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    let provider = provider.clone();
                    tokio::spawn(async move {
                        let answer = service_fn(|request| {
                            provider.meet(&request);
                            // For calls of `rotation.steps` that make a key; all others want no more than a 200.
                            let number = provider.answered.fetch_add(1, Ordering::Relaxed);
                            let body = format!(r#"{{"key": "key-{number}", "id": "{number}"}}"#);
                            let mut response = Response::new(Full::new(Bytes::from(body)));
                            let json = HeaderValue::from_static("application/json");
                            response.headers_mut().insert(CONTENT_TYPE, json);
                            std::future::ready(Ok::<_, Infallible>(response))
                        });
                        // A connection that breaks off is the client's affair.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), answer)
                            .await;
                    });
                }
            }
        });
        Ok(provider)
    }

    fn meet(&self, request: &Request<Incoming>) {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let Some((worker, value)) = header(WORKER).zip(header("authorization")) else {
            return;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.get(worker).is_none_or(|(last, _)| last != value) {
            seen.insert(worker.to_owned(), (value.to_owned(), Instant::now()));
            self.changed.send_replace(());
        }
    }

    /// Since when all of `workers` have sent a value that `before` does not have of them.
    pub async fn all_changed(&self, workers: &[String], before: &Seen) -> Outcome<Instant> {
        let mut changed = self.changed.subscribe();
        loop {
            let now = self.seen();
            let since = |worker: &String| {
                let (value, since) = now.get(worker)?;
                (before.get(worker).map(|it| &it.0) != Some(value)).then_some(*since)
            };
            let all: Option<Vec<Instant>> = workers.iter().map(since).collect();
            if let Some(last) = all.and_then(|all| all.into_iter().max()) {
                return Ok(last);
            }
            changed.changed().await?;
        }
    }

    /// What was seen until now.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
