//! Clients of the API server.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::telemetry::controller_metrics;

/// Three clients, because a watch waits and a call must not, and nothing may hold up the lease.
pub struct Clients {
    /// For reads and writes.
    pub calling: Client,
    /// For watches.
    pub watching: Client,
    /// For the lease, on connections of its own.
    pub leading: Client,
}

impl Clients {
    /// Connects by `config`. Nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, kube::Error> {
        let host = config
            .cluster_url
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut calling = config;
        calling.connect_timeout = Some(Duration::from_secs(5));
        calling.read_timeout = Some(Duration::from_secs(10));
        calling.reset_reader_on_write = true;
        calling.write_timeout = Some(Duration::from_secs(10));
        // kube repeats any method on 429, 503 and 504, up to 15 times over minutes, POST included. A reconcile decides
        // itself when to try again, on what is stored then.
        calling.default_retry = false;
        let mut watching = calling.clone();
        // The watcher notices a silent stream itself.
        watching.read_timeout = None;
        let client = |config: Config| {
            let count = Counting { host: host.clone() };
            ClientBuilder::try_from(config).map(|builder| builder.with_layer(&count).build())
        };
        Ok(Self {
            watching: client(watching)?,
            leading: client(calling.clone())?,
            calling: client(calling)?,
        })
    }
}

/// Counts requests by method and status.
#[derive(Clone)]
struct Counting {
    host: String,
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    host: String,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        let host = self.host.clone();
        Counted { inner, host }
    }
}

impl<S, B> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (method, host) = (request.method().to_string(), self.host.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            controller_metrics::requested(code, &method, &host);
            answer
        })
    }
}
