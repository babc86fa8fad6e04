//! Workers that are played: their Pods on loopback addresses, their control port the product's own, what they report the
//! test's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tempfile::TempDir;
use tidegate::api::integration::{CircuitState, TrippedBy};
use tidegate::domain::health::{CircuitReport, Report};
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tidegate::fleet::kubernetes::names;
use tidegate::worker::Reports;
use tidegate::worker::control::{self, Control};
use tidegate::worker::source::Source;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::apiserver::{Place, eventually};
use super::memory::adopted;

/// A ready worker of one Integration, that adopts every plan it is given.
pub struct Played {
    place: Place,
    pod: String,
    source: Arc<Source>,
    reports: watch::Sender<Reports>,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Played {
    /// Starts one, as soon as there is something to mount.
    pub async fn start(place: &Place, integration: &str, name: &str) -> Self {
        let secrets = place.api::<Secret>();
        let mounted = eventually(30, || async {
            let secret = secrets.get_opt(&names::worker(integration)).await.unwrap();
            secret
                .and_then(|secret| secret.data)
                .ok_or_else(|| "no Secret to mount".to_owned())
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in mounted {
            std::fs::write(directory.path().join(name), value.0).unwrap();
        }
        let source = Arc::new(Source::new(directory.path()));
        source.look().await;
        let address = address();
        let listener = TcpListener::bind(SocketAddr::new(address, 9443)).await.unwrap();
        let (reports, known) = watch::channel(Reports::new());
        let stop = CancellationToken::new();
        let control = Control {
            source: Arc::clone(&source),
            reports: known,
        };
        tokio::spawn(control::serve(
            listener,
            directory.path().to_owned(),
            control,
            stop.clone(),
        ));
        let played = Self {
            place: Place {
                client: place.client.clone(),
                namespace: place.namespace.clone(),
            },
            pod: name.to_owned(),
            source,
            reports,
            stop,
            _directory: directory,
        };
        played.adopt_always();
        let plan = played.running();
        played.make_pod(&plan, address).await;
        played
    }

    /// The plan it runs.
    pub fn running(&self) -> Arc<Plan> {
        let plans = self.source.plans();
        let plans = plans.borrow();
        Arc::clone(plans.values().next().unwrap())
    }

    /// Changes what it reports.
    pub fn report(&self, change: impl FnOnce(&mut Report)) {
        self.reports.send_modify(|reports| {
            let report = reports.values_mut().next().unwrap();
            change(Arc::make_mut(report));
        });
    }

    /// The breaker to its first endpoint turns.
    pub fn turn(&self, state: CircuitState) {
        let now = Timestamp::now();
        self.report(|report| {
            report.endpoints[0].circuit = CircuitReport {
                state,
                since: now,
                next_trial: (state == CircuitState::Open).then(|| now + Duration::from_secs(30)),
                tripped_by: (state != CircuitState::Closed).then_some(TrippedBy::ConsecutiveFailures),
            };
        });
    }

    /// Its process hangs or its network is cut: the Pod is there and ready, and nobody hears of it.
    pub fn fall_silent(&self) {
        self.stop.cancel();
    }

    /// Its Pod goes, as the kubelet makes it go.
    pub async fn delete(self) {
        let now = DeleteParams::default().grace_period(0);
        self.place.api::<Pod>().delete(&self.pod, &now).await.unwrap();
    }

    fn adopt_always(&self) {
        let (reports, stop) = (self.reports.clone(), self.stop.clone());
        let mut plans = self.source.plans();
        let adopt = move |plans: &std::collections::BTreeMap<Key, Arc<Plan>>| {
            reports.send_modify(|reports| {
                for (key, plan) in plans {
                    let report = adopted(plan, reports.get(key).map(AsRef::as_ref));
                    reports.insert(key.clone(), Arc::new(report));
                }
            });
        };
        adopt(&plans.borrow_and_update());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = plans.changed() => if changed.is_err() { return },
                }
                adopt(&plans.borrow_and_update());
            }
        });
    }

    async fn make_pod(&self, plan: &Plan, address: IpAddr) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": self.pod,
                "labels": {
                    "app.kubernetes.io/managed-by": "tidegate",
                    "app.kubernetes.io/component": "worker",
                    "tidegate.dev/integration": plan.integration.name,
                    "tidegate.dev/uid": plan.uid,
                },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "serviceAccountName": names::worker(&plan.integration.name),
                "containers": [{"name": "worker", "image": "i"}],
            },
        }))
        .unwrap();
        let pods = self.place.api::<Pod>();
        // The ServiceAccount is made beside the Secret, which is what was waited for.
        eventually(30, || async {
            pods.create(&PostParams::default(), &pod)
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        let status = json!({"status": {
            "phase": "Running",
            "podIP": address.to_string(),
            "podIPs": [{"ip": address.to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        pods.patch_status(&self.pod, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }
}

/// A loopback address that no other test has.
fn address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // The second byte keeps runs of two processes apart; the third, from those of the fleet's own tests.
    let process = u8::try_from(std::process::id() % 250).unwrap() + 2;
    Ipv4Addr::new(127, process, 128 | high, low).into()
}
