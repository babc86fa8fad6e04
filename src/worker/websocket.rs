//! WebSocket connections: what a handshake that was answered 101 becomes.
//!
//! The handshake is an ordinary call: it passes every layer, is retried, and its permit of the breaker goes back with the
//! 101. Then the caller's connection leaves hyper and is handed over, in the same task, to a [`relay`] between the two
//! sockets. What the call holds (its place among those under way, its connection to the provider, its load) it
//! holds until the relay ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub mod relay;
mod way;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

type Begin = Box<dyn FnOnce(TcpStream, Bytes, CancellationToken) -> Running + Send>;

/// What is to be done with the caller's socket once a 101 was written to it. It rides in the answer's extensions.
#[derive(Clone)]
pub struct Handover(Arc<Mutex<Option<Begin>>>);

impl Handover {
    /// `begin` is called with the socket, the bytes that were read from it already, and what asks for an end.
    pub fn new<F>(begin: impl FnOnce(TcpStream, Bytes, CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let begin: Begin = Box::new(move |socket, early, stop| Box::pin(begin(socket, early, stop)));
        Self(Arc::new(Mutex::new(Some(begin))))
    }

    /// What is to be done; it is given once.
    pub fn take(&self) -> Option<Begin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover")
    }
}
