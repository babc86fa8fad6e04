//! The fleet on Kubernetes: a Deployment for each Integration, plans mounted and pushed, reports followed.
//!
//! Flow: [`build`] says which objects a workload comes to, [`apply`] makes the API server agree, [`link`] keeps one
//! control connection to each worker that [`follow`] sees and pushes newer plans over it.
//!
//! Guarantees: an object that is not ours is never touched. What is already so is not written again. A plan is stored
//! before it is pushed, so that a worker that restarts never falls back behind what it has served.

use std::collections::BTreeMap;

use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Fleet, FleetError, Observation, Workload};
use crate::api::integration::{ResourceAmounts, Resources};
use crate::domain::key::Key;
use crate::domain::plan::Plan;

pub mod build;
pub mod names;

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
    client: kube::Client,
    watch_client: kube::Client,
    settings: Settings,
}

impl KubernetesFleet {
    /// A fleet that makes single calls with `client` and watches with `watch_client`, whose read timeout is longer than
    /// a watch is silent. Nothing is called before [`run`](Self::run) and the port's functions are.
    pub fn new(client: kube::Client, watch_client: kube::Client, settings: Settings) -> Self {
        Self {
            client,
            watch_client,
            settings,
        }
    }

    /// Follows the workers until `stop`. To be called once, by the replica that leads.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), FleetError> {
        let _ = (&self.client, &self.watch_client, &self.settings, stop);
        todo!()
    }
}

impl Fleet for KubernetesFleet {
    fn observations(&self) -> mpsc::Receiver<Observation> {
        todo!()
    }

    async fn programmed(&self, key: &Key, uid: &str) -> Result<Option<Plan>, FleetError> {
        let _ = (key, uid);
        todo!()
    }

    async fn program(&self, workload: &Workload) -> Result<(), FleetError> {
        let _ = workload;
        todo!()
    }

    async fn forget(&self, key: &Key) -> Result<(), FleetError> {
        let _ = key;
        todo!()
    }
}
