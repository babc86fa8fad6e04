//! A server that answers with the bytes it is told, and knows what it was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What it does when it was asked.
#[derive(Clone)]
pub enum Answer {
    /// Sends this and closes.
    Close(Vec<u8>),
    /// Sends this and then nothing more.
    Hold(Vec<u8>),
    /// Sends this, then that for ever, as fast as it is taken.
    Endless(Vec<u8>, Vec<u8>),
    /// Sends this, then one byte of that every few milliseconds for ever.
    Trickle(Vec<u8>, u8),
}

impl Answer {
    /// A whole answer.
    pub fn of(head: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
        Self::Close([head.as_bytes(), body].concat())
    }
}

/// It serves until it is dropped.
pub struct Peer {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Peer {
    pub async fn plain(answer: Answer) -> Self {
        Self::start(answer, None).await
    }

    pub async fn secured(answer: Answer, config: Arc<rustls::ServerConfig>) -> Self {
        Self::start(answer, Some(TlsAcceptor::from(config))).await
    }

    async fn start(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (mut serving, notes) = (JoinSet::new(), Arc::clone(&asked));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, notes, tls) = (answer.clone(), Arc::clone(&notes), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => converse(socket, answer, &notes).await,
                        Some(acceptor) => match acceptor.accept(socket).into_fallible().await {
                            Ok(stream) => converse(stream, answer, &notes).await,
                            // The alert is sent. What is on its way is taken, so that no reset overtakes it.
                            Err((_, mut socket)) => {
                                let _ = socket.shutdown().await;
                                while socket.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                            }
                        },
                    }
                });
            }
        });
        Self {
            port,
            asked,
            _serving: serving,
        }
    }

    /// Every request so far, head and body.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: Answer, notes: &Mutex<Vec<String>>) {
    let Some(request) = read(&mut stream).await else { return };
    notes.lock().unwrap().push(request);
    // Whoever hangs up in the middle has had enough.
    let _ = reply(&mut stream, answer).await;
}

async fn reply<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, answer: Answer) -> std::io::Result<()> {
    match answer {
        Answer::Close(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Answer::Hold(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            stream.read(&mut [0]).await.map(drop)
        }
        Answer::Endless(bytes, chunk) => {
            stream.write_all(&bytes).await?;
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        Answer::Trickle(bytes, byte) => {
            stream.write_all(&bytes).await?;
            let mut beat = tokio::time::interval(std::time::Duration::from_millis(5));
            loop {
                beat.tick().await;
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
            }
        }
    }
}

/// One request by its `content-length`; `None` if nobody asks.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}
