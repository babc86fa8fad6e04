//! One life of a Credential, with workers that use its value all the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::api::ANNOTATION_ROTATE;
use tidegate::cluster::Notice;
use tidegate::domain::key::Key;
use tidegate::domain::plan::Material;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::line::Line;
use super::scenario::{self, Scenario, own};
use crate::support::manifests::integration;
use crate::support::memory::{Process, World, clock};
use crate::support::simulator::Simulator;

/// Long enough for every wait that one failure brings about.
pub const SETTLED: Duration = Duration::from_secs(600);
/// How long a process stands still: less than the deadline of one run, more than that of a call.
const STALL: Duration = Duration::from_secs(100);
/// Between two looks of the workers.
const TICK: Duration = Duration::from_secs(3);

/// What happens in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    First,
    Asked,
    Renewal,
    Source,
    Spec,
    Rejected,
    Deleted,
}

impl Step {
    pub const ALL: [Self; 7] = [
        Self::First,
        Self::Asked,
        Self::Renewal,
        Self::Source,
        Self::Spec,
        Self::Rejected,
        Self::Deleted,
    ];
}

/// What the workers saw.
#[derive(Default)]
pub struct Seen {
    /// Uses that the provider refused: when, and which value.
    pub refused: Vec<(Instant, String)>,
    /// Looks at which there was no value that could be used, though there had been one.
    pub absent: Vec<Instant>,
    /// A labelled value that no Secret holds: since when.
    unheld: BTreeMap<String, Instant>,
    /// The longest that one was so, with its label.
    pub longest_unheld: BTreeMap<String, Duration>,
    had: bool,
}

pub struct Life {
    pub scenario: Scenario,
    pub world: World,
    pub simulator: Simulator,
    pub line: Line,
    pub integration: Key,
    pub process: Process,
    pub seen: Arc<Mutex<Seen>>,
    pub notices: Vec<Notice>,
    /// The value that somebody ended at the provider.
    pub ended: Option<String>,
    workers: JoinHandle<()>,
}

impl Life {
    /// Everything around it is in place.
    pub async fn begin(scenario: Scenario) -> Self {
        let (world, simulator) = (World::default(), scenario::simulator(&scenario));
        let line = Line::new(&world, &simulator);
        world.reach(Arc::new(line.clone()));
        world.manual_workers(true);
        scenario::furnish(&world, &simulator);
        if let Some(kind) = scenario.first {
            simulator.seed(kind, "first-value");
            world.apply_secret(&Key::new("shop", "first"), &[("token", "first-value")]);
        }
        let process = Process::start(&world);
        let integration = world.apply_integration(integration("shop", "payments-api"));
        sleep(Duration::from_secs(40)).await;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let workers = tokio::spawn(work(
            world.clone(),
            simulator.clone(),
            integration.clone(),
            scenario.kind.is_some(),
            seen.clone(),
        ));
        Self {
            scenario,
            world,
            simulator,
            line,
            integration,
            process,
            seen,
            notices: Vec::new(),
            ended: None,
            workers,
        }
    }

    /// What is published.
    pub fn value(&self) -> Option<String> {
        let held = self.world.held(&Key::new("shop", "payments-key-issued"))?;
        let value = ["value", "token", "tls.key"]
            .iter()
            .find_map(|key| held.values.get(*key));
        value.map(|value| value.expose().to_owned())
    }

    /// Something happens.
    pub fn happens(&mut self, step: Step) {
        match step {
            Step::First => {
                self.world.apply_credential(scenario::manifest(&self.scenario, false));
            }
            Step::Asked => self.world.annotate_credential(&own(), ANNOTATION_ROTATE, "asked"),
            Step::Renewal => {}
            Step::Source => (self.scenario.source)(&self.world, &self.simulator),
            Step::Spec => {
                let mut manifest = scenario::manifest(&self.scenario, true);
                // As `kubectl apply` leaves them.
                let before = self.world.credential(&own()).unwrap().metadata;
                manifest["metadata"]["annotations"] = serde_json::to_value(&before.annotations).unwrap();
                manifest["metadata"]["finalizers"] = serde_json::to_value(&before.finalizers).unwrap();
                self.world.apply_credential(manifest);
            }
            Step::Rejected => {
                let value = self
                    .value()
                    .or_else(|| self.scenario.first.map(|_| "first-value".into()));
                if let Some(value) = value.filter(|_| self.scenario.replaces_rejected) {
                    self.simulator.end(&value);
                    self.ended = Some(value);
                    for worker in 0..2 {
                        self.world.report(&self.integration, worker, |report| {
                            for credential in &mut report.credentials {
                                credential.rejected_status = Some(401);
                            }
                        });
                    }
                }
            }
            Step::Deleted => self.world.delete_credential(&own()),
        }
    }

    /// Lets everything happen that follows from it. A process that dies is followed by another one; one that stands still
    /// is too, goes on when that one has done its work, and then finds out that it does not lead any more.
    pub async fn passes(&mut self, step: Step) {
        let time = match step {
            Step::Renewal => Duration::from_secs(4200) + SETTLED,
            _ => SETTLED,
        };
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => break,
                () = self.world.died.notified() => self.start_anew().await,
                () = self.world.stalled.notified() => {
                    let next = Process::start(&self.world);
                    let old = std::mem::replace(&mut self.process, next);
                    sleep(STALL).await;
                    self.world.released.notify_one();
                    sleep(Duration::from_secs(60)).await;
                    old.kill().await;
                }
            }
        }
        self.notices.extend(self.world.take_notices());
    }

    /// The process ends, and another one begins.
    pub async fn start_anew(&mut self) {
        let next = Process::start(&self.world);
        std::mem::replace(&mut self.process, next).kill().await;
    }

    pub async fn end(self) {
        self.workers.abort();
        self.process.kill().await;
    }
}

/// Workers take a plan over within seconds, and use its value.
async fn work(world: World, simulator: Simulator, integration: Key, asks: bool, seen: Arc<Mutex<Seen>>) {
    let (mut revision, mut running) = (None, None);
    for tick in 0_u64.. {
        sleep(TICK).await;
        if let Some(plan) = world.plan(&integration)
            && Some(plan.revision) != revision
            && tick % 3 == 0
        {
            world.adopt(&integration);
            revision = Some(plan.revision);
            running = plan.credentials.first().cloned();
        }
        let now = clock()();
        let credential = running.as_ref();
        let valid = credential.filter(|it| it.not_after.is_none_or(|end| now < end));
        let value = valid.and_then(|it| match it.material.as_ref()? {
            Material::Header { value, .. } => value.expose().strip_prefix("Bearer ").map(str::to_owned),
            Material::Certificate { key, .. } => Some(key.expose().to_owned()),
            Material::Unsent { value } => Some(value.expose().to_owned()),
            Material::Query { .. } | Material::Cookie { .. } => None,
        });
        let mut seen = seen.lock().unwrap();
        match value {
            Some(value) => {
                seen.had = true;
                if asks && !simulator.use_value(&value) {
                    seen.refused.push((Instant::now(), value));
                }
            }
            None if seen.had => seen.absent.push(Instant::now()),
            None => {}
        }
        if tick % 10 == 0 {
            seen.account(&world, &simulator);
        }
    }
}

impl Seen {
    /// Which labelled values are in no Secret, and since when.
    fn account(&mut self, world: &World, simulator: &Simulator) {
        let now = Instant::now();
        let unheld = unheld(world, simulator);
        self.unheld.retain(|value, _| unheld.iter().any(|it| it.0 == *value));
        for (value, label) in unheld {
            let since = *self.unheld.entry(value).or_insert(now);
            let longest = self.longest_unheld.entry(label).or_default();
            *longest = (*longest).max(now - since);
        }
    }
}

/// Values that were made for an attempt, are alive, and stand in no Secret of ours; with the attempt.
pub fn unheld(world: &World, simulator: &Simulator) -> Vec<(String, String)> {
    let held: Vec<String> = world
        .all_held()
        .values()
        .flat_map(|held| held.values.values().map(|value| value.expose().to_owned()))
        .collect();
    simulator
        .unheld(&[])
        .into_iter()
        .filter(|it| !held.iter().any(|text| text.contains(&it.value)))
        .map(|it| (it.value, it.label.unwrap_or_default()))
        .collect()
}
