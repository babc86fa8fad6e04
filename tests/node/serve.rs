//! Claims about the main job: apply, call, and read health and circuit in status.

use std::time::Instant;

use tidegate::api::condition::kind;
use tidegate::api::integration::CircuitState;

use crate::calls::Calls;
use crate::provider::Provider;
use crate::world::{LONG, Outcome, PAYMENTS, SHOP, SHORT, World, ensure, is_true};

pub async fn an_applied_integration_becomes_ready(world: &mut World) -> Outcome {
    world.provider.accept(&["first-key"]);
    let start = Instant::now();
    world
        .apply(&format!(
            r#"
apiVersion: v1
kind: Secret
metadata: {{name: payments, namespace: {SHOP}}}
stringData: {{key: first-key}}
---
apiVersion: tidegate.dev/v1alpha1
kind: Credential
metadata: {{name: payments-key, namespace: {SHOP}}}
spec:
  allowedHosts: [{host}]
  apiKey: {{in: Header, name: X-API-Key, secretRef: {{name: payments, key: key}}}}
---
apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {{name: {PAYMENTS}, namespace: {SHOP}}}
spec:
  endpoints:
  - {{name: primary, url: "http://{host}:{port}/v1"}}
  credentialRefs: [{{name: payments-key}}]
  retries: {{limit: 1, backoff: {{base: 50ms, max: 100ms}}}}
  circuitBreaker: {{consecutiveFailures: 3, openFor: 1s, maxOpenFor: 2s}}
"#,
            host = Provider::NAME,
            port = world.provider.port
        ))
        .await?;
    let integration = world
        .integration_until(PAYMENTS, LONG, "it is Ready", |integration| {
            is_true(integration, kind::READY)
        })
        .await?;
    println!(
        "       applied to Ready, workers started: {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let address = integration.status.and_then(|status| status.address);
    ensure(
        address.as_deref() == Some(&format!("http://{PAYMENTS}.{SHOP}.svc")),
        || format!("its address is {address:?}"),
    )
}

pub async fn a_pod_calls_through_the_service_and_the_provider_gets_the_key(world: &mut World) -> Outcome {
    let calls = Calls::start(world, "checkout", &format!("http://{PAYMENTS}.{SHOP}.svc/charges")).await?;
    // A pod may run a moment before its network does.
    calls.good(1, SHORT).await?;
    let mark = calls.mark();
    calls.good(20, SHORT).await?;
    let seen = world.provider.seen();
    let path = seen.iter().all(|request| request.path == "/v1/charges");
    let key = seen.iter().all(|request| request.key == "first-key");
    ensure(path && key, || {
        "a request reached the provider with another path or key".into()
    })?;
    let tally = calls.since(mark);
    world.calls = Some(calls);
    ensure(tally.bad == 0 && tally.lost == 0, || {
        format!("not every call succeeded: {tally:?}")
    })
}

pub async fn the_workers_pass_pod_security_restricted_and_hold_no_token(world: &mut World) -> Outcome {
    // The namespace enforces `restricted`, or they would not run; a token is a matter of its own.
    let workers = world.workers(PAYMENTS).await?;
    ensure(workers.len() == 2, || {
        format!("there are {} workers, not the default of 2", workers.len())
    })?;
    for pod in workers {
        let volumes = pod.spec.into_iter().flat_map(|spec| spec.volumes.unwrap_or_default());
        let projected: Vec<_> = volumes
            .filter(|volume| volume.projected.is_some())
            .map(|volume| volume.name)
            .collect();
        ensure(projected.is_empty(), || format!("a worker mounts {projected:?}"))?;
    }
    Ok(())
}

pub async fn a_provider_that_breaks_is_seen_open_by_kubectl(world: &mut World) -> Outcome {
    world.provider.set_broken(true);
    let start = Instant::now();
    world
        .integration_until(PAYMENTS, SHORT, "its circuit is Open", circuit_is(CircuitState::Open))
        .await?;
    println!(
        "       the provider breaks to Open in status: {:.0} ms",
        start.elapsed().as_secs_f64() * 1000.0
    );
    let row = world.kubectl(&["get", "intg", PAYMENTS, "--namespace", SHOP]).await?;
    ensure(row.contains("CIRCUIT") && row.contains("Open"), || {
        format!("kubectl shows:\n{row}")
    })?;
    if let Some(calls) = &world.calls {
        calls.outcome("503 circuit-open", SHORT).await?;
    }
    // Workers and controller did their part: what is broken is not ours.
    world
        .integration_until(PAYMENTS, SHORT, "it stays Ready", |integration| {
            is_true(integration, kind::READY)
        })
        .await?;
    Ok(())
}

pub async fn a_provider_that_mends_is_seen_closed_by_kubectl(world: &mut World) -> Outcome {
    world.provider.set_broken(false);
    let start = Instant::now();
    world
        .integration_until(
            PAYMENTS,
            SHORT,
            "its circuit is Closed",
            circuit_is(CircuitState::Closed),
        )
        .await?;
    println!(
        "       the provider mends to Closed in status: {:.0} ms",
        start.elapsed().as_secs_f64() * 1000.0
    );
    let row = world.kubectl(&["get", "intg", PAYMENTS, "--namespace", SHOP]).await?;
    ensure(row.contains("Closed"), || format!("kubectl shows:\n{row}"))?;
    if let Some(calls) = &world.calls {
        calls.good(20, SHORT).await?;
    }
    Ok(())
}

pub async fn the_api_server_and_loopback_are_refused_as_endpoints(world: &mut World) -> Outcome {
    let node = world
        .kubectl(&[
            "get",
            "endpointslices/kubernetes",
            "--output",
            "jsonpath={.endpoints[0].addresses[0]}",
        ])
        .await?;
    let targets = [
        ("to-service", "https://kubernetes.default.svc".to_owned()),
        ("to-server", format!("https://{node}:6443")),
        ("to-itself", "http://127.0.0.1:9090".to_owned()),
        ("to-itself-too", "http://[::ffff:127.0.0.1]:9090".to_owned()),
        ("to-metadata", "http://169.254.169.254".to_owned()),
    ];
    for (name, url) in &targets {
        // With the cluster's own authority, which every namespace has: what is refused is not the certificate.
        let tls = if url.starts_with("https") {
            "tls: {caRef: {kind: ConfigMap, name: kube-root-ca.crt, key: ca.crt}},"
        } else {
            ""
        };
        world
            .apply(&format!(
                "apiVersion: tidegate.dev/v1alpha1\nkind: Integration\nmetadata: {{name: {name}, namespace: {SHOP}}}\nspec: \
                 {{endpoints: [{{name: only, url: \"{url}\"}}], {tls} workers: {{replicas: 1}}, retries: {{limit: 0}}}}\n"
            ))
            .await?;
    }
    for (name, url) in &targets {
        world
            .integration_until(name, LONG, "it is Ready", |integration| {
                is_true(integration, kind::READY)
            })
            .await?;
        let answer = world.call(name, "/livez").await?;
        ensure(answer.status == 502 && answer.error == "address-refused", || {
            format!("{url} is answered with {answer:?}")
        })?;
    }
    let names = targets.map(|(name, _)| name);
    world
        .kubectl(&[["delete", "integrations", "--namespace", SHOP].as_slice(), &names].concat())
        .await?;
    Ok(())
}

fn circuit_is(state: CircuitState) -> impl Fn(&tidegate::api::integration::Integration) -> bool {
    move |integration| integration.status.as_ref().and_then(|status| status.circuit) == Some(state)
}
