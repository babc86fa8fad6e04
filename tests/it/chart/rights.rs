//! What the chart grants, compared with a table in which every right has its reason.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{objects, one};

/// (API group, resource, verbs, why). In every namespace.
const CONTROLLER: &[(&str, &str, &str, &str)] = &[
    ("tidegate.dev", "integrations", "get list watch", "what users declare"),
    (
        "tidegate.dev",
        "credentials",
        "get list patch watch",
        "the same; the finalizer of one that has something to revoke",
    ),
    ("tidegate.dev", "integrations/status", "patch", "where it reports"),
    ("tidegate.dev", "credentials/status", "patch", "the same"),
    (
        "tidegate.dev",
        "integrations/finalizers",
        "update",
        "owner references that block deletion, where they are policed",
    ),
    (
        "",
        "secrets",
        "create delete get list patch watch",
        "read by name, watched as metadata; plans and what is issued are kept in Secrets, and what waited is removed",
    ),
    ("", "configmaps", "get list watch", "CA certificates may be in one"),
    (
        "",
        "services",
        "create get list patch watch",
        "one for each Integration",
    ),
    (
        "",
        "serviceaccounts",
        "create get list patch watch",
        "the same, without a token",
    ),
    ("", "pods", "list watch", "to find the workers"),
    (
        "apps",
        "deployments",
        "create get list patch watch",
        "one for each Integration",
    ),
    (
        "networking.k8s.io",
        "networkpolicies",
        "create delete get list patch watch",
        "the same; deleted when switched off",
    ),
    (
        "policy",
        "poddisruptionbudgets",
        "create get list patch watch",
        "the same",
    ),
    (
        "discovery.k8s.io",
        "endpointslices [kubernetes]",
        "get",
        "the API server's own addresses, which workers refuse",
    ),
    (
        "events.k8s.io",
        "events",
        "create patch",
        "to tell what a person acts on",
    ),
];

/// In the controller's own namespace.
const CONTROLLER_AT_HOME: &[(&str, &str, &str, &str)] = &[(
    "coordination.k8s.io",
    "leases",
    "create get update",
    "one of the replicas works",
)];

const VIEW: &[(&str, &str, &str, &str)] = &[
    ("tidegate.dev", "integrations", "get list watch", "no secret in it"),
    ("tidegate.dev", "credentials", "get list watch", "no secret in it"),
];

type Rights = BTreeSet<(String, String, String)>;

fn granted(role: &Value) -> Rights {
    let list = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut rights = Rights::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                let resource = match &rule["resourceNames"] {
                    Value::Null => resource,
                    names => format!("{resource} [{}]", list(names).join(" ")),
                };
                for verb in list(&rule["verbs"]) {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

fn expected(table: &[(&str, &str, &str, &str)]) -> Rights {
    let rows = table.iter().flat_map(|&(group, resource, verbs, _)| {
        verbs
            .split(' ')
            .map(move |verb| (group.to_owned(), resource.to_owned(), verb.to_owned()))
    });
    rows.collect()
}

#[test]
fn the_controller_gets_the_rights_in_the_table_and_no_others() {
    let objects = objects(&[]);
    assert_eq!(granted(one(&objects, "ClusterRole", "tidegate")), expected(CONTROLLER));
    assert_eq!(granted(one(&objects, "Role", "tidegate")), expected(CONTROLLER_AT_HOME));
    assert_eq!(
        one(&objects, "Role", "tidegate")["metadata"]["namespace"],
        "tidegate-system"
    );
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        let subjects = &one(&objects, kind, "tidegate")["subjects"];
        assert_eq!(subjects.as_array().unwrap().len(), 1);
        assert_eq!(subjects[0]["name"], "tidegate");
        assert_eq!(subjects[0]["namespace"], "tidegate-system");
    }
}

#[test]
fn no_right_is_a_wildcard_or_leads_to_others() {
    for object in objects(&[]) {
        if object["kind"] != "ClusterRole" && object["kind"] != "Role" {
            continue;
        }
        for (group, resource, verb) in granted(&object) {
            assert!(
                ![&group, &resource, &verb].contains(&&"*".to_owned()),
                "{group} {resource} {verb}"
            );
            assert!(
                !["escalate", "bind", "impersonate"].contains(&verb.as_str()),
                "{group} {resource} {verb}"
            );
            assert_ne!(group, "rbac.authorization.k8s.io");
            assert!(
                !["serviceaccounts/token", "pods/exec", "nodes/proxy"].contains(&resource.as_str()),
                "{resource}"
            );
        }
    }
}

#[test]
fn reading_is_part_of_the_usual_roles_and_writing_is_not() {
    let objects = objects(&[]);
    let aggregated = |name: &str| -> Vec<String> {
        let labels = one(&objects, "ClusterRole", name)["metadata"]["labels"]
            .as_object()
            .unwrap()
            .clone();
        labels
            .keys()
            .filter(|label| label.starts_with("rbac.authorization.k8s.io/"))
            .cloned()
            .collect()
    };
    assert_eq!(
        aggregated("tidegate-view"),
        ["rbac.authorization.k8s.io/aggregate-to-view"]
    );
    assert_eq!(granted(one(&objects, "ClusterRole", "tidegate-view")), expected(VIEW));
    // Who may say which host a Secret is sent to can send it to a host of their own.
    assert!(aggregated("tidegate-edit").is_empty());
    assert!(aggregated("tidegate").is_empty());
}
