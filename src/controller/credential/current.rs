//! The value of a Credential that is in use now, wherever it is kept.

use jiff::Timestamp;

use crate::api::credential::{Credential, CredentialSpec};
use crate::cluster::{Cluster, ClusterError, Data, Held};
use crate::controller::Context;
use crate::domain::key::Key;
use crate::domain::plan::Material;
use crate::domain::rotation::next::ends;
use crate::domain::rotation::{Record, names, record};
use crate::domain::validate::{self, CredentialProblem};
use crate::fleet::Fleet;

/// A value, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentValue {
    /// The value, or why there is none.
    pub material: Result<Material, CredentialProblem>,
    /// Its revision; of a value that somebody else wrote, the one in the status.
    pub revision: i64,
    /// Its revision is written down together with it, by us.
    pub issued: bool,
    /// resourceVersion of the Secret that somebody else wrote.
    pub secret_version: Option<String>,
    /// When it ceases to be valid, where that is known.
    pub not_after: Option<Timestamp>,
    /// A value that the provider refuses with 401 is replaced by itself, and soon.
    pub renewable: bool,
}

/// Reads the value of `credential`: from the issued Secret where we issue it, else from the Secret that the spec names.
/// The first value of a provider's key that we replace is in the latter, until there is one in the former.
pub async fn read<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    credential: &Credential,
) -> Result<CurrentValue, ClusterError> {
    let spec = &credential.spec;
    // Not in whole seconds: whoever waits for the end of a value looks right at it.
    let now = (context.settings.clock)();
    let beside = |name: &str| Key::new(key.namespace.clone(), name);
    if spec.issues() {
        let held = context.cluster.held(&beside(&names::issued(spec, &key.name))).await?;
        let ours = held.filter(|held| held.owner.is_some() && held.owner == credential.metadata.uid);
        if let Some(value) = ours.and_then(|held| of_issued(spec, &held, now)) {
            return Ok(value);
        }
    }
    let data = match validate::secret_name(spec) {
        Some(name) => context.cluster.secret(&beside(name)).await?,
        None => None,
    };
    Ok(of_named(credential, data.as_ref(), now))
}

/// The value in the issued Secret of `spec`; `None` if it does not say which one it is.
pub fn of_issued(spec: &CredentialSpec, issued: &Held, now: Timestamp) -> Option<CurrentValue> {
    let record = record_of(issued)?;
    Some(CurrentValue {
        material: unless_expired(validate::issued(spec, &issued.values), record.not_after, now),
        revision: record.revision,
        issued: true,
        secret_version: None,
        not_after: record.not_after,
        renewable: is_renewable(spec),
    })
}

/// The value as long as we have issued none: that in `data` of the Secret that the spec names, if it names one.
pub fn of_named(credential: &Credential, data: Option<&Data>, now: Timestamp) -> CurrentValue {
    let spec = &credential.spec;
    if validate::secret_name(spec).is_none() {
        return CurrentValue {
            material: Err(missing(spec)),
            revision: 0,
            issued: true,
            secret_version: None,
            not_after: None,
            renewable: false,
        };
    }
    let material = validate::credential(spec, data.map(|data| &data.values));
    let not_after = match &material {
        Ok(Material::Certificate { chain, .. }) => validate::certificate_times(chain).map(|(_, end)| end),
        _ => None,
    };
    let status = credential.status.as_ref();
    CurrentValue {
        material: unless_expired(material, not_after, now),
        // The first revision is 1, so there is no need to wait until somebody has written it down.
        revision: status.and_then(|status| status.revision).unwrap_or(1),
        issued: false,
        secret_version: data.map(|data| data.version.clone()),
        not_after,
        renewable: false,
    }
}

/// What an issued Secret says of the values in it. A record of a format that we do not know is as good as none.
pub fn record_of(issued: &Held) -> Option<Record> {
    let record: Record = serde_json::from_str(issued.annotations.get(record::ANNOTATION)?).ok()?;
    (record.format <= record::FORMAT).then_some(record)
}

/// A value that has expired is none, and in its last second it is not used any more: that is when a run is woken for it,
/// and the next one may be minutes away.
fn unless_expired(
    material: Result<Material, CredentialProblem>,
    not_after: Option<Timestamp>,
    now: Timestamp,
) -> Result<Material, CredentialProblem> {
    match not_after.filter(|end| ends(*end) <= now) {
        Some(end) if material.is_ok() => Err(CredentialProblem::Expired {
            message: format!("the value expired at {end}"),
        }),
        _ => material,
    }
}

/// Tokens are cheap: another one is there in no time. And a provider that replaces its key refuses the old one for as
/// long as the new one is on its way.
fn is_renewable(spec: &CredentialSpec) -> bool {
    spec.oauth2.is_some() || spec.jwt.is_some() || spec.steps().is_some()
}

/// Nothing was issued yet.
fn missing(spec: &CredentialSpec) -> CredentialProblem {
    match validate::credential_spec(spec).into_iter().next() {
        Some(violation) => violation.into(),
        None => CredentialProblem::NotIssued,
    }
}
