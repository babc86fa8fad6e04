//! Claims about coming and going: Helm, and what is left behind.

use k8s_openapi::api::core::v1::Pod;

use crate::world::{Failure, LONG, Outcome, PAYMENTS, SHOP, SYSTEM, World, ensure, until};

/// Every kind of object that Tidegate makes for an Integration, or that follows from one.
const MADE: &str = "deployments,replicasets,pods,services,endpointslices,secrets,serviceaccounts,networkpolicies,\
                    poddisruptionbudgets";

pub async fn helm_installs_and_the_controller_is_ready(world: &mut World) -> Outcome {
    for namespace in [SYSTEM, SHOP] {
        // A pod that is not up to Pod Security `restricted` is not let in.
        world
            .apply(&format!(
                "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: \
                 {{pod-security.kubernetes.io/enforce: restricted}}\n"
            ))
            .await?;
    }
    let (repository, tag) = world
        .image
        .rsplit_once(':')
        .ok_or_else(|| Failure::new("the image has no tag"))?;
    let notes = world
        .helm(&[
            "install",
            "tidegate",
            "charts/tidegate",
            "--namespace",
            SYSTEM,
            "--wait",
            "--timeout",
            "120s",
            "--set",
            &format!("image.repository={repository},image.tag={tag},image.pullPolicy=Never"),
        ])
        .await?;
    ensure(notes.contains("kubectl apply"), || {
        format!("Helm's notes name no next command:\n{notes}")
    })?;
    let ready = world.kubectl(&["get", "pods", "--namespace", SYSTEM]).await?;
    ensure(ready.contains("1/1"), || {
        format!("no controller is ready after `helm install --wait`:\n{ready}")
    })
}

pub async fn a_deleted_integration_leaves_nothing(world: &mut World) -> Outcome {
    world
        .kubectl(&[
            "delete",
            "--namespace",
            SHOP,
            "--timeout",
            "60s",
            "integrations,credentials",
            "--all",
        ])
        .await?;
    let selector = format!("tidegate.dev/integration={PAYMENTS}");
    until("nothing that was made for the Integration is left", LONG, || async {
        let left = world
            .kubectl(&[
                "get",
                MADE,
                "--namespace",
                SHOP,
                "--selector",
                &selector,
                "--output",
                "name",
            ])
            .await?;
        if left.is_empty() {
            Ok(Some(()))
        } else {
            Err(Failure::new(format!("left: {}", left.replace('\n', " "))))
        }
    })
    .await?;
    // What its user made is still there.
    world.kubectl(&["get", "secret/payments", "--namespace", SHOP]).await?;
    Ok(())
}

pub async fn helm_uninstalls_and_leaves_what_it_says(world: &mut World) -> Outcome {
    world
        .helm(&[
            "uninstall",
            "tidegate",
            "--namespace",
            SYSTEM,
            "--wait",
            "--timeout",
            "120s",
        ])
        .await?;
    let pods = world.pods(SYSTEM);
    until("no pod of the controller is left", LONG, || async {
        let left: Vec<Pod> = pods.list(&kube::api::ListParams::default()).await?.items;
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    let cluster = world
        .kubectl(&[
            "get",
            "clusterroles,clusterrolebindings",
            "--selector",
            "app.kubernetes.io/name=tidegate",
            "-o",
            "name",
        ])
        .await?;
    ensure(cluster.is_empty(), || format!("rights are left behind: {cluster}"))?;
    // `crds.keep` is the default: nobody loses their resources by uninstalling.
    let definitions = world.kubectl(&["get", "crds", "--output", "name"]).await?;
    ensure(
        definitions.contains("integrations.tidegate.dev") && definitions.contains("credentials.tidegate.dev"),
        || format!("the definitions are gone, and every resource with them: {definitions}"),
    )
}
