//! Keeps the control connection to one worker, for as long as its Pod exists, and tells what comes over it.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::calls::told;
use super::follow::Context;
use super::link::{Answer, Link, LinkError, Pusher, is_about, pause};
use super::pauses::{Pauses, to_tell};
use super::pod::Worker;
use super::shares::{Shares, until_news};
use super::trust::TrustStore;
use super::wanted::Wanted;
use crate::api::PORT_CONTROL;
use crate::domain::health::{self, Report};
use crate::domain::plan::Plan;
use crate::fleet::{Observation, WorkerState};

/// After this many failures in a row the log says that a worker which takes traffic cannot be reached: half a minute.
const FAILURES_TO_TELL: u32 = 10;

/// Tells of one worker, and nothing twice.
struct Teller {
    observed: mpsc::Sender<Observation>,
    told: Option<WorkerState>,
}

impl Teller {
    async fn tell(&mut self, worker: &Worker, report: Option<&Arc<Report>>) {
        let state = WorkerState::Present {
            ready: worker.ready,
            report: report.cloned(),
        };
        if self.told.as_ref() == Some(&state) {
            return;
        }
        self.told = Some(state.clone());
        let observation = Observation {
            integration: worker.integration.clone(),
            worker: Arc::clone(&worker.name),
            state,
        };
        // Nobody listens while the process ends.
        let _ = self.observed.send(observation).await;
    }
}

/// Keeps the control connection to one worker, until its Pod is gone.
pub async fn keep_link(mut place: watch::Receiver<Worker>, context: Context) {
    let Context {
        wanted,
        shares,
        pauses,
        trust,
        observed,
    } = context;
    let mut plans = wanted.of(&place.borrow().integration);
    let mut teller = Teller { observed, told: None };
    let mut failures = 0;
    loop {
        let worker = place.borrow_and_update().clone();
        teller.tell(&worker, None).await;
        let Some(address) = worker.address else {
            if place.changed().await.is_err() {
                return;
            }
            continue;
        };
        let address = SocketAddr::new(address, PORT_CONTROL);
        let connected = tokio::select! {
            connected = connect(address, &worker.integration_uid, &trust) => connected,
            // Ready or not, or somewhere else: that is told first, and then tried anew.
            changed = place.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let error = match connected {
            Err(error) => error,
            Ok(link) => {
                tracing::debug!(integration = %worker.integration, worker = &*worker.name, "connected");
                let mut conversation = Conversation {
                    link,
                    worker,
                    wanted: &wanted,
                    shares: &shares,
                    pauses: &pauses,
                    told: Arc::default(),
                    report: None,
                    pushed: None,
                };
                let ended = conversation.go_on(&mut place, &mut plans, &mut teller).await;
                shares.disconnect(&conversation.worker.integration, &conversation.worker.name);
                if conversation.report.is_some() {
                    failures = 0;
                }
                match ended {
                    Ended::Moved => continue,
                    Ended::Gone => return,
                    Ended::Failed(error) => error,
                }
            }
        };
        let worker = place.borrow().clone();
        teller.tell(&worker, None).await;
        failures += 1;
        log_failure(&worker, &error, failures);
        tokio::select! {
            () = sleep(pause(failures, rand::random())) => {}
            // The kubelet says something new of it: perhaps that it is up.
            changed = place.changed() => if changed.is_err() { return },
        }
    }
}

fn log_failure(worker: &Worker, error: &LinkError, failures: u32) {
    let (integration, name) = (&worker.integration, &*worker.name);
    if worker.ready && failures == FAILURES_TO_TELL {
        tracing::warn!(%integration, worker = name, error = told(error), "a ready worker cannot be reached");
    } else {
        tracing::debug!(%integration, worker = name, failures, error = told(error), "no control connection");
    }
}

async fn connect(address: SocketAddr, uid: &str, trust: &TrustStore) -> Result<Link, LinkError> {
    let trust = trust.trust(Timestamp::now()).await;
    let trust = trust.map_err(|error| LinkError::Connect(std::io::Error::other(error)))?;
    Link::connect(address, uid, Arc::clone(&trust.client)).await
}

/// Why a conversation ended.
enum Ended {
    /// The Pod has another address.
    Moved,
    /// The Pod does not exist any more.
    Gone,
    /// The connection failed.
    Failed(LinkError),
}

/// One connection, with what came over it.
struct Conversation<'a> {
    link: Link,
    worker: Worker,
    wanted: &'a Wanted,
    shares: &'a Shares,
    pauses: &'a Pauses,
    /// The pauses that the worker was told last.
    told: Arc<health::Pauses>,
    report: Option<Arc<Report>>,
    /// The plan that the worker was offered last.
    pushed: Option<Arc<Plan>>,
}

impl Conversation<'_> {
    /// Takes reports and pushes plans until the connection ends.
    async fn go_on(
        &mut self,
        place: &mut watch::Receiver<Worker>,
        plans: &mut watch::Receiver<Option<Arc<Plan>>>,
        teller: &mut Teller,
    ) -> Ended {
        let mut push = None;
        let mut telling = None;
        let mut pausing = None;
        let mut shares = self.shares.of(&self.worker.integration);
        let mut pauses = self.pauses.of(&self.worker.integration);
        loop {
            if pausing.is_none() && self.report.is_some() {
                let asked = to_tell(&pauses.borrow_and_update(), &self.told, Timestamp::now());
                pausing = asked.map(|asked| Box::pin(pause_too(self.link.pusher(), asked)));
            }
            shares.mark_unchanged();
            if telling.is_none() && self.report.is_some() {
                telling = self
                    .shares
                    .tell(&self.worker.integration, &self.worker.name)
                    .map(|of| Box::pin(tell(self.link.pusher(), of)));
            }
            if push.is_none() {
                let wanted = plans.borrow_and_update().clone();
                push = self
                    .plan_to_push(wanted)
                    .map(|plan| Box::pin(offer(self.link.pusher(), plan)));
            }
            // Reports go on being read while a push is under way.
            tokio::select! {
                next = self.link.next() => match next {
                    Ok(report) if is_about(&report, &self.worker.integration, &self.worker.integration_uid) => {
                        self.hear(report.plan_revision);
                        if self.report.is_none() {
                            // Later reports may be older than what it has been told since.
                            let Worker { integration, name, .. } = &self.worker;
                            self.shares.hear(integration, name, report.share);
                        }
                        self.pauses
                            .hear(&self.worker.integration, &report.paused_until, Timestamp::now());
                        self.report = Some(Arc::new(report));
                        teller.tell(&self.worker, self.report.as_ref()).await;
                    }
                    Ok(_) => tracing::debug!(worker = &*self.worker.name, "a report about something else"),
                    Err(error) => return Ended::Failed(error),
                },
                offered = when_there(&mut push) => match offered {
                    Ok((plan, answer)) => {
                        log_answer(&self.worker, &plan, answer);
                        let is_wanted = plans.borrow().as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, &plan));
                        if answer == Answer::Stale && is_wanted {
                            // Another plan of this revision runs there, if not a newer one.
                            self.hear(plan.revision + 1);
                        }
                        self.pushed = Some(plan);
                        push = None;
                    }
                    Err(error) => return Ended::Failed(error),
                },
                told = when_there(&mut telling) => match told {
                    Ok(of) => {
                        self.shares.confirm(&self.worker.integration, &self.worker.name, of);
                        telling = None;
                    }
                    Err(error) => return Ended::Failed(error),
                },
                told = when_there(&mut pausing) => match told {
                    Ok(asked) => {
                        self.told = asked;
                        pausing = None;
                    }
                    Err(error) => return Ended::Failed(error),
                },
                () = until_news(&mut shares), if telling.is_none() => {}
                Ok(()) = pauses.changed(), if pausing.is_none() => {}
                changed = plans.changed(), if push.is_none() => if changed.is_err() {
                    return Ended::Gone;
                },
                changed = place.changed() => {
                    if changed.is_err() {
                        return Ended::Gone;
                    }
                    let now = place.borrow_and_update().clone();
                    if now.address != self.worker.address {
                        return Ended::Moved;
                    }
                    self.worker = now;
                    teller.tell(&self.worker, self.report.as_ref()).await;
                }
            }
        }
    }

    fn hear(&self, revision: u64) {
        self.wanted
            .hear(&self.worker.integration, &self.worker.integration_uid, revision);
    }

    /// `wanted`, if it is for this worker, and it neither runs it nor was offered it over this connection.
    fn plan_to_push(&self, wanted: Option<Arc<Plan>>) -> Option<Arc<Plan>> {
        let wanted = wanted?;
        let is_for_it = *wanted.uid == *self.worker.integration_uid;
        let runs_older = self
            .report
            .as_ref()
            .is_none_or(|report| report.plan_revision < wanted.revision);
        let is_new = self.pushed.as_ref().is_none_or(|pushed| !Arc::ptr_eq(pushed, &wanted));
        (is_for_it && runs_older && is_new).then_some(wanted)
    }
}

/// The outcome of `future`, once there is one to wait for.
async fn when_there<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn offer(pusher: Pusher, plan: Arc<Plan>) -> Result<(Arc<Plan>, Answer), LinkError> {
    let answer = pusher.push(&plan).await?;
    Ok((plan, answer))
}

async fn tell(pusher: Pusher, of: u32) -> Result<u32, LinkError> {
    pusher.tell_share(of).await?;
    Ok(of)
}

async fn pause_too(pusher: Pusher, asked: Arc<health::Pauses>) -> Result<Arc<health::Pauses>, LinkError> {
    pusher.tell_pauses(&asked).await?;
    Ok(asked)
}

/// What the worker made of a plan shows in its report too; here it says why.
fn log_answer(worker: &Worker, plan: &Plan, answer: Answer) {
    let (integration, name, revision) = (&worker.integration, &*worker.name, plan.revision);
    match answer {
        Answer::Runs => tracing::debug!(%integration, worker = name, revision, "plan pushed"),
        Answer::Stale => tracing::warn!(%integration, worker = name, revision, "the worker runs a newer plan"),
        Answer::Refused => tracing::warn!(%integration, worker = name, revision, "the worker cannot use the plan"),
    }
}
