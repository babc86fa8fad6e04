//! Metadata-only watches that wake reconciles.
//!
//! Each kind has a watch and a task of its own: one that fails (a missing right, a CRD not installed yet) backs off alone
//! and holds up no other. A watch that starts over lists everything again; what was known before and is not listed now
//! went while nobody watched, and is announced too.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::credential::Credential;
use crate::api::integration::Integration;
use crate::api::{ANNOTATION_RECONCILE, ANNOTATION_RESET_CIRCUIT, ANNOTATION_ROTATE, LABEL_INTEGRATION};
use crate::cluster::Change;
use crate::domain::key::Key;

/// A watch is renewed after this many seconds; a connection that died silently is noticed 5 s later. kube's own value is
/// 290 s, in which a cut network would go unnoticed.
const RENEWAL: u32 = 60;

/// Starts every watch; they end with `stop` or when nobody listens any more.
pub fn start(client: &Client, changes: &mpsc::Sender<Change>, stop: &CancellationToken) {
    let watch = Watch {
        client: client.clone(),
        changes: changes.clone(),
        stop: stop.clone(),
    };
    watch.start::<Integration>(None, intent, |meta| vec![Change::Integration(key(meta))]);
    watch.start::<Credential>(None, intent, |meta| vec![Change::Credential(key(meta))]);
    watch.start::<Secret>(None, version, |meta| {
        [Some(Change::Secret(key(meta))), owned(meta)]
            .into_iter()
            .flatten()
            .collect()
    });
    watch.start::<ConfigMap>(None, version, |meta| vec![Change::ConfigMap(key(meta))]);
    let ours = Some("app.kubernetes.io/managed-by=tidegate");
    watch.start::<Deployment>(ours, generation, |meta| owned(meta).into_iter().collect());
    watch.start::<PodDisruptionBudget>(ours, generation, |meta| owned(meta).into_iter().collect());
    watch.start::<NetworkPolicy>(ours, version, |meta| owned(meta).into_iter().collect());
    watch.start::<Service>(ours, version, |meta| owned(meta).into_iter().collect());
    watch.start::<ServiceAccount>(ours, version, |meta| owned(meta).into_iter().collect());
}

fn key(meta: &ObjectMeta) -> Key {
    Key::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// The Integration that an object of ours was made for.
fn owned(meta: &ObjectMeta) -> Option<Change> {
    let name = meta.labels.as_ref()?.get(LABEL_INTEGRATION)?;
    Some(Change::Owned(Key::new(meta.namespace.as_deref()?, name.as_str())))
}

/// What of an object of a user's we act on: our own writes of status must not wake us.
fn intent(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    for name in [ANNOTATION_ROTATE, ANNOTATION_RESET_CIRCUIT, ANNOTATION_RECONCILE] {
        meta.annotations
            .as_ref()
            .and_then(|annotations| annotations.get(name))
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// Every write counts.
fn version(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.uid, &meta.resource_version).hash(&mut hasher);
    hasher.finish()
}

/// Writes of the spec count, the many of the status do not.
fn generation(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        &meta.uid,
        meta.generation,
        &meta.labels,
        meta.deletion_timestamp.is_some(),
    )
        .hash(&mut hasher);
    hasher.finish()
}

struct Watch {
    client: Client,
    changes: mpsc::Sender<Change>,
    stop: CancellationToken,
}

impl Watch {
    fn start<K>(
        &self,
        selector: Option<&str>,
        fingerprint: fn(&ObjectMeta) -> u64,
        announce: fn(&ObjectMeta) -> Vec<Change>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Send + Sync + std::fmt::Debug + 'static,
    {
        let api: Api<PartialObjectMeta<K>> = Api::all(self.client.clone());
        let mut config = watcher::Config::default().timeout(RENEWAL);
        config.label_selector = selector.map(str::to_owned);
        let (changes, stop) = (self.changes.clone(), self.stop.clone());
        let kind = K::kind(&()).into_owned();
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, config).default_backoff());
            let mut known = Known::new(fingerprint, announce);
            let mut failing = false;
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = events.next() => event,
                };
                match event {
                    None => return,
                    Some(Ok(event)) => {
                        if std::mem::take(&mut failing) {
                            tracing::info!(kind, "the watch works again");
                        }
                        for change in known.take_in(event) {
                            if changes.send(change).await.is_err() {
                                return;
                            }
                        }
                    }
                    // Once for each failure that lasts: it is tried again every few seconds.
                    Some(Err(error)) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(kind, %error, "the watch fails and is tried again");
                    }
                    Some(Err(error)) => tracing::debug!(kind, %error, "the watch still fails"),
                }
            }
        });
    }
}

/// What of a kind has been announced, so that only news is.
struct Known {
    fingerprint: fn(&ObjectMeta) -> u64,
    announce: fn(&ObjectMeta) -> Vec<Change>,
    objects: HashMap<Key, Object>,
    round: u32,
}

struct Object {
    fingerprint: u64,
    /// The listing that last saw it.
    round: u32,
    /// What to announce when it is gone.
    announcement: Vec<Change>,
}

impl Known {
    fn new(fingerprint: fn(&ObjectMeta) -> u64, announce: fn(&ObjectMeta) -> Vec<Change>) -> Self {
        Self {
            fingerprint,
            announce,
            objects: HashMap::new(),
            round: 0,
        }
    }

    fn take_in<K>(&mut self, event: watcher::Event<PartialObjectMeta<K>>) -> Vec<Change> {
        match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => self.see(&object.metadata),
            watcher::Event::Delete(object) => {
                self.objects.remove(&key(&object.metadata));
                (self.announce)(&object.metadata)
            }
            watcher::Event::Init => {
                self.round = self.round.wrapping_add(1);
                Vec::new()
            }
            watcher::Event::InitDone => {
                let round = self.round;
                let gone = self.objects.extract_if(|_, object| object.round != round);
                gone.flat_map(|(_, object)| object.announcement).collect()
            }
        }
    }

    fn see(&mut self, meta: &ObjectMeta) -> Vec<Change> {
        let fingerprint = (self.fingerprint)(meta);
        let announcement = (self.announce)(meta);
        let object = Object {
            fingerprint,
            round: self.round,
            announcement: announcement.clone(),
        };
        match self.objects.insert(key(meta), object) {
            Some(before) if before.fingerprint == fingerprint => Vec::new(),
            _ => announcement,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;

    fn object(name: &str, version: &str) -> PartialObjectMeta<Secret> {
        let metadata = ObjectMeta {
            namespace: Some("shop".into()),
            name: Some(name.into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        PartialObjectMeta {
            metadata,
            ..PartialObjectMeta::default()
        }
    }

    fn secrets() -> Known {
        Known::new(version, |meta| vec![Change::Secret(key(meta))])
    }

    fn change(name: &str) -> Change {
        Change::Secret(Key::new("shop", name))
    }

    #[test]
    fn only_news_is_announced() {
        let mut known = secrets();
        assert_eq!(known.take_in(Event::Apply(object("a", "1"))), [change("a")]);
        assert_eq!(known.take_in(Event::Apply(object("a", "1"))), []);
        assert_eq!(known.take_in(Event::Apply(object("a", "2"))), [change("a")]);
        assert_eq!(known.take_in(Event::Delete(object("a", "3"))), [change("a")]);
    }

    #[test]
    fn what_went_while_nobody_watched_is_announced_when_the_listing_ends() {
        let mut known = secrets();
        for event in [
            Event::Init,
            Event::InitApply(object("a", "1")),
            Event::InitApply(object("b", "1")),
        ] {
            known.take_in(event);
        }
        assert_eq!(known.take_in::<Secret>(Event::InitDone), []);
        assert_eq!(known.take_in::<Secret>(Event::Init), []);
        assert_eq!(known.take_in(Event::InitApply(object("b", "1"))), []);
        assert_eq!(known.take_in::<Secret>(Event::InitDone), [change("a")]);
    }

    #[test]
    fn a_listing_that_breaks_off_announces_nothing_as_gone() {
        let mut known = secrets();
        known.take_in(Event::Apply(object("a", "1")));
        known.take_in::<Secret>(Event::Init);
        known.take_in::<Secret>(Event::Init);
        known.take_in(Event::InitApply(object("a", "1")));
        assert_eq!(known.take_in::<Secret>(Event::InitDone), []);
    }

    #[test]
    fn a_write_of_status_does_not_wake_us_and_an_annotation_does() {
        let mut meta = ObjectMeta {
            generation: Some(1),
            resource_version: Some("1".into()),
            ..ObjectMeta::default()
        };
        let before = intent(&meta);
        meta.resource_version = Some("2".into());
        assert_eq!(intent(&meta), before);
        meta.annotations = Some([(ANNOTATION_RECONCILE.to_owned(), "now".to_owned())].into());
        assert_ne!(intent(&meta), before);
    }
}
