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
use crate::domain::health::control::MAX_PLAN;
use crate::domain::key::Key;
use crate::domain::plan::{FORMAT, Plan};
use crate::telemetry::worker_metrics;
use mount::{File, MountError};

pub mod mount;

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
            told: Mutex::new(None),
        }
    }

    /// What is to be served, now and from now on.
    pub fn plans(&self) -> watch::Receiver<Plans> {
        self.plans.subscribe()
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
        if let Err(refusal) = usable(&plan) {
            return Verdict::Refused(refusal);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        serde_json::from_str(include_str!("../../tests/it/support/plan.json")).unwrap()
    }

    fn text(plan: &Plan) -> Vec<u8> {
        serde_json::to_vec(plan).unwrap()
    }

    /// A source over a directory with this plan in it, after the first look.
    async fn source(plan: &Plan) -> (tempfile::TempDir, Source) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), text(plan)).unwrap();
        let source = Source::new(directory.path());
        source.look().await;
        (directory, source)
    }

    fn revision(source: &Source) -> Option<u64> {
        source.plans().borrow().values().next().map(|plan| plan.revision)
    }

    #[test]
    fn higher_revision_of_the_own_integration_wins() {
        let own = Identity::of(&plan());
        let with = |revision, generation| Plan {
            revision,
            generation,
            ..plan()
        };
        let cases = [
            (None, with(7, 3), Verdict::Taken),
            (Some(with(7, 3)), with(7, 3), Verdict::Running),
            (Some(with(7, 3)), with(8, 3), Verdict::Taken),
            (Some(with(7, 3)), with(7, 4), Verdict::Stale { running: 7 }),
            (Some(with(7, 3)), with(6, 4), Verdict::Stale { running: 7 }),
        ];
        for (running, offered, verdict) in cases {
            assert_eq!(judge(Some(&own), running.as_ref(), &offered), verdict);
        }
    }

    #[test]
    fn plan_that_is_not_for_this_worker_is_refused() {
        let own = Identity::of(&plan());
        let other_uid = Plan {
            uid: "another".into(),
            revision: 9,
            ..plan()
        };
        let other_name = Plan {
            integration: Key::new("shop", "other"),
            revision: 9,
            ..plan()
        };
        for offered in [other_uid, other_name] {
            let verdict = judge(Some(&own), Some(&plan()), &offered);
            assert!(
                matches!(verdict, Verdict::Refused(Refusal::Foreign { .. })),
                "{verdict:?}"
            );
        }
        assert_eq!(judge(None, None, &plan()), Verdict::Refused(Refusal::Early));
        let empty = Plan {
            endpoints: Vec::new(),
            ..plan()
        };
        assert_eq!(judge(Some(&own), None, &empty), Verdict::Refused(Refusal::NoEndpoints));
    }

    #[test]
    fn plan_of_another_format_is_refused_by_its_format_alone() {
        assert_eq!(parse(br#"{"format": 2, "shape": "unknown"}"#), Err(Refusal::Format(2)));
        assert_eq!(parse(br#"{"format": 0}"#), Err(Refusal::Format(0)));
    }

    #[test]
    fn refusal_names_the_place_and_never_the_value() {
        let mut value = serde_json::to_value(plan()).unwrap();
        value["credentials"][0]["revision"] = "canary-secret".into();
        let refusal = parse(value.to_string().as_bytes()).unwrap_err().to_string();
        assert!(refusal.contains("credentials[0].revision"), "{refusal}");
        assert!(!refusal.contains("canary"), "{refusal}");
        let trailing = [&text(&plan())[..], b"canary"].concat();
        for garbage in [&b"canary"[..], b"", b"[]", b"\xff\xfe", &trailing] {
            let refusal = parse(garbage).unwrap_err().to_string();
            assert!(
                refusal.starts_with("is not a plan") && !refusal.contains("canary"),
                "{refusal}"
            );
        }
    }

    #[tokio::test]
    async fn mounted_plan_is_served_and_a_newer_push_replaces_it() {
        let (_directory, source) = source(&plan()).await;
        assert_eq!(revision(&source), Some(7));
        let newer = Plan { revision: 8, ..plan() };
        assert_eq!(source.offer(&text(&newer)), Verdict::Taken);
        assert_eq!(source.offer(&text(&newer)), Verdict::Running);
        assert_eq!(source.offer(&text(&plan())), Verdict::Stale { running: 8 });
        assert_eq!(revision(&source), Some(8));
    }

    #[tokio::test]
    async fn older_mount_does_not_take_back_a_push() {
        let (directory, source) = source(&plan()).await;
        source.offer(&text(&Plan { revision: 9, ..plan() }));
        std::fs::write(
            directory.path().join(FILE),
            text(&Plan {
                revision: 8,
                generation: 99,
                ..plan()
            }),
        )
        .unwrap();
        source.look().await;
        assert_eq!(revision(&source), Some(9));
    }

    #[tokio::test]
    async fn broken_missing_or_foreign_mount_changes_nothing() {
        let (directory, source) = source(&plan()).await;
        let file = directory.path().join(FILE);
        let foreign = text(&Plan {
            uid: "another".into(),
            revision: 99,
            ..plan()
        });
        let mut plans = source.plans();
        plans.mark_unchanged();
        for content in [b"{ broken".to_vec(), Vec::new(), foreign, vec![b' '; MAX_PLAN + 1]] {
            std::fs::write(&file, content).unwrap();
            source.look().await;
        }
        std::fs::remove_file(&file).unwrap();
        source.look().await;
        assert!(!plans.has_changed().unwrap());
        std::fs::write(&file, text(&Plan { revision: 8, ..plan() })).unwrap();
        source.look().await;
        assert_eq!(revision(&source), Some(8), "and a good one is taken over again");
    }

    #[tokio::test]
    async fn push_waits_for_the_mount_to_say_whose_worker_this_is() {
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path());
        assert_eq!(source.offer(&text(&plan())), Verdict::Refused(Refusal::Early));
        assert_eq!(revision(&source), None);
    }

    #[tokio::test]
    async fn swap_of_the_link_as_the_kubelet_does_it_is_noticed() {
        // plan.json -> ..data/plan.json, ..data -> ..1, and then ..data is renamed over.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let version = |name: &str, revision| {
            std::fs::create_dir(path.join(name)).unwrap();
            std::fs::write(path.join(name).join(FILE), text(&Plan { revision, ..plan() })).unwrap();
            std::os::unix::fs::symlink(name, path.join("..new")).unwrap();
            std::fs::rename(path.join("..new"), path.join("..data")).unwrap();
        };
        version("..1", 1);
        std::os::unix::fs::symlink("..data/plan.json", path.join(FILE)).unwrap();
        let source = Source::new(path);
        source.look().await;
        assert_eq!(revision(&source), Some(1));
        version("..2", 2);
        source.look().await;
        assert_eq!(revision(&source), Some(2));
    }
}
