//! The fleet on Kubernetes: a Deployment for each Integration, plans mounted and pushed, reports followed.
//!
//! Flow: [`build`] says which objects a workload comes to, [`apply`] makes the API server agree, [`link`] keeps one
//! control connection to each worker that [`follow`] sees and pushes newer plans over it.
//!
//! Guarantees: an object that is not ours is never touched. What is already so is not written again. A plan is stored
//! before it is pushed, so that a worker that restarts never falls back behind what it has served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::authority::WorkerTls;
use super::{Fleet, FleetError, Observation, Workload, take_once};
use crate::api::integration::{ResourceAmounts, Resources};
use crate::domain::key::Key;
use crate::domain::plan::Plan;
use crate::domain::secret::SecretValue;
use apply::{Applied, is_ours};
use calls::Call;
use pauses::Pauses;
use shares::Shares;
use trust::TrustStore;
use wanted::Wanted;

pub mod apply;
pub mod build;
mod calls;
pub mod difference;
pub mod follow;
mod keep;
pub mod link;
pub mod names;
mod pauses;
pub mod pod;
mod shares;
pub mod trust;
mod wanted;

/// Observations that may wait for the controller; more, and the links wait for it, and the workers for them.
const WAITING: usize = 256;

/// What the installation says about the workers it creates.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the workers: this program's own.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; absent: Kubernetes' default for the image's tag.
    pub image_pull_policy: Option<String>,
    /// Namespace the controller runs in; its CA is kept there, and workers take control connections from there alone.
    pub namespace: String,
    /// Namespaces that may read the workers' metrics, besides the controller's.
    pub scrape_namespaces: Vec<String>,
    /// `RUST_LOG` of the workers.
    pub log_level: String,
    /// `OTEL_*` variables of the workers.
    pub spans: Vec<(String, String)>,
    /// Further arguments of `tidegate worker`, after our own.
    pub extra_args: Vec<String>,
    /// Compute resources of a worker whose Integration names none.
    pub resources: Resources,
    /// Workers may dial loopback addresses.
    pub allow_loopback: bool,
    /// Networks that workers may not dial, besides those that are always refused.
    pub denied: Vec<IpNet>,
    /// Whether a NetworkPolicy guards the workers.
    pub network_policy: bool,
}

impl Settings {
    /// Settings for `image`, with the controller in `namespace`, and everything else as the chart has it by default.
    pub fn new(image: impl Into<String>, namespace: impl Into<String>) -> Self {
        let amounts = |cpu: Option<&str>, memory: &str| ResourceAmounts {
            cpu: cpu.map(Into::into),
            memory: Some(memory.into()),
        };
        Self {
            image: image.into(),
            image_pull_policy: None,
            namespace: namespace.into(),
            scrape_namespaces: Vec::new(),
            log_level: "info".into(),
            spans: Vec::new(),
            extra_args: Vec::new(),
            resources: Resources {
                requests: Some(amounts(Some("10m"), "24Mi")),
                // No CPU limit: throttling would show as latency of somebody else's API.
                limits: Some(amounts(None, "256Mi")),
            },
            allow_loopback: false,
            denied: Vec::new(),
            network_policy: true,
        }
    }
}

type Labels = BTreeMap<String, String>;

/// Programs workers that run as Deployments.
pub struct KubernetesFleet {
    client: Client,
    watch_client: Client,
    settings: Settings,
    trust: Arc<TrustStore>,
    wanted: Arc<Wanted>,
    shares: Arc<Shares>,
    pauses: Arc<Pauses>,
    observed: mpsc::Sender<Observation>,
    observations: Mutex<Option<mpsc::Receiver<Observation>>>,
}

impl KubernetesFleet {
    /// A fleet that makes single calls with `client` and watches with `watch_client`, whose read timeout is longer than
    /// a watch may be silent (a minute). Nothing is called before [`run`](Self::run) and the port's functions are.
    pub fn new(client: Client, watch_client: Client, settings: Settings) -> Self {
        let (observed, observations) = mpsc::channel(WAITING);
        Self {
            trust: Arc::new(TrustStore::new(client.clone(), &settings.namespace)),
            client,
            watch_client,
            settings,
            wanted: Arc::default(),
            shares: Arc::default(),
            pauses: Arc::default(),
            observed,
            observations: Mutex::new(Some(observations)),
        }
    }

    /// Follows the workers until `stop`. To be called once, by the replica that leads. Fails at the start only, where
    /// there is no authority and none can be made.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), FleetError> {
        self.trust.trust(Timestamp::now()).await?;
        let context = follow::Context {
            wanted: Arc::clone(&self.wanted),
            shares: Arc::clone(&self.shares),
            pauses: Arc::clone(&self.pauses),
            trust: Arc::clone(&self.trust),
            observed: self.observed.clone(),
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow::follow(self.watch_client.clone(), context) => {}
        }
        Ok(())
    }

    /// The Secret with the plan of `key`, if it belongs to the Integration with this UID.
    async fn secret(&self, key: &Key) -> Result<Option<Secret>, FleetError> {
        let name = Key::new(key.namespace.clone(), names::worker(&key.name));
        apply::read(&self.client, &name).await
    }
}

impl Fleet for KubernetesFleet {
    fn observations(&self) -> mpsc::Receiver<Observation> {
        take_once(&self.observations)
    }

    async fn programmed(&self, key: &Key, uid: &str) -> Result<Option<Plan>, FleetError> {
        let secret = self.secret(key).await?;
        if secret.as_ref().is_some_and(|secret| !is_ours(&secret.metadata, uid)) {
            return Ok(None);
        }
        let stored = secret.as_ref().and_then(|secret| stored_plan(secret, uid));
        // Should the Secret be lost or broken, what this process stored there last is as good.
        Ok(stored.or_else(|| self.wanted.get(key, uid).map(Arc::unwrap_or_clone)))
    }

    async fn program(&self, workload: &Workload) -> Result<(), FleetError> {
        let workload = &Workload {
            plan: self.wanted.overtake(&workload.plan),
            ..workload.clone()
        };
        let plan = &workload.plan;
        let now = Timestamp::now();
        let trust = self.trust.trust(now).await?;
        let secret = self.secret(&plan.integration).await?;
        let stored = secret
            .as_ref()
            .filter(|secret| is_ours(&secret.metadata, &plan.uid))
            .and_then(stored_tls);
        let call = Call {
            verb: "build",
            kind: "Secret",
            key: &plan.integration,
        };
        let tls = trust
            .authority
            .worker_tls(&plan.uid, stored, now)
            .map_err(|error| call.failed(error.to_string()))?;
        let objects = build::build(workload, &tls, &self.settings).map_err(|error| call.failed(error.to_string()))?;
        // Boxed: it holds six typed objects, and every reconcile would carry their size.
        let applied = Box::pin(apply::apply(&self.client, plan, objects, secret.as_ref())).await?;
        self.push(plan, &applied);
        Ok(())
    }

    async fn forget(&self, key: &Key) -> Result<(), FleetError> {
        self.wanted.clear(key);
        self.shares.want(key, None);
        self.pauses.clear(key);
        Ok(())
    }
}

impl KubernetesFleet {
    /// Pushes a plan that is stored to the workers that run.
    fn push(&self, plan: &Arc<Plan>, _applied: &Applied) {
        self.shares.want(&plan.integration, plan.rate_limit.as_ref());
        self.wanted.set(plan);
    }
}

/// The plan as it is stored, if it can be read.
fn stored_plan(secret: &Secret, uid: &str) -> Option<Plan> {
    let ByteString(text) = secret.data.as_ref()?.get(build::PLAN)?;
    // Without the reason, which might quote what stands there.
    let unreadable = |_| tracing::warn!(secret = secret.metadata.name, "the stored plan cannot be read");
    let plan: Plan = serde_json::from_slice(text).map_err(unreadable).ok()?;
    (plan.uid == uid).then_some(plan)
}

/// The worker's TLS material as it is stored.
fn stored_tls(secret: &Secret) -> Option<WorkerTls> {
    let text = |key: &str| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
    Some(WorkerTls {
        certificate: text(build::CERTIFICATE)?,
        key: SecretValue::new(text(build::PRIVATE_KEY)?),
        authority: text(build::AUTHORITY)?,
    })
}
