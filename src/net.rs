//! Bytes on the wire: every outbound connection of the data path leaves through [`Dialer::dial`], and the address is
//! checked there, on the address that is dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::integration::HealthReason;
use crate::domain::classify::Fault;
use policy::{AddressPolicy, Refused};
use resolve::Resolve;

#[cfg(test)]
mod pipe;
pub mod policy;
mod race;
pub mod resolve;
pub mod tls;

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
        detail: Arc<str>,
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
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with `{host}` failed: {source}")]
    Tls {
        /// The name.
        host: Arc<str>,
        /// Reason.
        source: io::Error,
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

impl DialError {
    /// Slug of the problem that a caller is told: `address-refused` or `upstream-unreachable`. The detail is the error's
    /// text, which names the rule and holds no secret.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "address-refused",
            Self::Resolve { .. } | Self::Connect { .. } | Self::Tls { .. } | Self::Timeout { .. } => {
                "upstream-unreachable"
            }
        }
    }

    /// What it means to the breaker and to another try.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } => Fault::AddressRefused,
            Self::Resolve { .. } | Self::Connect { .. } | Self::Tls { .. } | Self::Timeout { .. } => Fault::Connect,
        }
    }

    /// What it means to the health of the endpoint; `otherwise` where it is neither the name nor the address.
    pub fn health_reason(&self, otherwise: HealthReason) -> HealthReason {
        match self {
            Self::Resolve { .. } => HealthReason::NameNotResolved,
            Self::Refused { .. } => HealthReason::AddressRefused,
            Self::Connect { .. } | Self::Tls { .. } | Self::Timeout { .. } => otherwise,
        }
    }
}

/// Opens connections. Cheap to clone; clones share their lookups.
#[derive(Clone, Debug)]
pub struct Dialer {
    policy: Arc<AddressPolicy>,
    resolver: Arc<dyn Resolve>,
    #[cfg(test)]
    pipes: Option<pipe::Pipes>,
}

impl Dialer {
    /// A dialer under `policy`, with the system's resolver.
    pub fn new(policy: Arc<AddressPolicy>) -> Self {
        Self::with_resolver(policy, Arc::new(resolve::System::default()))
    }

    /// A dialer under `policy`, with another resolver.
    pub fn with_resolver(policy: Arc<AddressPolicy>, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            policy,
            resolver,
            #[cfg(test)]
            pipes: None,
        }
    }

    /// The same resolver under another policy, such as one that knows the API server of a plan.
    #[must_use]
    pub fn under(&self, policy: Arc<AddressPolicy>) -> Self {
        Self { policy, ..self.clone() }
    }

    /// Resolves, checks each address, connects, and makes the TLS handshake, all within `timeout`.
    ///
    /// The name is resolved once, and only addresses of that answer which the policy allows are dialled: a name that
    /// means something else a moment later changes nothing. Dropping the future gives up everything but the lookup.
    pub async fn dial(&self, target: &Target, timeout: Duration) -> Result<Connection, DialError> {
        let mut resolved = false;
        let host = || Arc::clone(&target.host);
        match tokio::time::timeout(timeout, self.open(target, &mut resolved)).await {
            Ok(opened) => opened,
            Err(_) if !resolved => Err(DialError::Resolve {
                host: host(),
                detail: format!("no answer within {timeout:?}").into(),
            }),
            Err(_) => Err(DialError::Timeout { host: host(), timeout }),
        }
    }

    /// The addresses that a name has now; `None` for what is an address itself, and where the resolver knows none.
    pub async fn look_up(&self, host: &Arc<str>) -> Option<Arc<[IpAddr]>> {
        if host.parse::<IpAddr>().is_ok() {
            return None;
        }
        let answer = self.resolver.resolve(host).await.ok()?;
        (!answer.is_empty()).then_some(answer)
    }

    async fn open(&self, target: &Target, resolved: &mut bool) -> Result<Connection, DialError> {
        let host = || Arc::clone(&target.host);
        let addresses = self.addresses(&target.host).await?;
        *resolved = true;
        #[cfg(test)]
        if let Some(opened) = self.piped(&addresses, target) {
            return opened;
        }
        let stream = race::connect(&addresses, target.port)
            .await
            .map_err(|source| DialError::Connect { host: host(), source })?;
        let Some(TlsTarget { server_name, config }) = &target.tls else {
            return Ok(Connection::Plain(stream));
        };
        TlsConnector::from(Arc::clone(config))
            .connect(server_name.clone(), stream)
            .await
            .map(|stream| Connection::Tls(Box::new(stream)))
            .map_err(|source| DialError::Tls { host: host(), source })
    }

    /// The addresses of `host` that may be dialled; at least one.
    async fn addresses(&self, host: &Arc<str>) -> Result<Vec<IpAddr>, DialError> {
        let failed = |detail: Arc<str>| DialError::Resolve {
            host: Arc::clone(host),
            detail,
        };
        let answer = match host.parse::<IpAddr>() {
            Ok(literal) => Arc::from([literal]),
            Err(_) => self.resolver.resolve(host).await.map_err(failed)?,
        };
        let mut allowed = Vec::new();
        let mut refusal = None;
        for address in answer.iter().take(resolve::MAX_ADDRESSES) {
            match self.policy.check(*address) {
                Ok(()) => allowed.push(*address),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        match refusal {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(refused) => Err(DialError::Refused {
                host: Arc::clone(host),
                refused,
            }),
            None => Err(failed("it has no address".into())),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub enum Connection {
    /// Cleartext.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// In memory.
    #[cfg(test)]
    Pipe(tokio::io::DuplexStream, SocketAddr),
}

impl Connection {
    /// Whether ALPN chose HTTP/2.
    pub fn is_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(test)]
            Self::Pipe(..) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The address that was dialled.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.get_ref().0.peer_addr(),
            #[cfg(test)]
            Self::Pipe(_, peer) => Ok(*peer),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(test)]
            Self::Pipe(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(test)]
            Self::Pipe(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Self::Pipe(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Self::Pipe(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(test)]
            Self::Pipe(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            #[cfg(test)]
            Self::Pipe(stream, _) => stream.is_write_vectored(),
        }
    }
}
