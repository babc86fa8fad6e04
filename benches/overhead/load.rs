//! The load: h2load at a fixed rate, over connections that stay open.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Connections, each of which sends its share of the rate.
pub const CONNECTIONS: u32 = 16;
/// Requests a second, over all of them. Well below what two cores can do, so that waiting in line is not what is measured.
pub const RATE: u32 = 2000;

/// Latencies of one round.
pub struct Round {
    /// Requests that were answered with 200.
    pub good: usize,
    /// All others.
    pub bad: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// All but a hundredth took no longer.
    pub p99: Duration,
}

/// Sends load to `target` for `time`.
pub fn run(target: SocketAddr, time: Duration, directory: &Path) -> Result<Round, String> {
    let log = directory.join("h2load.log");
    // It appends.
    let _ = std::fs::remove_file(&log);
    let status = Command::new("h2load")
        .args(["--h1", "--threads=1", &format!("--clients={CONNECTIONS}")])
        .arg(format!("--rps={}", RATE / CONNECTIONS))
        .arg(format!("--duration={}", time.as_secs()))
        .arg(format!("--connect-to={target}"))
        .arg(format!("--log-file={}", log.display()))
        // The name by which Tidegate knows the Integration; the others take any.
        .arg("http://upstream.bench.svc/v1/things?limit=10")
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("h2load (Debian's nghttp2-client) does not start: {error}"))?;
    if !status.success() {
        return Err("h2load failed".into());
    }
    let text = std::fs::read_to_string(&log).map_err(|error| format!("h2load's log: {error}"))?;
    evaluate(&text)
}

/// A line for each request: when it was sent, its status, and how many microseconds it took.
fn evaluate(log: &str) -> Result<Round, String> {
    let mut times = Vec::new();
    let mut bad = 0;
    for line in log.lines() {
        let mut columns = line.split('\t').skip(1);
        match (columns.next(), columns.next().and_then(|time| time.parse::<u64>().ok())) {
            (Some("200"), Some(time)) => times.push(time),
            _ => bad += 1,
        }
    }
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len().saturating_sub(1) * percent / 100)
            .copied()
            .map(Duration::from_micros)
    };
    match (at(50), at(99)) {
        (Some(p50), Some(p99)) => Ok(Round {
            good: times.len(),
            bad,
            p50,
            p99,
        }),
        _ => Err(format!("no request succeeded, {bad} failed")),
    }
}
