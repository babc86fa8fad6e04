//! What the chart renders, put to a real API server.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{VALUE_SETS, one, parse, render_into};
use crate::support::apiserver::{self, Place};

/// A file for kubectl, for as long as the directory lives.
fn file(directory: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Applies what is rendered with these values for the namespace of the test.
fn apply(place: &Place, values: &[&str], dry: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = file(
        &directory,
        "rendered.yaml",
        &render_into(&place.namespace, values).unwrap(),
    );
    let dry = if dry { "--dry-run=server" } else { "--dry-run=none" };
    let path = path.to_str().unwrap();
    // With --server-side an unknown field is an error, and so is one of the wrong type.
    let output = apiserver::kubectl(&["apply", "--server-side", "--force-conflicts", dry, "--filename", path]);
    assert!(output.status.success(), "{values:?}: {}", said(&output));
}

#[tokio::test]
async fn the_api_server_takes_everything_that_is_rendered() {
    let place = apiserver::namespace("chart").await;
    for values in VALUE_SETS {
        apply(&place, values, true);
    }
}

#[tokio::test]
async fn the_controllers_pod_passes_pod_security_restricted() {
    let place = apiserver::namespace("chart").await;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let labelled = apiserver::kubectl(&["label", "namespace", &place.namespace, label]);
    assert!(labelled.status.success(), "{}", said(&labelled));

    let objects = parse(&render_into(&place.namespace, &[]).unwrap());
    let template = &one(&objects, "Deployment", "tidegate")["spec"]["template"];
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tidegate"}, "spec": template["spec"]});
    // The ServiceAccount is not there, and is not what this is about.
    pod["spec"]["serviceAccountName"] = Value::Null;
    let directory = tempfile::tempdir().unwrap();
    let create = |name: &str, pod: &Value| {
        let path = file(&directory, name, &pod.to_string());
        place.kubectl(&["create", "--dry-run=server", "--filename", path.to_str().unwrap()])
    };
    // The admission of pods without a controller wants the default ServiceAccount, which nobody makes here.
    let account = place.kubectl(&["create", "serviceaccount", "default"]);
    assert!(account.status.success(), "{}", said(&account));
    let output = create("pod.json", &pod);
    assert!(output.status.success(), "{}", said(&output));

    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let output = create("lax.json", &pod);
    assert!(
        !output.status.success() && said(&output).contains("PodSecurity"),
        "the server does not check pods"
    );
}

#[tokio::test]
async fn the_rights_hold_where_they_are_meant_to_and_nowhere_else() {
    let place = apiserver::namespace("chart").await;
    apply(&place, &["crds.enabled=false"], false);
    let account = format!("system:serviceaccount:{}:tidegate", place.namespace);
    // kubectl takes what stands behind a slash for a name, hence the flag.
    let may = |verb: &str, resource: &str, namespace: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let question = ["auth", "can-i", verb, resource, &subresource];
        let output = apiserver::kubectl(&[question.as_slice(), &["--namespace", namespace, "--as", &account]].concat());
        String::from_utf8(output.stdout).unwrap().trim() == "yes"
    };
    let (home, elsewhere) = (place.namespace.as_str(), "default");
    assert!(may("create", "leases.coordination.k8s.io", home));
    assert!(!may("create", "leases.coordination.k8s.io", elsewhere));
    assert!(may("patch", "integrations.tidegate.dev/status", elsewhere));
    assert!(!may("patch", "integrations.tidegate.dev", elsewhere));
    assert!(may("create", "deployments.apps", elsewhere));
    // RBAC does not know whose a Secret is; that ours alone are removed is the code's to keep.
    assert!(may("delete", "secrets", elsewhere));
    assert!(!may("delete", "configmaps", elsewhere));
    assert!(!may("delete", "credentials.tidegate.dev", elsewhere));
    for forbidden in [
        "pods",
        "roles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    ] {
        assert!(!may("create", forbidden, elsewhere), "{forbidden}");
    }
    assert!(!may("create", "serviceaccounts/token", elsewhere));
    assert!(!may("create", "customresourcedefinitions.apiextensions.k8s.io", home));

    // What has no namespace would stay.
    let labels = "app.kubernetes.io/name=tidegate,app.kubernetes.io/component=controller";
    apiserver::kubectl(&["delete", "clusterroles,clusterrolebindings", "--selector", labels]);
}
