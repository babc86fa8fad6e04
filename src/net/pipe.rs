//! Connections in memory, for tests in paused time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::DuplexStream;

use super::{Connection, DialError, Dialer, Target};

type Open = dyn Fn(SocketAddr) -> io::Result<DuplexStream> + Send + Sync;

/// Opens pipes instead of sockets.
#[derive(Clone)]
pub(super) struct Pipes(Arc<Open>);

impl std::fmt::Debug for Pipes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipes")
    }
}

impl Dialer {
    /// The same, through what `open` opens instead of the network. Names are resolved and addresses checked all the same.
    #[must_use]
    pub fn through(self, open: impl Fn(SocketAddr) -> io::Result<DuplexStream> + Send + Sync + 'static) -> Self {
        Self {
            pipes: Some(Pipes(Arc::new(open))),
            ..self
        }
    }

    /// A pipe to the first of `addresses` that accepts one, where there are pipes.
    pub(super) fn piped(&self, addresses: &[IpAddr], target: &Target) -> Option<Result<Connection, DialError>> {
        let Pipes(open) = self.pipes.as_ref()?;
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let address = SocketAddr::new(*address, target.port);
            match open(address) {
                Ok(pipe) => return Some(Ok(Connection::Pipe(pipe, address))),
                Err(error) => failure = error,
            }
        }
        Some(Err(DialError::Connect {
            host: Arc::clone(&target.host),
            source: failure,
        }))
    }
}
