//! One worker.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Process, mebibytes, median, pause, program};
use crate::{Outcome, plan};

const STARTS: usize = 15;
/// How long a worker is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(3);

/// Callers at a time under load.
const CALLERS: usize = 64;
/// Requests of each, one after the other.
const CALLS: usize = 50;

/// Starts it again and again, and prints.
pub fn measure() -> Outcome {
    let upstream = upstream()?;
    let directory = tempfile::tempdir()?;
    let plan = plan::write(upstream, None, directory.path())?;
    let mut first = Vec::new();
    let (mut idle, mut busy) = (Memory::default(), Memory::default());
    for start in 0..STARTS {
        let address = free_address()?;
        let mut command = Command::new(program());
        command
            .arg("worker")
            .arg(format!("--plans={}", plan.display()))
            .arg(format!("--listen={address}"));
        command
            .arg(format!("--admin={}", free_address()?))
            .arg(format!("--control={}", free_address()?));
        command.arg("--allow-loopback");
        let begin = Instant::now();
        let mut process = Process::start(&mut command)?;
        while !request(address) {
            if !process.runs() || begin.elapsed() > Duration::from_secs(10) {
                return Err("the worker does not serve; BENCH_OUTPUT=1 shows what it says".into());
            }
            pause(Duration::from_micros(500));
        }
        first.push(begin.elapsed().as_secs_f64() * 1e3);
        // Memory does not depend on luck as time does.
        if start < 3 {
            pause(IDLE);
            idle.add(&process)?;
            traffic(address)?;
            pause(IDLE);
            busy.add(&process)?;
        }
    }
    println!(
        "worker: first request served {:.1} ms after its start (median of {STARTS}; aim 100 ms)",
        median(&first).unwrap_or_default()
    );
    println!("worker: {idle} when idle (median of 3; aim 12 MiB)");
    println!(
        "worker: {busy} after {} requests over {CALLERS} connections at a time",
        CALLERS * CALLS
    );
    Ok(())
}

/// What was read of several processes.
#[derive(Default)]
struct Memory {
    resident: Vec<u64>,
    anonymous: Vec<u64>,
}

impl Memory {
    fn add(&mut self, process: &Process) -> Outcome {
        self.resident.push(process.resident()?);
        self.anonymous.push(process.anonymous()?);
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middle = |values: &[u64]| mebibytes(median(values).unwrap_or_default());
        let (resident, anonymous) = (middle(&self.resident), middle(&self.anonymous));
        write!(
            f,
            "{resident:.1} MiB resident, {anonymous:.1} MiB of it written to and so not shared,"
        )
    }
}

/// Many requests at a time.
fn traffic(address: SocketAddr) -> Outcome {
    let call = move || (0..CALLS).all(|_| request(address));
    let callers: Vec<_> = (0..CALLERS).map(|_| std::thread::spawn(call)).collect();
    for caller in callers {
        if !caller.join().unwrap_or_default() {
            return Err("a request under load was not answered with 200".into());
        }
    }
    Ok(())
}

/// Whether a request is answered with 200.
fn request(address: SocketAddr) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: upstream.bench.svc\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}

/// A provider that answers every connection once.
fn upstream() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut buffer = [0; 4096];
            // One read has the whole of such a small request.
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    Ok(address)
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
