//! Follows the workers: one task watches their Pods, one for each keeps its control connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::calls::told;
use super::keep::keep_link;
use super::names;
use super::pauses::Pauses;
use super::pod::{Worker, WorkerPod};
use super::shares::Shares;
use super::trust::TrustStore;
use super::wanted::Wanted;
use crate::domain::key::Key;
use crate::fleet::{Observation, WorkerState};

/// Longest watch call, in seconds. A dead connection to the API server is noticed five seconds later.
const WATCH_SECONDS: u32 = 60;
/// Pods in one page of a list: bounds the memory of a start with thousands of them.
const PAGE: u32 = 250;
/// What every link works with.
#[derive(Clone)]
pub struct Context {
    /// Plans to push.
    pub wanted: Arc<Wanted>,
    /// Shares of rate limits to tell.
    pub(super) shares: Arc<Shares>,
    /// Pauses that other workers were asked for, to tell.
    pub(super) pauses: Arc<Pauses>,
    /// How to connect.
    pub trust: Arc<TrustStore>,
    /// Who wants to know.
    pub observed: mpsc::Sender<Observation>,
}

/// Follows every worker of the cluster; ends only when nobody wants to know any more.
pub async fn follow(client: Client, context: Context) {
    let pods: Api<WorkerPod> = Api::all(client);
    let config = watcher::Config::default()
        .labels(names::ALL_WORKERS)
        .timeout(WATCH_SECONDS)
        .page_size(PAGE);
    let events = watcher::watcher(pods, config).default_backoff();
    pin_mut!(events);
    let mut followed = Followed {
        context,
        links: HashMap::new(),
        listed: HashSet::new(),
    };
    while let Some(event) = events.next().await {
        if followed.context.observed.is_closed() {
            return;
        }
        match event {
            Ok(event) => followed.take(event).await,
            Err(error) => tracing::warn!(error = told(&error), "the workers cannot be watched; trying again"),
        }
    }
}

/// The workers that exist, each with the task that follows it.
struct Followed {
    context: Context,
    links: HashMap<Key, FollowedWorker>,
    /// Seen in the list that is under way.
    listed: HashSet<Key>,
}

struct FollowedWorker {
    integration: Key,
    place: watch::Sender<Worker>,
    task: AbortOnDropHandle<()>,
}

impl Followed {
    async fn take(&mut self, event: watcher::Event<WorkerPod>) {
        match event {
            watcher::Event::Apply(pod) => self.see(&pod).await,
            watcher::Event::Delete(pod) => self.lose(&pod.key()).await,
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(pod) => {
                self.listed.insert(pod.key());
                self.see(&pod).await;
            }
            watcher::Event::InitDone => {
                // Deleted while nobody watched. The list is whole now, so what is not in it does not exist.
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<Key> = self
                    .links
                    .keys()
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                for key in gone {
                    self.lose(&key).await;
                }
            }
        }
    }

    async fn see(&mut self, pod: &WorkerPod) {
        let key = pod.key();
        let Some(worker) = pod.worker() else {
            return self.lose(&key).await;
        };
        // Labels can be edited, and a name can come back: then it is another worker.
        let another = |known: &FollowedWorker| {
            let place = known.place.borrow();
            (&place.integration, &place.integration_uid, &place.uid)
                != (&worker.integration, &worker.integration_uid, &worker.uid)
        };
        if self.links.get(&key).is_some_and(another) {
            self.lose(&key).await;
        }
        if let Some(known) = self.links.get(&key) {
            known.place.send_if_modified(|place| {
                let changed = *place != worker;
                *place = worker;
                changed
            });
            return;
        }
        let integration = worker.integration.clone();
        self.context.shares.see(&integration, &worker.name);
        let (place, seen) = watch::channel(worker);
        let task = AbortOnDropHandle::new(tokio::spawn(keep_link(seen, self.context.clone())));
        self.links.insert(
            key,
            FollowedWorker {
                integration,
                place,
                task,
            },
        );
    }

    async fn lose(&mut self, key: &Key) {
        let Some(FollowedWorker {
            integration,
            place,
            task,
        }) = self.links.remove(key)
        else {
            return;
        };
        // Once the task has ended it tells nothing more, so that this is the last that is heard of the worker.
        task.abort();
        let _ = task.await;
        drop(place);
        self.context.shares.lose(&integration, &key.name);
        let gone = Observation {
            integration,
            worker: Arc::clone(&key.name),
            state: WorkerState::Gone,
        };
        let _ = self.context.observed.send(gone).await;
    }
}
