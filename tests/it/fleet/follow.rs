//! Workers that come, report, hang and go. Their Pods are played, on loopback addresses; their control port is real.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tempfile::TempDir;
use tidegate::api::integration::CircuitState;
use tidegate::domain::health::{Pauses, Report};
use tidegate::domain::key::Key;
use tidegate::domain::plan::Plan;
use tidegate::fleet::kubernetes::KubernetesFleet;
use tidegate::fleet::{Fleet, Observation, WorkerState};
use tidegate::worker::Reports;
use tidegate::worker::control::{self, Control};
use tidegate::worker::source::Source;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{fleet, plan, secret, settings};
use crate::support::apiserver::{self, Place};
use crate::support::loopback::address;
use crate::support::sample;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A fleet that runs, and what it observes.
struct Stage {
    place: Place,
    fleet: Arc<KubernetesFleet>,
    observations: mpsc::Receiver<Observation>,
    stop: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn stage(purpose: &str) -> Stage {
    let place = apiserver::namespace(purpose).await;
    let fleet = fleet(&place, settings(&place));
    let stop = CancellationToken::new();
    let (running, until) = (Arc::clone(&fleet), stop.clone());
    tokio::spawn(async move { running.run(until).await.unwrap() });
    Stage {
        observations: fleet.observations(),
        place,
        fleet,
        stop,
    }
}

impl Stage {
    fn plan(&self) -> Plan {
        plan(&self.place)
    }

    async fn program(&self, plan: Plan) {
        self.fleet.program(&sample::workload(plan)).await.unwrap();
    }

    /// Waits for an observation of the worker `name` that is as wanted. Other tests have workers on the same server.
    async fn until(&mut self, name: &str, wanted: impl Fn(&WorkerState) -> bool) {
        let namespace = self.place.namespace.clone();
        let mut seen = Vec::new();
        let found = timeout(DEADLINE, async {
            loop {
                let observation = self.observations.recv().await.expect("the fleet runs");
                if *observation.integration.namespace != *namespace || *observation.worker != *name {
                    continue;
                }
                if wanted(&observation.state) {
                    return;
                }
                seen.push(observation.state);
            }
        });
        let found = found.await;
        assert!(found.is_ok(), "not observed; this was: {seen:#?}");
    }

    /// A Pod as the kubelet would have it.
    async fn pod(&self, name: &str, plan: &Plan, address: IpAddr, ready: bool) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {
                    "app.kubernetes.io/managed-by": "tidegate",
                    "app.kubernetes.io/component": "worker",
                    "tidegate.dev/integration": plan.integration.name,
                    "tidegate.dev/uid": plan.uid,
                },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "serviceAccountName": "payments-api-worker",
                "containers": [{"name": "worker", "image": "i"}],
            },
        }))
        .unwrap();
        self.place
            .api::<Pod>()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
        self.place_pod(name, address, ready).await;
    }

    async fn place_pod(&self, name: &str, address: IpAddr, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running",
            "podIP": address.to_string(),
            "podIPs": [{"ip": address.to_string()}],
            "conditions": [{"type": "Ready", "status": ready}],
        }});
        let pods = self.place.api::<Pod>();
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    async fn delete_pod(&self, name: &str) {
        let now = DeleteParams::default().grace_period(0);
        self.place.api::<Pod>().delete(name, &now).await.unwrap();
    }

    /// A worker with what is mounted now.
    async fn worker(&self, address: IpAddr) -> PlayedWorker {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in secret(&self.place, &self.plan()).await.data.unwrap() {
            std::fs::write(directory.path().join(name), value.0).unwrap();
        }
        PlayedWorker::start(directory, address).await
    }
}

/// The control port of a worker, and what it would say.
struct PlayedWorker {
    source: Arc<Source>,
    reports: watch::Sender<Reports>,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Drop for PlayedWorker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl PlayedWorker {
    async fn start(directory: TempDir, address: IpAddr) -> Self {
        let source = Arc::new(Source::new(directory.path()));
        source.look().await;
        let (reports, known) = watch::channel(Reports::new());
        let listener = TcpListener::bind(SocketAddr::new(address, 9443)).await.unwrap();
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
        let worker = Self {
            source,
            reports,
            stop,
            _directory: directory,
        };
        worker.say(CircuitState::Closed);
        worker
    }

    fn running(&self) -> Arc<Plan> {
        let plans = self.source.plans();
        let plans = plans.borrow();
        Arc::clone(plans.values().next().unwrap())
    }

    /// Reports this state of its circuit, and the plan that it runs.
    fn say(&self, state: CircuitState) -> Report {
        let report = sample::report(&self.running(), state);
        self.reports.send_replace(sample::reports(report.clone()));
        report
    }

    /// Reports that it was asked for these pauses.
    fn was_asked(&self, pauses: &Pauses) {
        let report = Report {
            paused_until: pauses.clone(),
            ..sample::report(&self.running(), CircuitState::Closed)
        };
        self.reports.send_replace(sample::reports(report));
    }

    async fn until_it_heeds(&self, pauses: &Pauses) {
        let mut told = self.source.pauses();
        let heeds = timeout(DEADLINE, told.wait_for(|told| told == pauses));
        heeds.await.expect("the pauses are told").unwrap();
    }

    async fn until_it_has(&self, of: u32) {
        let mut share = self.source.share();
        let has = timeout(DEADLINE, share.wait_for(|share| *share == Some(of)));
        has.await.expect("the share is told").unwrap();
    }

    async fn until_it_runs(&self, revision: u64) {
        let mut plans = self.source.plans();
        let runs = plans.wait_for(|plans| plans.values().any(|plan| plan.revision == revision));
        timeout(DEADLINE, runs).await.expect("the push arrives").unwrap();
    }
}

fn reports(circuit: CircuitState) -> impl Fn(&WorkerState) -> bool {
    move |state| match state {
        WorkerState::Present {
            ready: true,
            report: Some(report),
        } => report.endpoints[0].circuit.state == circuit,
        _ => false,
    }
}

fn is_silent(state: &WorkerState) -> bool {
    matches!(state, WorkerState::Present { report: None, .. })
}

#[tokio::test]
async fn report_comes_with_each_change_and_counts_while_the_worker_is_there() {
    let mut stage = stage("follow-life").await;
    stage.program(stage.plan()).await;
    let address = address();
    let worker = stage.worker(address).await;
    stage.pod("worker-1", &stage.plan(), address, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
    worker.say(CircuitState::Open);
    stage.until("worker-1", reports(CircuitState::Open)).await;

    // The process ends: what it last said counts no more.
    drop(worker);
    stage.until("worker-1", is_silent).await;
    // The kubelet restarts it.
    let _worker = stage.worker(address).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;

    stage.delete_pod("worker-1").await;
    stage.until("worker-1", |state| *state == WorkerState::Gone).await;
}

#[tokio::test]
async fn plan_is_pushed_to_workers_that_run_and_to_those_that_come_back_with_an_old_one() {
    let mut stage = stage("follow-push").await;
    stage.program(stage.plan()).await;
    let (one, two) = (address(), address());
    let first = stage.worker(one).await;
    let second = stage.worker(two).await;
    stage.pod("worker-1", &stage.plan(), one, true).await;
    stage.pod("worker-2", &stage.plan(), two, false).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;

    let newer = Plan {
        revision: 8,
        ..stage.plan()
    };
    stage.program(newer).await;
    first.until_it_runs(8).await;
    second.until_it_runs(8).await;

    // A mount may be behind by a minute: this one still has revision 7.
    let behind = tempfile::tempdir().unwrap();
    for (name, value) in secret(&stage.place, &stage.plan()).await.data.unwrap() {
        std::fs::write(behind.path().join(name), value.0).unwrap();
    }
    std::fs::write(
        behind.path().join("plan.json"),
        serde_json::to_vec(&stage.plan()).unwrap(),
    )
    .unwrap();
    drop(first);
    stage.until("worker-1", is_silent).await;
    let restarted = PlayedWorker::start(behind, one).await;
    restarted.until_it_runs(8).await;
}

#[tokio::test]
async fn fleet_that_starts_later_finds_the_workers_and_their_reports() {
    let mut stage = stage("follow-late").await;
    stage.program(stage.plan()).await;
    let address = address();
    let _worker = stage.worker(address).await;
    stage.pod("worker-1", &stage.plan(), address, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;

    // Another replica takes over; it has programmed nothing yet.
    stage.stop.cancel();
    let fleet = fleet(&stage.place, settings(&stage.place));
    let stop = CancellationToken::new();
    let (running, until) = (Arc::clone(&fleet), stop.clone());
    tokio::spawn(async move { running.run(until).await.unwrap() });
    stage.observations = fleet.observations();
    stage.fleet = fleet;
    stage.stop = stop;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
}

#[tokio::test]
async fn readiness_and_address_are_those_of_the_pod() {
    let mut stage = stage("follow-pod").await;
    stage.program(stage.plan()).await;
    let (before, after) = (address(), address());
    stage.pod("worker-1", &stage.plan(), before, false).await;
    let not_ready = |state: &WorkerState| matches!(state, WorkerState::Present { ready: false, .. });
    stage.until("worker-1", not_ready).await;
    let _worker = stage.worker(after).await;
    stage.place_pod("worker-1", after, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
    stage.place_pod("worker-1", after, false).await;
    let heard_but_not_ready = |state: &WorkerState| {
        matches!(
            state,
            WorkerState::Present {
                ready: false,
                report: Some(_)
            }
        )
    };
    stage.until("worker-1", heard_but_not_ready).await;
}

#[tokio::test]
async fn worker_speaks_only_for_the_integration_of_its_certificate() {
    let mut stage = stage("follow-lie").await;
    stage.program(stage.plan()).await;
    let address = address();
    let worker = stage.worker(address).await;
    // Labels are a tenant's to set: a Pod that claims to work for another Integration.
    let claimed = Plan {
        uid: "uid-of-another".into(),
        ..stage.plan()
    };
    stage.pod("impostor", &claimed, address, true).await;
    stage.pod("worker-1", &stage.plan(), address, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
    // And a worker of ours that reports about another.
    let foreign = Report {
        uid: "uid-of-another".into(),
        ..sample::report(&worker.running(), CircuitState::Open)
    };
    let mut both = sample::reports(sample::report(&worker.running(), CircuitState::HalfOpen));
    // Sent first, because it stands first.
    both.insert(Key::new("a", "a"), Arc::new(foreign));
    worker.reports.send_replace(both);
    let mut impostor_heard = false;
    let mut foreign_heard = false;
    timeout(DEADLINE, async {
        loop {
            let observation = stage.observations.recv().await.unwrap();
            if *observation.integration.namespace != *stage.place.namespace {
                continue;
            }
            if let WorkerState::Present {
                report: Some(report), ..
            } = &observation.state
            {
                impostor_heard |= *observation.worker == *"impostor";
                foreign_heard |= report.uid != stage.plan().uid;
                if report.endpoints[0].circuit.state == CircuitState::HalfOpen {
                    return;
                }
            }
        }
    })
    .await
    .unwrap();
    assert!(!impostor_heard && !foreign_heard);
}

#[tokio::test]
async fn forgotten_integration_gets_no_more_plans() {
    let mut stage = stage("follow-forget").await;
    stage.program(stage.plan()).await;
    stage.fleet.forget(&stage.plan().integration).await.unwrap();
    let address = address();
    let directory = tempfile::tempdir().unwrap();
    for (name, value) in secret(&stage.place, &stage.plan()).await.data.unwrap() {
        std::fs::write(directory.path().join(name), value.0).unwrap();
    }
    let older = Plan {
        revision: 6,
        ..stage.plan()
    };
    std::fs::write(directory.path().join("plan.json"), serde_json::to_vec(&older).unwrap()).unwrap();
    let worker = PlayedWorker::start(directory, address).await;
    stage.pod("worker-1", &stage.plan(), address, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
    worker.say(CircuitState::Open);
    stage.until("worker-1", reports(CircuitState::Open)).await;
    assert_eq!(worker.running().revision, 6);
    // Programmed again, it is pushed again.
    stage.program(stage.plan()).await;
    worker.until_it_runs(7).await;
}

#[tokio::test]
async fn workers_take_the_next_plan_although_the_count_of_revisions_was_lost() {
    let mut stage = stage("follow-count").await;
    stage.program(stage.plan()).await;
    let address = address();
    let worker = stage.worker(address).await;
    stage.pod("worker-1", &stage.plan(), address, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;

    // The Secret is deleted and made anew from what this process knows.
    let secrets = stage.place.api::<Secret>();
    let delete = async || {
        secrets
            .delete("payments-api-worker", &DeleteParams::default())
            .await
            .unwrap()
    };
    delete().await;
    let (key, uid) = (stage.plan().integration, stage.plan().uid);
    assert_eq!(stage.fleet.programmed(&key, &uid).await.unwrap(), Some(stage.plan()));

    // Another replica knows nothing, and begins to count at 1, with another plan.
    stage.stop.cancel();
    let fleet = fleet(&stage.place, settings(&stage.place));
    assert_eq!(fleet.programmed(&key, &uid).await.unwrap(), None);
    let stop = CancellationToken::new();
    let (running, until) = (Arc::clone(&fleet), stop.clone());
    tokio::spawn(async move { running.run(until).await.unwrap() });
    stage.observations = fleet.observations();
    stage.fleet = fleet;
    stage.stop = stop;
    let first = Plan {
        revision: 1,
        generation: 99,
        ..stage.plan()
    };
    stage.program(first.clone()).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
    assert_eq!(worker.running().revision, 7);
    // What it heard wakes the reconciler, which programs what it programmed before.
    stage.program(first).await;
    worker.until_it_runs(8).await;
    assert_eq!(worker.running().generation, 99);
    let stored = stage.fleet.programmed(&key, &uid).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.generation), (8, 99));
}

#[tokio::test]
async fn shares_of_the_rate_limit_follow_the_workers_and_the_old_shrink_before_the_new_get_any() {
    let mut stage = stage("follow-shares").await;
    let limited = Plan {
        rate_limit: Some(tidegate::domain::plan::RateLimitPlan {
            requests: 100,
            interval: Duration::from_secs(1),
            burst: 20,
            max_wait: Duration::from_secs(1),
            workers: 1,
        }),
        ..stage.plan()
    };
    stage.program(limited.clone()).await;
    let (one, two) = (address(), address());
    let first = stage.worker(one).await;
    stage.pod("worker-1", &limited, one, true).await;
    first.until_it_has(1).await;

    // A second one comes while the first cannot be told: it gets nothing.
    drop(first);
    stage.until("worker-1", is_silent).await;
    let second = stage.worker(two).await;
    stage.pod("worker-2", &limited, two, true).await;
    second.until_it_has(0).await;
    // The first is back, and has started anew; the two share.
    let first = stage.worker(one).await;
    first.until_it_has(2).await;
    second.until_it_has(2).await;

    // It goes for good.
    drop(first);
    stage.delete_pod("worker-1").await;
    second.until_it_has(1).await;

    // More are wanted: room is made for them at once.
    let mut scaled = limited;
    scaled.revision += 1;
    scaled.rate_limit.as_mut().unwrap().workers = 4;
    stage.program(scaled).await;
    second.until_it_has(4).await;
}

#[tokio::test]
async fn what_one_worker_was_asked_for_is_told_to_all_and_outlives_it() {
    let mut stage = stage("follow-pauses").await;
    let plan = stage.plan();
    stage.program(plan.clone()).await;
    let (one, two, three) = (address(), address(), address());
    let (first, second) = (stage.worker(one).await, stage.worker(two).await);
    stage.pod("worker-1", &plan, one, true).await;
    stage.pod("worker-2", &plan, two, true).await;
    stage.until("worker-1", reports(CircuitState::Closed)).await;
    stage.until("worker-2", reports(CircuitState::Closed)).await;

    let until = |second| Timestamp::from_second(second).unwrap();
    let pauses = |second| Pauses::from([("api.example.com".to_owned(), until(second))]);
    first.was_asked(&pauses(4_000_000_000));
    second.until_it_heeds(&pauses(4_000_000_000)).await;
    // The longest counts, whoever was asked for it.
    second.was_asked(&pauses(4_000_000_010));
    first.until_it_heeds(&pauses(4_000_000_010)).await;

    // The two go, and one comes that knows nothing.
    for (name, worker) in [("worker-1", first), ("worker-2", second)] {
        drop(worker);
        stage.delete_pod(name).await;
    }
    let third = stage.worker(three).await;
    stage.pod("worker-3", &plan, three, true).await;
    third.until_it_heeds(&pauses(4_000_000_010)).await;
}
