//! How long it takes from `tidegate.dev/rotate` to every worker using the new value.
//!
//! ```sh
//! cargo bench --bench rotation
//! ```
//!
//! A real API server, the controller, and workers that are processes of their own, three for each Credential; of each type of
//! Credential, without overlap, 36 rotations (`ROTATIONS`). A rotation begins when the annotation is sent. It has arrived at
//! a worker when the provider is sent the new value by it for the first time (every worker is called every 5 ms), and at
//! all of them when it has at the last. What is sent nowhere (`generated`) has arrived when the status says `Propagated`,
//! which is some milliseconds later, and is printed for the others too. Takes three minutes, once the API server is built.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::process::{Command, ExitCode};
use std::time::Duration;

use process::{Process, program};
use provider::Provider;
use server::{Server, install};
use station::{Kind, Station};

// Each benchmark uses its part of them.
#[allow(dead_code)]
#[path = "../process.rs"]
mod process;
mod provider;
#[allow(dead_code)]
#[path = "../server.rs"]
mod server;
mod station;
mod status;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The controller's own namespace.
const HOME: &str = "tidegate-system";
/// Where the Integrations are.
const PLACE: &str = "bench";
/// Rotations of one Credential: what its account pays for in a row.
const ROUNDS: usize = 6;

/// What was measured of one type.
#[derive(Default)]
struct Figures {
    arrived: Vec<Duration>,
    told: Vec<Duration>,
}

fn main() -> ExitCode {
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure()));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rotation: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Outcome {
    let wanted = std::env::var("ROTATIONS").ok().and_then(|count| count.parse().ok());
    let stations = wanted.unwrap_or(36_usize).div_ceil(ROUNDS);
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path()).map_err(|error| error.to_string())?;
    let client = server.client().await.map_err(|error| error.to_string())?;
    install(&client, &[HOME.to_owned(), PLACE.to_owned()])
        .await
        .map_err(|error| error.to_string())?;
    let provider = Provider::start().await?;
    station::prepare(&client, provider.address).await?;
    let _controller = start(&server)?;
    let mut number = 0;
    for kind in Kind::ALL {
        let mut figures = Figures::default();
        for _ in 0..stations {
            number += 1;
            let open = Station::open(&client, &provider, kind, number, directory.path());
            let mut station = Box::pin(open).await?;
            for round in 1..=ROUNDS {
                let (arrived, told) = station.rotate(round).await?;
                figures.arrived.push(arrived);
                figures.told.push(told);
            }
        }
        print(kind, figures);
    }
    Ok(())
}

fn start(server: &Server) -> Outcome<Process> {
    let mut command = Command::new(program());
    command.env("KUBECONFIG", &server.kubeconfig);
    // As the chart sets it.
    command.env("MALLOC_ARENA_MAX", "1");
    command.args(["controller", "--namespace", HOME, "--worker-image", "tidegate:bench"]);
    command.args(["--admin", "127.0.0.1:0", "--allow-loopback", "--log-level", "warn"]);
    Ok(Process::start(&mut command)?)
}

fn print(kind: Kind, mut figures: Figures) {
    figures.arrived.sort();
    figures.told.sort();
    let count = figures.arrived.len();
    let line = |times: &[Duration]| {
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1].as_millis();
        format!(
            "min {} ms, median {} ms, p99 {} ms",
            times[0].as_millis(),
            at(50),
            at(99)
        )
    };
    if kind.is_sent() {
        println!(
            "{}: {count} rotations, every one of {} workers uses the new value: {} (aim: median under 500 ms)",
            kind.name(),
            station::WORKERS,
            line(&figures.arrived)
        );
        println!("{}: the status says Propagated: {}", kind.name(), line(&figures.told));
    } else {
        println!(
            "{}: {count} rotations, the status says that every one of {} workers has the new value: {} (aim: median \
             under 500 ms)",
            kind.name(),
            station::WORKERS,
            line(&figures.told)
        );
    }
}
