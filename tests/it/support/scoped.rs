//! A controller on the real API server that keeps to the namespace of one test: others have objects there too.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tidegate::api::credential::{Credential, CredentialStatus};
use tidegate::api::integration::{Integration, IntegrationStatus};
use tidegate::cluster::kubernetes::Kubernetes;
use tidegate::cluster::{Change, Cluster, ClusterError, Data, Held, Keep, Notice};
use tidegate::controller::{self, ControllerError};
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tidegate::fleet::kubernetes::{KubernetesFleet, Settings};
use tidegate::fleet::{Fleet, FleetError, Observation, Workload};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::apiserver::Place;

/// A port that tells only of one namespace.
pub struct Scoped<P> {
    port: P,
    namespace: String,
}

impl<P> Scoped<P> {
    /// `port`, as far as it is about this namespace.
    pub fn new(port: P, namespace: &str) -> Arc<Self> {
        Arc::new(Self {
            port,
            namespace: namespace.to_owned(),
        })
    }

    fn filter<T: Send + 'static>(&self, mut all: mpsc::Receiver<T>, namespace: fn(&T) -> &Key) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::channel(64);
        let wanted = self.namespace.clone();
        tokio::spawn(async move {
            while let Some(one) = all.recv().await {
                if *namespace(&one).namespace == *wanted && sender.send(one).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

impl<C: Cluster> Cluster for Scoped<C> {
    fn changes(&self) -> mpsc::Receiver<Change> {
        self.filter(self.port.changes(), |change| match change {
            Change::Integration(key)
            | Change::Credential(key)
            | Change::Secret(key)
            | Change::ConfigMap(key)
            | Change::Owned(key) => key,
        })
    }

    async fn integration(&self, key: &Key) -> Result<Option<Integration>, ClusterError> {
        self.port.integration(key).await
    }

    async fn credential(&self, key: &Key) -> Result<Option<Credential>, ClusterError> {
        self.port.credential(key).await
    }

    async fn secret(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        self.port.secret(key).await
    }

    async fn config_map(&self, key: &Key) -> Result<Option<Data>, ClusterError> {
        self.port.config_map(key).await
    }

    async fn write_integration_status(
        &self,
        key: &Key,
        uid: &str,
        status: &IntegrationStatus,
    ) -> Result<(), ClusterError> {
        self.port.write_integration_status(key, uid, status).await
    }

    async fn write_credential_status(
        &self,
        key: &Key,
        uid: &str,
        status: &CredentialStatus,
    ) -> Result<(), ClusterError> {
        self.port.write_credential_status(key, uid, status).await
    }

    async fn held(&self, key: &Key) -> Result<Option<Held>, ClusterError> {
        self.port.held(key).await
    }

    async fn keep(&self, secret: &Keep, before: Option<&Held>) -> Result<Held, ClusterError> {
        self.port.keep(secret, before).await
    }

    async fn rehearse(&self, secret: &Keep, before: Option<&Held>) -> Result<(), ClusterError> {
        self.port.rehearse(secret, before).await
    }

    async fn discard(&self, key: &Key, held: &Held) -> Result<(), ClusterError> {
        self.port.discard(key, held).await
    }

    async fn set_finalizer(&self, key: &Key, credential: &Credential, present: bool) -> Result<(), ClusterError> {
        self.port.set_finalizer(key, credential, present).await
    }

    async fn publish(&self, notice: Notice) {
        self.port.publish(notice).await;
    }
}

impl Fleet for Scoped<Arc<KubernetesFleet>> {
    fn observations(&self) -> mpsc::Receiver<Observation> {
        self.filter(self.port.observations(), |observation| &observation.integration)
    }

    async fn programmed(&self, key: &Key, uid: &str) -> Result<Option<Plan>, FleetError> {
        self.port.programmed(key, uid).await
    }

    async fn program(&self, workload: &Workload) -> Result<(), FleetError> {
        self.port.program(workload).await
    }

    async fn forget(&self, key: &Key) -> Result<(), FleetError> {
        self.port.forget(key).await
    }
}

/// The whole control plane, for one namespace.
pub struct ControlPlane {
    stop: CancellationToken,
    ended: CancellationToken,
    task: JoinHandle<Result<(), ControllerError>>,
}

impl ControlPlane {
    /// Starts it; `calling` reads and writes, and may be made to fail.
    pub fn start(place: &Place, calling: Client) -> Self {
        Self::start_with(place, calling, |_| ())
    }

    /// Starts it with other settings.
    pub fn start_with(place: &Place, calling: Client, change: impl FnOnce(&mut controller::Settings)) -> Self {
        Self::start_apart(place, calling.clone(), calling, change)
    }

    /// The same; what programs workers calls with a client of its own.
    pub fn start_apart(
        place: &Place,
        calling: Client,
        programming: Client,
        change: impl FnOnce(&mut controller::Settings),
    ) -> Self {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let cluster = Kubernetes::start(calling, place.client.clone(), "test".into(), &ended);
        let settings = Settings::new("registry.example/tidegate:1", &place.namespace);
        let fleet = Arc::new(KubernetesFleet::new(programming, place.client.clone(), settings));
        let (following, until) = (fleet.clone(), ended.clone());
        tokio::spawn(async move {
            // It fails where the call that makes the authority is the one that is to fail; the next one makes it.
            let _ = following.run(until).await;
        });
        let mut settings = controller::Settings {
            // Nothing here is restarted among workers that are slow to be found.
            settle: Duration::from_secs(5),
            ..controller::Settings::default()
        };
        change(&mut settings);
        let task = tokio::spawn(controller::run(
            Scoped::new(cluster, &place.namespace),
            Scoped::new(fleet, &place.namespace),
            settings,
            stop.clone(),
        ));
        Self { stop, ended, task }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.ended.cancel();
        self.task.abort();
    }
}
