//! Tidegate's worker beside nginx, HAProxy and Envoy: the same job on the same upstream in the same run.
//!
//! ```sh
//! cargo bench --bench side_by_side
//! ```
//!
//! Each adds a key, bounds the time, tries again, takes a failing endpoint out, counts, writes a line for each request,
//! and has two threads. Rounds are interleaved, so that whatever else the machine does meets all alike; what is printed
//! are medians over rounds. What cannot be had is skipped, and a line says so. Takes five minutes; `BENCH_ROUNDS=3`
//! fewer, `BENCH_ONLY=http` or `tls` one of the two.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use load::Round;
use process::{mebibytes, median, pause};
use proxies::{Kind, Proxy};
use upstream::{Protocol, Upstream};

mod connections;
#[path = "../load.rs"]
mod load;
#[path = "../plan.rs"]
mod plan;
// Each benchmark uses its part of it.
#[allow(dead_code)]
#[path = "../process.rs"]
mod process;
mod proxies;
mod table;
mod upstream;

/// Requests a second in the rounds whose latencies count: well below what two cores can do.
const RATE: u32 = 2000;
const ROUND: Duration = Duration::from_secs(4);
const STARTS: usize = 5;
/// How long a proxy is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// What was measured of one way to the upstream, by round.
#[derive(Default)]
struct Figures {
    /// Microseconds of processor time per request at the fixed rate.
    processor: Vec<f64>,
    /// The same at saturation.
    processor_full: Vec<f64>,
    /// Requests a second at saturation.
    throughput: Vec<f64>,
    /// Milliseconds.
    p50: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    /// Milliseconds from the start to the first answer.
    first: Vec<f64>,
    /// MiB.
    idle: f64,
    busy: f64,
    connected: f64,
    failed: usize,
}

impl Figures {
    fn add(&mut self, round: &Round) {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        self.p50.push(milliseconds(round.p50));
        self.p99.push(milliseconds(round.p99));
        self.p999.push(milliseconds(round.p999));
        self.failed += round.bad;
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("side_by_side: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    // A thousand connections on each side; without the right to more, as many as there may be.
    let own = std::process::id().to_string();
    let _ = Command::new("prlimit")
        .args(["--pid", &own, "--nofile=16384:"])
        .status();
    println!("{}", machine());
    let kinds: Vec<Kind> = [Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Tidegate]
        .into_iter()
        .filter(|kind| match kind.find() {
            Ok(version) => {
                println!("{}: {version}", kind.name());
                true
            }
            Err(reason) => {
                println!("{}: skipped, {reason}", kind.name());
                false
            }
        })
        .collect();
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    for protocol in [Protocol::Http, Protocol::Tls] {
        if only.is_empty() || only == protocol.name() {
            measure(protocol, &kinds)?;
        }
    }
    println!("\ngRPC: skipped, this benchmark does not know it yet");
    Ok(())
}

/// The machine, and how much it has to do besides.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or_default().trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "machine: {cores} cores ({model}), Linux {}, load {load} at the start; the load and the upstream run on it too",
        kernel.trim()
    )
}

fn rounds() -> usize {
    let asked = std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(7).max(1)
}

fn measure(protocol: Protocol, kinds: &[Kind]) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| format!("no place for files: {error}"))?;
    let upstream = Upstream::start(protocol, directory.path())?;
    let mut figures: Vec<Figures> = kinds.iter().map(|_| Figures::default()).collect();
    let mut proxies = Vec::new();
    for (kind, figures) in kinds.iter().zip(&mut figures) {
        let place = directory.path().join(kind.name());
        fs::create_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        proxies.push(start(*kind, &upstream, &place, figures)?);
    }
    let directory = directory.path();
    let mut direct = Figures::default();
    for proxy in &proxies {
        load::at_rate(proxy.address, RATE, Duration::from_secs(2), directory)?;
    }
    for _ in 0..rounds() {
        if let Some(address) = upstream.direct() {
            direct.add(&load::at_rate(address, RATE, ROUND, directory)?);
        }
        for (proxy, figures) in proxies.iter().zip(&mut figures) {
            let before = proxy.processor_time()?;
            let round = load::at_rate(proxy.address, RATE, ROUND, directory)?;
            figures
                .processor
                .push(per(proxy.processor_time()?.saturating_sub(before), round.good));
            figures.add(&round);
        }
        for (proxy, figures) in proxies.iter().zip(&mut figures) {
            let before = proxy.processor_time()?;
            let answered = load::saturate(proxy.address, ROUND / 2)?;
            figures
                .processor_full
                .push(per(proxy.processor_time()?.saturating_sub(before), answered));
            figures.throughput.push(rate(answered, ROUND / 2));
        }
    }
    for (proxy, figures) in proxies.iter().zip(&mut figures) {
        figures.busy = load::while_busy(proxy.address, || proxy.resident())?;
        pause(SETTLE);
        let open = connections::open(proxy.address).map_err(|error| format!("{}: {error}", proxy.name()))?;
        pause(SETTLE);
        figures.connected = proxy.resident()?;
        drop(open);
    }
    table::print(protocol, &direct, kinds, &figures);
    Ok(())
}

/// Starts a proxy a few times, for how long that takes, and keeps the last.
fn start(kind: Kind, upstream: &Upstream, place: &Path, figures: &mut Figures) -> Result<Proxy, String> {
    let mut command = kind.prepare(upstream, place)?;
    loop {
        let begin = Instant::now();
        let mut proxy = command.start()?;
        while !connections::answers(proxy.address) {
            if !proxy.process.runs() || begin.elapsed() > Duration::from_secs(10) {
                return Err(format!(
                    "{} does not serve; BENCH_OUTPUT=1 shows what it says",
                    kind.name()
                ));
            }
            pause(Duration::from_micros(500));
        }
        figures.first.push(begin.elapsed().as_secs_f64() * 1e3);
        if figures.first.len() == STARTS {
            pause(SETTLE);
            figures.idle = proxy.resident()?;
            return Ok(proxy);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
fn per(time: Duration, requests: usize) -> f64 {
    time.as_secs_f64() * 1e6 / requests as f64
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
fn rate(requests: usize, time: Duration) -> f64 {
    requests as f64 / time.as_secs_f64()
}

impl Proxy {
    fn processor_time(&self) -> Result<Duration, String> {
        let time = self.process.processor_time();
        time.map_err(|error| format!("{}: {error}", self.name()))
    }

    /// Memory in use, in MiB.
    fn resident(&self) -> Result<f64, String> {
        let bytes = self.process.resident();
        bytes
            .map(mebibytes)
            .map_err(|error| format!("{}: {error}", self.name()))
    }
}

fn middle(values: &[f64]) -> f64 {
    median(values).unwrap_or(f64::NAN)
}
