//! A worker between callers and providers in one process, for tests in paused time: the whole stack with its pools, over
//! pipes instead of sockets. With nothing left that waits for the kernel, time goes on exactly when everybody waits for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;

use super::stack::Stack;
use super::table::Table;
use super::{Plans, Reports};
use crate::domain::plan::Plan;
use crate::net::Dialer;
use crate::net::policy::AddressPolicy;

/// What a connection holds in each direction.
const PIPE: usize = 64 << 10;

/// Who answers at the addresses of a plan.
pub trait Provider: Send + Sync + 'static {
    /// Whether a connection to this address is accepted.
    fn accepts(&self, _: SocketAddr) -> bool {
        true
    }

    /// The answer of what is at this address. Dropped when nobody waits for it any more.
    fn answer(&self, at: SocketAddr, request: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>>;
}

/// An answer with nothing in it but its status.
pub fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response
}

/// A plan for `shop/api` with the defaults of the contract, and an endpoint at each of so many addresses, `10.0.0.1` and on.
pub fn plan(endpoints: usize) -> Plan {
    let endpoint = |number: usize| {
        let url = format!("http://10.0.0.{}", number + 1);
        serde_json::json!({"name": format!("e{number}"), "url": url, "weight": 1, "priority": 0})
    };
    let plan = serde_json::json!({
        "format": crate::domain::plan::FORMAT, "revision": 1, "generation": 1, "uid": "uid",
        "integration": {"namespace": "shop", "name": "api"},
        "protocol": "HTTP", "credentials": [], "tls": {}, "denied": [],
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
        "timeouts": {"connect": 5000, "attempt": 10000, "request": 30000, "idle": 90000},
        "retries": {
            "limit": 3, "backoffBase": 200, "backoffMax": 10000, "statuses": [408, 429, 500, 502, 503, 504],
            "methods": "Idempotent", "retryAfterMax": 60000,
            "budgetPercent": 20, "budgetInterval": 10000, "budgetMinimumPerSecond": 1
        },
        "breaker": {
            "consecutiveFailures": 5, "failurePercent": 50, "window": 30000, "minimumRequests": 20,
            "openFor": 30000, "maxOpenFor": 300_000, "halfOpenRequests": 1, "mode": "Automatic"
        },
        "concurrency": {"maxInFlight": 64, "maxPending": 256},
        "connections": {"maxPerEndpoint": 64, "idleTimeout": 90000, "http2": "Auto"},
        "balance": "LeastLoaded",
        "limits": {"requestBody": 10_485_760, "responseBody": 104_857_600, "headers": 65536}
    });
    serde_json::from_value(plan).unwrap()
}

/// A worker with its callers and providers.
pub struct World {
    /// What runs.
    pub stack: Arc<Stack>,
    callers: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    _table: Table,
}

impl World {
    /// A worker that runs `plan` in front of `provider`.
    pub async fn start(plan: Plan, provider: impl Provider) -> Self {
        Self::start_with(plan, provider, Dialer::new(Arc::new(AddressPolicy::default()))).await
    }

    /// The same with the resolver of `dialer`.
    pub async fn start_with(plan: Plan, provider: impl Provider, dialer: Dialer) -> Self {
        let provider = Arc::new(provider);
        let dialer = dialer.through(move |address| {
            let provider = provider.clone();
            if !provider.accepts(address) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (here, there) = duplex(PIPE);
            tokio::spawn(serve(there, address, provider));
            Ok(here)
        });
        let (reports, _) = watch::channel(Reports::new());
        let mut table = Table::new(AddressPolicy::default(), false, Arc::new(reports), None).dialing(dialer);
        let key = plan.integration.clone();
        table.apply(&Plans::from([(key.clone(), Arc::new(plan))]));
        let stack = table.stack(&key).unwrap();
        let (here, there) = duplex(PIPE);
        tokio::spawn({
            let stack = stack.clone();
            async move {
                let service = service_fn(move |request| {
                    let stack = stack.clone();
                    async move { Ok::<_, std::convert::Infallible>(stack.answer(request).await) }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let builder = builder.max_concurrent_streams(10_000);
                drop(builder.serve_connection(TokioIo::new(there), service).await);
            }
        });
        let made = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(here))
            .await;
        let (callers, connection) = made.unwrap();
        tokio::spawn(connection);
        Self {
            stack,
            callers,
            _table: table,
        }
    }

    /// What becomes of a call.
    pub fn call(&self, method: &str, headers: &[(&str, &str)]) -> BoxFuture<'static, Response<Bytes>> {
        let mut request = Request::builder().method(method).uri("http://api/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).unwrap();
        let mut callers = self.callers.clone();
        Box::pin(async move {
            callers.ready().await.unwrap();
            let (head, body) = callers.send_request(request).await.unwrap().into_parts();
            // An answer that breaks off is one without its end.
            let body = body.collect().await.map(|body| body.to_bytes());
            Response::from_parts(head, body.unwrap_or_default())
        })
    }

    /// The status of a GET.
    pub fn get(&self) -> BoxFuture<'static, u16> {
        let called = self.call("GET", &[]);
        Box::pin(async move { called.await.status().as_u16() })
    }
}

async fn serve(socket: DuplexStream, at: SocketAddr, provider: Arc<impl Provider>) {
    let service = service_fn(move |request| {
        let answer = provider.answer(at, request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
    drop(served);
}
