//! The status of one Credential as a watch tells of it.

use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tidegate::api::condition::{ConditionStatus, kind};
use tidegate::api::credential::Credential;
use tokio::sync::watch;

use crate::{Outcome, PLACE};

/// Follows it until nobody listens any more.
pub fn follow(client: &Client, name: &str) -> watch::Receiver<Option<Credential>> {
    let (sender, receiver) = watch::channel(None);
    let api: Api<Credential> = Api::namespaced(client.clone(), PLACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    tokio::spawn(async move {
        let mut objects = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
        while let Ok(Some(object)) = objects.try_next().await {
            if sender.send(Some(object)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits until `rotate` is answered and every worker runs what came of it; `None`: until the first value is.
pub async fn propagated(told: &mut watch::Receiver<Option<Credential>>, rotate: Option<&str>) -> Outcome {
    let is_so = |object: &Option<Credential>| {
        let Some(status) = object.as_ref().and_then(|object| object.status.as_ref()) else {
            return false;
        };
        let handled = status.handled.as_ref().and_then(|handled| handled.rotate.as_deref());
        let holds = |wanted: &str| {
            let mut conditions = status.conditions.iter();
            conditions.any(|it| it.type_ == wanted && it.status == ConditionStatus::True)
        };
        let runs = |consumer: &tidegate::api::credential::Consumer| Some(consumer.revision) == status.revision;
        handled == rotate
            && holds(kind::READY)
            && holds(kind::PROPAGATED)
            && !status.consumers.is_empty()
            && status.consumers.iter().all(runs)
    };
    told.wait_for(is_so).await?;
    Ok(())
}
