//! A strict provider of keys and tokens that keeps a ledger: all it made, took away and was asked, and when.
//!
//! One state machine ([`act`]) has every class of provider on a path of its own, and knows nothing of the product: it
//! parses requests itself. It is driven in memory as an [`Exchange`], under paused time as well, or over a socket.
//!
//! | request | authorised by | class |
//! |---|---|---|
//! | `PUT /secret {"value"}` | admin or a live secret | A: we choose, the newest `live_secrets` are accepted |
//! | `DELETE /secret {"value"}` | admin | A |
//! | `POST /keys {"label"}`, `GET /keys?label=`, `DELETE /keys/{id}` | admin | B: added, shown once, a quota |
//! | `POST /regenerate` | admin | C: replaces at once |
//! | `POST /rotate` | the live key that it replaces | D |
//! | `POST /token` (form: `refresh_token`, `client_credentials`) | client id and secret | D |
//! | `GET /whoami` | any live value | use |
//!
//! A value is presented as `Authorization: Bearer`, as the password of `Basic`, as `X-API-Key` or as `?api_key=`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tidegate::domain::secret::SecretValue;
use tidegate::provider::exchange::{Answer, Call, Exchange, ExchangeError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use act::{Asked, Said, act};
pub use halt::Moment;
use halt::{Halt, Telling};
use ledger::Ledger;
pub use ledger::{Issued, Kind};

mod act;
mod halt;
mod ledger;
#[cfg(test)]
mod tests;

/// What kind of provider it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Authorises calls of classes A, B and C.
    pub admin: String,
    /// The OAuth client's id and secret.
    pub client: (String, String),
    /// A: how many of the newest secrets are accepted; 1 overwrites.
    pub live_secrets: usize,
    /// A: shorter values are refused with 422.
    pub least_length: usize,
    /// B: how many keys may be live.
    pub quota: usize,
    /// B: whether `Idempotency-Key` is honoured.
    pub idempotency: bool,
    /// B: whether keys can be listed.
    pub lists: bool,
    /// How long a new key is not accepted yet.
    pub visible_after: Duration,
    /// How long a new key lives; for ever if absent.
    pub key_lifetime: Option<Duration>,
    /// D: how long the immediate predecessor of a refresh token gets the same answer again.
    pub grace: Duration,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// The time at which everything begins.
    pub epoch: Timestamp,
    /// How far the provider's clock is ahead, in what it tells.
    pub ahead: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            admin: "admin".into(),
            client: ("client".into(), "client-secret".into()),
            live_secrets: 2,
            least_length: 1,
            quota: 2,
            idempotency: false,
            lists: true,
            visible_after: Duration::ZERO,
            key_lifetime: None,
            grace: Duration::ZERO,
            access_lifetime: Duration::from_secs(3600),
            epoch: "2026-01-01T00:00:00Z".parse().unwrap(),
            ahead: SignedDuration::ZERO,
        }
    }
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It does not get there, and the client knows.
    NotSent,
    /// The connection breaks before the provider acts.
    LostBefore,
    /// The connection breaks after the provider acted.
    LostAfter,
    /// The provider acts so much later, whether or not the client still waits.
    SlowBefore(Duration),
    /// The provider acts at once and answers so much later.
    SlowAfter(Duration),
    /// 500, and nothing done.
    FailedBefore,
    /// 500, and all done.
    FailedAfter,
    /// All done, and an answer that is a web page.
    Garbled,
    /// 429 for 30 s; each further call until then doubles the time.
    Throttled,
    /// The request is delivered twice; the second answer is given.
    Twice,
}

/// How a call ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// It was not sent.
    NotSent,
    /// It may have been received.
    Lost,
}

/// The provider. Clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    state: Arc<Mutex<State>>,
    started: Instant,
}

struct State {
    settings: Settings,
    ledger: Ledger,
    faults: Vec<(String, usize, Fault)>,
    halts: Vec<Halt>,
    /// Until when calls get 429, and for how long the last one was told to wait.
    penalty: Option<(Duration, Duration)>,
}

impl Simulator {
    /// A provider that has issued nothing.
    pub fn new(settings: Settings) -> Self {
        let state = State {
            settings,
            ledger: Ledger::default(),
            faults: Vec::new(),
            halts: Vec::new(),
            penalty: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            started: Instant::now(),
        }
    }

    /// A value that was there before, of `kind`; a refresh token begins a family.
    pub fn seed(&self, kind: Kind, value: &str) -> String {
        let now = self.elapsed();
        self.lock().ledger.seed(kind, value, now)
    }

    /// `fault` happens to the `nth` call of `route`, from 1, such as `POST /keys`; ids are no part of it.
    pub fn fault(&self, route: &str, nth: usize, fault: Fault) {
        self.lock().faults.push((route.to_owned(), nth, fault));
    }

    /// Somebody ends `value` at the provider.
    pub fn end(&self, value: &str) {
        let now = self.elapsed();
        self.lock().ledger.end(|it| it.value == value, "ended by somebody", now);
    }

    /// Changes what kind of provider it is.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.lock().settings.epoch + SignedDuration::try_from(self.elapsed()).unwrap()
    }

    /// Whether `value` would be accepted now; leaves no trace.
    pub fn accepts(&self, value: &str) -> bool {
        let now = self.elapsed();
        self.lock().ledger.accepts(value, now)
    }

    /// A data-plane request with `value`: whether it was accepted, or got 401. It is a use in the ledger.
    pub fn use_value(&self, value: &str) -> bool {
        let now = self.elapsed();
        self.lock().ledger.used(value, now)
    }

    /// Every credential that is live now.
    pub fn live(&self) -> Vec<Issued> {
        let now = self.elapsed();
        self.lock().ledger.live(now).cloned().collect()
    }

    /// Live values made for an attempt that none of `held` is: I3.
    pub fn unheld(&self, held: &[&str]) -> Vec<Issued> {
        let labelled = |it: &Issued| it.label.is_some() && !held.contains(&&*it.value);
        self.live().into_iter().filter(labelled).collect()
    }

    /// What the ledger says, to read or to check.
    pub fn read<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.lock().ledger)
    }

    /// Serves over HTTP/1.1 on loopback until it is dropped.
    pub async fn serve(&self) -> Served {
        self.serve_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at this address, where it may have been before.
    pub async fn serve_on(&self, address: SocketAddr) -> Served {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let simulator = self.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let simulator = simulator.clone();
                let service = service_fn(move |request| serve_one(simulator.clone(), request));
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                // What ends a connection is for the other side to notice.
                connections.spawn(async move { drop(served.await) });
            }
        });
        Served { address, task }
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Delivers one request, with what is to go wrong with it. What has begun goes on when nobody waits any more.
    async fn deliver(&self, asked: Asked) -> Result<Said, Cut> {
        let simulator = self.clone();
        let delivered = tokio::spawn(async move { simulator.go_through(asked).await });
        delivered.await.unwrap()
    }

    async fn go_through(&self, asked: Asked) -> Result<Said, Cut> {
        let (nth, fault) = self.lock().arrives(&asked.route(), self.elapsed());
        if fault == Some(Fault::NotSent) {
            return Err(Cut::NotSent);
        }
        let refreshing = asked.refresh_token();
        self.lock().ledger.refreshing(refreshing.as_deref(), 1);
        let answer = self.meet(&asked, nth, fault).await;
        self.lock().ledger.refreshing(refreshing.as_deref(), -1);
        answer
    }

    async fn meet(&self, asked: &Asked, nth: usize, fault: Option<Fault>) -> Result<Said, Cut> {
        let route = asked.route();
        if !self.stand_still(&route, nth, Moment::Arrived).await {
            return Err(Cut::Lost);
        }
        if let Some(said) = self.lock().throttles(fault, self.elapsed()) {
            return Ok(said);
        }
        match fault {
            Some(Fault::LostBefore) => return Err(Cut::Lost),
            Some(Fault::FailedBefore) => return Ok(Said::empty(500)),
            Some(Fault::SlowBefore(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        let act = || {
            let mut state = self.lock();
            let State { settings, ledger, .. } = &mut *state;
            act(settings, ledger, asked, self.elapsed())
        };
        let mut said = act();
        if !self.stand_still(&route, nth, Moment::Committed).await {
            return Err(Cut::Lost);
        }
        match fault {
            Some(Fault::LostAfter) => return Err(Cut::Lost),
            Some(Fault::FailedAfter) => return Ok(Said::empty(500)),
            Some(Fault::Garbled) => said.body = "<html>".into(),
            Some(Fault::Twice) => said = act(),
            Some(Fault::SlowAfter(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        Ok(said)
    }
}

impl State {
    /// Counts a call, and says the how manieth of its route it is and what is to go wrong with it.
    fn arrives(&mut self, route: &str, now: Duration) -> (usize, Option<Fault>) {
        let nth = self.ledger.called(route, now);
        let planned = self.faults.iter().find(|(of, n, _)| of == route && *n == nth);
        (nth, planned.map(|(_, _, fault)| *fault))
    }

    fn throttles(&mut self, fault: Option<Fault>, now: Duration) -> Option<Said> {
        let wait = match self.penalty {
            Some((until, last)) if now < until => last * 2,
            _ if fault == Some(Fault::Throttled) => Duration::from_secs(30),
            _ => return None,
        };
        self.penalty = Some((now + wait, wait));
        let mut said = Said::empty(429);
        said.retry_after = Some(wait.as_secs());
        Some(said)
    }
}

impl Exchange for Simulator {
    fn exchange(&self, call: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>> {
        async move {
            let asked = Asked {
                method: call.method.to_string(),
                path: call.url.path().to_owned(),
                query: call.url.query().unwrap_or_default().to_owned(),
                headers: call
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.expose().to_owned()))
                    .collect(),
                body: call.body.map(|body| body.expose().to_owned()).unwrap_or_default(),
            };
            let began = Instant::now();
            let delivered = tokio::time::timeout(Duration::from_secs(30), self.deliver(asked)).await;
            let said = match delivered.unwrap_or(Err(Cut::Lost)) {
                Ok(said) => said,
                Err(Cut::NotSent) => return Err(ExchangeError::NotSent("connection refused".into())),
                Err(Cut::Lost) => return Err(ExchangeError::Lost("the connection broke off".into())),
            };
            let ahead = self.lock().settings.ahead;
            Ok(Answer {
                status: said.status,
                content_type: Some("application/json".into()),
                retry_after: said.retry_after.map(Duration::from_secs),
                date: Some(self.now() + ahead),
                took: began.elapsed(),
                body: SecretValue::new(said.body),
            })
        }
        .boxed()
    }
}

/// A simulator on a socket.
pub struct Served {
    /// Where it is.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve_one(simulator: Simulator, request: Request<Incoming>) -> Result<Response<Telling>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let route = asked.route();
    // Hanging up is all that a server can do about an answer that is to be lost.
    let said = simulator
        .deliver(asked)
        .await
        .map_err(|_| std::io::Error::other("hung up"))?;
    let mut response = Response::builder()
        .status(said.status)
        .header("content-type", "application/json");
    if let Some(seconds) = said.retry_after {
        response = response.header("retry-after", seconds);
    }
    Ok(response.body(simulator.telling(&route, said.body)).unwrap())
}
