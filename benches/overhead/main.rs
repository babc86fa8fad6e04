//! What a request costs more for passing through Tidegate, beside nginx on the same upstream in the same run.
//!
//! ```sh
//! cargo bench --bench overhead
//! ```
//!
//! Prints processor time per request, and the median and the 99th percentile that are added to those of the upstream
//! alone, at a fixed rate. Rounds are interleaved, so that whatever else the machine does meets all alike; what is printed
//! are medians over rounds. Wants nginx and h2load (Debian: nginx-light, nghttp2-client); takes two minutes.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::process::ExitCode;
use std::time::Duration;

use load::Round;
use process::{mebibytes, median};
use proxy::Proxy;

// Each benchmark uses its part of it.
#[allow(dead_code)]
#[path = "../load.rs"]
mod load;
#[path = "../plan.rs"]
mod plan;
// Each benchmark uses its part of it.
#[allow(dead_code)]
#[path = "../process.rs"]
mod process;
mod proxy;
mod upstream;

/// Requests a second, over all connections. Well below what two cores can do, so that waiting in line is not what is
/// measured.
const RATE: u32 = 2000;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);

/// What was measured of one way to the upstream.
#[derive(Default)]
struct Figures {
    /// Microseconds of processor time per request, by round.
    processor: Vec<f64>,
    /// Milliseconds, by round.
    p50: Vec<f64>,
    /// Milliseconds, by round.
    p99: Vec<f64>,
    failed: usize,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
    fn add(&mut self, round: &Round, processor: Duration) {
        self.processor.push(processor.as_secs_f64() * 1e6 / round.good as f64);
        self.p50.push(round.p50.as_secs_f64() * 1e3);
        self.p99.push(round.p99.as_secs_f64() * 1e3);
        self.failed += round.bad;
    }
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("overhead: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| format!("no place for files: {error}"))?;
    let upstream = upstream::start().map_err(|error| format!("the upstream does not start: {error}"))?;
    let plan = plan::write(upstream, None, directory.path())?;
    let proxies = [Proxy::nginx(upstream, directory.path())?, Proxy::tidegate(&plan)?];

    println!(
        "{} requests/s over {} connections, answers of 1 KiB; {ROUNDS} rounds of {} s each way, interleaved; medians",
        RATE,
        load::CONNECTIONS,
        ROUND.as_secs()
    );
    for proxy in &proxies {
        load::at_rate(proxy.address, RATE, WARM_UP, directory.path())
            .map_err(|reason| format!("{}: {reason}", proxy.name))?;
    }
    let mut direct = Figures::default();
    let mut through = [Figures::default(), Figures::default()];
    for _ in 0..ROUNDS {
        direct.add(&load::at_rate(upstream, RATE, ROUND, directory.path())?, Duration::ZERO);
        for (proxy, figures) in proxies.iter().zip(&mut through) {
            let time = || {
                proxy
                    .process
                    .processor_time()
                    .map_err(|error| format!("{}: {error}", proxy.name))
            };
            let before = time()?;
            let round = load::at_rate(proxy.address, RATE, ROUND, directory.path())?;
            figures.add(&round, time()?.saturating_sub(before));
        }
    }
    print(&direct, &proxies, &through);
    Ok(())
}

fn print(direct: &Figures, proxies: &[Proxy], through: &[Figures]) {
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let (p50, p99) = (middle(&direct.p50), middle(&direct.p99));
    println!(
        "{:10} {:>15} {:>12} {:>12} {:>10} {:>8}",
        "", "CPU/request", "added p50", "added p99", "own memory", "failed"
    );
    println!(
        "{:10} {:>15} {:>9.3} ms {:>9.3} ms {:>10} {:>8}",
        "direct", "", p50, p99, "", direct.failed
    );
    for (proxy, figures) in proxies.iter().zip(through) {
        println!(
            "{:10} {:>12.1} µs {:>9.3} ms {:>9.3} ms {:>6.1} MiB {:>8}",
            proxy.name,
            middle(&figures.processor),
            middle(&figures.p50) - p50,
            middle(&figures.p99) - p99,
            proxy.process.anonymous().map_or(f64::NAN, mebibytes),
            figures.failed
        );
    }
    let ratios: Vec<f64> = through[1]
        .processor
        .iter()
        .zip(&through[0].processor)
        .map(|(own, other)| own / other)
        .collect();
    println!(
        "CPU per request, tidegate to nginx, median of the rounds' ratios: {:.2}",
        middle(&ratios)
    );
}
