//! The control port of `tidegate worker`: the controller, and nobody else, pushes plans and follows reports here.
//!
//! Flow: HTTP/2 over mutual TLS 1.3. `PUT /v1/plan` offers a plan to the source, `GET /v1/reports` streams what is known
//! as newline-delimited JSON: all of it at once, then each change as it happens. `PUT /v1/share` and `PUT /v1/pause` say
//! what part of the rate limit is this worker's, and which hosts have asked other workers to be left alone.
//!
//! Guarantees: every wait for a peer that has not proved to be the controller is bounded, in time and in number. A slow
//! reader gets the newest state, never a backlog.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Reports;
use super::source::{Source, Verdict};
use crate::domain::health::Pauses;
use crate::domain::health::control::{MAX_PAUSES, MAX_PLAN, PAUSE, PLAN, REPORTS, SHARE};
use tls::Tls;

pub mod tls;

/// Peers that may be shaking hands at a time; others wait in the listener's queue.
const MAX_HANDSHAKES: usize = 64;
/// How long each may take for it.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections of the controller at a time: each replica has one, and may have lost one that is not noticed yet.
const MAX_CONNECTIONS: usize = 8;
/// Longest share in bytes.
const MAX_SHARE: usize = 16;
/// How long a push may take to arrive.
const RECEIVE: Duration = Duration::from_secs(10);
/// After this silence the controller is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(15);
/// And has this long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the port works with.
#[derive(Clone, Debug)]
pub struct Control {
    /// Takes the plans.
    pub source: Arc<Source>,
    /// What is known.
    pub reports: watch::Receiver<Reports>,
}

/// Serves the control port until `stop`, with the certificates in `directory`.
pub async fn serve(listener: TcpListener, directory: PathBuf, control: Control, stop: CancellationToken) {
    let tls = Arc::new(Tls::new(&directory));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener, &handshakes) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (tls, control, stop) = (Arc::clone(&tls), control.clone(), stop.clone());
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let Some(secured) = shake_hands(stream, &tls).await else {
                        return;
                    };
                    drop(place);
                    let Ok(_place) = connections.try_acquire_owned() else {
                        tracing::warn!("too many control connections; the newest was closed");
                        return;
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = answer(secured, control) => {}
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: go on when some are free again.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "control port cannot accept a connection"
                );
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(handshakes)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// The connection, once its peer has proved to be the controller.
async fn shake_hands(stream: TcpStream, tls: &Tls) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let config = match tls.current().await {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("the control port cannot work: {error}");
            return None;
        }
    };
    // Plans and reports are small and wanted at once.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(secured)) => Some(secured),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "control connection refused");
            None
        }
        Err(_) => None,
    }
}

/// Answers what comes over one connection until it ends.
async fn answer(stream: tokio_rustls::server::TlsStream<TcpStream>, control: Control) {
    let service = service_fn(move |request| {
        let control = control.clone();
        async move { Ok::<_, Infallible>(route(request, &control).await) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(8)
        .max_header_list_size(8 << 10)
        .max_send_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // How a connection ends is the controller's business: it comes back.
        tracing::debug!(error = &error as &dyn std::error::Error, "control connection ended");
    }
}

async fn route(request: Request<Incoming>, control: &Control) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::PUT, PLAN) => take_plan(request.into_body(), &control.source).await,
        (&Method::PUT, SHARE) => take_share(request.into_body(), &control.source).await,
        (&Method::PUT, PAUSE) => take_pauses(request.into_body(), &control.source).await,
        (&Method::GET, REPORTS) => tell_reports(control.reports.clone()),
        (_, PLAN | REPORTS | SHARE | PAUSE) => say(
            StatusCode::METHOD_NOT_ALLOWED,
            "PUT a plan, a share or pauses, GET reports",
        ),
        _ => say(
            StatusCode::NOT_FOUND,
            "there is /v1/plan, /v1/share, /v1/pause and /v1/reports",
        ),
    }
}

async fn take_plan(body: Incoming, source: &Source) -> Response<Body> {
    let text = match timeout(RECEIVE, Limited::new(body, MAX_PLAN).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return say(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("a plan has at most {MAX_PLAN} bytes"),
            );
        }
        Ok(Err(_)) => return say(StatusCode::BAD_REQUEST, "the plan broke off"),
        Err(_) => return say(StatusCode::REQUEST_TIMEOUT, "the plan did not arrive in time"),
    };
    match source.offer(&text) {
        Verdict::Taken => say(StatusCode::OK, "taken over"),
        Verdict::Running => say(StatusCode::OK, "already running"),
        Verdict::Stale { running } => say(StatusCode::CONFLICT, &format!("revision {running} runs")),
        Verdict::Refused(refusal) => say(StatusCode::UNPROCESSABLE_ENTITY, &format!("the plan {refusal}")),
    }
}

async fn take_share(body: Incoming, source: &Source) -> Response<Body> {
    let text = timeout(RECEIVE, Limited::new(body, MAX_SHARE).collect()).await;
    let of = text.ok().and_then(Result::ok).and_then(|collected| {
        let text = collected.to_bytes();
        std::str::from_utf8(&text).ok()?.parse().ok()
    });
    match of {
        Some(of) => {
            source.take_share(of);
            say(StatusCode::OK, "taken over")
        }
        None => say(StatusCode::BAD_REQUEST, "a share is a number"),
    }
}

async fn take_pauses(body: Incoming, source: &Source) -> Response<Body> {
    let text = timeout(RECEIVE, Limited::new(body, MAX_PAUSES).collect()).await;
    let pauses = text.ok().and_then(Result::ok);
    match pauses.and_then(|collected| serde_json::from_slice::<Pauses>(&collected.to_bytes()).ok()) {
        Some(pauses) => {
            source.take_pauses(pauses);
            say(StatusCode::OK, "taken over")
        }
        None => say(StatusCode::BAD_REQUEST, "pauses are hosts, each with a time"),
    }
}

fn say(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::from(text.to_owned()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn tell_reports(reports: watch::Receiver<Reports>) -> Response<Body> {
    let frames = futures::StreamExt::map(lines(reports), |lines| Ok(Frame::data(lines)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = header::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A line for every report, and then for each that changes. Ends with the worker.
fn lines(reports: watch::Receiver<Reports>) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(
        (reports, Reports::new(), true),
        |(mut reports, told, first)| async move {
            if !first {
                reports.changed().await.ok()?;
            }
            let mut told = told;
            loop {
                let now = reports.borrow_and_update().clone();
                let lines = changed_lines(&told, &now);
                told = now;
                if !lines.is_empty() {
                    return Some((lines, (reports, told, false)));
                }
                reports.changed().await.ok()?;
            }
        },
    )
}

/// The reports of `now` that are not those of `told`, a line each.
fn changed_lines(told: &Reports, now: &Reports) -> Bytes {
    let mut lines = Vec::new();
    for (key, report) in now {
        if told.get(key) == Some(report) {
            continue;
        }
        match serde_json::to_vec(&**report) {
            Ok(line) => {
                lines.extend(line);
                lines.push(b'\n');
            }
            // A report is plain data; were one not writable, the others would still be told.
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a report cannot be written"),
        }
    }
    lines.into()
}
