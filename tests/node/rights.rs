//! Claims about what the controller asked of the API server in all that went before, by the server's own record.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::{Outcome, SYSTEM, World, ensure};

/// Granted, and not seen in use here, with the reason.
const UNSEEN: &[(&str, &str, &str)] = &[
    // Asked about, not used: the admission of owner references looks whether it is there.
    ("tidegate.dev", "integrations/finalizers", "update"),
    // The same: an apply that creates is recorded as `patch`, and refused without the right to create.
    ("", "services", "create"),
    ("", "serviceaccounts", "create"),
    ("apps", "deployments", "create"),
    ("networking.k8s.io", "networkpolicies", "create"),
    ("policy", "poddisruptionbudgets", "create"),
    // Where an installation switches policies off that it had on.
    ("networking.k8s.io", "networkpolicies", "delete"),
    // An event that repeats within minutes is counted up.
    ("events.k8s.io", "events", "patch"),
];

/// API group, resource with subresource, verb.
type Right = (String, String, String);

pub async fn the_controller_was_refused_nothing_and_has_no_right_that_it_does_not_use(world: &mut World) -> Outcome {
    let requests = requests_of_the_controller(world).await?;
    let refused: BTreeSet<Right> = requests
        .iter()
        .filter(|request| request["annotations"]["authorization.k8s.io/decision"] == "forbid")
        .map(right)
        .collect();
    ensure(refused.is_empty(), || format!("it lacks rights: {refused:?}"))?;

    let used: BTreeSet<Right> = requests.iter().map(right).collect();
    let unseen = UNSEEN
        .iter()
        .map(|&(group, resource, verb)| (group.into(), resource.into(), verb.into()))
        .collect();
    let unused: BTreeSet<Right> = &(&granted(world).await? - &used) - &unseen;
    ensure(unused.is_empty(), || {
        format!("it has rights that it does not use: {unused:?}")
    })
}

/// Every request that the controller's account made.
async fn requests_of_the_controller(world: &World) -> Outcome<Vec<Value>> {
    let account = format!("system:serviceaccount:{SYSTEM}:tidegate");
    let text = tokio::fs::read_to_string(&world.audit).await?;
    let requests = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(requests
        .filter(|request| request["user"]["username"] == account.as_str())
        .collect())
}

fn right(request: &Value) -> Right {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reference = &request["objectRef"];
    let mut resource = text(&reference["resource"]);
    if let Some(subresource) = reference["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    (text(&reference["apiGroup"]), resource, text(&request["verb"]))
}

async fn granted(world: &World) -> Outcome<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for role in ["clusterrole/tidegate", "role/tidegate"] {
        let role: Value = serde_json::from_str(
            &world
                .kubectl(&["get", role, "--namespace", SYSTEM, "-o", "json"])
                .await?,
        )?;
        let list = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap_or_default();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    rights.extend(
                        list(&rule["verbs"])
                            .into_iter()
                            .map(|verb| (group.clone(), resource.clone(), verb)),
                    );
                }
            }
        }
    }
    Ok(rights)
}
