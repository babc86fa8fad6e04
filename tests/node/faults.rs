//! Claims about what fails: workers, and the controller.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use tidegate::api::condition::kind;
use tidegate::api::integration::CircuitState;

use crate::world::{Failure, LONG, Outcome, PAYMENTS, SHORT, SYSTEM, World, ensure, is_ready, is_true, until};

pub async fn a_killed_worker_does_not_end_the_service(world: &mut World) -> Outcome {
    let calls = world
        .calls
        .as_ref()
        .ok_or_else(|| Failure::new("no application calls"))?;
    let victim = world
        .workers(PAYMENTS)
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new("there is no worker"))?;
    let name = victim.metadata.name.clone().unwrap_or_default();
    let restarts = restarts_of(&victim);
    let mark = calls.mark();
    world.kill(&victim).await?;
    // The other one serves meanwhile; calls that were sent to the one that is gone are lost, as with any Service.
    calls.good(10, SHORT).await?;
    until("the killed worker is back", LONG, || async {
        let pod = world.pods(crate::world::SHOP).get(&name).await?;
        Ok((restarts_of(&pod) > restarts && is_ready(&pod)).then_some(()))
    })
    .await?;
    println!("       calls around the kill: {:?}", calls.since(mark));
    world
        .integration_until(PAYMENTS, LONG, "both workers run the plan again", |integration| {
            let ready = integration.status.as_ref().and_then(|status| status.ready_replicas);
            ready == Some(2) && is_true(integration, kind::PROGRAMMED)
        })
        .await?;
    let mark = calls.mark();
    calls.good(20, SHORT).await?;
    let tally = calls.since(mark);
    ensure(tally.bad == 0 && tally.lost == 0, || {
        format!("calls still fail: {tally:?} {:?}", calls.kinds(mark))
    })
}

pub async fn traffic_goes_on_and_workers_start_without_a_controller(world: &mut World) -> Outcome {
    let calls = world
        .calls
        .as_ref()
        .ok_or_else(|| Failure::new("no application calls"))?;
    world
        .kubectl(&["scale", "deployment/tidegate", "--namespace", SYSTEM, "--replicas=0"])
        .await?;
    until("no controller runs", LONG, || async {
        Ok(world.controllers().await?.is_empty().then_some(()))
    })
    .await?;
    let mark = calls.mark();
    calls.good(30, SHORT).await?;
    let tally = calls.since(mark);
    ensure(tally.bad == 0 && tally.lost == 0, || {
        format!("calls fail without a controller: {tally:?}")
    })?;

    // A worker that is made now has nothing but what it mounts.
    let victim = world
        .workers(PAYMENTS)
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new("there is no worker"))?;
    let name = victim.metadata.name.unwrap_or_default();
    let mark = calls.mark();
    world
        .kubectl(&["delete", "pod", &name, "--namespace", crate::world::SHOP])
        .await?;
    until("a worker has taken its place", LONG, || async {
        let workers = world.workers(PAYMENTS).await?;
        let others = workers.iter().all(|pod| pod.metadata.name.as_ref() != Some(&name));
        Ok((others && workers.len() == 2 && workers.iter().all(is_ready)).then_some(()))
    })
    .await?;
    calls.good(20, SHORT).await?;
    let tally = calls.since(mark);
    println!("       calls while a worker was replaced without a controller: {tally:?}");
    ensure(tally.bad == 0, || {
        format!("calls were answered with failures: {:?}", calls.kinds(mark))
    })
}

pub async fn a_killed_controller_comes_back_and_reports_again(world: &mut World) -> Outcome {
    world
        .kubectl(&["scale", "deployment/tidegate", "--namespace", SYSTEM, "--replicas=1"])
        .await?;
    let controller = until("a controller is ready", LONG, || async {
        Ok(world.controllers().await?.into_iter().find(is_ready))
    })
    .await?;
    world.kill(&controller).await?;
    let start = Instant::now();
    // Nothing else tells of it that the new one follows the workers.
    world.provider.set_broken(true);
    world
        .integration_until(PAYMENTS, LONG, "its circuit is Open", |integration| {
            integration.status.as_ref().and_then(|status| status.circuit) == Some(CircuitState::Open)
        })
        .await?;
    println!(
        "       the controller is killed to it reports again: {:.1} s",
        start.elapsed().as_secs_f64()
    );
    world.provider.set_broken(false);
    world
        .integration_until(PAYMENTS, LONG, "its circuit is Closed", |integration| {
            integration.status.as_ref().and_then(|status| status.circuit) == Some(CircuitState::Closed)
        })
        .await?;
    Ok(())
}

fn restarts_of(pod: &Pod) -> i32 {
    let containers = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}
