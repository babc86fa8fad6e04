//! The control connection to one worker: plans down, reports up.
//!
//! Flow: connect, read reports, push the plan that is wanted where the worker runs an older one. When the connection
//! ends, the last report counts no more and another connection is made, with pauses that grow and are never the same.
//!
//! Guarantees: a worker that hangs or is cut off is noticed within ten seconds, by HTTP/2 pings. What a worker sends is
//! bounded and believed only about the Integration that its certificate names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::{Method, Request, StatusCode, Uri};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::health::control::{MAX_REPORT, PAUSE, PLAN, REPORTS, SHARE, worker_name};
use crate::domain::health::{self, Pauses, Report};
use crate::domain::key::Key;
use crate::domain::plan::Plan;

/// To connect, prove who is who, and get the head of the answer.
const CONNECT: Duration = Duration::from_secs(5);
/// For the answer to a push.
const PUSH: Duration = Duration::from_secs(10);
/// After this long the worker is asked again whether it is there,
const PING_EVERY: Duration = Duration::from_secs(5);
/// and has this long to answer. Together: how late a lost worker is noticed.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause after a connection failed; doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A control connection that could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection, or no proof of identity.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The UID cannot be part of a name.
    #[error("`{0}` is not a UID")]
    Name(String),
    /// HTTP/2 failed.
    #[error("the connection broke: {0}")]
    Broken(#[from] h2::Error),
    /// The worker does not answer as it should.
    #[error("the worker answered {0} to {1}")]
    Unexpected(StatusCode, &'static str),
    /// A line of reports is too long or is none.
    #[error("the worker sent {0}")]
    Unreadable(&'static str),
    /// What is to be sent cannot be written as JSON, which would be a bug.
    #[error("the message cannot be written")]
    Unwritable,
    /// It does not answer at all.
    #[error("no answer in time")]
    Timeout,
    /// The worker closed it.
    #[error("the worker closed the connection")]
    Closed,
}

/// What a worker said to a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It runs.
    Runs,
    /// It runs an equal or newer revision.
    Stale,
    /// It cannot use it.
    Refused,
}

/// A connection to a worker, over which reports are coming.
///
/// It stands on h2 itself: there is one of these for every worker there is, and what hyper adds to serve many requests
/// at a time would be a third of its memory.
pub struct Link {
    requests: SendRequest<Bytes>,
    host: String,
    reports: RecvStream,
    line: Vec<u8>,
    // Ends with the link, whichever way that goes.
    _driver: AbortOnDropHandle<()>,
}

/// Sends plans over a link, beside the reports that are read from it.
#[derive(Clone)]
pub struct Pusher {
    requests: SendRequest<Bytes>,
    host: String,
}

impl Link {
    /// Connects to the worker of the Integration `uid` at `address`, and asks for its reports.
    pub async fn connect(address: SocketAddr, uid: &str, config: Arc<ClientConfig>) -> Result<Self, LinkError> {
        timeout(CONNECT, Self::make(address, uid, config))
            .await
            .map_err(|_| LinkError::Timeout)?
    }

    async fn make(address: SocketAddr, uid: &str, config: Arc<ClientConfig>) -> Result<Self, LinkError> {
        let host = worker_name(uid);
        let name = ServerName::try_from(host.clone()).map_err(|_| LinkError::Name(uid.to_owned()))?;
        let stream = TcpStream::connect(address).await.map_err(LinkError::Connect)?;
        // Plans and reports are small and wanted at once.
        stream.set_nodelay(true).map_err(LinkError::Connect)?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(LinkError::Connect)?;
        let (requests, mut connection) = Builder::new()
            .enable_push(false)
            .header_table_size(0)
            .max_header_list_size(4 << 10)
            .handshake::<_, Bytes>(stream)
            .await?;
        let pings = connection.ping_pong();
        let driver = AbortOnDropHandle::new(tokio::spawn(drive(connection, pings)));
        let (status, reports) = exchange(requests.clone(), &host, Method::GET, REPORTS, Bytes::new()).await?;
        if status != StatusCode::OK {
            return Err(LinkError::Unexpected(status, "GET /v1/reports"));
        }
        Ok(Self {
            requests,
            host,
            reports,
            line: Vec::new(),
            _driver: driver,
        })
    }

    /// Sends plans while reports are being read.
    pub fn pusher(&self) -> Pusher {
        Pusher {
            requests: self.requests.clone(),
            host: self.host.clone(),
        }
    }

    /// The next report. May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Report, LinkError> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let rest = self.line.split_off(end + 1);
                let line = std::mem::replace(&mut self.line, rest);
                return serde_json::from_slice(&line).map_err(|_| LinkError::Unreadable("a line that is no report"));
            }
            if self.line.len() > MAX_REPORT {
                return Err(LinkError::Unreadable("a line that does not end"));
            }
            let data = self.reports.data().await.ok_or(LinkError::Closed)??;
            self.line.extend_from_slice(&data);
            self.reports.flow_control().release_capacity(data.len())?;
        }
    }
}

impl Pusher {
    /// Tells the worker its share of the rate limit. A worker that knows no shares knows no rate limits either.
    pub async fn tell_share(self, of: u32) -> Result<(), LinkError> {
        let sent = exchange(self.requests, &self.host, Method::PUT, SHARE, of.to_string().into());
        let (status, _) = timeout(PUSH, sent).await.map_err(|_| LinkError::Timeout)??;
        match status {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(()),
            other => Err(LinkError::Unexpected(other, "PUT /v1/share")),
        }
    }

    /// Tells the worker which hosts other workers were asked to leave alone. An older worker that knows no pauses notices
    /// by itself.
    pub async fn tell_pauses(self, pauses: &Pauses) -> Result<(), LinkError> {
        let text = serde_json::to_vec(pauses).map_err(|_| LinkError::Unwritable)?;
        let sent = exchange(self.requests, &self.host, Method::PUT, PAUSE, text.into());
        let (status, _) = timeout(PUSH, sent).await.map_err(|_| LinkError::Timeout)??;
        match status {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(()),
            other => Err(LinkError::Unexpected(other, "PUT /v1/pause")),
        }
    }

    /// Offers `plan` to the worker.
    pub async fn push(self, plan: &Plan) -> Result<Answer, LinkError> {
        let text = serde_json::to_vec(plan).map_err(|_| LinkError::Unwritable)?;
        let sent = exchange(self.requests, &self.host, Method::PUT, PLAN, text.into());
        let (status, _) = timeout(PUSH, sent).await.map_err(|_| LinkError::Timeout)??;
        match status {
            StatusCode::OK => Ok(Answer::Runs),
            StatusCode::CONFLICT => Ok(Answer::Stale),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer::Refused),
            other => Err(LinkError::Unexpected(other, "PUT /v1/plan")),
        }
    }
}

/// Moves the bytes of a connection, until it ends or the worker does not answer a ping. Whatever ends it ends the stream
/// of reports too, and is told there.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(connection: Connection<T, Bytes>, pings: Option<PingPong>) {
    tokio::select! {
        _ = connection => {}
        () = until_silent(pings) => {}
    }
}

/// Pings until there is no answer in time.
async fn until_silent(pings: Option<PingPong>) {
    let Some(mut pings) = pings else { return };
    loop {
        sleep(PING_EVERY).await;
        if !matches!(timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

/// Sends one request; the head of its answer and the stream of its body.
async fn exchange(
    requests: SendRequest<Bytes>,
    host: &str,
    method: Method,
    path: &'static str,
    body: Bytes,
) -> Result<(StatusCode, RecvStream), LinkError> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    // The name was taken for a TLS name before, so it is one of a URI too.
    *request.uri_mut() = Uri::builder()
        .scheme("https")
        .authority(host)
        .path_and_query(path)
        .build()
        .unwrap_or_default();
    let mut requests = requests.ready().await?;
    let (response, mut sender) = requests.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        // Kept by h2 until the worker's window lets it go; a plan is a megabyte at most.
        sender.send_data(body, true)?;
    }
    let response = response.await?;
    Ok((response.status(), response.into_body()))
}

/// Whether a report is about this Integration and can be read by this code.
pub fn is_about(report: &Report, integration: &Key, uid: &str) -> bool {
    report.format == health::FORMAT && report.integration == *integration && report.uid == uid
}

/// How long to wait after this many failures in a row, with `random` from 0 to 1: half of the step at least, so that
/// there is a pause, and not more than the step.
pub fn pause(failures: u32, random: f64) -> Duration {
    let step = FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(LONGEST_PAUSE);
    step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample;

    #[test]
    fn pauses_grow_from_a_tenth_of_a_second_to_five() {
        let milliseconds = |failures, random| pause(failures, random).as_millis();
        assert_eq!((milliseconds(1, 0.0), milliseconds(1, 1.0)), (50, 100));
        assert_eq!((milliseconds(2, 0.0), milliseconds(2, 1.0)), (100, 200));
        assert_eq!((milliseconds(6, 0.5), milliseconds(7, 1.0)), (2400, 5000));
        assert_eq!((milliseconds(u32::MAX, 0.0), milliseconds(u32::MAX, 9.0)), (2500, 5000));
    }

    #[test]
    fn report_counts_only_for_the_integration_of_the_certificate() {
        let plan = sample::plan();
        let report = sample::report(&plan);
        assert!(is_about(&report, &plan.integration, &plan.uid));
        assert!(!is_about(&report, &plan.integration, "another"));
        assert!(!is_about(&report, &Key::new("shop", "other"), &plan.uid));
        let newer = Report {
            format: health::FORMAT + 1,
            ..report
        };
        assert!(!is_about(&newer, &plan.integration, &plan.uid));
    }
}
