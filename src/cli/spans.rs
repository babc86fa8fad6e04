//! The way of spans to their collector: one connection for a batch, dialled like every other.
//!
//! The SDK calls from a thread of its own, so the work is done on the runtime and waited for there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use crate::api::integration::Http2;
use crate::domain::plan::TlsPlan;
use crate::net::policy::AddressPolicy;
use crate::net::{Dialer, Target, TlsTarget, tls};
use crate::telemetry::spans::{Spans, environment};

/// For a whole batch. The SDK has a bound of its own, by `OTEL_EXPORTER_OTLP_TIMEOUT`; this one ends what it leaves behind.
const DEADLINE: Duration = Duration::from_secs(30);

/// Most bytes of a collector's answer.
const ANSWER_MAX: usize = 64 << 10;

/// Starts spans if the environment asks for them. Within the runtime that is to send them.
pub fn start() -> Result<Option<Spans>, Failure> {
    let Some(collector) = environment::read(|name| std::env::var(name).ok())? else {
        return Ok(None);
    };
    // Who starts the program says where its spans go, and a collector beside it is common; tenants have no say in it.
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    };
    let sender = Sender {
        dialer: Dialer::new(Arc::new(policy)),
        runtime: Handle::current(),
        fails: Arc::default(),
    };
    Ok(Some(Spans::start(&collector, sender)?))
}

/// Sends what is left. Not on a thread of the runtime, which has to send it.
pub async fn finish(spans: Option<Spans>) {
    if let Some(spans) = spans {
        let _ = tokio::task::spawn_blocking(|| spans.finish()).await;
    }
}

#[derive(Clone, Debug)]
struct Sender {
    dialer: Dialer,
    runtime: Handle,
    /// Told when it changes, so that a collector which is away costs two lines of log.
    fails: Arc<AtomicBool>,
}

/// A batch that did not arrive.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the URL of the collector cannot be used")]
    Url,
    #[error(transparent)]
    Dial(#[from] crate::net::DialError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("its answer is longer than 64 KiB or breaks off")]
    Answer,
    #[error("no answer within 30 s")]
    Late,
    #[error("the program ends")]
    Ended,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let dialer = self.dialer.clone();
        let sending = async move {
            match tokio::time::timeout(DEADLINE, send(&dialer, request)).await {
                Ok(sent) => sent,
                Err(_) => Err(SendError::Late),
            }
        };
        let sent = AbortOnDropHandle::new(self.runtime.spawn(sending))
            .await
            .unwrap_or(Err(SendError::Ended));
        let trouble = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered with status {}", response.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        let failed = self.fails.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !failed => tracing::warn!(
                error = why,
                "spans do not reach their collector and are dropped; calls are served as ever"
            ),
            None if failed => tracing::info!("spans reach their collector again"),
            _ => {}
        }
        Ok(sent?)
    }
}

async fn send(dialer: &Dialer, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
    let (target, authority) = target(request.uri())?;
    let connection = dialer.dial(&target, DEADLINE).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().ok_or(SendError::Url)?;
    head.uri = Uri::from(path);
    head.headers
        .insert(header::HOST, authority.parse().map_err(|_| SendError::Url)?);
    let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_MAX)
        .collect()
        .await
        .map_err(|_| SendError::Answer)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn target(uri: &Uri) -> Result<(Target, String), SendError> {
    let authority = uri.authority().ok_or(SendError::Url)?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let tls = if secure {
        let plan = TlsPlan::default();
        Some(TlsTarget {
            server_name: tls::server_name(&plan, &host)?,
            config: tls::provider_config_with(&plan, Http2::Never, None)?,
        })
    } else {
        None
    };
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let target = Target {
        host: host.into(),
        port,
        tls,
    };
    Ok((target, authority.as_str().to_owned()))
}
