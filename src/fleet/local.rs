//! The fleet of `tidegate run`: one worker, in this process, reached through channels.
//!
//! Plans go into a `watch` channel that the worker serves from, its reports come back through another. What is observed
//! is a function of the two, so nothing can be told twice or in the wrong order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Fleet, FleetError, Observation, WorkerState, Workload};
use crate::domain::health::Report;
use crate::domain::key::Key;
use crate::domain::plan::Plan;

/// The name of the one worker.
pub const WORKER: &str = "local";

/// Observations that may wait for the controller; more, and the fleet waits for it.
const WAITING: usize = 64;

type Plans = BTreeMap<Key, Arc<Plan>>;
type Reports = BTreeMap<Key, Arc<Report>>;
/// The report of each Integration that has a plan, `None` until the worker has taken it over.
type Picture = BTreeMap<Key, Option<Arc<Report>>>;

/// Programs the worker of this process.
#[derive(Debug)]
pub struct LocalFleet {
    plans: watch::Sender<Plans>,
    observations: Mutex<Option<mpsc::Receiver<Observation>>>,
}

/// The worker's ends of the channels, as `worker::serve` takes them.
#[derive(Debug)]
pub struct LocalEnds {
    /// What to serve.
    pub plans: watch::Receiver<Plans>,
    /// What is known.
    pub reports: watch::Sender<Reports>,
}

impl LocalFleet {
    /// A fleet and the worker's ends of it. Reports are followed in a task that ends with `stop`; needs a runtime.
    pub fn start(stop: CancellationToken) -> (Self, LocalEnds) {
        let (plans, plans_to_serve) = watch::channel(Plans::new());
        let (reports, reports_to_follow) = watch::channel(Reports::new());
        let (observed, observations) = mpsc::channel(WAITING);
        let followed_plans = plans.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow(followed_plans, reports_to_follow, observed) => {}
            }
        });
        let fleet = Self {
            plans,
            observations: Mutex::new(Some(observations)),
        };
        let ends = LocalEnds {
            plans: plans_to_serve,
            reports,
        };
        (fleet, ends)
    }
}

impl Fleet for LocalFleet {
    fn observations(&self) -> mpsc::Receiver<Observation> {
        super::take_once(&self.observations)
    }

    async fn programmed(&self, key: &Key, uid: &str) -> Result<Option<Plan>, FleetError> {
        let plans = self.plans.borrow();
        Ok(plans
            .get(key)
            .filter(|plan| plan.uid == uid)
            .map(|plan| Plan::clone(plan)))
    }

    async fn program(&self, workload: &Workload) -> Result<(), FleetError> {
        // The one worker has neither replicas nor a network policy: whoever can reach its port may call.
        let Workload {
            plan,
            replicas: _,
            resources: _,
            access: _,
        } = workload;
        self.plans.send_if_modified(|plans| {
            let changed = plans.get(&plan.integration) != Some(plan);
            if changed {
                plans.insert(plan.integration.clone(), Arc::clone(plan));
            }
            changed
        });
        Ok(())
    }

    async fn forget(&self, key: &Key) -> Result<(), FleetError> {
        self.plans.send_if_modified(|plans| plans.remove(key).is_some());
        Ok(())
    }
}

/// Sends what changed in the picture, until the controller or the worker is gone.
async fn follow(
    mut plans: watch::Receiver<Plans>,
    mut reports: watch::Receiver<Reports>,
    observed: mpsc::Sender<Observation>,
) {
    let mut told = Picture::new();
    let mut worker_lives = true;
    loop {
        let now = picture(&plans.borrow_and_update(), &reports.borrow_and_update(), worker_lives);
        for observation in differences(&told, &now) {
            if observed.send(observation).await.is_err() {
                return;
            }
        }
        told = now;
        tokio::select! {
            changed = plans.changed() => if changed.is_err() { return },
            changed = reports.changed(), if worker_lives => worker_lives = changed.is_ok(),
        }
    }
}

/// What is known of the worker: a report counts for the Integration whose plan it is about, and while the worker lives.
fn picture(plans: &Plans, reports: &Reports, worker_lives: bool) -> Picture {
    plans
        .iter()
        .map(|(key, plan)| {
            let report = reports.get(key).filter(|report| worker_lives && report.uid == plan.uid);
            (key.clone(), report.cloned())
        })
        .collect()
}

/// The observations that lead from one picture to the next.
fn differences(told: &Picture, now: &Picture) -> Vec<Observation> {
    let observation = |key: &Key, state| Observation {
        integration: key.clone(),
        worker: WORKER.into(),
        state,
    };
    let gone = told.keys().filter(|key| !now.contains_key(*key));
    let changed = now.iter().filter(|(key, report)| told.get(*key) != Some(*report));
    gone.map(|key| observation(key, WorkerState::Gone))
        .chain(changed.map(|(key, report)| {
            let report = report.clone();
            observation(key, WorkerState::Present { ready: true, report })
        }))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::fleet::sample;

    async fn next(observations: &mut mpsc::Receiver<Observation>) -> Observation {
        timeout(Duration::from_secs(5), observations.recv())
            .await
            .unwrap()
            .unwrap()
    }

    fn present(report: Option<Arc<Report>>) -> WorkerState {
        WorkerState::Present { ready: true, report }
    }

    #[tokio::test]
    async fn plan_reaches_the_worker_and_its_report_comes_back() {
        let (fleet, ends) = LocalFleet::start(CancellationToken::new());
        let mut observations = fleet.observations();
        let workload = sample::workload();
        let key = workload.plan.integration.clone();

        fleet.program(&workload).await.unwrap();
        assert_eq!(ends.plans.borrow().get(&key), Some(&workload.plan));
        assert_eq!(next(&mut observations).await.state, present(None));

        let report = Arc::new(sample::report(&workload.plan));
        ends.reports.send_modify(|reports| {
            reports.insert(key.clone(), Arc::clone(&report));
        });
        let observation = next(&mut observations).await;
        assert_eq!((&observation.integration, &*observation.worker), (&key, WORKER));
        assert_eq!(observation.state, present(Some(report)));

        fleet.forget(&key).await.unwrap();
        assert!(ends.plans.borrow().is_empty());
        assert_eq!(next(&mut observations).await.state, WorkerState::Gone);
    }

    #[tokio::test]
    async fn programming_the_same_plan_again_changes_nothing() {
        let (fleet, mut ends) = LocalFleet::start(CancellationToken::new());
        fleet.program(&sample::workload()).await.unwrap();
        ends.plans.borrow_and_update();
        fleet.program(&sample::workload()).await.unwrap();
        assert!(!ends.plans.has_changed().unwrap());
    }

    #[tokio::test]
    async fn plan_of_a_predecessor_of_the_same_name_is_not_found() {
        let (fleet, _ends) = LocalFleet::start(CancellationToken::new());
        let workload = sample::workload();
        fleet.program(&workload).await.unwrap();
        let key = &workload.plan.integration;
        assert_eq!(
            fleet.programmed(key, &workload.plan.uid).await.unwrap().as_ref(),
            Some(&*workload.plan)
        );
        assert_eq!(fleet.programmed(key, "another-uid").await.unwrap(), None);
    }

    #[tokio::test]
    async fn worker_that_is_gone_leaves_no_report_behind() {
        let (fleet, ends) = LocalFleet::start(CancellationToken::new());
        let mut observations = fleet.observations();
        let workload = sample::workload();
        let report = Arc::new(sample::report(&workload.plan));
        ends.reports.send_modify(|reports| {
            reports.insert(workload.plan.integration.clone(), Arc::clone(&report));
        });
        fleet.program(&workload).await.unwrap();
        // The report may be there at once, or in a second observation: both are what happened.
        while next(&mut observations).await.state != present(Some(Arc::clone(&report))) {}
        drop(ends);
        assert_eq!(next(&mut observations).await.state, present(None));
    }

    #[test]
    fn report_about_a_predecessor_does_not_count() {
        let workload = sample::workload();
        let key = workload.plan.integration.clone();
        let other = Report {
            uid: "another-uid".into(),
            ..sample::report(&workload.plan)
        };
        let plans = Plans::from([(key.clone(), Arc::clone(&workload.plan))]);
        let reports = Reports::from([(key.clone(), Arc::new(other))]);
        assert_eq!(picture(&plans, &reports, true), Picture::from([(key, None)]));
    }

    #[tokio::test]
    async fn observations_are_taken_once() {
        let (fleet, _ends) = LocalFleet::start(CancellationToken::new());
        let _first = fleet.observations();
        assert!(fleet.observations().recv().await.is_none());
    }
}
