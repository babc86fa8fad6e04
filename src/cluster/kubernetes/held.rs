//! Secrets of ours, and our finalizer.
//!
//! Every write has a precondition: a new Secret must not exist, a stored one must be as it was read. So of two leaders,
//! one of which does not know yet that it is none, only one gets on.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::Call;
use crate::api::credential::Credential;
use crate::api::{FINALIZER_REVOKE, MANAGER_CREDENTIAL};
use crate::cluster::{ClusterError, Held, Keep};
use crate::domain::key::Key;
use crate::domain::secret::SecretValue;

/// The Secret as it is stored now.
pub(super) async fn read(client: &Client, key: &Key) -> Result<Option<Held>, ClusterError> {
    let call = Call {
        verb: "get",
        kind: "Secret",
        key,
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    Ok(call.run(api.get_opt(&key.name)).await?.map(Held::of))
}

/// Stores a Secret in the place of `before`, or as a new one; `dry` only asks whether that would be accepted.
pub(super) async fn keep(
    client: &Client,
    secret: &Keep,
    before: Option<&Held>,
    dry: bool,
) -> Result<Held, ClusterError> {
    let call = Call {
        verb: if before.is_some() { "patch" } else { "create" },
        kind: "Secret",
        key: &secret.key,
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), &secret.key.namespace);
    let field_manager = Some(MANAGER_CREDENTIAL.to_owned());
    let stored = match before {
        None => {
            let parameters = PostParams {
                dry_run: dry,
                field_manager,
            };
            call.run_quietly(api.create(&parameters, &secret.manifest())).await?
        }
        Some(before) => {
            let parameters = PatchParams {
                dry_run: dry,
                field_manager,
                ..PatchParams::default()
            };
            let patch = Patch::Merge(change(secret, before));
            call.run_quietly(api.patch(&secret.key.name, &parameters, &patch))
                .await?
        }
    };
    Ok(Held::of(stored))
}

/// The merge patch (RFC 7386) that makes `before` what `secret` says: one write, and what others put there stays.
fn change(secret: &Keep, before: &Held) -> Value {
    use base64::Engine;
    let encode = |value: &SecretValue| base64::engine::general_purpose::STANDARD.encode(value.expose());
    let gone = |key: &&String| !secret.values.contains_key(*key);
    let removed = before.values.keys().filter(gone).map(|key| (key.clone(), Value::Null));
    let set = secret
        .values
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(encode(value))));
    let data: serde_json::Map<String, Value> = removed.chain(set).collect();
    let gone = |name: &&String| !secret.annotations.contains_key(*name);
    let removed = before
        .annotations
        .keys()
        .filter(gone)
        .map(|name| (name.clone(), Value::Null));
    let set = secret
        .annotations
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.clone())));
    let annotations: serde_json::Map<String, Value> = removed.chain(set).collect();
    json!({
        "metadata": {
            "uid": before.uid,
            "resourceVersion": before.version,
            "labels": secret.labels(),
            "annotations": annotations,
        },
        "data": data,
    })
}

/// Removes a Secret, if it is still as it was read.
pub(super) async fn discard(client: &Client, key: &Key, held: &Held) -> Result<(), ClusterError> {
    let call = Call {
        verb: "delete",
        kind: "Secret",
        key,
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    let parameters = DeleteParams::default().preconditions(Preconditions {
        uid: Some(held.uid.clone()),
        resource_version: Some(held.version.clone()),
    });
    let deleted = call.run(async {
        match api.delete(&key.name, &parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    });
    deleted.await
}

/// Puts our finalizer on a Credential or takes it off.
pub(super) async fn set_finalizer(
    client: &Client,
    key: &Key,
    credential: &Credential,
    present: bool,
) -> Result<(), ClusterError> {
    let call = Call {
        verb: "patch",
        kind: "Credential",
        key,
    };
    let api: Api<Credential> = Api::namespaced(client.clone(), &key.namespace);
    let metadata = &credential.metadata;
    let others = metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|name| *name != FINALIZER_REVOKE);
    let finalizers: Vec<&str> = others
        .map(String::as_str)
        .chain(present.then_some(FINALIZER_REVOKE))
        .collect();
    // A merge patch replaces the whole list, hence the resourceVersion: a finalizer that came since must not be lost.
    let patch = json!({"metadata": {
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "finalizers": finalizers,
    }});
    let parameters = PatchParams {
        field_manager: Some(MANAGER_CREDENTIAL.into()),
        ..PatchParams::default()
    };
    let patched = call.run(async {
        match api.patch_metadata(&key.name, &parameters, &Patch::Merge(&patch)).await {
            // Without it, the object may be gone by now.
            Err(kube::Error::Api(status)) if status.code == 404 && !present => Ok(()),
            other => other.map(drop),
        }
    });
    patched.await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(values: &[(&str, &str)]) -> Keep {
        Keep {
            key: Key::new("shop", "key-issued"),
            credential: format!("{}.-tail", "a".repeat(62)),
            owner: "uid".into(),
            kind: "tidegate.dev/credential",
            annotations: [("tidegate.dev/revision".into(), "2".into())].into(),
            values: values
                .iter()
                .map(|(key, value)| ((*key).into(), SecretValue::new(*value)))
                .collect(),
        }
    }

    #[test]
    fn a_patch_sets_what_is_there_and_removes_what_is_not() {
        let before = Held {
            uid: "u".into(),
            version: "7".into(),
            owner: Some("uid".into()),
            annotations: [("tidegate.dev/old".into(), "1".into())].into(),
            values: [("previous.value".into(), SecretValue::new("x"))].into(),
        };
        let patch = change(&keep(&[("value", "abc")]), &before);
        assert_eq!(patch["data"], json!({"previous.value": null, "value": "YWJj"}));
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({"tidegate.dev/old": null, "tidegate.dev/revision": "2"})
        );
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
    }
}
