//! The Integration reconciler: what a spec asks for becomes a plan, a plan becomes workers, and what the workers report
//! becomes the status.
//!
//! ```text
//! dereference (reads) -> domain::validate -> domain::compile -> fleet.program -> observe -> domain::aggregate
//!   -> report (writes the status, if it differs)
//! ```
//!
//! Guarantees: whatever fails on the way is reported, in the one place where status is written; a spec that is not
//! accepted changes nothing about what runs, except that a credential that was rotated, withdrawn or bound to fewer
//! hosts since reaches the workers at once. Every step may be repeated, and a run that finds all done writes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::api::integration::Integration;
use crate::cluster::Cluster;
use crate::domain::aggregate::{Picture, Subject, aggregate};
use crate::domain::compile;
use crate::domain::key::Key;
use crate::domain::plan::Plan;
use crate::domain::validate::{self, Problem, References};
use crate::fleet::{Fleet, FleetError, Workload};

use super::references::User;
use super::report::{Undecodable, again};
use super::{Context, ReconcileError, lock, resync};

mod dereference;
mod notice;
mod rejection;
mod report;

/// Name of this reconciler in metrics and logs.
pub const NAME: &str = "integration";
/// A name that is taken is looked at again after this time: nobody tells us when a foreign object goes.
const RECHECK: Duration = Duration::from_secs(60);
/// How long a run waits for workers that are connected to adopt what it has just programmed, so that an edit is told
/// with one write and Ready does not go and come back with every edit.
const ADOPTION: Duration = Duration::from_millis(500);

/// Workers where the spec does not say; the CRD's default.
const REPLICAS: i32 = 2;

/// What a run has found and done, as far as it came.
#[derive(Default)]
struct Pursuit {
    /// What the Integration refers to, once it was read.
    references: Option<References>,
    /// Why it is not accepted.
    refusal: Option<Refusal>,
    /// The plan that workers are to run now.
    plan: Option<Plan>,
}

/// Why an Integration is not accepted, in the words of `Accepted=False`.
struct Refusal {
    reason: &'static str,
    message: String,
    stalls: bool,
}

/// Brings the Integration of that name where its spec wants it, as far as that is possible now.
pub async fn reconcile<C: Cluster, F: Fleet>(
    context: Arc<Context<C, F>>,
    key: Key,
) -> Result<Option<Duration>, ReconcileError> {
    let integration = match context.cluster.integration(&key).await {
        // One that is being deleted is as good as gone: what was made for it must go, and not come back.
        Ok(integration) => integration.filter(|integration| integration.metadata.deletion_timestamp.is_none()),
        Err(error) => {
            let reported = report::undecodable(&context, &key, Undecodable::of(error)?).await?;
            return Ok(Some(again(reported, resync())));
        }
    };
    let Some(integration) = integration else {
        forget(&context, &key).await?;
        return Ok(None);
    };
    let mut pursuit = Pursuit::default();
    let pursued = pursue(&context, &key, &integration, &mut pursuit).await;
    let picture = observe(&context, &key, &integration, &pursuit);
    let reported = report::report(&context, &key, &integration, &pursuit, picture, pursued.as_ref().err()).await;
    // What failed first is what the backoff is about.
    pursued?;
    Ok(Some(again(reported?, resync().min(pursuit.recheck()))))
}

/// Everything that comes before the report. What it finds out is in `pursuit`, also when it fails on the way.
async fn pursue<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    integration: &Integration,
    pursuit: &mut Pursuit,
) -> Result<(), ReconcileError> {
    let uid = integration.metadata.uid.as_deref().unwrap_or_default();
    pursuit.plan = context.fleet.programmed(key, uid).await?;
    let stored = pursuit.plan.as_ref();
    let references = &*pursuit
        .references
        .insert(dereference::read(context, key, integration, stored).await?);
    let workload = match validate::integration(integration, references) {
        Ok(accepted) => Workload {
            plan: Arc::new(compile::plan(&accepted, &context.settings.denied, stored)),
            replicas: accepted.replicas,
            resources: accepted.resources,
            access: accepted.access,
        },
        Err(problems) => {
            pursuit.refusal = Some(Refusal::of(&problems));
            let Some(stored) = stored else { return Ok(()) };
            let plan = compile::refresh(stored, references);
            if plan == *stored {
                return Ok(());
            }
            unaccepted(integration, plan)
        }
    };
    // Hands off: what runs keeps running as it is.
    if integration.spec.suspend == Some(true) {
        return Ok(());
    }
    let adoptions = lock(&context.reports).adoptions(key);
    match context.fleet.program(&workload).await {
        Ok(()) => {}
        Err(error @ FleetError::NameTaken { .. }) => {
            pursuit.refusal = Some(Refusal {
                reason: "AddressTaken",
                message: error.to_string(),
                stalls: true,
            });
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    if stored != Some(&*workload.plan) {
        adopted(context, key, &workload.plan, adoptions).await;
    }
    pursuit.plan = Some(Arc::unwrap_or_clone(workload.plan));
    Ok(())
}

/// Waits until the workers that are connected run `plan`, but not for long.
async fn adopted<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    plan: &Plan,
    mut adoptions: tokio::sync::watch::Receiver<u64>,
) {
    let waiting = || {
        let workers = lock(&context.reports).of(key);
        workers.iter().any(|worker| {
            let behind = worker
                .report
                .as_ref()
                .is_some_and(|report| report.plan_revision < plan.revision);
            worker.connected && behind
        })
    };
    let adopted = timeout(ADOPTION, async {
        while waiting() && adoptions.changed().await.is_ok() {}
    });
    // Those that take longer are heard of when they report.
    let _ = adopted.await;
}

/// What all workers together come to, measured by the plan that they are to run.
fn observe<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    integration: &Integration,
    pursuit: &Pursuit,
) -> Picture {
    let (endpoints, credentials): (Vec<String>, Vec<(String, i64)>) = match &pursuit.plan {
        Some(plan) => (
            plan.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
            plan.credentials
                .iter()
                .map(|credential| (credential.name.clone(), credential.revision))
                .collect(),
        ),
        None => (
            integration
                .spec
                .endpoints
                .iter()
                .map(|endpoint| endpoint.name.clone())
                .collect(),
            Vec::new(),
        ),
    };
    let subject = Subject {
        uid: integration.metadata.uid.as_deref().unwrap_or_default(),
        generation: integration.metadata.generation.unwrap_or_default(),
        endpoints: &endpoints,
        credentials: &credentials,
    };
    let workers = lock(&context.reports).of(key);
    aggregate(&workers, subject, integration.status.as_ref(), context.now())
}

/// The Integration is gone. What was made for it goes by owner reference.
async fn forget<C: Cluster, F: Fleet>(context: &Context<C, F>, key: &Key) -> Result<(), ReconcileError> {
    let user = User::Integration(key.clone());
    context.refer(&user, [].into());
    lock(&context.pacing).forget(&user);
    context.fleet.forget(key).await?;
    lock(&context.reports).forget(key);
    Ok(())
}

/// The workload of an Integration that is not accepted: only its credentials have changed. How many workers there are
/// and who may call is what the spec says, as far as it says so; what is wrong with it may be there too, and is then
/// refused by the API server.
fn unaccepted(integration: &Integration, plan: Plan) -> Workload {
    let workers = integration.spec.workers.clone().unwrap_or_default();
    let access = integration.spec.access.clone().unwrap_or_default();
    Workload {
        plan: Arc::new(plan),
        replicas: workers.replicas.unwrap_or(REPLICAS),
        resources: workers.resources,
        access: access.namespaces.unwrap_or_default(),
    }
}

impl Pursuit {
    /// When to look again at what nobody tells us about.
    fn recheck(&self) -> Duration {
        match &self.refusal {
            Some(refusal) if refusal.reason == "AddressTaken" => RECHECK,
            _ => Duration::MAX,
        }
    }
}

impl Refusal {
    /// All problems in one message; the first gives the reason, because a condition has one.
    fn of(problems: &[Problem]) -> Self {
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Self {
            reason: problems.first().map_or("InvalidSpec", Problem::reason),
            message: messages.join("; "),
            stalls: problems.iter().any(Problem::stalls),
        }
    }
}
