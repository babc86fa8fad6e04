//! A worker under test: the real one, on loopback, with plans that a test makes and reports that it reads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tidegate::api::integration::{
    BalancePolicy, BreakerMode, CircuitState, Http2, IdempotencyKey, Protocol, RetryMethods,
};
use tidegate::domain::health::{CredentialReport, EndpointReport, Pauses, Report};
use tidegate::domain::key::Key;
use tidegate::domain::plan::*;
use tidegate::domain::secret::SecretValue;
use tidegate::net::policy::AddressPolicy;
use tidegate::worker::{Plans, Reports, Settings, Worker, WorkerError};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::provider::Provider;

/// A plan for `shop/api` with the defaults of the contract and these endpoints, all alike.
pub fn plan(urls: &[String]) -> Plan {
    Plan {
        format: FORMAT,
        revision: 1,
        integration: Key::new("shop", "api"),
        uid: "uid-1".to_owned(),
        generation: 1,
        protocol: Protocol::HTTP,
        endpoints: urls
            .iter()
            .enumerate()
            .map(|(index, url)| EndpointPlan {
                name: format!("e{index}"),
                url: url.clone(),
                weight: 1,
                priority: 0,
            })
            .collect(),
        credentials: Vec::new(),
        tls: TlsPlan::default(),
        timeouts: TimeoutPlan {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(10),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(90),
        },
        retries: RetryPlan {
            limit: 3,
            backoff_base: Duration::from_millis(1),
            backoff_max: Duration::from_millis(5),
            statuses: vec![408, 429, 500, 502, 503, 504],
            methods: RetryMethods::Idempotent,
            idempotency_key: IdempotencyKey::PassOn,
            hedge: None,
            retry_after_max: Duration::from_secs(60),
            budget_percent: 20,
            budget_interval: Duration::from_secs(10),
            budget_minimum_per_second: 10,
        },
        breaker: BreakerPlan {
            consecutive_failures: 5,
            failure_percent: 50,
            window: Duration::from_secs(30),
            minimum_requests: 20,
            open_for: Duration::from_secs(30),
            max_open_for: Duration::from_secs(300),
            half_open_requests: 1,
            mode: BreakerMode::Automatic,
        },
        rate_limit: None,
        concurrency: ConcurrencyPlan {
            max_in_flight: 64,
            max_pending: 256,
            adaptive: None,
        },
        connections: ConnectionPlan {
            max_per_endpoint: 64,
            idle_timeout: Duration::from_secs(90),
            http2: Http2::Auto,
        },
        balance: BalancePolicy::LeastLoaded,
        hash_on: None,
        limits: LimitPlan {
            request_body: 10 << 20,
            response_body: 100 << 20,
            headers: 64 << 10,
        },
        health_check: None,
        graphql: None,
        denied: Vec::new(),
        reset_circuit: None,
    }
}

/// The same for one endpoint, a provider with TLS.
pub fn trusting(provider: &Provider) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.tls.ca_pem.clone_from(&provider.ca_pem);
    plan.tls.server_name = Some("provider.test".to_owned());
    plan
}

/// A credential in the header `x-api-key` that may go to every loopback address.
pub fn api_key(revision: i64, value: &str) -> CredentialPlan {
    CredentialPlan {
        not_after: None,
        renewable: false,
        name: "key".to_owned(),
        revision,
        allowed_hosts: vec!["127.0.0.1".to_owned()],
        material: Some(Material::Header {
            name: "x-api-key".to_owned(),
            value: SecretValue::new(value),
        }),
    }
}

/// A worker that serves.
pub struct Dataplane {
    pub address: SocketAddr,
    plans: watch::Sender<Plans>,
    reports: watch::Receiver<Reports>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dataplane {
    /// Starts a worker with these plans.
    pub fn start(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self::start_with(plans, |_| {})
    }

    /// The same with other settings.
    pub fn start_with(plans: impl IntoIterator<Item = Plan>, change: impl FnOnce(&mut Settings)) -> Self {
        Self::run(plans, change, |worker| worker)
    }

    /// Starts a worker on the test's own thread alone, so that the subscriber of that thread hears it.
    pub fn start_here(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self::start_with(plans, |settings| settings.lanes = 0)
    }

    /// One of several workers, with a share of every rate limit.
    pub fn start_sharing(plans: impl IntoIterator<Item = Plan>, share: watch::Receiver<Option<u32>>) -> Self {
        Self::run(plans, |_| {}, |worker| worker.sharing(share))
    }

    /// One of several workers, which heeds what others were asked for.
    pub fn start_heeding(plans: impl IntoIterator<Item = Plan>, pauses: watch::Receiver<Pauses>) -> Self {
        Self::run(plans, |_| {}, |worker| worker.heeding(pauses))
    }

    fn run(
        plans: impl IntoIterator<Item = Plan>,
        change: impl FnOnce(&mut Settings),
        make: impl FnOnce(Worker) -> Worker,
    ) -> Self {
        let mut settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            policy: AddressPolicy {
                allow_loopback: true,
                ..AddressPolicy::default()
            },
            drain: Duration::from_secs(5),
            localhost_names: true,
            connections: tidegate::worker::MAX_CONNECTIONS,
            // As in production, but where time is stopped, which it is in the test's own runtime alone.
            lanes: if is_time_stopped() { 0 } else { 2 },
        };
        change(&mut settings);
        let worker = make(Worker::bind(settings).unwrap());
        let address = worker.address().unwrap_or_else(|error: WorkerError| panic!("{error}"));
        let (plans, followed) = watch::channel(collect(plans));
        let (reported, reports) = watch::channel(Reports::new());
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run(followed, reported, stop.clone()));
        Self {
            address,
            plans,
            reports,
            stop,
            task,
        }
    }

    /// Serves these plans instead.
    pub fn serve(&self, plans: impl IntoIterator<Item = Plan>) {
        self.plans.send(collect(plans)).unwrap();
    }

    /// Serves these plans instead, and waits until the report says so.
    pub async fn adopt(&self, plan: Plan) {
        let (key, revision) = (plan.integration.clone(), plan.revision);
        self.serve([plan]);
        self.until(&key, move |report| report.plan_revision == revision).await;
    }

    /// Waits until the report of `shop/api` is like this, and gives it.
    pub async fn report(&self, like: impl Fn(&Report) -> bool) -> Arc<Report> {
        self.until(&Key::new("shop", "api"), like).await
    }

    /// Waits until the first endpoint's report is like this, and gives it.
    pub async fn endpoint(&self, like: impl Fn(&EndpointReport) -> bool) -> EndpointReport {
        self.report(|report| like(&report.endpoints[0])).await.endpoints[0].clone()
    }

    /// Waits until the first endpoint's circuit is open and lets a trial through.
    pub async fn until_trial(&self) {
        let open = self
            .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Open)
            .await;
        let trial = open
            .circuit
            .next_trial
            .expect("a circuit that is not forced has a next trial");
        // Past the trial's time by what rounding of the two clocks may cost.
        let trial = trial + jiff::SignedDuration::from_millis(2);
        super::provider::eventually("the time of the next trial", || jiff::Timestamp::now() > trial).await;
    }

    /// Waits until the first credential's report is like this, and gives it.
    pub async fn credential(&self, like: impl Fn(&CredentialReport) -> bool) -> CredentialReport {
        self.report(|report| like(&report.credentials[0])).await.credentials[0].clone()
    }

    async fn until(&self, key: &Key, like: impl Fn(&Report) -> bool) -> Arc<Report> {
        let mut reports = self.reports.clone();
        let found = tokio::time::timeout(
            Duration::from_secs(10),
            reports.wait_for(|reports| reports.get(key).is_some_and(|report| like(report))),
        );
        match found.await {
            Ok(reports) => reports.unwrap()[key].clone(),
            Err(tokio::time::error::Elapsed { .. }) => {
                panic!("no such report in ten seconds: {:#?}", self.reports.borrow())
            }
        }
    }

    /// What is reported now.
    pub fn reports(&self) -> BTreeMap<Key, Arc<Report>> {
        self.reports.borrow().clone()
    }

    /// Calls `shop/api` on a connection of its own.
    pub async fn call(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Response<Bytes> {
        let request = request.body(Full::new(body.into())).unwrap();
        self.send(request).await.unwrap()
    }

    /// GETs this path.
    pub async fn get(&self, path: &str) -> Response<Bytes> {
        self.call(Request::get(path), "").await
    }

    /// Sends a request on a connection of its own, with `Host: api` unless it has one.
    pub async fn send<B>(&self, mut request: Request<B>) -> Result<Response<Bytes>, hyper::Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        request
            .headers_mut()
            .entry("host")
            .or_insert(http::HeaderValue::from_static("api"));
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Whether the runtime's time stands while real time goes on.
fn is_time_stopped() -> bool {
    let (real, ours) = (std::time::Instant::now(), tokio::time::Instant::now());
    while real.elapsed().is_zero() {
        std::hint::spin_loop();
    }
    ours.elapsed().is_zero()
}

fn collect(plans: impl IntoIterator<Item = Plan>) -> Plans {
    plans
        .into_iter()
        .map(|plan| (plan.integration.clone(), Arc::new(plan)))
        .collect()
}

/// The slug of the problem that a response is, if it is one.
pub fn problem(response: &Response<Bytes>) -> Option<&str> {
    let slug = response.headers().get("tidegate-error")?.to_str().unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    Some(slug)
}
