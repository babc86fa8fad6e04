//! Claims about values that we issue.

use std::time::Instant;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tidegate::api::condition::{ConditionStatus, kind};
use tidegate::api::credential::Credential;

use crate::provider::Provider;
use crate::world::{Failure, Outcome, SHOP, SHORT, World, ensure, until};

const KEY: &str = "payments-key";
/// The provider as a Service: over cleartext, a key is asked for inside the cluster alone.
const SERVICE: &str = "provider.shop.svc.cluster.local";

pub async fn a_key_of_the_provider_is_replaced_without_a_lost_call(world: &mut World) -> Outcome {
    let calls = world
        .calls
        .as_ref()
        .ok_or_else(|| Failure::new("no application calls"))?;
    let mark = calls.mark();
    let credentials: Api<Credential> = Api::namespaced(world.client.clone(), SHOP);
    let (host, port) = (&world.provider.host, world.provider.port);
    world
        .apply(&format!(
            r"
apiVersion: v1
kind: Service
metadata: {{name: provider, namespace: {SHOP}}}
spec: {{clusterIP: None, ports: [{{name: http, port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: provider, namespace: {SHOP}, labels: {{kubernetes.io/service-name: provider}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [{host}]}}]
"
        ))
        .await?;
    let keys = format!("http://{SERVICE}:{port}/keys");
    let rotation = json!({
        "overlap": "0s",
        "steps": {
            "create": {
                "request": {"url": keys, "body": "{\"label\": \"{{ attempt.id }}\"}"},
                "extract": {"value": ".key"},
            },
            "revoke": {"request": {"method": "DELETE", "url": format!("{keys}/{{{{ previous.value }}}}")}},
        },
    });
    let edit = json!({"spec": {"allowedHosts": [Provider::NAME, SERVICE], "rotation": rotation}});
    credentials
        .patch(KEY, &PatchParams::default(), &Patch::Merge(edit))
        .await?;
    for round in ["first", "second"] {
        let start = Instant::now();
        let ask = json!({"metadata": {"annotations": {"tidegate.dev/rotate": round}}});
        credentials
            .patch(KEY, &PatchParams::default(), &Patch::Merge(ask))
            .await?;
        until(
            "the rotation is carried out and every worker uses the new key",
            SHORT,
            || async {
                let status = credentials.get(KEY).await?.status.unwrap_or_default();
                let handled = status.handled.and_then(|handled| handled.rotate);
                let propagated = status
                    .conditions
                    .iter()
                    .any(|condition| condition.type_ == kind::PROPAGATED && condition.status == ConditionStatus::True);
                Ok((handled.as_deref() == Some(round) && propagated).then_some(()))
            },
        )
        .await?;
        println!(
            "       rotation asked for to in use by every worker ({round}): {:.0} ms",
            start.elapsed().as_secs_f64() * 1000.0
        );
        // The overlap is none, so the old key goes as soon as nobody uses it.
        until("the provider has one key left", SHORT, || async {
            Ok((world.provider.keys().len() == 1).then_some(()))
        })
        .await?;
        calls.good(10, SHORT).await?;
    }
    let tally = calls.since(mark);
    ensure(tally.bad == 0 && tally.lost == 0, || {
        format!("calls failed meanwhile: {tally:?} {:?}", calls.kinds(mark))
    })?;
    let row = world
        .kubectl(&["get", "credentials", KEY, "--namespace", SHOP, "-o", "wide"])
        .await?;
    ensure(row.contains("APIKey") && row.contains("Usable"), || {
        format!("kubectl shows:\n{row}")
    })?;
    let issued = world
        .kubectl(&[
            "get",
            "secret",
            "payments-key-issued",
            "--namespace",
            SHOP,
            "-o",
            "json",
        ])
        .await?;
    ensure(issued.contains("\"tidegate.dev/credential\""), || {
        "the issued Secret has another type".into()
    })
}

pub async fn a_deleted_credential_is_revoked_and_leaves_nothing(world: &mut World) -> Outcome {
    world
        .kubectl(&[
            "delete",
            "credentials",
            KEY,
            "--namespace",
            SHOP,
            "--timeout=30s",
            "--ignore-not-found",
        ])
        .await?;
    until("the provider has no key left", SHORT, || async {
        Ok(world.provider.keys().is_empty().then_some(()))
    })
    .await?;
    until("the issued Secret is gone", SHORT, || async {
        let selector = format!("tidegate.dev/credential={KEY}");
        let left = world
            .kubectl(&[
                "get",
                "secrets",
                "--namespace",
                SHOP,
                "--selector",
                &selector,
                "-o",
                "name",
            ])
            .await?;
        Ok(left.trim().is_empty().then_some(()))
    })
    .await
}
