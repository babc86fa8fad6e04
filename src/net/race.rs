//! The race between the addresses of a name (Happy Eyeballs, RFC 8305): the first connection that stands wins.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Between the start of one attempt and the next, while none has failed (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);

/// A peer that says nothing is asked after this long, then in these intervals, this many times: one that vanished without
/// a word is noticed within a minute, also by a request that waits for its answer.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Connects to the first of `addresses` that accepts. The error is that of the first that failed: it is the one the
/// resolver prefers. Dropping the future ends every attempt.
pub async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut waiting = interleaved(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    loop {
        match waiting.next() {
            Some(address) => running.push(TcpStream::connect(SocketAddr::new(address, port))),
            None if running.is_empty() => break,
            None => {}
        }
        let last = waiting.len() == 0;
        tokio::select! {
            Some(connected) = running.next() => match connected {
                Ok(stream) => {
                    tune(&stream)?;
                    return Ok(stream);
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            },
            () = tokio::time::sleep(STAGGER), if !last => {}
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "there is no address")))
}

/// The addresses with their families in turn, beginning with that of the first (RFC 8305, 4); otherwise in their order.
fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (mut same, mut other) = (
        addresses.iter().filter(|address| address.is_ipv6() == first.is_ipv6()),
        addresses.iter().filter(|address| address.is_ipv6() != first.is_ipv6()),
    );
    let mut mixed = Vec::with_capacity(addresses.len());
    loop {
        let before = mixed.len();
        mixed.extend(same.next());
        mixed.extend(other.next());
        if mixed.len() == before {
            return mixed;
        }
    }
}

/// Small writes go out at once, and a dead peer is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (idle, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(retries);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_beginning_with_the_preferred_one() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        for (given, expected) in [
            (
                &["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"][..],
                &["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"][..],
            ),
            (&["1.1.1.1", "2.2.2.2", "::1"], &["1.1.1.1", "::1", "2.2.2.2"]),
            (&["1.1.1.1"], &["1.1.1.1"]),
            (&[], &[]),
        ] {
            assert_eq!(interleaved(&parse(given)), parse(expected));
        }
    }
}
