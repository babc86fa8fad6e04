//! What is printed.

use crate::proxies::Kind;
use crate::upstream::Protocol;
use crate::{Figures, RATE, middle, rounds};

/// A line for each way to the upstream, then how Tidegate stands to the others.
pub fn print(protocol: Protocol, direct: &Figures, kinds: &[Kind], figures: &[Figures]) {
    println!(
        "\n{}: {RATE} requests/s over 16 connections, answers of 1 KiB; {} rounds, interleaved; medians",
        protocol.title(),
        rounds()
    );
    println!(
        "{:9} {:>7} {:>9} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>8} {:>6}",
        "", "CPU µs", "CPU µs", "req/s", "added ms", "added ms", "added ms", "MiB", "MiB", "MiB", "first", "failed"
    );
    println!(
        "{:9} {:>7} {:>9} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>8} {:>6}",
        "", "at rate", "saturated", "most", "p50", "p99", "p99.9", "idle", "100 busy", "1000 idle", "ms", ""
    );
    // Where the load does not speak with the upstream itself, what is printed is the whole and not what was added.
    let base = |values: &[f64]| if values.is_empty() { 0.0 } else { middle(values) };
    let (p50, p99, p999) = (base(&direct.p50), base(&direct.p99), base(&direct.p999));
    if !direct.p50.is_empty() {
        println!(
            "{:9} {:>7} {:>9} {:>8} {p50:>9.3} {p99:>9.3} {p999:>9.3} {:>8} {:>8} {:>9} {:>8} {:>6}",
            "(direct)", "", "", "", "", "", "", "", direct.failed
        );
    }
    for (kind, of) in kinds.iter().zip(figures) {
        println!(
            "{:9} {:>7.1} {:>9.1} {:>8.0} {:>9.3} {:>9.3} {:>9.3} {:>8.1} {:>8.1} {:>9.1} {:>8.1} {:>6}",
            kind.name(),
            middle(&of.processor),
            middle(&of.processor_full),
            middle(&of.throughput),
            middle(&of.p50) - p50,
            middle(&of.p99) - p99,
            middle(&of.p999) - p999,
            of.idle,
            of.busy,
            of.connected,
            middle(&of.first),
            of.failed
        );
    }
    let Some(own) = kinds.iter().position(|kind| *kind == Kind::Tidegate) else {
        return;
    };
    for (kind, of) in kinds.iter().zip(figures).filter(|(kind, _)| **kind != Kind::Tidegate) {
        let ratio = |own: &[f64], other: &[f64]| {
            let ratios: Vec<f64> = own.iter().zip(other).map(|(own, other)| own / other).collect();
            middle(&ratios)
        };
        println!(
            "tidegate to {:8} CPU at rate {:.2}, saturated {:.2}; throughput {:.2}; memory with 1000 idle {:.2}",
            kind.name(),
            ratio(&figures[own].processor, &of.processor),
            ratio(&figures[own].processor_full, &of.processor_full),
            ratio(&figures[own].throughput, &of.throughput),
            figures[own].connected / of.connected
        );
    }
}
