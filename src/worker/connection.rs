//! One caller's connection, from its first byte to its last.
//!
//! hyper speaks the protocol; what is added here is what it leaves to others. Which version is spoken is found out by a
//! read that has a bound of its own, because a peer that sends nothing must not hold more than a socket (reliability
//! D32). One timer for each connection, armed again only when it fires, closes what is quiet for too long and what is
//! stuck; hyper's own header timeout is left off because it also runs between requests, where the bound is another. And
//! a connection that we close is read from for a moment longer: closing a socket with unread bytes in it resets it,
//! and the caller would never see the 400 or 413 that explains why. What hyper refuses before it is a request it answers
//! itself, without a problem document; it is told of like any other request. A connection that became one of WebSocket
//! leaves hyper with its 101, and goes on in the same task.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::Broken;
use super::framing::{self, Framing};
use super::reading::{Reading, Watched};
use super::websocket::Handover;
use super::wire::{Patience, Verdict, Vitals, Wire};

/// How an HTTP/2 connection begins (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So long, and so many bytes, a connection that we close is still read from.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 256 << 10);

/// How long an HTTP/2 peer may take to go when it was told to.
const GOING: Duration = Duration::from_secs(5);

/// How long a connection is left alone at first; after that it says itself when to look next.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long its peer may take.
    pub patience: Patience,
    /// All headers of a request, in bytes.
    pub headers: usize,
}

/// Serves `socket` until its peer is done or takes too long, or, when `stop` is asked for, until what is under way is
/// finished. `answer` is called with each request, and `refused` with the status that was given to what is none, absent
/// where what is spoken is not even HTTP.
pub async fn serve<A, F, B>(
    mut socket: TcpStream,
    bounds: impl Fn() -> Bounds,
    stop: CancellationToken,
    answer: A,
    refused: impl Fn(Option<StatusCode>),
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Broken> + Send + Unpin + 'static,
{
    let first = tokio::select! {
        first = tokio::time::timeout(bounds().patience.head, read_first(&mut socket)) => first,
        () = stop.cancelled() => return,
    };
    let Ok(Ok((first, is_http2))) = first else { return };
    let vitals = Arc::new(Vitals::default());
    let reading = Reading::default();
    let service = {
        let (vitals, reading) = (vitals.clone(), reading.clone());
        service_fn(move |request| {
            let under_way = vitals.begin();
            let (answered, reading) = (answer(request), reading.clone());
            let vitals = vitals.clone();
            async move {
                let mut response = answered.await;
                if let Some(handover) = response.extensions_mut().remove::<Handover>() {
                    // From here on, and before the caller has seen the answer.
                    vitals.hand_over(handover);
                }
                if is_http2 {
                    response.headers_mut().remove(CONNECTION);
                }
                Ok::<_, Infallible>(response.map(|body| {
                    if is_http2 {
                        reading.lend(body, under_way)
                    } else {
                        Watched::Given(body, under_way)
                    }
                }))
            }
        })
    };
    let look = || {
        let patience = bounds().patience;
        reading.take_back(patience.idle);
        vitals.judge(patience)
    };
    let framing = (!is_http2).then(Framing::default);
    let wire = TokioIo::new(Wire::new(socket, first, framing, vitals.clone()));
    if is_http2 {
        let connection = pin!(http2_builder(bounds()).serve_connection(wire, service));
        watch(connection, look, &stop, |connection| connection.graceful_shutdown()).await;
    } else {
        let mut connection = http1_builder(bounds()).serve_connection(wire, service);
        let finish = |connection: Pin<&mut http1::Connection<_, _>>| connection.graceful_shutdown();
        if let Some(ended) = watch(Pin::new(&mut connection), look, &stop, finish).await {
            let parts = connection.into_parts();
            let wire = parts.io.into_inner();
            match vitals.handed_over().and_then(Handover::take) {
                Some(begin) if ended.is_ok() && !wire.is_refused() => {
                    begin(wire.into_socket(), parts.read_buf, stop).await;
                    return;
                }
                _ => {}
            }
            let status = ended.err().as_ref().and_then(refusal);
            if status.is_some() || wire.is_foreign() {
                refused(status);
            }
            linger(wire.into_socket()).await;
        }
    }
}

fn http1_builder(bounds: Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(bounds.headers)
        // Room for one byte more than the largest head, so that it is the head that is refused.
        .max_buf_size(bounds.headers.saturating_add(1).max(8 << 10));
    builder
}

fn http2_builder(bounds: Bounds) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(128)
        .max_header_list_size(u32::try_from(bounds.headers).unwrap_or(u32::MAX))
        // What one connection can make us keep: so much of request bodies in all, so much of each answer.
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        .max_send_buf_size(64 << 10);
    builder
}

/// Reads until it is known which version is spoken; what was read is for whoever speaks it.
async fn read_first(socket: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() {
        read_some(socket, &mut first, PREFACE.len()).await?;
        if !PREFACE.starts_with(&first) {
            while framing::may_be_foreign(&first) {
                read_some(socket, &mut first, framing::KEPT).await?;
            }
            return Ok((first, false));
        }
    }
    Ok((first, true))
}

async fn read_some(socket: &mut TcpStream, first: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let mut rest = socket.take((most - first.len()) as u64);
    match rest.read_buf(first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Drives `connection` to its end; what came of it, if it came to one by itself. `look` says how it is; `finish` asks it
/// to end when what is under way is finished.
async fn watch<C: Future>(
    mut connection: Pin<&mut C>,
    look: impl Fn() -> Verdict,
    stop: &CancellationToken,
    finish: impl Fn(Pin<&mut C>),
) -> Option<C::Output> {
    let mut timer = pin!(tokio::time::sleep(FIRST_LOOK));
    let mut stopped = pin!(stop.cancelled());
    let (mut stopping, mut leaving) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Some(ended),
            () = stopped.as_mut(), if !stopping => {
                stopping = true;
                finish(connection.as_mut());
            }
            () = timer.as_mut() => {
                let next = match look() {
                    Verdict::Fine(next) => next,
                    Verdict::Quiet if !leaving => {
                        leaving = true;
                        finish(connection.as_mut());
                        GOING
                    }
                    Verdict::Quiet | Verdict::Stuck => return None,
                };
                timer.as_mut().reset(Instant::now() + next);
            }
        }
    }
}

/// The status that hyper has answered with, of its own, before it ended a connection for this reason.
fn refusal(error: &hyper::Error) -> Option<StatusCode> {
    if error.is_parse_too_large() {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        error.is_parse().then_some(StatusCode::BAD_REQUEST)
    }
}

async fn linger(mut socket: TcpStream) {
    let (time, bytes) = LINGER;
    let read = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(bytes), &mut tokio::io::sink()).await
    };
    // Whatever comes of it: the connection is over.
    drop(tokio::time::timeout(time, read).await);
}
