//! An application inside the cluster: calls a URL again and again, and prints a line for each call.
//!
//! `caller URL MILLISECONDS` prints `<status> <tidegate-error, or ->`, or `lost <why>` where no answer came. It is compiled
//! by tests/cluster/test-node with rustc alone, as one static file that makes an image, and uses nothing but the standard
//! library, so that what it meets (names, addresses, closed connections) is what any application meets.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(40);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(pause)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: caller URL MILLISECONDS");
        std::process::exit(2);
    };
    let pause = Duration::from_millis(pause.parse().expect("a number of milliseconds"));
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, "/".to_owned()), |(host, path)| (host, format!("/{path}")));
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    loop {
        let start = Instant::now();
        match call(&address, host, &path) {
            Ok(line) => println!("{line}"),
            Err(reason) => println!("lost {reason}"),
        }
        std::thread::sleep(pause.saturating_sub(start.elapsed()));
    }
}

/// One call over a connection of its own, so that every call takes the way through the Service anew.
fn call(address: &str, host: &str, path: &str) -> std::io::Result<String> {
    let target = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;

    let mut status = String::new();
    let mut error = "-".to_owned();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if status.is_empty() {
            status = line.split(' ').nth(1).unwrap_or("?").to_owned();
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("tidegate-error")
        {
            error = value.trim().to_owned();
        }
    }
    if status.is_empty() {
        return Err(std::io::Error::other("the connection ended before an answer"));
    }
    Ok(format!("{status} {error}"))
}
