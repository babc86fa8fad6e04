//! The authority as it is stored: in a Secret of the controller's namespace, so that every replica has the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rustls::ClientConfig;
use serde_json::json;
use tokio::sync::Mutex;

use super::apply;
use super::calls::Call;
use crate::api::MANAGER_INTEGRATION;
use crate::domain::key::Key;
use crate::fleet::FleetError;
use crate::fleet::authority::{Authority, AuthorityError};

/// Name of the Secret.
pub const SECRET: &str = "tidegate-ca";
/// How long what was read counts. The controller's own certificate is issued anew with each reading.
const READ_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How long until the next try where it could not be read again.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// The authority, and how to connect to workers with it.
#[derive(Debug)]
pub struct Trust {
    /// Issues the workers' certificates.
    pub authority: Authority,
    /// Proves to them that this is the controller.
    pub client: Arc<ClientConfig>,
}

/// Keeps the authority at hand.
pub struct TrustStore {
    client: Client,
    key: Key,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    trust: Arc<Trust>,
    until: Timestamp,
}

impl TrustStore {
    /// The store in the controller's `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            key: Key::new(namespace, SECRET),
            kept: Mutex::new(None),
        }
    }

    /// The authority: made if there is none, renewed when it is time. What is at hand goes on to serve while the API
    /// server is down.
    pub async fn trust(&self, now: Timestamp) -> Result<Arc<Trust>, FleetError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept
            && now < kept.until
        {
            return Ok(Arc::clone(&kept.trust));
        }
        let at_hand = kept.as_ref().map(|kept| Arc::clone(&kept.trust));
        let (trust, valid) = match (self.load(at_hand.as_deref(), now).await, at_hand) {
            (Ok(trust), _) => (Arc::new(trust), READ_EVERY),
            (Err(error), Some(at_hand)) => {
                tracing::warn!("the authority cannot be read again, the one at hand goes on: {error}");
                (at_hand, TRY_AGAIN)
            }
            (Err(error), None) => return Err(error),
        };
        let until = now + valid;
        *kept = Some(Kept {
            trust: Arc::clone(&trust),
            until,
        });
        Ok(trust)
    }

    async fn load(&self, at_hand: Option<&Trust>, now: Timestamp) -> Result<Trust, FleetError> {
        let authority = self.load_authority(at_hand, now).await?;
        let client = authority.client_config(now).map_err(|error| self.broken(&error))?;
        Ok(Trust { authority, client })
    }

    async fn load_authority(&self, at_hand: Option<&Trust>, now: Timestamp) -> Result<Authority, FleetError> {
        // Whoever loses a race reads what the winner wrote; more than a few in a row is trouble of another kind.
        let mut last = None;
        for _ in 0..4 {
            let tried = match apply::read::<Secret>(&self.client, &self.key).await? {
                None => {
                    let authority = match at_hand {
                        // The Secret was deleted: the workers still trust this one.
                        Some(trust) => trust.authority.clone(),
                        None => Authority::make(now).map_err(|error| self.broken(&error))?,
                    };
                    self.create(&authority).await.map(|()| authority)
                }
                Some(secret) => {
                    let authority = Authority::from_data(&bytes(&secret)).map_err(|error| self.broken(&error))?;
                    match authority.renewed(now).map_err(|error| self.broken(&error))? {
                        None => return Ok(authority),
                        Some(renewed) => self.replace(&secret, &renewed).await.map(|()| renewed),
                    }
                }
            };
            match tried {
                Ok(authority) => return Ok(authority),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.call("get").failed("it changes all the time")))
    }

    async fn create(&self, authority: &Authority) -> Result<(), FleetError> {
        let data = authority
            .to_data()
            .into_iter()
            .map(|(key, bytes)| (key, ByteString(bytes)));
        let labels = [
            ("app.kubernetes.io/name", "tidegate"),
            ("app.kubernetes.io/component", "controller"),
            ("app.kubernetes.io/managed-by", "tidegate"),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.into()),
                labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        };
        let params = PostParams {
            field_manager: Some(MANAGER_INTEGRATION.into()),
            ..PostParams::default()
        };
        self.call("create")
            .within_deadline(self.api().create(&params, &secret))
            .await?;
        tracing::info!(secret = %self.key, "made an authority for the control connections");
        Ok(())
    }

    /// Replaces the data, if nobody else has since `secret` was read.
    async fn replace(&self, secret: &Secret, authority: &Authority) -> Result<(), FleetError> {
        let wanted = authority.to_data();
        let mut data: BTreeMap<String, Option<ByteString>> = secret
            .data
            .iter()
            .flatten()
            .map(|(key, _)| (key.clone(), None))
            .collect();
        data.extend(wanted.into_iter().map(|(key, bytes)| (key, Some(ByteString(bytes)))));
        let patch = json!({"metadata": {"resourceVersion": secret.resource_version()}, "data": data});
        let params = PatchParams {
            field_manager: Some(MANAGER_INTEGRATION.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        self.call("patch")
            .within_deadline(self.api().patch(SECRET, &params, &patch))
            .await?;
        tracing::info!(secret = %self.key, "renewed the authority for the control connections");
        Ok(())
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.key.namespace)
    }

    fn call(&self, verb: &'static str) -> Call<'_> {
        Call {
            verb,
            kind: "Secret",
            key: &self.key,
        }
    }

    fn broken(&self, error: &AuthorityError) -> FleetError {
        self.call("get").failed(error.to_string())
    }
}

fn bytes(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.iter().flatten();
    data.map(|(key, ByteString(bytes))| (key.clone(), bytes.clone()))
        .collect()
}
