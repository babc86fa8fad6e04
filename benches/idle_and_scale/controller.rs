//! One controller with many Integrations.

use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tidegate::api::condition::{ConditionStatus, kind};
use tidegate::api::integration::{CircuitState, Integration};
use tokio::sync::watch;

use crate::Outcome;
use crate::players;
use crate::process::{Process, mebibytes, program};
use crate::server::{Server, install};

/// Where the Integrations are spread over.
const NAMESPACES: usize = 10;
/// The controller's own.
const HOME: &str = "tidegate-system";
/// How long nothing may happen, for nothing to be written. Longer than any pause that gathers writes.
const QUIET: Duration = Duration::from_secs(10);
/// How long writes are then counted.
const IDLE: Duration = Duration::from_secs(30);
/// Longest wait for all of them.
const PATIENCE: Duration = Duration::from_secs(300);

/// Makes them, starts the controller twice, and prints.
pub async fn measure() -> Outcome {
    let count = std::env::var("INTEGRATIONS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path())?;
    let client = server.client().await?;
    prepare(&client, count).await?;
    let (circuit, told) = watch::channel(CircuitState::Closed);
    let player = tokio::spawn({
        let client = client.clone();
        async move {
            if let Err(error) = players::play(client, told).await {
                eprintln!("no more workers are played: {error}");
            }
        }
    });

    // The first start makes everything.
    let controller = start(&server)?;
    let begin = Instant::now();
    all(&client, count, begin, &controller, |integration| {
        conditions_of(integration).any(|condition| condition == (kind::READY, ConditionStatus::True))
    })
    .await?;
    println!(
        "controller: {count} Integrations from nothing to Ready, with 6 objects and a worker each: {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    quiet(&server).await?;
    let (mark, before) = (server.mark()?, controller.processor_time()?);
    tokio::time::sleep(IDLE).await;
    let (writes, busy) = (
        server.writes(mark)?,
        controller.processor_time()?.saturating_sub(before),
    );
    println!(
        "controller: {} writes in {} s of idleness, besides its lease (aim 0){}",
        writes.len(),
        IDLE.as_secs(),
        writes
            .first()
            .map(|write| format!(", such as {write}"))
            .unwrap_or_default()
    );
    println!(
        "controller: {:.1} % of a core in that time",
        busy.as_secs_f64() / IDLE.as_secs_f64() * 100.0
    );
    let resident = controller.resident()?;
    println!(
        "controller: {:.1} MiB resident with {count} Integrations (aim 100 MiB)",
        mebibytes(resident)
    );

    // While there is none, every worker's circuit opens: after the second start, every status has to change.
    drop(controller);
    circuit.send_replace(CircuitState::Open);
    let controller = start(&server)?;
    let begin = Instant::now();
    all(&client, count, begin, &controller, |integration| {
        integration.status.as_ref().and_then(|status| status.circuit) == Some(CircuitState::Open)
    })
    .await?;
    println!(
        "controller: started again, the changed state of all {count} reported after {:.1} s (aim 60 s)",
        begin.elapsed().as_secs_f64()
    );
    println!("controller: {:.1} MiB resident then", mebibytes(controller.resident()?));
    player.abort();
    Ok(())
}

fn start(server: &Server) -> Outcome<Process> {
    let mut command = Command::new(program());
    command.env("KUBECONFIG", &server.kubeconfig);
    // As the chart sets it.
    command.env("MALLOC_ARENA_MAX", "1");
    command.args(["controller", "--namespace", HOME, "--worker-image", "tidegate:bench"]);
    command.args(["--admin", "127.0.0.1:0", "--log-level", "warn"]);
    Ok(Process::start(&mut command)?)
}

/// The definitions, the namespaces, and the Integrations.
async fn prepare(client: &Client, count: usize) -> Outcome {
    let namespaces: Vec<String> = (0..NAMESPACES).map(namespace).chain([HOME.to_owned()]).collect();
    install(client, &namespaces).await?;
    stream::iter(0..count)
        .map(|number| async move {
            let integrations: Api<Integration> = Api::namespaced(client.clone(), &namespace(number % NAMESPACES));
            let integration = serde_json::from_value(json!({
                "apiVersion": "tidegate.dev/v1alpha1",
                "kind": "Integration",
                "metadata": {"name": format!("api-{number}")},
                "spec": {
                    "endpoints": [
                        {"name": "primary", "url": format!("https://api-{number}.example.com/v1")},
                        {"name": "spare", "url": format!("https://spare-{number}.example.com/v1"), "priority": 1},
                    ],
                    "workers": {"replicas": 1},
                },
            }))?;
            integrations.create(&PostParams::default(), &integration).await?;
            Outcome::Ok(())
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

fn namespace(number: usize) -> String {
    format!("bench-{number}")
}

fn conditions_of(integration: &Integration) -> impl Iterator<Item = (&str, ConditionStatus)> {
    let conditions = integration.status.iter().flat_map(|status| &status.conditions);
    conditions.map(|condition| (condition.type_.as_str(), condition.status))
}

/// Waits until all of them are as `done` wants them.
async fn all(
    client: &Client,
    count: usize,
    begin: Instant,
    controller: &Process,
    done: impl Fn(&Integration) -> bool,
) -> Outcome {
    let integrations: Api<Integration> = Api::all(client.clone());
    let mut told = Instant::now();
    loop {
        let list = integrations.list(&ListParams::default()).await?;
        let reached = list.iter().filter(|integration| done(integration)).count();
        if reached == count {
            return Ok(());
        }
        // It fails, with the reason, if the controller has ended.
        controller
            .resident()
            .map_err(|_| "the controller ended; BENCH_OUTPUT=1 shows what it says")?;
        if begin.elapsed() > PATIENCE {
            return Err(format!("only {reached} of {count} after {PATIENCE:?}").into());
        }
        if told.elapsed() > Duration::from_secs(10) {
            eprintln!("  {reached} of {count} after {:.0} s", begin.elapsed().as_secs_f64());
            told = Instant::now();
        }
        // Listing costs the server something too.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until nothing has been written for a while.
async fn quiet(server: &Server) -> Outcome {
    let begin = Instant::now();
    loop {
        let mark = server.mark()?;
        tokio::time::sleep(QUIET).await;
        let writes = server.writes(mark)?;
        if writes.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            println!(
                "controller: it does not come to rest: {} writes in {} s",
                writes.len(),
                QUIET.as_secs()
            );
            return Ok(());
        }
    }
}
