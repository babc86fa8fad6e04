//! Loopback addresses that a test has for itself, where the port is given.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address out of 127.0.0.0/8 that no other test of this run has, and hardly one of another run at the same time.
pub fn address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = u8::try_from(std::process::id() % 250).unwrap() + 2;
    Ipv4Addr::new(127, process, high, low).into()
}
