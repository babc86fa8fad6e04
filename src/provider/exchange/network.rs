//! Calls on the real network: one connection a call, dialled where the address policy lets it.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::AlertDescription;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::{ANSWER_MAX, Answer, Call, Exchange, ExchangeError};
use crate::api::integration::Http2;
use crate::domain::plan::TlsPlan;
use crate::domain::retry_after;
use crate::domain::secret::SecretValue;
use crate::net::tls::{self, ClientCertificate};
use crate::net::{Dialer, Target, TlsTarget};

/// For a whole call, from the lookup of the name to the last byte of the answer.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Of that, for the lookup, the connection and the TLS handshake: what is left is for the answer, whose loss costs more.
const CONNECT: Duration = Duration::from_secs(10);

/// Most headers of an answer.
const HEADERS_MAX: usize = 100;

/// Most bytes of an answer's head.
const HEAD_MAX: usize = 64 << 10;

/// Headers that this code writes itself, because they frame the message or speak of the connection.
const OURS: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The network. Nothing is pooled or remembered, no redirect followed, no proxy of the environment used.
#[derive(Clone, Debug)]
pub struct Network {
    dialer: Dialer,
    deadline: Duration,
}

impl Network {
    /// Calls through `dialer`, whose policy says which addresses may be dialled.
    pub fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            deadline: DEADLINE,
        }
    }

    /// The same with another deadline than [`DEADLINE`].
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    async fn call(&self, call: Call) -> Result<Answer, ExchangeError> {
        let until = Instant::now() + self.deadline;
        let (target, request) = prepare(&call).map_err(ExchangeError::NotSent)?;
        let host = Arc::clone(&target.host);
        let connection = self
            .dialer
            .dial(&target, CONNECT.min(self.deadline))
            .await
            .map_err(|error| ExchangeError::NotSent(error.to_string()))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(|error| ExchangeError::NotSent(format!("`{host}` cannot be spoken to: {}", reason(&error))))?;
        // Ends with this call, whatever becomes of it: what the provider still sends then is nobody's.
        let _connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));

        let sent = Instant::now();
        let response = match tokio::time::timeout_at(until, sender.try_send_request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(failed)) if failed.message().is_some() || is_turned_away(failed.error()) => {
                return Err(ExchangeError::NotSent(not_taken(&host, failed.error())));
            }
            Ok(Err(failed)) => {
                return Err(ExchangeError::Lost(format!(
                    "`{host}` was asked and gave no answer that can be read: {}",
                    reason(failed.error())
                )));
            }
            Err(_) => {
                return Err(ExchangeError::Lost(format!(
                    "`{host}` was asked and did not answer within {:?}",
                    self.deadline
                )));
            }
        };
        let (head, body) = response.into_parts();
        let read = match tokio::time::timeout_at(until, text(body)).await {
            Ok(read) => read,
            Err(_) => Err(Unreadable::Late(self.deadline)),
        };
        let took = sent.elapsed();
        let body = match read {
            Ok(body) => body,
            Err(why) if head.status.is_success() => {
                let what = format!("`{host}` answered {}, and the body {why}", head.status.as_u16());
                return Err(match why {
                    Unreadable::Long | Unreadable::Binary => ExchangeError::Unreadable(what),
                    Unreadable::Broken | Unreadable::Late(_) => ExchangeError::Lost(what),
                });
            }
            Err(_) => SecretValue::new(""),
        };
        Ok(answer(head.status, &head.headers, took, body, SystemTime::now()))
    }
}

impl Exchange for Network {
    fn exchange(&self, call: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>> {
        async move {
            let (method, host) = (call.method.clone(), call.url.host_str().unwrap_or_default().to_owned());
            let result = self.call(call).await;
            // Neither path nor query: providers put keys into both.
            match &result {
                Ok(Answer { status, took, .. }) => tracing::debug!(%method, host, status, ?took, "provider called"),
                Err(error) => tracing::debug!(%method, host, %error, "provider called in vain"),
            }
            result
        }
        .boxed()
    }
}

/// Where to connect to and what to send.
fn prepare(call: &Call) -> Result<(Target, Request<Full<Bytes>>), String> {
    let url = &call.url;
    let host = match url.host() {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => return Err("the URL of the provider has no host".to_owned()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "the URL for `{host}` has a user name or password in it; take it out"
        ));
    }
    let port = url.port_or_known_default();
    let (Some(port), "http" | "https") = (port, url.scheme()) else {
        return Err(format!("the URL for `{host}` is neither http nor https"));
    };
    let tls = if url.scheme() == "https" {
        let plan = TlsPlan {
            ca_pem: call.ca_pem.clone(),
            ..TlsPlan::default()
        };
        let certificate = call.certificate.as_ref().map(|(chain, key)| ClientCertificate {
            chain: chain.clone(),
            key: key.clone(),
        });
        let config = tls::provider_config_with(&plan, Http2::Never, certificate.as_ref());
        let secured = config.and_then(|config| {
            Ok(TlsTarget {
                server_name: tls::server_name(&plan, &host)?,
                config,
            })
        });
        Some(secured.map_err(|error| format!("no TLS with `{host}`: {error}"))?)
    } else {
        None
    };
    let request = request(call, &host)?;
    let host = host.into();
    Ok((Target { host, port, tls }, request))
}

fn request(call: &Call, host: &str) -> Result<Request<Full<Bytes>>, String> {
    let url = &call.url;
    let invalid = || format!("the URL for `{host}` cannot be sent");
    let mut request = Request::new(Full::new(Bytes::from(
        call.body
            .as_ref()
            .map(|body| body.expose().to_owned())
            .unwrap_or_default(),
    )));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = http::Uri::try_from(origin_form(url)).map_err(|_| invalid())?;
    let headers = request.headers_mut();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| invalid());
    headers.insert(header::HOST, value(&authority(url))?);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in &call.headers {
        if OURS.contains(name) {
            return Err(format!(
                "header `{name}` of the request to `{host}` is ours to write; take it out"
            ));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| format!("the value of header `{name}` of the request to `{host}` cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(request)
}

fn origin_form(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Why a body is not to be had.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("is longer than {ANSWER_MAX} bytes")]
    Long,
    #[error("broke off")]
    Broken,
    #[error("is no text (UTF-8)")]
    Binary,
    #[error("did not end within {0:?}")]
    Late(Duration),
}

async fn text(mut body: Incoming) -> Result<SecretValue, Unreadable> {
    if body.size_hint().lower() > ANSWER_MAX as u64 {
        return Err(Unreadable::Long);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreadable::Broken)?;
        // Trailers are of no use here.
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > ANSWER_MAX {
            return Err(Unreadable::Long);
        }
        read.extend_from_slice(&data);
    }
    String::from_utf8(read.into())
        .map(SecretValue::new)
        .map_err(|_| Unreadable::Binary)
}

/// The answer, received at `now`.
fn answer(status: StatusCode, headers: &HeaderMap, took: Duration, body: SecretValue, now: SystemTime) -> Answer {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    Answer {
        status: status.as_u16(),
        content_type: text(header::CONTENT_TYPE).map(|value| {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().to_ascii_lowercase()
        }),
        // A date to wait for is a date of the provider's clock, which need not be ours.
        retry_after: retry_after::wait(headers, date.unwrap_or(now)),
        date: date.and_then(|date| Timestamp::try_from(date).ok()),
        took,
        body,
    }
}

/// Whether the TLS handshake failed on the other side. With TLS 1.3 a client learns only after it that its certificate
/// is missing or not wanted, when the request is on its way; the other side has not read it and will not.
fn is_turned_away(error: &hyper::Error) -> bool {
    matches!(
        alert(error),
        Some(
            AlertDescription::CertificateRequired
                | AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
        )
    )
}

/// The TLS alert at the bottom of an error.
fn alert(error: &hyper::Error) -> Option<AlertDescription> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    match io.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn not_taken(host: &str, error: &hyper::Error) -> String {
    match alert(error) {
        Some(AlertDescription::CertificateRequired | AlertDescription::NoCertificate) => {
            format!("`{host}` wants a client certificate, and none was given")
        }
        Some(alert) => format!("`{host}` does not take the client certificate ({alert:?})"),
        None => format!("`{host}` closed the connection before it was asked"),
    }
}

/// What hyper says, which has nothing of the message in it.
fn reason(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
