//! Connections to one endpoint, kept for the next request.
//!
//! A pool belongs to one identity: host, port, how TLS is spoken and verified, our client certificate. Credentials that
//! travel in a request are no part of it, so their change costs no connection; anything that a connection itself carries
//! is. A pool whose identity is no longer wanted is retired: what is under way on its connections goes on to its end, and
//! whoever still comes gets a connection that is used once.
//!
//! It stands on hyper's connections rather than on its pooled client for one promise: a stale pooled connection is never
//! a reason to send a request twice. `try_send_request` gives a request back only if not a byte of it was handed to the
//! connection's writer; then, and only then, it goes out on another connection. Once it may have been written, it is
//! the retry layer that decides, by method.
//!
//! Bounds: at most `max` HTTP/1 connections carry a request, at most `max` more lie idle; HTTP/2 has one connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::api::integration::Http2;
use crate::domain::plan::TlsPlan;
use crate::net::tls::ClientCertificate;
use crate::net::{Connection, DialError, Dialer, Target};

use super::body::outgoing::Outgoing;
use super::lanes;

mod addresses;
pub mod alone;
mod fit;
mod idle;

use addresses::LOOK_EVERY;
use fit::{fit_http1, fit_http2, keep_alive_timeout};
use idle::{Idle, Shelf};

/// How often a connection on which something is under way is asked whether it is there still.
const PING: Duration = Duration::from_secs(30);

/// The same for gRPC: its servers end a connection that asks more often than every five minutes while no data flows, and
/// with it every call on it (gRFC A8, "too_many_pings").
const GRPC_PING: Duration = Duration::from_secs(310);

/// Connections to one endpoint.
#[derive(Debug)]
pub struct Pool {
    dialer: Dialer,
    target: Target,
    identity: Identity,
    bounds: Bounds,
    slots: Arc<Semaphore>,
    shelf: Mutex<Shelf>,
    /// Held while a connection is opened that others could share.
    opening: tokio::sync::Mutex<()>,
}

/// What makes two connections the same: a pool is kept over a change of plan while all of it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Where to.
    pub host: Arc<str>,
    /// Where to.
    pub port: u16,
    /// How the provider is verified; absent for cleartext.
    pub tls: Option<TlsPlan>,
    /// Who we are to the provider; absent for cleartext.
    pub certificate: Option<ClientCertificate>,
    /// Whether HTTP/2 is offered.
    pub http2: Http2,
    /// gRPC is spoken: HTTP/2 and nothing else, in cleartext by prior knowledge.
    pub grpc: bool,
    /// Addresses that may not be dialled.
    pub denied: Vec<IpNet>,
    /// What the pool may do.
    pub bounds: Bounds,
}

/// What a pool may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that carry a request.
    pub max: u32,
    /// For TCP and TLS together.
    pub connect: Duration,
    /// A connection unused for this long is closed.
    pub idle: Duration,
    /// All headers of an answer, in bytes.
    pub headers: u64,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection; the request was not sent.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection was lost before anything of the request was written.
    #[error("the connection closed before the request was sent")]
    NotSent,
    /// There was no connection before the time came from which on the request must not be sent.
    #[error("the request must not be sent any more")]
    Late,
    /// Something went wrong after the request may have been written.
    #[error("the connection failed: {0}")]
    Sent(hyper::Error),
}

/// How far a request has come, for whoever gives up on it.
#[derive(Debug)]
pub struct Progress {
    waits: AtomicBool,
    until: Option<Instant>,
}

impl Progress {
    /// Of a request that must not be sent from `until` on, because it carries what is not valid then.
    pub fn until(until: Option<Instant>) -> Self {
        Self {
            waits: AtomicBool::new(false),
            until,
        }
    }

    /// It waits because every connection is busy.
    pub fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }
}

/// A connection in use: kept for the next request if the answer ends properly, closed otherwise.
#[derive(Debug)]
pub struct Lease {
    /// Absent on HTTP/2, whose connection is shared.
    exclusive: Option<(Driven, OwnedSemaphorePermit)>,
    /// How long the provider says that it keeps the connection.
    keep_alive: Option<Duration>,
    pool: Arc<Pool>,
}

impl Lease {
    /// The answer has ended properly.
    pub fn give_back(mut self) {
        if let Some((driven, permit)) = self.exclusive.take() {
            if !driven.sender.is_closed() {
                self.pool.keep(driven, self.keep_alive);
            }
            drop(permit);
        }
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(dialer: Dialer, target: Target, identity: Identity) -> Self {
        let bounds = identity.bounds;
        Self {
            dialer,
            target,
            identity,
            bounds,
            slots: Arc::new(Semaphore::new(bounds.max as usize)),
            shelf: Mutex::new(Shelf::default()),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether a connection may turn out to be HTTP/2.
    pub fn may_speak_http2(&self) -> bool {
        self.identity.grpc
            || self.identity.http2 == Http2::Auto && self.target.tls.is_some() && !self.shelf().speaks_http1()
    }

    /// Opens a connection, and says whether HTTP/2 is spoken on it.
    async fn dial(&self) -> Result<(Connection, bool), SendError> {
        let connection = self.dialer.dial(&self.target, self.bounds.connect).await?;
        let http2 = connection.is_h2();
        match &connection {
            Connection::Plain(_) => Ok((connection, self.identity.grpc)),
            #[cfg(test)]
            Connection::Pipe(..) => Ok((connection, self.identity.grpc)),
            // Without a choice the provider would speak HTTP/1.
            Connection::Tls(_) if self.identity.grpc && !http2 => Err(SendError::Dial(DialError::Tls {
                host: self.target.host.clone(),
                source: std::io::Error::other("the provider does not choose HTTP/2 (ALPN h2), which gRPC needs"),
            })),
            Connection::Tls(_) => Ok((connection, http2)),
        }
    }

    /// What makes its connections the same.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `request` on a connection of the pool, or on a new one, and waits for the head of the answer.
    ///
    /// The URI of `request` is whole, with scheme and host; it has no `Host`.
    pub async fn send(
        self: &Arc<Self>,
        request: Request<Outgoing>,
        progress: &Progress,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let uri = request.uri().clone();
        let mut request = request;
        loop {
            // A handshake shows a certificate, so it has to be over in time as well.
            let open = match progress.until {
                None => self.connection(progress).await?,
                Some(until) => {
                    let open = tokio::time::timeout_at(until, self.connection(progress)).await;
                    // What is ready comes through although it is late.
                    open.ok().filter(|_| Instant::now() < until).ok_or(SendError::Late)??
                }
            };
            let (sent, fresh) = match open {
                Open::Shared(mut sender, fresh) => {
                    fit_http2(&mut request, &uri);
                    let sent = sender.try_send_request(request).await;
                    if sent.is_err() {
                        // It may be closing without being closed; the next request is to find another.
                        self.shelf().forget_shared();
                    }
                    (sent.map(|response| (response, None)), fresh)
                }
                Open::Exclusive(mut driven, permit, fresh) => {
                    fit_http1(&mut request, &uri);
                    let sent = driven.sender.try_send_request(request).await;
                    (sent.map(|response| (response, Some((driven, permit)))), fresh)
                }
            };
            let mut failed = match sent {
                Ok((response, exclusive)) => {
                    let keep_alive = keep_alive_timeout(&response);
                    return Ok((
                        response,
                        Lease {
                            exclusive,
                            keep_alive,
                            pool: self.clone(),
                        },
                    ));
                }
                Err(failed) => failed,
            };
            match failed.take_message() {
                // Not a byte was written. A pooled connection may have been closed behind our back; a fresh one that
                // does the same is the provider's fault.
                Some(unsent) if !fresh => request = unsent,
                Some(_) => return Err(SendError::NotSent),
                None => return Err(SendError::Sent(failed.into_error())),
            }
        }
    }

    async fn connection(self: &Arc<Self>, progress: &Progress) -> Result<Open, SendError> {
        if let Some(sender) = self.shelf().shared() {
            return Ok(Open::Shared(sender, false));
        }
        // Never closed, so the error cannot happen; if it did, no connection is what we have.
        progress.waits.store(true, Ordering::Relaxed);
        let permit = self.slots.clone().acquire_owned().await;
        progress.waits.store(false, Ordering::Relaxed);
        let permit = permit.map_err(|_| SendError::NotSent)?;
        if let Some(Idle { sender, lane, peer, .. }) = self.shelf().take(Instant::now(), lanes::current()) {
            return Ok(Open::Exclusive(Driven { sender, lane, peer }, permit, false));
        }
        // Where HTTP/2 is possible, one request opens the connection and the others wait to see if they can share it;
        // if they cannot, because it failed or speaks HTTP/1, they do not wait for each other as well.
        let _opening = if self.shelf().speaks_http1() || (self.target.tls.is_none() && !self.identity.grpc) {
            None
        } else if let Ok(first) = self.opening.try_lock() {
            Some(first)
        } else {
            drop(self.opening.lock().await);
            None
        };
        if let Some(sender) = self.shelf().shared() {
            return Ok(Open::Shared(sender, false));
        }
        let (connection, http2) = self.dial().await?;
        let peer = connection.peer().ok().map(|peer| peer.ip());
        if let Some(peer) = peer {
            self.shelf().dialled(peer);
        }
        if http2 {
            let sender = self.open_http2(connection).await?;
            self.shelf().share(sender.clone(), peer);
            self.clone().sweep();
            Ok(Open::Shared(sender, true))
        } else {
            self.shelf().note_http1();
            let sender = self.open_http1(connection).await?;
            let lane = lanes::current();
            Ok(Open::Exclusive(Driven { sender, lane, peer }, permit, true))
        }
    }

    async fn open_http1(&self, connection: Connection) -> Result<http1::SendRequest<Outgoing>, SendError> {
        let headers = usize::try_from(self.bounds.headers).unwrap_or(usize::MAX);
        let (sender, connection) = http1::Builder::new()
            .max_header_size(headers)
            .max_buf_size(headers.saturating_add(1).clamp(8 << 10, 1 << 20))
            .handshake(TokioIo::new(connection))
            .await
            .map_err(SendError::Sent)?;
        // What becomes of it is told to the request it carries; idle, nobody needs to know.
        // With upgrades, which nobody takes unless the protocol is WebSocket.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    async fn open_http2(&self, connection: Connection) -> Result<http2::SendRequest<Outgoing>, SendError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Twice what is allowed: h2 tells nobody why it resets what is over its bound, and so a head that is too large
            // is refused where that can be said.
            .max_header_list_size(u32::try_from(self.bounds.headers.saturating_mul(2)).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .keep_alive_interval(if self.identity.grpc { GRPC_PING } else { PING })
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(connection))
            .await
            .map_err(SendError::Sent)?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// An attempt on a connection of this pool timed out. The path to the provider may have lost its state, and then every
    /// connection that lies idle leads nowhere too: none is used again. What is under way goes on.
    pub fn suspect(&self) {
        self.shelf().clear();
    }

    /// No connection is kept for a next request any more: those that lie idle are closed now, the others when what is
    /// under way on them has ended.
    pub fn retire(&self) {
        self.shelf().retire();
    }

    fn keep(self: &Arc<Self>, Driven { sender, lane, peer }: Driven, keep_alive: Option<Duration>) {
        let now = Instant::now();
        let idle = keep_alive.map_or(self.bounds.idle, |timeout| timeout.min(self.bounds.idle));
        let first = self.shelf().put(
            Idle {
                sender,
                until: now + idle,
                peer,
                lane,
            },
            self.bounds.max as usize,
        );
        if first {
            self.clone().sweep();
        }
    }

    /// Closes connections whose time is over, or whose address the name has no more, until none is left.
    fn sweep(self: Arc<Self>) {
        if !self.shelf().begin_sweep() {
            return;
        }
        let idle = self.bounds.idle;
        let pool = Arc::downgrade(&self);
        tokio::spawn(async move {
            let mut looked = Instant::now();
            loop {
                tokio::time::sleep((idle / 4).clamp(Duration::from_millis(100), Duration::from_secs(10))).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.shelf().sweep(Instant::now(), idle) {
                    return;
                }
                if looked.elapsed() >= LOOK_EVERY {
                    looked = Instant::now();
                    if let Some(answer) = pool.dialer.look_up(&pool.target.host).await {
                        pool.shelf().note_addresses(&answer);
                    }
                }
            }
        });
    }
}

enum Open {
    Shared(http2::SendRequest<Outgoing>, bool),
    Exclusive(Driven, OwnedSemaphorePermit, bool),
}

/// A connection, where it leads, and the lane that drives it, if one does.
#[derive(Debug)]
struct Driven {
    sender: http1::SendRequest<Outgoing>,
    lane: Option<usize>,
    peer: Option<IpAddr>,
}
