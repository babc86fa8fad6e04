//! What the API server makes of an object that it took: defaults, columns, selectors, scale, transitions.

use std::path::Path;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tidegate::api::credential::Credential;
use tidegate::api::integration::Integration;

use super::admission::create;
use super::kinds::KINDS;
use super::table::patched;
use crate::support::apiserver::{self, Place};

const INTEGRATION: &str = include_str!("integration.yaml");
const CREDENTIAL: &str = include_str!("credential.yaml");

const MINIMAL: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {name: minimal}
spec: {endpoints: [{name: a, url: 'https://a.example'}]}
";

async fn stored(place: &Place, manifest: Value) -> Value {
    let object: DynamicObject = create(place, manifest, false).await.unwrap();
    serde_json::to_value(object).unwrap()
}

async fn write_status(place: &Place, name: &str, status: Value) {
    let integrations: Api<Integration> = place.api();
    let patch = Patch::Merge(json!({ "status": status }));
    integrations
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_object_that_nobody_has_looked_at_is_not_done() {
    let place = apiserver::namespace("unseen").await;
    for manifest in [patched(MINIMAL, "{}"), patched(CREDENTIAL, "{}")] {
        let object = stored(&place, manifest).await;
        assert_eq!(object["status"], json!({"observedGeneration": -1}));
    }
}

/// The spec is stored as it was written, but for the two fields that selectors, columns and `scale` read.
#[tokio::test]
async fn nothing_else_is_defaulted() {
    let place = apiserver::namespace("defaults").await;
    let object = stored(&place, patched(MINIMAL, "{}")).await;
    assert_eq!(
        object["spec"],
        json!({
            "endpoints": [{"name": "a", "url": "https://a.example"}],
            "protocol": "HTTP",
            "workers": {"replicas": 2},
        })
    );
    let full = patched(INTEGRATION, "{}");
    assert_eq!(stored(&place, full.clone()).await["spec"], full["spec"]);
    let credential = patched(CREDENTIAL, "{}");
    assert_eq!(stored(&place, credential.clone()).await["spec"], credential["spec"]);
    for (index, kind) in KINDS.iter().enumerate() {
        let manifest = patched(kind.good, &format!("metadata: {{name: 'kind-{index}'}}"));
        assert_eq!(stored(&place, manifest.clone()).await["spec"], manifest["spec"]);
    }
}

/// What the types read from the server, they write back without a loss.
#[tokio::test]
async fn the_types_lose_nothing() {
    let place = apiserver::namespace("types").await;
    let full = stored(&place, patched(INTEGRATION, "{}")).await;
    let integrations: Api<Integration> = place.api();
    let typed = integrations.get("payments-api").await.unwrap();
    assert_eq!(serde_json::to_value(&typed.spec).unwrap(), full["spec"]);
    integrations
        .replace("payments-api", &PostParams::default(), &typed)
        .await
        .unwrap();

    let credential = stored(&place, patched(CREDENTIAL, "{}")).await;
    let credentials: Api<Credential> = place.api();
    let typed = credentials.get("payments-key").await.unwrap();
    assert_eq!(serde_json::to_value(&typed.spec).unwrap(), credential["spec"]);
    for (index, kind) in KINDS.iter().enumerate() {
        let name = format!("kind-{index}");
        let stored = stored(&place, patched(kind.good, &format!("metadata: {{name: '{name}'}}"))).await;
        let typed = credentials.get(&name).await.unwrap();
        assert_eq!(serde_json::to_value(&typed.spec).unwrap(), stored["spec"]);
        credentials
            .replace(&name, &PostParams::default(), &typed)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_misspelt_field_is_told_to_who_applies() {
    let place = apiserver::namespace("strict").await;
    let path = std::env::temp_dir().join(format!("{}.yaml", place.namespace));
    std::fs::write(&path, MINIMAL.replace("spec: {", "spec: {timeout: {request: 3s}, ")).unwrap();
    let applied = place.kubectl(&["apply", "--filename", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert!(!applied.status.success());
    let error = String::from_utf8_lossy(&applied.stderr);
    assert!(error.contains("unknown field \"spec.timeout\""), "{error}");
}

/// With `oldSelf`: there is but one protocol yet, so the rule itself is what can be looked at.
#[tokio::test]
async fn the_protocol_stays_what_it_is() {
    let crd = serde_json::to_value(&tidegate::api::crds::all()[0]).unwrap();
    let protocol =
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["protocol"];
    assert_eq!(protocol["x-kubernetes-validations"][0]["rule"], "self == oldSelf");
    assert_eq!(
        protocol["default"], "HTTP",
        "a field that could be absent could change by way of it"
    );

    let place = apiserver::namespace("protocol").await;
    stored(&place, patched(MINIMAL, "{}")).await;
    let integrations: Api<Integration> = place.api();
    let patch = Patch::Merge(json!({"spec": {"protocol": null, "retries": {"limit": 1}}}));
    let kept = integrations
        .patch("minimal", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(kept.metadata.generation, Some(2));
    assert_eq!(serde_json::to_value(&kept.spec).unwrap()["protocol"], "HTTP");
}

#[tokio::test]
async fn the_columns_are_those_of_the_contract() {
    let place = apiserver::namespace("columns").await;
    stored(&place, patched(INTEGRATION, "{}")).await;
    stored(&place, patched(CREDENTIAL, "{}")).await;
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-22T10:00:00Z",
        })
    };
    write_status(
        &place,
        "payments-api",
        json!({
            "observedGeneration": 1,
            "circuit": "HalfOpen",
            "endpointsHealthy": "1/2",
            "replicas": 3,
            "readyReplicas": 2,
            "conditions": [
                condition("Ready", "False", "PlanNotAdopted", "one worker is late"),
                condition("EndpointsHealthy", "Unknown", "NoReport", ""),
            ],
        }),
    )
    .await;
    let credentials: Api<Credential> = place.api();
    let status = json!({"status": {
        "type": "APIKey",
        "revision": 7,
        "conditions": [condition("Ready", "True", "OK", "in use")],
    }});
    credentials
        .patch_status("payments-key", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();

    assert_eq!(
        table(&place, &["get", "intg"]),
        [
            "NAME READY HEALTHY CIRCUIT ENDPOINTS WORKERS AGE",
            "payments-api False Unknown HalfOpen 1/2 2 <age>",
        ]
    );
    assert_eq!(
        table(&place, &["get", "integration.tidegate.dev", "--output", "wide"]),
        [
            "NAME READY HEALTHY CIRCUIT ENDPOINTS WORKERS AGE PROTOCOL REASON MESSAGE",
            "payments-api False Unknown HalfOpen 1/2 2 <age> HTTP PlanNotAdopted one worker is late",
        ]
    );
    assert_eq!(
        table(&place, &["get", "tgcred"]),
        [
            "NAME READY TYPE REVISION EXPIRES RENEWS AGE",
            "payments-key True APIKey 7 <age>"
        ]
    );
    assert_eq!(
        table(&place, &["get", "credentials", "--output", "wide"]),
        [
            "NAME READY TYPE REVISION EXPIRES RENEWS AGE STEP LAST-ROTATED REASON MESSAGE",
            "payments-key True APIKey 7 <age> OK in use",
        ]
    );
    let category = place.kubectl(&["get", "tidegate", "--output", "name"]);
    assert_eq!(
        String::from_utf8_lossy(&category.stdout),
        "credential.tidegate.dev/payments-key\nintegration.tidegate.dev/payments-api\n"
    );
}

/// The lines of a table, single-spaced, with the one column that changes with time replaced.
fn table(place: &Place, arguments: &[&str]) -> Vec<String> {
    let output = place.kubectl(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_age = |word: &str| {
        word.strip_suffix('s')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    text.lines()
        .map(|line| {
            let words = line
                .split_whitespace()
                .map(|word| if is_age(word) { "<age>" } else { word });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[tokio::test]
async fn integrations_are_selected_by_protocol_and_circuit() {
    let place = apiserver::namespace("selectors").await;
    for name in ["open", "closed"] {
        stored(&place, patched(MINIMAL, &format!("metadata: {{name: '{name}'}}"))).await;
    }
    write_status(&place, "open", json!({"circuit": "Open"})).await;
    write_status(&place, "closed", json!({"circuit": "Closed"})).await;
    let integrations: Api<Integration> = place.api();
    for (selector, expected) in [
        ("status.circuit=Open", vec!["open"]),
        ("status.circuit!=Open", vec!["closed"]),
        ("spec.protocol=HTTP", vec!["closed", "open"]),
        ("spec.protocol=GRPC", vec![]),
    ] {
        let found = integrations
            .list(&ListParams::default().fields(selector))
            .await
            .unwrap();
        let names: Vec<_> = found.items.into_iter().filter_map(|item| item.metadata.name).collect();
        assert_eq!(names, expected, "{selector}");
    }
}

#[tokio::test]
async fn credentials_are_selected_by_step() {
    let place = apiserver::namespace("steps").await;
    let credentials: Api<Credential> = place.api();
    for (name, step) in [("idle", "Idle"), ("busy", "Confirm")] {
        stored(&place, patched(CREDENTIAL, &format!("metadata: {{name: '{name}'}}"))).await;
        let status = Patch::Merge(json!({"status": {"rotation": {"step": step}}}));
        credentials
            .patch_status(name, &PatchParams::default(), &status)
            .await
            .unwrap();
    }
    let busy = ListParams::default().fields("status.rotation.step!=Idle");
    let found = credentials.list(&busy).await.unwrap();
    let names: Vec<_> = found.items.into_iter().filter_map(|item| item.metadata.name).collect();
    assert_eq!(names, ["busy"]);
}

#[tokio::test]
async fn an_integration_scales() {
    let place = apiserver::namespace("scale").await;
    stored(&place, patched(MINIMAL, "{}")).await;
    let selector = "tidegate.dev/integration=minimal";
    write_status(&place, "minimal", json!({"replicas": 1, "selector": selector})).await;
    let integrations: Api<Integration> = place.api();
    let scale = integrations.get_scale("minimal").await.unwrap();
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(2));
    let status = scale.status.unwrap();
    assert_eq!((status.replicas, status.selector.as_deref()), (1, Some(selector)));

    let scaled = place.kubectl(&["scale", "integration", "minimal", "--replicas", "5"]);
    assert!(scaled.status.success(), "{}", String::from_utf8_lossy(&scaled.stderr));
    let object = integrations.get("minimal").await.unwrap();
    assert_eq!(object.spec.workers.and_then(|workers| workers.replicas), Some(5));

    let refused = place.kubectl(&["scale", "integration", "minimal", "--replicas", "1001"]);
    assert!(!refused.status.success(), "the bound of the field holds here too");
}

/// The status that we write passes the schema at its fullest, and round-trips through the types.
#[tokio::test]
async fn the_fullest_status_is_taken() {
    let place = apiserver::namespace("status").await;
    stored(&place, patched(MINIMAL, "{}")).await;
    let time = "2026-11-22T10:00:00.123456789Z";
    let circuit = json!({
        "state": "Open",
        "workers": {"closed": 1, "halfOpen": 0, "open": 1, "unknown": 0},
        "since": time,
        "nextTrialTime": time,
        "trippedBy": "FailureRate",
    });
    let endpoint = |index: usize| {
        json!({
            "name": format!("e{index}"), "health": "Unhealthy", "reason": "TrafficFailed", "message": "\u{e4}".repeat(256),
            "since": time, "circuit": circuit,
        })
    };
    let status = json!({
        "observedGeneration": 1,
        "address": format!("http://{}.{}.svc", "n".repeat(63), "s".repeat(63)),
        "circuit": "Open",
        "endpointsHealthy": "0/16",
        "replicas": 2,
        "readyReplicas": 2,
        "selector": "app.kubernetes.io/name=tidegate,app.kubernetes.io/instance=minimal",
        "planRevision": 12,
        "credentials": [{"name": "payments-key", "revision": 7}],
        "endpoints": (0..16).map(endpoint).collect::<Vec<_>>(),
        "handled": {"rotate": "1", "resetCircuit": "2", "reconcile": "3"},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "OK", "message": "m".repeat(1024), "observedGeneration": 1,
            "lastTransitionTime": time,
        }],
    });
    write_status(&place, "minimal", status.clone()).await;
    let integrations: Api<Integration> = place.api();
    let typed = integrations.get("minimal").await.unwrap();
    assert_eq!(serde_json::to_value(typed.status.unwrap()).unwrap(), status);
}

#[tokio::test]
async fn the_fullest_status_of_a_credential_is_taken() {
    let place = apiserver::namespace("credential-status").await;
    stored(&place, patched(CREDENTIAL, "{}")).await;
    let time = "2026-11-22T10:00:00Z";
    let status = json!({
        "observedGeneration": 1,
        "type": "APIKey",
        "revision": 7,
        "secretVersion": "4711",
        "previous": {"revision": 6, "validUntil": time},
        "pendingSecretName": "payments-key-v8",
        "rotation": {
            "step": "Wait", "reason": "IntervalElapsed", "attempt": "0".repeat(36), "failedAttempts": 3,
            "lastFailureTime": time, "nextAttemptTime": time,
        },
        "notBefore": time, "notAfter": time, "renewalTime": time, "lastRotationTime": time,
        "consumers": [{"name": "payments-api", "revision": 6}],
        "handled": {"rotate": "1", "reconcile": "2"},
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "IssueFailed", "message": "m".repeat(1024),
            "observedGeneration": 1, "lastTransitionTime": time,
        }],
    });
    let credentials: Api<Credential> = place.api();
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    let typed = credentials.patch_status("payments-key", &params, &patch).await.unwrap();
    assert_eq!(serde_json::to_value(typed.status.unwrap()).unwrap(), status);
}

/// Every manifest under examples/, each document of each file, without a word of doubt.
#[tokio::test]
async fn every_example_is_taken() {
    let place = apiserver::namespace("examples").await;
    let mut seen = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                for manifest in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
                    if let Some(namespace) = manifest["metadata"]["namespace"].as_str() {
                        // It may be there already; if it cannot be made, what follows says so.
                        let _ = apiserver::kubectl(&["create", "namespace", namespace]);
                    }
                }
                let taken = apiserver::kubectl(&[
                    "create",
                    "--dry-run=server",
                    "--validate=strict",
                    "--filename",
                    path.to_str().unwrap(),
                ]);
                assert!(
                    taken.status.success(),
                    "{}: {}",
                    path.display(),
                    String::from_utf8_lossy(&taken.stderr)
                );
                seen += 1;
            }
        }
    }
    drop(place);
    assert!(seen > 0, "examples/ has no manifests");
}
