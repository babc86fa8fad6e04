//! What explains a failure: objects, events and logs.

use crate::world::{World, log_of};

/// Prints all of it.
pub async fn everything(world: &World) {
    for (title, arguments) in [
        (
            "objects",
            "get deployments,pods,services,secrets,networkpolicies,pdb,leases --all-namespaces -o wide",
        ),
        ("resources", "get integrations,credentials --all-namespaces -o yaml"),
        ("events", "get events --all-namespaces --sort-by .lastTimestamp"),
        ("pods that are not ready", "describe pods --all-namespaces"),
    ] {
        println!("--- {title}");
        match world.kubectl(&arguments.split(' ').collect::<Vec<_>>()).await {
            Ok(text) => println!("{text}"),
            Err(failure) => println!("{failure}"),
        }
    }
    for namespace in [crate::world::SYSTEM, crate::world::SHOP] {
        let pods = world.pods(namespace);
        let Ok(list) = pods.list(&kube::api::ListParams::default()).await else {
            continue;
        };
        for name in list.items.into_iter().filter_map(|pod| pod.metadata.name) {
            for previous in [true, false] {
                if let Ok(log) = log_of(&pods, &name, previous).await {
                    let lines: Vec<_> = log.lines().collect();
                    println!(
                        "--- the end of the log of {namespace}/{name}{}",
                        if previous { " before its restart" } else { "" }
                    );
                    println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
                }
            }
        }
    }
}
