//! A provider to test against: a real server on loopback whose behaviour each test scripts, and which remembers what it
//! saw.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::clients::Authority;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A request as the provider saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub uri: Uri,
    pub version: http::Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// The client certificate that its connection showed, in DER.
    pub certificate: Option<Vec<u8>>,
}

impl Seen {
    /// The only value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "several {name} headers");
        Some(value.to_str().unwrap())
    }
}

/// What the provider does with a request.
pub enum Reply {
    /// Answers.
    Answer(Response<Body>),
    /// Closes the connection without an answer.
    Hangup,
    /// Says nothing for as long as anybody waits.
    Silence,
}

impl From<Response<Body>> for Reply {
    fn from(response: Response<Body>) -> Self {
        Self::Answer(response)
    }
}

impl From<(u16, &'static str)> for Reply {
    fn from((status, body): (u16, &'static str)) -> Self {
        Self::Answer(answer(status, body))
    }
}

impl From<u16> for Reply {
    fn from(status: u16) -> Self {
        Self::from((status, ""))
    }
}

/// An answer with a body of known length.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// An answer whose body is what `frames` gives, piece by piece.
pub fn streamed(
    frames: impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + 'static,
) -> Response<Body> {
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}

/// One piece of a body, as a stream of pieces that may fail has it.
#[expect(clippy::unnecessary_wraps, reason = "the other pieces of a stream may be errors")]
pub fn piece(data: impl Into<Bytes>) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(data.into()))
}

type Script = Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// A server on loopback. It ends when it is dropped.
pub struct Provider {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    /// Connections that are open now.
    open: Arc<AtomicUsize>,
    scheme: &'static str,
    /// The certificate to trust, of a provider with TLS.
    pub ca_pem: Option<String>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    /// Answers every request with what `script` says, in cleartext.
    pub async fn start<F, R>(script: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        Self::with_script(boxed(script), None).await
    }

    /// The same with TLS, which offers HTTP/2 if `http2`.
    pub async fn start_tls<F, R>(http2: bool, script: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        Self::with_script(boxed(script), Some(tls(http2, None))).await
    }

    /// The same, and nobody is let in without a certificate of `clients`.
    pub async fn start_mutual<F, R>(
        http2: bool,
        clients: &Authority,
        script: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        Self::with_script(boxed(script), Some(tls(http2, Some(clients)))).await
    }

    /// Does with each connection what `script` says, after a handshake in which HTTP/2 was chosen.
    pub async fn raw_http2<F>(script: impl Fn(TlsStream<TcpStream>, usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (acceptor, ca_pem) = tls(true, None);
        let script = Arc::new(script);
        let mut provider = Self::raw(move |socket, number| {
            let (script, acceptor) = (script.clone(), acceptor.clone());
            async move {
                if let Ok(socket) = acceptor.accept(socket).await {
                    script(socket, number).await;
                }
            }
        })
        .await;
        (provider.scheme, provider.ca_pem) = ("https", Some(ca_pem));
        provider
    }

    async fn with_script(script: Script, tls: Option<(TlsAcceptor, String)>) -> Self {
        let (acceptor, ca_pem) = tls.unzip();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let noted = seen.clone();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let mut provider = Self::raw(move |socket, _| {
            let (script, noted, acceptor) = (script.clone(), noted.clone(), acceptor.clone());
            async move {
                match acceptor {
                    None => serve(socket, None, script, noted).await,
                    Some(acceptor) => {
                        match acceptor.accept(socket).into_fallible().await {
                            Ok(socket) => {
                                let shown = socket.get_ref().1.peer_certificates();
                                let leaf = shown.and_then(<[_]>::first).map(|leaf| leaf.to_vec());
                                serve(socket, leaf, script, noted).await;
                            }
                            // Closed with unread bytes in it, the socket would be reset, and the alert with it.
                            Err((_, mut socket)) => {
                                drop(socket.shutdown().await);
                                drop(socket.read_to_end(&mut Vec::new()).await);
                            }
                        }
                    }
                }
            }
        })
        .await;
        (provider.seen, provider.scheme, provider.ca_pem) = (seen, scheme, ca_pem);
        provider
    }

    /// Does with each connection what `script` says; it gets the socket and its number, from 0.
    pub async fn raw<F>(script: impl Fn(TcpStream, usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, open): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (count, live) = (connections.clone(), open.clone());
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                live.fetch_add(1, Ordering::SeqCst);
                let (served, live) = (script(socket, number), live.clone());
                tasks.spawn(async move {
                    served.await;
                    live.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            seen: Arc::default(),
            connections,
            open,
            scheme: "http",
            ca_pem: None,
            task,
        }
    }

    /// Its URL, with `path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// TLS of `provider.test`, which offers HTTP/2 if `http2` and wants a certificate of `clients`, and the certificate to
/// trust.
fn tls(http2: bool, clients: Option<&Authority>) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["provider.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients.verifier(provider)),
    };
    let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

fn boxed<F, R>(script: impl Fn(Seen) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = R> + Send + 'static,
    R: Into<Reply> + 'static,
{
    let script = Arc::new(script);
    Arc::new(move |seen| {
        let reply = script(seen);
        Box::pin(async move { reply.await.into() })
    })
}

async fn serve<S>(socket: S, certificate: Option<Vec<u8>>, script: Script, noted: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (script, noted, certificate) = (script.clone(), noted.clone(), certificate.clone());
        async move {
            let (head, body) = request.into_parts();
            let collected = body.collect().await.map_err(std::io::Error::other)?;
            let trailers = collected.trailers().cloned();
            let seen = Seen {
                uri: head.uri,
                version: head.version,
                headers: head.headers,
                body: collected.to_bytes(),
                trailers,
                certificate,
            };
            noted.lock().unwrap().push(seen.clone());
            match script(seen).await {
                Reply::Answer(response) => Ok(response),
                Reply::Hangup => Err(std::io::Error::other("hung up")),
                Reply::Silence => std::future::pending().await,
            }
        }
    });
    // What ends a connection is for the other side to notice.
    drop(
        auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(socket), service)
            .await,
    );
}

/// Reads the head of a request from a raw socket.
pub async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Writes to a raw socket.
pub async fn write(socket: &mut TcpStream, text: &str) {
    drop(socket.write_all(text.as_bytes()).await);
    drop(socket.flush().await);
}

/// Waits until `condition` holds, and fails when it does not within ten seconds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not happen in ten seconds"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
