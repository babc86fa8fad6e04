//! Bytes on the wire: every outbound connection of the data path leaves through [`Dialer::dial`], and the address is
//! checked there, on the address that is dialled.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use policy::{AddressPolicy, Refused};

pub mod policy;

/// Where to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host as in the URL: a name or an address (IPv6 without brackets).
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// TLS, or cleartext.
    pub tls: Option<TlsTarget>,
}

/// How to secure a connection.
#[derive(Clone, Debug)]
pub struct TlsTarget {
    /// Name to send (SNI) and to verify.
    pub server_name: rustls::pki_types::ServerName<'static>,
    /// Roots, versions, ALPN, client certificate.
    pub config: Arc<rustls::ClientConfig>,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or the resolver does not answer.
    #[error("the name `{host}` could not be resolved: {detail}")]
    Resolve {
        /// The name.
        host: Arc<str>,
        /// Reason.
        detail: String,
    },
    /// The policy refuses every address that the name has.
    #[error("the address of `{host}` is refused: {refused}")]
    Refused {
        /// The name.
        host: Arc<str>,
        /// Which rule.
        refused: Refused,
    },
    /// No address accepted a connection.
    #[error("`{host}` does not accept a connection: {source}")]
    Connect {
        /// The name.
        host: Arc<str>,
        /// Reason.
        source: std::io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with `{host}` failed: {source}")]
    Tls {
        /// The name.
        host: Arc<str>,
        /// Reason.
        source: std::io::Error,
    },
    /// Not connected in time.
    #[error("`{host}` was not connected within {timeout:?}")]
    Timeout {
        /// The name.
        host: Arc<str>,
        /// The bound.
        timeout: Duration,
    },
}

/// Opens connections.
#[derive(Clone, Debug)]
pub struct Dialer {
    policy: Arc<AddressPolicy>,
}

impl Dialer {
    /// A dialer under `policy`.
    pub fn new(policy: Arc<AddressPolicy>) -> Self {
        Self { policy }
    }

    /// Resolves, checks each address, connects, and makes the TLS handshake, all within `timeout`.
    pub async fn dial(&self, target: &Target, timeout: Duration) -> Result<Connection, DialError> {
        let _ = (&self.policy, target, timeout);
        todo!()
    }
}

/// An open connection.
#[derive(Debug)]
pub enum Connection {
    /// Cleartext.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Whether ALPN chose HTTP/2.
    pub fn is_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The address that was dialled.
    pub fn peer(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
