//! Callers without a load generator: one request, and connections that lie idle.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Connections that lie idle.
const IDLE: usize = 1000;

/// Opens connections, each of which has had one answer and waits for nothing.
pub fn open(address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    (0..IDLE).map(|_| ask(address)).collect()
}

/// Whether a request is answered with 200.
pub fn answers(address: SocketAddr) -> bool {
    ask(address).is_ok()
}

fn ask(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /v1/things HTTP/1.1\r\nHost: upstream.bench.svc\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    // The body is nothing but x, and as long as it is for everybody.
    while answer.iter().rev().take_while(|byte| **byte == b'x').count() < super::upstream::BODY {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(stream)
    } else {
        Err(io::Error::other("the answer is not 200"))
    }
}
