//! The load: h2load over connections that stay open, at a fixed rate or as fast as answers come.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::pause;

/// Connections at a fixed rate, each of which sends its share.
pub const CONNECTIONS: u32 = 16;
/// Connections when as much as possible is asked for.
const MANY: u32 = 64;
/// Connections that are all busy while memory is read.
const BUSY: u32 = 100;

/// One round at a fixed rate.
pub struct Round {
    /// Requests that were answered with 200.
    pub good: usize,
    /// All others.
    pub bad: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// All but a hundredth took no longer.
    pub p99: Duration,
    /// All but a thousandth took no longer.
    pub p999: Duration,
}

fn h2load(target: SocketAddr, connections: u32, time: Duration) -> Command {
    let mut command = Command::new("h2load");
    command
        .args(["--h1", "--threads=1", &format!("--clients={connections}")])
        .arg(format!("--duration={}", time.as_secs()))
        .arg(format!("--connect-to={target}"))
        .stderr(Stdio::null());
    command
}

/// The name by which Tidegate knows the Integration; the others take any.
const URL: &str = "http://upstream.bench.svc/v1/things?limit=10";

/// Asks for `rate` requests a second.
pub fn at_rate(target: SocketAddr, rate: u32, time: Duration, directory: &Path) -> Result<Round, String> {
    let log = directory.join("h2load.log");
    // It appends.
    let _ = std::fs::remove_file(&log);
    let status = h2load(target, CONNECTIONS, time)
        .arg(format!("--rps={}", rate / CONNECTIONS))
        .arg(format!("--log-file={}", log.display()))
        .arg(URL)
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("h2load (Debian's nghttp2-client) does not start: {error}"))?;
    if !status.success() {
        return Err("h2load failed".into());
    }
    evaluate(&std::fs::read_to_string(&log).map_err(|error| format!("h2load's log: {error}"))?)
}

/// A line for each request: when it was sent, its status, and how many microseconds it took.
fn evaluate(log: &str) -> Result<Round, String> {
    let (mut times, mut bad) = (Vec::new(), 0);
    for line in log.lines() {
        let mut columns = line.split('\t').skip(1);
        match (columns.next(), columns.next().and_then(|time| time.parse::<u64>().ok())) {
            (Some("200"), Some(time)) => times.push(time),
            _ => bad += 1,
        }
    }
    times.sort_unstable();
    let at = |thousandths: usize| {
        let time = times.get(times.len().saturating_sub(1) * thousandths / 1000);
        time.copied().map(Duration::from_micros).unwrap_or_default()
    };
    if times.is_empty() {
        return Err(format!("no request succeeded, {bad} failed"));
    }
    Ok(Round {
        good: times.len(),
        bad,
        p50: at(500),
        p99: at(990),
        p999: at(999),
    })
}

/// Asks for as much as there is; how many were answered with 2xx.
pub fn saturate(target: SocketAddr, time: Duration) -> Result<usize, String> {
    let output = h2load(target, MANY, time).arg(URL).output();
    let output = output.map_err(|error| format!("h2load does not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let codes = text.lines().find_map(|line| line.strip_prefix("status codes: "));
    let good = codes.and_then(|codes| codes.split(' ').next()?.parse().ok());
    good.ok_or_else(|| "h2load does not say how many requests were answered".into())
}

/// Keeps many connections busy, and reads in the middle of that.
pub fn while_busy<T>(target: SocketAddr, read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let time = Duration::from_secs(3);
    let mut load = h2load(target, BUSY, time)
        .arg(URL)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("h2load does not start: {error}"))?;
    pause(time / 3 * 2);
    let found = read();
    let _ = load.wait();
    found
}
