//! Where the plans of `tidegate worker` come from: the mounted directory and the controller's pushes.
//!
//! The mount starts a worker without anybody's help, the push makes an edit live in milliseconds. The higher revision
//! wins, whichever way it came. A worker is made for one Integration, the one whose plan it first finds mounted, and
//! takes plans for no other. Whatever is missing, broken or foreign changes nothing: what runs goes on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Plans;
use super::table::{self, UnusablePlan};
use crate::domain::health::Pauses;
use crate::domain::health::control::MAX_PLAN;
use crate::domain::key::Key;
use crate::domain::plan::{FORMAT, Plan};
use crate::telemetry::worker_metrics;
use mount::{File, MountError};

pub mod mount;

#[cfg(test)]
mod tests;

/// Name of the plan's file in the mounted directory.
const FILE: &str = "plan.json";
/// Between two looks at the mounted directory. A look that finds nothing new reads nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What became of a plan that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs now.
    Taken,
    /// It ran already.
    Running,
    /// An equal revision with other content runs, or a newer one.
    Stale {
        /// The revision that runs.
        running: u64,
    },
    /// It cannot be used.
    Refused(Refusal),
}

/// Why a plan cannot be used. Says where, never what stands there: a plan holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the JSON of a plan.
    #[error("is not a plan: `{path}` (line {line}, column {column}) cannot be read")]
    Unreadable {
        /// Path of the field.
        path: String,
        /// Line of the text, from 1.
        line: usize,
        /// Column of the text, from 1.
        column: usize,
    },
    /// Written by a newer controller.
    #[error("has format {0}, this worker knows {FORMAT}; it is replaced when its Deployment rolls")]
    Format(u32),
    /// Readable, and of no use: an endpoint, a certificate or a key.
    #[error("cannot be used: {0}")]
    Unusable(#[from] UnusablePlan),
    /// Nowhere to send anything.
    #[error("has no endpoints")]
    NoEndpoints,
    /// Made for another Integration.
    #[error("is for {offered}, this worker is for {own}")]
    Foreign {
        /// Whose plan it is, with its UID.
        offered: String,
        /// Whose worker this is, with its UID.
        own: String,
    },
    /// No plan was found mounted yet, so it is not known whose worker this is.
    #[error("came before the mounted one, which says whose worker this is")]
    Early,
}

/// The Integration a worker is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    key: Key,
    uid: String,
}

/// Takes plans from both sides and publishes the one to serve.
#[derive(Debug)]
pub struct Source {
    file: File,
    identity: OnceLock<Identity>,
    plans: watch::Sender<Plans>,
    /// The share of the rate limit that the controller told.
    share: watch::Sender<Option<u32>>,
    /// What other workers were asked for, as the controller told it last.
    pauses: watch::Sender<Pauses>,
    /// The trouble with the file that the log was told of last.
    told: Mutex<Option<MountError>>,
}

impl Source {
    /// A source over the mounted `directory`. Nothing is read before [`follow`](Self::follow).
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        worker_metrics::show_refused_plans();
        Self {
            file: File::new(directory.into().join(FILE), MAX_PLAN),
            identity: OnceLock::new(),
            plans: watch::Sender::new(Plans::new()),
            share: watch::Sender::new(None),
            pauses: watch::Sender::new(Pauses::new()),
            told: Mutex::new(None),
        }
    }

    /// What is to be served, now and from now on.
    pub fn plans(&self) -> watch::Receiver<Plans> {
        self.plans.subscribe()
    }

    /// The share of the rate limit, now and from now on.
    pub fn share(&self) -> watch::Receiver<Option<u32>> {
        self.share.subscribe()
    }

    /// From now on this worker has one part of `of`, or none.
    pub fn take_share(&self, of: u32) {
        tracing::debug!(of, "another share of the rate limit");
        self.share.send_replace(Some(of));
    }

    /// The pauses that other workers were asked for, now and from now on.
    pub fn pauses(&self) -> watch::Receiver<Pauses> {
        self.pauses.subscribe()
    }

    /// These are the pauses that workers were asked for.
    pub fn take_pauses(&self, pauses: Pauses) {
        tracing::debug!(hosts = pauses.len(), "another worker was asked for a pause");
        self.pauses.send_replace(pauses);
    }

    /// Looks at the mounted plan at once and then every second, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    /// Takes over what is mounted, if it is new.
    pub async fn look(&self) {
        let text = match self.file.read_if_changed().await {
            Ok(None) => return,
            Ok(Some(text)) => text,
            Err(error) => return self.complain(error),
        };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let verdict = match parse(&text) {
            Ok(plan) => self.offer_mounted(plan),
            Err(refusal) => Verdict::Refused(refusal),
        };
        if let Verdict::Refused(refusal) = verdict {
            worker_metrics::count_refused_plan("mount");
            tracing::error!(file = %self.file, "the mounted plan {refusal}; what runs goes on");
        }
    }

    /// Says that the file cannot be read: once, not every second.
    fn complain(&self, error: MountError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&error) {
            worker_metrics::count_refused_plan("mount");
            tracing::error!(file = %self.file, "the mounted plan {error}; what runs goes on");
            *told = Some(error);
        }
    }

    fn offer_mounted(&self, plan: Plan) -> Verdict {
        // A plan that cannot be used says all the same whose worker this is, so that a better one can be pushed.
        self.identity.get_or_init(|| Identity::of(&plan));
        self.take(plan, "mount")
    }

    /// Judges a plan that the controller pushed, and takes it over if it is to run.
    pub fn offer(&self, text: &[u8]) -> Verdict {
        let verdict = match parse(text) {
            Ok(plan) => self.take(plan, "push"),
            Err(refusal) => Verdict::Refused(refusal),
        };
        if let Verdict::Refused(refusal) = &verdict {
            worker_metrics::count_refused_plan("push");
            tracing::warn!("a pushed plan {refusal}; what runs goes on");
        }
        verdict
    }

    fn take(&self, plan: Plan, from: &'static str) -> Verdict {
        let mut verdict = Verdict::Running;
        // Judged and replaced under one lock, so that of two plans at a time the newer stays.
        self.plans.send_if_modified(|plans| {
            let running = plans.get(&plan.integration);
            verdict = judge(self.identity.get(), running.map(|plan| &**plan), &plan);
            // Certificates are read last, and only of a plan that is to run.
            if verdict == Verdict::Taken
                && let Err(unusable) = table::check(&plan)
            {
                verdict = Verdict::Refused(unusable.into());
            }
            let taken = verdict == Verdict::Taken;
            if taken {
                tracing::info!(
                    integration = %plan.integration,
                    revision = plan.revision,
                    generation = plan.generation,
                    from,
                    "plan taken over"
                );
                plans.insert(plan.integration.clone(), Arc::new(plan));
            }
            taken
        });
        verdict
    }
}

impl Identity {
    fn of(plan: &Plan) -> Self {
        Self {
            key: plan.integration.clone(),
            uid: plan.uid.clone(),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.key, self.uid)
    }
}

/// What is to become of `offered` in the worker of `own` that runs `running`.
fn judge(own: Option<&Identity>, running: Option<&Plan>, offered: &Plan) -> Verdict {
    if let Err(refusal) = usable(offered) {
        return Verdict::Refused(refusal);
    }
    let Some(own) = own else {
        return Verdict::Refused(Refusal::Early);
    };
    let whose = Identity::of(offered);
    if whose != *own {
        return Verdict::Refused(Refusal::Foreign {
            offered: whose.to_string(),
            own: own.to_string(),
        });
    }
    match running {
        None => Verdict::Taken,
        Some(running) if running == offered => Verdict::Running,
        Some(running) if running.revision < offered.revision => Verdict::Taken,
        Some(running) => Verdict::Stale {
            running: running.revision,
        },
    }
}

/// What must hold for any plan, whosever.
fn usable(plan: &Plan) -> Result<(), Refusal> {
    if plan.format != FORMAT {
        return Err(Refusal::Format(plan.format));
    }
    if plan.endpoints.is_empty() {
        return Err(Refusal::NoEndpoints);
    }
    Ok(())
}

/// The plan in `text`. The format is looked at first, because a plan of another one need not be readable.
fn parse(text: &[u8]) -> Result<Plan, Refusal> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }

    let Format { format } = read(text)?;
    if format != FORMAT {
        return Err(Refusal::Format(format));
    }
    read(text)
}

/// serde's own message may quote the value it stumbled over, so only the place is kept.
fn read<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let unreadable = |path: String, error: &serde_json::Error| Refusal::Unreadable {
        path,
        line: error.line(),
        column: error.column(),
    };
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| unreadable(error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| unreadable(".".into(), &error))?;
    Ok(value)
}
