//! Makes the API server agree with the objects of a workload.
//!
//! Every object is looked at first, all of them before anything is written: one that is not ours stops the whole, and
//! one that is already as it should be is not written. Then they are applied one by one: what is mounted before what
//! mounts it, and the guard before what it guards.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::build::Objects;
use super::calls::Call;
use super::difference::{APPLIED, fingerprint, is_as_wanted};
use super::names;
use crate::api::{GROUP, MANAGER_INTEGRATION};
use crate::domain::key::Key;
use crate::domain::plan::Plan;
use crate::fleet::FleetError;

/// Proof that everything a plan needs is stored; a push asks for it.
#[derive(Debug)]
pub struct Applied(());

/// An object that we make.
pub trait Made:
    k8s_openapi::Resource
    + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
{
}

impl<K> Made for K where
    K: k8s_openapi::Resource
        + Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
{
}

/// What is to be done about one object.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is as it should be.
    Keep,
    /// It does not exist.
    Create,
    /// It is ours and is not as it should be.
    Change {
        /// Its UID: should another have taken its place meanwhile, the write fails.
        uid: Option<String>,
    },
}

/// An object of ours, and what is to be done about it.
struct Planned {
    kind: &'static str,
    key: Key,
    wanted: Value,
    step: Step,
}

/// Applies `objects` for `plan`. `secret` is the Secret as it was just read.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    objects: Objects,
    secret: Option<&Secret>,
) -> Result<Applied, FleetError> {
    let Objects {
        service_account,
        secret: wanted_secret,
        network_policy,
        service,
        disruption_budget,
        deployment,
    } = objects;
    let uid = &plan.uid;
    let planned_secret = decide(secret, &wanted_secret, uid)?;
    let (service_account, network_policy, service, disruption_budget, deployment) = tokio::try_join!(
        look(client, service_account, uid),
        look_at_policy(client, plan, network_policy),
        look(client, service, uid),
        look(client, disruption_budget, uid),
        look(client, deployment, uid),
    )?;
    write::<k8s_openapi::api::core::v1::ServiceAccount>(client, service_account).await?;
    write::<Secret>(client, planned_secret).await?;
    match network_policy {
        Policy::Wanted(planned) => write::<NetworkPolicy>(client, planned).await?,
        Policy::Surplus { uid } => remove_policy(client, plan, uid).await?,
        Policy::Absent => {}
    }
    write::<k8s_openapi::api::core::v1::Service>(client, service).await?;
    write::<k8s_openapi::api::policy::v1::PodDisruptionBudget>(client, disruption_budget).await?;
    write::<k8s_openapi::api::apps::v1::Deployment>(client, deployment).await?;
    Ok(Applied(()))
}

/// The object as it is stored now.
pub async fn read<K: Made>(client: &Client, key: &Key) -> Result<Option<K>, FleetError> {
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    let call = Call {
        verb: "get",
        kind: K::KIND,
        key,
    };
    call.within_deadline(api.get_opt(&key.name)).await
}

/// Whether the object belongs to the Integration with this UID.
pub fn is_ours(metadata: &ObjectMeta, uid: &str) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.uid == uid && owner.controller == Some(true))
}

async fn look<K: Made>(client: &Client, wanted: K, uid: &str) -> Result<Planned, FleetError> {
    let live = read::<K>(client, &key_of(wanted.meta())).await?;
    decide(live.as_ref(), &wanted, uid)
}

/// What is to be done so that `live` becomes `wanted`, for the Integration with this UID. Pure.
fn decide<K: Made>(live: Option<&K>, wanted: &K, uid: &str) -> Result<Planned, FleetError> {
    let key = key_of(wanted.meta());
    let wanted = to_json(wanted, &key)?;
    let step = match live {
        None => Step::Create,
        Some(live) => {
            check_owner::<K>(live.meta(), &key, uid)?;
            if is_as_wanted(&to_json(live, &key)?, &wanted) {
                Step::Keep
            } else {
                Step::Change { uid: live.uid() }
            }
        }
    };
    Ok(Planned {
        kind: K::KIND,
        key,
        wanted,
        step,
    })
}

/// Whether we may write to an object that exists.
fn check_owner<K: Made>(live: &ObjectMeta, key: &Key, uid: &str) -> Result<(), FleetError> {
    let call = Call {
        verb: "patch",
        kind: K::KIND,
        key,
    };
    if is_ours(live, uid) {
        return match live.deletion_timestamp {
            Some(_) => Err(call.failed("it is being deleted; it is made again when it is gone")),
            None => Ok(()),
        };
    }
    let predecessors = live.owner_references.iter().flatten().any(|owner| {
        owner.kind == "Integration" && owner.api_version.starts_with(GROUP) && owner.controller == Some(true)
    });
    if predecessors
        && live
            .labels
            .iter()
            .flatten()
            .any(|(name, _)| name == crate::api::LABEL_INTEGRATION)
    {
        return Err(call.failed("it belongs to an Integration that is gone, and is being collected"));
    }
    Err(FleetError::NameTaken {
        kind: K::KIND,
        key: key.clone(),
    })
}

async fn write<K: Made>(client: &Client, planned: Planned) -> Result<(), FleetError> {
    let Planned {
        kind,
        key,
        mut wanted,
        step,
    } = planned;
    let params = match &step {
        Step::Keep => return Ok(()),
        // Not forced: should somebody else have made one of this name meanwhile, most fields conflict.
        Step::Create => PatchParams::apply(MANAGER_INTEGRATION),
        Step::Change { .. } => PatchParams::apply(MANAGER_INTEGRATION).force(),
    };
    let hash = fingerprint(&wanted);
    wanted["metadata"]["annotations"][APPLIED] = Value::String(hash);
    if let Step::Change { uid: Some(uid) } = &step {
        wanted["metadata"]["uid"] = json!(uid);
    }
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    let verb = "patch";
    let call = Call { verb, kind, key: &key };
    call.within_deadline(api.patch(&key.name, &params, &Patch::Apply(&wanted)))
        .await?;
    tracing::info!(kind, object = %key, created = step == Step::Create, "applied");
    Ok(())
}

/// What is to be done about the NetworkPolicy, which the installation may do without.
enum Policy {
    Wanted(Planned),
    Surplus { uid: Option<String> },
    Absent,
}

async fn look_at_policy(client: &Client, plan: &Plan, wanted: Option<NetworkPolicy>) -> Result<Policy, FleetError> {
    if let Some(wanted) = wanted {
        return look(client, wanted, &plan.uid).await.map(Policy::Wanted);
    }
    let live: Option<NetworkPolicy> = read(client, &policy_key(plan)).await?;
    Ok(match live {
        Some(live) if is_ours(&live.metadata, &plan.uid) => Policy::Surplus { uid: live.uid() },
        _ => Policy::Absent,
    })
}

async fn remove_policy(client: &Client, plan: &Plan, uid: Option<String>) -> Result<(), FleetError> {
    let key = policy_key(plan);
    let api: Api<NetworkPolicy> = Api::namespaced(client.clone(), &key.namespace);
    let params = DeleteParams::default().preconditions(Preconditions {
        uid,
        resource_version: None,
    });
    let call = Call {
        verb: "delete",
        kind: "NetworkPolicy",
        key: &key,
    };
    call.within_deadline(api.delete(&key.name, &params)).await?;
    tracing::info!(kind = "NetworkPolicy", object = %key, "removed: the installation does without");
    Ok(())
}

fn policy_key(plan: &Plan) -> Key {
    Key::new(
        plan.integration.namespace.clone(),
        names::worker(&plan.integration.name),
    )
}

fn key_of(metadata: &ObjectMeta) -> Key {
    Key::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn to_json<K: Made>(object: &K, key: &Key) -> Result<Value, FleetError> {
    serde_json::to_value(object).map_err(|error| {
        let call = Call {
            verb: "patch",
            kind: K::KIND,
            key,
        };
        call.failed(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    const UID: &str = "uid-of-the-integration";

    fn owned(uid: &str) -> Service {
        Service {
            metadata: ObjectMeta {
                name: Some("payments-api".into()),
                namespace: Some("shop".into()),
                uid: Some("uid-of-the-service".into()),
                labels: Some(names::labels("payments-api")),
                owner_references: Some(vec![OwnerReference {
                    api_version: "tidegate.dev/v1alpha1".into(),
                    kind: "Integration".into(),
                    name: "payments-api".into(),
                    uid: uid.into(),
                    controller: Some(true),
                    block_owner_deletion: Some(true),
                }]),
                ..ObjectMeta::default()
            },
            ..Service::default()
        }
    }

    fn applied(mut service: Service) -> Service {
        let hash = fingerprint(&serde_json::to_value(&service).unwrap());
        service.annotations_mut().insert(APPLIED.into(), hash);
        service
    }

    fn step(live: Option<&Service>) -> Result<Step, FleetError> {
        decide(live, &owned(UID), UID).map(|planned| planned.step)
    }

    #[test]
    fn missing_object_is_created_and_finished_one_kept() {
        assert_eq!(step(None).unwrap(), Step::Create);
        assert_eq!(step(Some(&applied(owned(UID)))).unwrap(), Step::Keep);
    }

    #[test]
    fn changed_object_is_changed_back_under_its_uid() {
        let mut live = applied(owned(UID));
        live.labels_mut().clear();
        let uid = Some("uid-of-the-service".into());
        assert_eq!(step(Some(&live)).unwrap(), Step::Change { uid });
    }

    #[test]
    fn foreign_object_is_never_touched() {
        let mut bare = owned(UID);
        bare.metadata.owner_references = None;
        let mut other_kind = owned("another-uid");
        other_kind.metadata.owner_references.as_mut().unwrap()[0].kind = "Deployment".into();
        let mut not_controller = owned(UID);
        not_controller.metadata.owner_references.as_mut().unwrap()[0].controller = None;
        for live in [bare, other_kind, not_controller] {
            let error = step(Some(&live)).unwrap_err();
            assert!(
                matches!(error, FleetError::NameTaken { kind: "Service", .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn what_a_predecessor_left_is_waited_for() {
        let error = step(Some(&owned("uid-of-a-predecessor"))).unwrap_err();
        assert!(matches!(error, FleetError::Failed { .. }), "{error}");
    }
}
