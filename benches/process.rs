//! A program under measurement: started, watched from outside by what the kernel tells of it, and ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program that is measured: the one that was built with the benchmark, or another that `TIDEGATE_PROGRAM` names, such
/// as the static one that the image has.
pub fn program() -> PathBuf {
    std::env::var_os("TIDEGATE_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_tidegate").into(), PathBuf::from)
}

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it, its output thrown away unless `BENCH_OUTPUT` is set.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        let output = || {
            if std::env::var_os("BENCH_OUTPUT").is_some() {
                Stdio::inherit()
            } else {
                Stdio::null()
            }
        };
        let child = command.stdin(Stdio::null()).stdout(output()).stderr(output()).spawn()?;
        Ok(Self { child })
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time that it and its children have used so far, in user and kernel mode.
    pub fn processor_time(&self) -> std::io::Result<Duration> {
        let ticks: u64 = self.family()?.iter().map(|stat| stat.ticks).sum();
        // What /proc counts in has been a hundredth of a second since it exists.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Memory of it and its children that is in use now, in bytes.
    #[allow(dead_code, reason = "each benchmark uses its part of this file")]
    pub fn resident(&self) -> std::io::Result<u64> {
        self.family()?.iter().map(|stat| status_bytes(stat.pid, "VmRSS:")).sum()
    }

    /// The part of it that was written to, and so is not shared with others that run the same file.
    pub fn anonymous(&self) -> std::io::Result<u64> {
        self.family()?
            .iter()
            .map(|stat| status_bytes(stat.pid, "RssAnon:"))
            .sum()
    }

    fn family(&self) -> std::io::Result<Vec<Stat>> {
        let own = self.child.id();
        let mut family = vec![Stat::of(own)?];
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that ended meanwhile is no part of it.
            if let Ok(stat) = Stat::of(pid)
                && stat.parent == own
            {
                family.push(stat);
            }
        }
        Ok(family)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A program with children of its own is asked first, so that it takes them along.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..100 {
            if !self.runs() {
                return;
            }
            pause(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
        // The name, in parentheses, may hold anything; what follows it does not. State is the first field there.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            pid,
            parent: u32::try_from(number(1)).unwrap_or_default(),
            ticks: number(11) + number(12),
        })
    }
}

fn status_bytes(pid: u32, field: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap_or_default();
    let kibibytes: u64 = line
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    Ok(kibibytes * 1024)
}

/// Lets time pass. A benchmark measures over time, so that here it is not in place of a condition.
#[expect(clippy::disallowed_methods, reason = "there is no runtime here to be blocked")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The middle one; of an even number the lower of the two.
pub fn median<T: PartialOrd + Copy>(values: &[T]) -> Option<T> {
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Bytes as mebibytes, for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
