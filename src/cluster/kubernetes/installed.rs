//! Whether the API server answers and serves our resources.

use std::time::Duration;

use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};
use tokio::time::{sleep, timeout};

use crate::api::credential::Credential;
use crate::api::integration::Integration;

/// For one call.
const DEADLINE: Duration = Duration::from_secs(10);
/// First and longest time between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Waits until both resources are served, and says what it waits for. `tell` is given every reason to wait.
pub async fn wait(client: &Client, mut tell: impl FnMut(&str)) {
    let (mut pause, longest) = PAUSES;
    let mut told = String::new();
    while let Err(why) = look(client).await {
        if why != told {
            tracing::warn!("{why}");
            tell(&why);
            told = why;
        }
        sleep(pause).await;
        pause = (2 * pause).min(longest);
    }
}

async fn look(client: &Client) -> Result<(), String> {
    served::<Integration>(client).await?;
    served::<Credential>(client).await
}

async fn served<K>(client: &Client) -> Result<(), String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    let (kind, plural) = (K::kind(&()), K::plural(&()));
    let group = K::group(&());
    match timeout(DEADLINE, api.list_metadata(&ListParams::default().limit(1))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(format!(
            "the CustomResourceDefinition {plural}.{group} is not installed; apply what `tidegate crds` prints. Waiting for it"
        )),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(format!(
            "not allowed to list {kind}s; grant it to the controller's ServiceAccount. Waiting for it"
        )),
        Ok(Err(error)) => Err(format!("the API server cannot be reached: {error}. Waiting for it")),
        Err(_) => Err("the API server does not answer. Waiting for it".to_owned()),
    }
}
