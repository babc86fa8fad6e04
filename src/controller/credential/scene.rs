//! All that a step is decided on, read just now.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::credential::{Credential, CredentialSpec, CredentialStatus, SecretKeyRef};
use crate::cluster::{Cluster, ClusterError, Held};
use crate::controller::Context;
use crate::controller::references::{Source, User};
use crate::domain::hash;
use crate::domain::key::Key;
use crate::domain::rotation::{Attempt, Policy, Record, names};
use crate::domain::secret::SecretValue;
use crate::domain::validate::{self, CredentialProblem, Violation};
use crate::fleet::Fleet;
use crate::provider::{self, Authority, Current, Order, Sources};

use super::current::{self, CurrentValue};

/// Key of the pending Secret that holds the [`Attempt`].
pub const ATTEMPT: &str = "attempt.json";
/// What stands before the keys of the previous value in the issued Secret.
pub const PREVIOUS: &str = "previous.";

/// What is known of a Credential that issues something.
pub struct Scene {
    /// Its name.
    pub key: Key,
    /// Its UID.
    pub uid: String,
    /// The object.
    pub credential: Credential,
    /// What it asks for.
    pub policy: Policy,
    /// What it refers to.
    pub sources: Sources,
    /// That as a hash.
    pub fingerprint: String,
    /// Name of the issued Secret.
    pub issued_key: Key,
    /// The issued Secret, if it is there and ours.
    pub issued: Option<Held>,
    /// What it says of itself.
    pub record: Option<Record>,
    /// Name of the pending Secret.
    pub pending_key: Key,
    /// The pending Secret, if it is there.
    pub pending: Option<Held>,
    /// The attempt in it.
    pub attempt: Option<Attempt>,
    /// Why nothing can be done; only an edit helps.
    pub obstacle: Option<CredentialProblem>,
    /// The value in use.
    pub current: CurrentValue,
}

impl Scene {
    /// Reads everything. What changes from here on wakes the Credential again.
    pub async fn look<C: Cluster, F: Fleet>(
        context: &Context<C, F>,
        key: &Key,
        credential: &Credential,
    ) -> Result<Self, ClusterError> {
        let spec = &credential.spec;
        let uid = credential.metadata.uid.clone().unwrap_or_default();
        let beside = |name: &str| Key::new(key.namespace.clone(), name);
        let issued_key = beside(&names::issued(spec, &key.name));
        let pending_key = beside(&names::pending(&key.name, &uid));
        let named = provider::named(&key.name, spec);
        let secrets = named.secrets.iter().map(|name| Source::Secret(beside(name)));
        let maps = named.config_maps.iter().map(|name| Source::ConfigMap(beside(name)));
        let others = named.credentials.iter().map(|name| Source::Credential(beside(name)));
        let ours = [&issued_key, &pending_key].map(|key| Source::Secret(key.clone()));
        let referred: BTreeSet<Source> = secrets.chain(maps).chain(others).chain(ours).collect();
        context.refer(&User::Credential(key.clone()), referred);

        let mut sources = Sources::default();
        let mut first = None;
        for name in &named.secrets {
            let data = context.cluster.secret(&beside(name)).await?;
            sources
                .secrets
                .insert(name.clone(), data.as_ref().map(|data| data.values.clone()));
            if validate::secret_name(spec) == Some(name) {
                first = data;
            }
        }
        for name in &named.config_maps {
            let data = context.cluster.config_map(&beside(name)).await?;
            sources.config_maps.insert(name.clone(), data.map(|data| data.values));
        }
        for name in &named.credentials {
            let authority = authority(context, &beside(name)).await?;
            sources.credentials.insert(name.clone(), authority);
        }
        let issued = context.cluster.held(&issued_key).await?;
        let pending = context.cluster.held(&pending_key).await?;
        let obstacle = obstacle(spec, &uid, [(&issued_key, &issued), (&pending_key, &pending)]);
        let issued = issued.filter(|held| held.owner.as_deref() == Some(uid.as_str()));
        let pending = pending.filter(|held| held.owner.as_deref() == Some(uid.as_str()));
        let record = issued.as_ref().and_then(current::record_of);
        let attempt = pending.as_ref().and_then(read_attempt);
        let now = (context.settings.clock)();
        let in_use = issued.as_ref().and_then(|held| current::of_issued(spec, held, now));
        let current = in_use.unwrap_or_else(|| current::of_named(credential, first.as_ref(), now));
        // The value itself may be what authorises its replacement.
        let own = Authority {
            allowed_hosts: spec.allowed_hosts.clone(),
            material: current.material.as_ref().ok().cloned(),
        };
        sources.credentials.insert(key.name.to_string(), Some(own));
        Ok(Self {
            policy: Policy::of(spec, &key.name, &uid),
            fingerprint: fingerprint(&uid, spec, &sources),
            key: key.clone(),
            uid,
            sources,
            issued_key,
            issued,
            record,
            pending_key,
            pending,
            attempt,
            obstacle,
            current,
            credential: credential.clone(),
        })
    }

    /// The issued Secret holds what its kind needs.
    pub fn is_usable(&self) -> bool {
        self.issued
            .as_ref()
            .is_some_and(|issued| validate::issued(&self.credential.spec, &issued.values).is_ok())
    }

    /// Since when the first value is in use, which somebody else wrote; from `now` on, if nobody has written that down.
    pub fn first_since(&self, stored: &CredentialStatus, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let first = self.record.is_none() && !self.current.issued && self.current.material.is_ok();
        first.then(|| stored.last_rotation_time.unwrap_or(now))
    }

    /// What a provider is told of `attempt`.
    pub fn order<'a>(&'a self, attempt: &'a Attempt, now: jiff::Timestamp) -> Order<'a> {
        let current = self.record.as_ref().zip(self.issued.as_ref());
        Order {
            key: &self.key,
            uid: &self.uid,
            spec: &self.credential.spec,
            attempt,
            current: current.map(|(record, issued)| Current {
                record,
                values: &issued.values,
            }),
            sources: &self.sources,
            now,
        }
    }

    /// Host of the provider that is asked.
    pub fn host(&self) -> Option<String> {
        provider::host(&self.credential.spec)
    }

    /// The highest revision that was ever told of.
    pub fn revision(&self) -> i64 {
        let told = self.credential.status.as_ref().and_then(|status| status.revision);
        let recorded = self.record.as_ref().map(|record| record.revision);
        let current = self.current.material.is_ok().then_some(self.current.revision);
        told.into_iter().chain(recorded).chain(current).max().unwrap_or(0)
    }

    /// The values in use, without those of the previous one.
    pub fn values(&self) -> BTreeMap<String, SecretValue> {
        let all = self.issued.iter().flat_map(|issued| &issued.values);
        all.filter(|(key, _)| !key.starts_with(PREVIOUS))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// The attempt in a pending Secret. One of a format that we do not know is as good as none.
pub fn read_attempt(pending: &Held) -> Option<Attempt> {
    let attempt: Attempt = serde_json::from_str(pending.values.get(ATTEMPT)?.expose()).ok()?;
    (attempt.format <= crate::domain::rotation::attempt::FORMAT).then_some(attempt)
}

/// What makes that nothing can be done until somebody edits something.
fn obstacle(spec: &CredentialSpec, uid: &str, secrets: [(&Key, &Option<Held>); 2]) -> Option<CredentialProblem> {
    let violations = validate::credential_spec(spec);
    let violations = violations.into_iter().chain(provider::violations(spec));
    if let Some(violation) = violations.into_iter().next() {
        return Some(violation.into());
    }
    let foreign = secrets.into_iter().find(|(_, held)| {
        let owner = held.as_ref().map(|held| held.owner.as_deref());
        owner.is_some_and(|owner| owner != Some(uid))
    });
    foreign.map(|(key, _)| {
        let must = format!(
            "must name a Secret of our own: `{}` exists and is not; delete it or name another",
            key.name
        );
        let field = "spec.secretName".to_owned();
        Violation { field, must }.into()
    })
}

/// The Credential that authorises a call.
async fn authority<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
) -> Result<Option<Authority>, ClusterError> {
    let credential = match context.cluster.credential(key).await {
        Ok(credential) => credential,
        // Its own status says so.
        Err(ClusterError::Undecodable { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(credential) = credential.filter(|it| it.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let current = current::read(context, key, &credential).await?;
    Ok(Some(Authority {
        allowed_hosts: credential.spec.allowed_hosts,
        material: current.material.ok(),
    }))
}

/// What a value is made from, as a hash that is of no use without the UID. Who authorises a call is no part of it.
///
/// A refresh token begins a chain of values, so what it is stands by itself behind a `:`; see [`rotation::root`].
fn fingerprint(uid: &str, spec: &CredentialSpec, sources: &Sources) -> String {
    let maps = sources.secrets.iter().chain(&sources.config_maps);
    let values = maps.flat_map(|(name, values)| {
        let values = values.iter().flatten();
        values.map(move |(key, value)| {
            (
                name.as_str(),
                key.as_str(),
                value.as_ref().map_or("", SecretValue::expose),
            )
        })
    });
    let all = hash_of(uid, values);
    let root = spec
        .oauth2
        .as_ref()
        .and_then(|oauth2| oauth2.refresh_token_ref.as_ref());
    let Some(SecretKeyRef { name, key }) = root else {
        return all;
    };
    let value = sources
        .secrets
        .get(name)
        .and_then(|values| values.as_ref()?.get(key)?.as_ref());
    let root = value.map(|value| (name.as_str(), key.as_str(), value.expose()));
    format!("{all}:{}", hash_of(uid, root))
}

fn hash_of<'a>(uid: &str, values: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> String {
    let mut bytes = Vec::new();
    let mut add = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    add(uid);
    for (name, key, value) in values {
        add(name);
        add(key);
        add(value);
    }
    let digest = hash::hex(&bytes);
    // They held secrets.
    bytes.fill(0);
    digest
}
