//! Reads what an Integration refers to, as it is stored now.

use std::collections::BTreeSet;

use futures::future::try_join_all;

use crate::api::condition::{Condition, ConditionStatus, kind, reason};
use crate::api::credential::CredentialStatus;
use crate::api::integration::{CaRefKind, Integration};
use crate::cluster::{Cluster, ClusterError};
use crate::controller::Context;
use crate::controller::credential::read_current;
use crate::controller::references::{Source, User};
use crate::domain::key::Key;
use crate::domain::plan::{CredentialPlan, Plan};
use crate::domain::validate::{CredentialFound, CredentialProblem, CredentialReference, References, Violation};
use crate::fleet::Fleet;

/// Reads the Credentials with their Secrets, and the certificates. `stored` is the plan that was programmed last.
pub(super) async fn read<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: &Key,
    integration: &Integration,
    stored: Option<&Plan>,
) -> Result<References, ClusterError> {
    let spec = &integration.spec;
    let beside = |name: &str| Key::new(key.namespace.clone(), name);
    let names: BTreeSet<&str> = spec
        .credential_refs
        .iter()
        .map(|reference| reference.name.as_str())
        .collect();
    let ca = spec.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref());
    let ca = ca.map(|ca| match ca.kind {
        CaRefKind::Secret => Source::Secret(beside(&ca.name)),
        CaRefKind::ConfigMap => Source::ConfigMap(beside(&ca.name)),
    });
    // Before anything is read: what changes from here on wakes this Integration again.
    let sources = names
        .iter()
        .map(|name| Source::Credential(beside(name)))
        .chain(ca.clone());
    context.refer(&User::Integration(key.clone()), sources.collect());

    let credentials = spec.credential_refs.iter().map(|reference| {
        let programmed = stored.and_then(|plan| plan.credentials.iter().find(|held| held.name == reference.name));
        credential(context, beside(&reference.name), integration, programmed)
    });
    Ok(References {
        credentials: try_join_all(credentials).await?,
        ca: match ca {
            Some(Source::Secret(key)) => context.cluster.secret(&key).await?.map(|data| data.values),
            Some(Source::ConfigMap(key)) => context.cluster.config_map(&key).await?.map(|data| data.values),
            Some(Source::Credential(_)) | None => None,
        },
    })
}

/// Reads one Credential. `programmed` is what workers have of it.
async fn credential<C: Cluster, F: Fleet>(
    context: &Context<C, F>,
    key: Key,
    integration: &Integration,
    programmed: Option<&CredentialPlan>,
) -> Result<CredentialReference, ClusterError> {
    let name = key.name.to_string();
    let credential = match context.cluster.credential(&key).await {
        // One that is being deleted is withdrawn at once, however long its deletion takes.
        Ok(credential) => credential.filter(|credential| credential.metadata.deletion_timestamp.is_none()),
        Err(ClusterError::Undecodable { detail, .. }) => {
            let found = Some(undecodable(&detail, integration, programmed));
            return Ok(CredentialReference { name, found });
        }
        Err(error) => return Err(error),
    };
    let Some(credential) = credential else {
        return Ok(CredentialReference { name, found: None });
    };
    let status = credential.status.clone().unwrap_or_default();
    let current = read_current(context, &key, &credential).await?;
    // A revision stands for one value. A value that somebody else wrote and that the Credential's own reconcile has not
    // given a revision yet waits for it, which then wakes this Integration; while the Credential is suspended, that may be
    // long. What we issue has its revision written beside it.
    let revised = current.issued
        || status.secret_version == current.secret_version
            && status.observed_generation == credential.metadata.generation;
    let suspended = credential.spec.suspend == Some(true);
    let mut found = CredentialFound {
        material: current.material.map_err(|problem| why_not_issued(problem, &status)),
        allowed_hosts: credential.spec.allowed_hosts,
        revision: current.revision,
        not_after: current.not_after,
        renewable: current.renewable,
    };
    if (suspended || !revised)
        && found.material.is_ok()
        && let Some(programmed) = programmed
        && let Some(material) = &programmed.material
    {
        found.material = Ok(material.clone());
        found.revision = programmed.revision;
        found.not_after = programmed.not_after;
    }
    Ok(CredentialReference {
        name,
        found: Some(found),
    })
}

/// Why the first value does not come is in the Credential's own status alone.
fn why_not_issued(problem: CredentialProblem, status: &CredentialStatus) -> CredentialProblem {
    let is = |it: &&Condition, of: &str| it.type_ == of;
    let ready = status.conditions.iter().find(|it| is(it, kind::READY));
    match (problem, ready) {
        (CredentialProblem::NotIssued, Some(ready))
            if ready.status == ConditionStatus::False && ready.reason != reason::PROGRESSING =>
        {
            CredentialProblem::IssueFailed {
                message: ready.message.clone(),
                permanent: status.conditions.iter().any(|it| is(&it, kind::STALLED)),
            }
        }
        (problem, _) => problem,
    }
}

/// A Credential that does not decode has no usable value, and is no reason to stop what runs with the last good one.
/// Which hosts it allows is not known: those that it did allow, or, where nothing was ever injected and nothing will be,
/// those that the Integration has, so that the reason given is the right one.
fn undecodable(detail: &str, integration: &Integration, programmed: Option<&CredentialPlan>) -> CredentialFound {
    let hosts = || {
        integration
            .spec
            .endpoints
            .iter()
            .filter_map(|endpoint| host(&endpoint.url))
            .collect()
    };
    CredentialFound {
        allowed_hosts: programmed.map_or_else(hosts, |programmed| programmed.allowed_hosts.clone()),
        revision: programmed.map_or(0, |programmed| programmed.revision),
        not_after: programmed.and_then(|programmed| programmed.not_after),
        renewable: false,
        material: Err(CredentialProblem::InvalidSpec(Violation {
            field: "spec".into(),
            must: format!("must be readable: {detail}"),
        })),
    }
}

fn host(url: &str) -> Option<String> {
    url::Url::parse(url).ok()?.host_str().map(str::to_owned)
}
