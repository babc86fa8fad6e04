//! What Tidegate takes when nothing happens, and what many Integrations take.
//!
//! ```sh
//! cargo bench --bench idle_and_scale
//! ```
//!
//! One worker: memory when idle, and the time from its start to the first request it has served. One controller with 1,000
//! Integrations on a real API server: memory, time until all are reported, and how many writes it makes when nothing
//! happens. The workers of the thousand are played by this program (`players`), over the real control protocol.
//! `INTEGRATIONS=100` takes fewer. Takes three minutes, once the API server is built.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::process::ExitCode;

mod controller;
#[path = "../plan.rs"]
mod plan;
mod players;
// Each benchmark uses its part of it.
#[allow(dead_code)]
#[path = "../process.rs"]
mod process;
#[path = "../server.rs"]
mod server;
mod worker;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let measured = worker::measure().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(controller::measure())
    });
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle_and_scale: {error}");
            ExitCode::FAILURE
        }
    }
}
