//! WebSocket by hand, on either side: frames that no library would send.

use std::time::Duration;

use http::HeaderValue;
use tidegate::api::integration::Protocol;
use tidegate::domain::plan::Plan;
use tidegate::domain::websocket::handshake::accept;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, read_head};

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// The key of RFC 6455 1.3 and what it is accepted with.
pub const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// What [`ACCEPTED`] accepts the key with.
const OF_KEY: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake with more header lines.
pub fn handshake(more: &str) -> String {
    format!(
        "GET /feed?a=1 HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// One end of an open connection.
pub struct Peer {
    pub socket: TcpStream,
    key: Option<[u8; 4]>,
}

impl Peer {
    /// The end of a caller.
    pub fn caller(socket: TcpStream) -> Self {
        Self {
            socket,
            key: Some([0x37, 0xfa, 0x21, 0x3d]),
        }
    }

    /// The end of a provider.
    pub fn provider(socket: TcpStream) -> Self {
        Self { socket, key: None }
    }

    /// What a frame with this first byte looks like.
    pub fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = if self.key.is_some() { 0x80 } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(mask | u8::try_from(short).unwrap()),
            long @ 126..=0xffff => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
            longer => {
                frame.push(mask | 0x7f);
                frame.extend((longer as u64).to_be_bytes());
            }
        }
        frame.extend(self.key.into_iter().flatten());
        let key = self.key.unwrap_or_default();
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let frame = self.frame(first, payload);
        self.socket.write_all(&frame).await.unwrap();
    }

    /// A Close with this code.
    pub async fn close(&mut self, code: u16) {
        self.send(CLOSE, &code.to_be_bytes()).await;
    }

    /// The next frame: its first byte and its payload, unmasked; `None` at the end of the connection.
    pub async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let mut head = [0; 2];
            self.socket.read_exact(&mut head).await.ok()?;
            assert_eq!(
                head[1] & 0x80 != 0,
                self.key.is_none(),
                "what goes to a server is masked"
            );
            let length = match head[1] & 0x7f {
                126 => u64::from(self.socket.read_u16().await.ok()?),
                127 => self.socket.read_u64().await.ok()?,
                short => u64::from(short),
            };
            let mut key = [0; 4];
            if self.key.is_none() {
                self.socket.read_exact(&mut key).await.ok()?;
            }
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.socket.read_exact(&mut payload).await.ok()?;
            for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
                *byte ^= key;
            }
            Some((head[0], payload))
        };
        tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("a frame, or the end, comes within twenty seconds")
    }

    /// Reads up to a Close and gives its code; 1005 for one without, 1006 where the connection ends without.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.read().await {
                None => return 1006,
                Some((CLOSE, payload)) => {
                    return payload
                        .first_chunk::<2>()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                }
                Some(_) => {}
            }
        }
    }
}

/// An open connection, with both of its ends.
pub struct Pair {
    pub worker: Dataplane,
    pub provider: Provider,
    /// Ends of further connections.
    pub more: mpsc::UnboundedReceiver<(Peer, String)>,
    pub caller: Peer,
    pub end: Peer,
    /// The handshake as the provider saw it.
    pub asked: String,
    /// The answer as the caller saw it.
    pub answer: String,
}

/// A plan for one WebSocket endpoint.
pub fn websocket(url: String) -> Plan {
    let mut plan = plan(&[url]);
    plan.protocol = Protocol::WebSocket;
    plan
}

/// A provider that accepts every handshake, with more header lines, and hands out its ends.
pub async fn accepting(more: &'static str) -> (Provider, mpsc::UnboundedReceiver<(Peer, String)>) {
    let (ends, opened) = mpsc::unbounded_channel();
    let provider = Provider::raw(move |mut socket, _| {
        let ends = ends.clone();
        async move {
            let head = read_head(&mut socket).await;
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
            let accepted = accept(&HeaderValue::from_str(key.unwrap()).unwrap());
            let answer = ACCEPTED.replace(OF_KEY, &accepted) + more + "\r\n";
            drop(socket.write_all(answer.as_bytes()).await);
            drop(ends.send((Peer::provider(socket), head)));
        }
    })
    .await;
    (provider, opened)
}

/// Opens a connection with more header lines.
pub async fn open(worker: &Dataplane, more: &str) -> (Peer, String) {
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    socket.write_all(handshake(more).as_bytes()).await.unwrap();
    let answer = read_head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    (Peer::caller(socket), answer)
}

/// An open connection under a plan that is changed like this.
pub async fn pair(change: impl FnOnce(&mut Plan)) -> Pair {
    pair_with("", "", change).await
}

/// The same with more header lines of the caller and of the provider.
pub async fn pair_with(asks: &str, says: &'static str, change: impl FnOnce(&mut Plan)) -> Pair {
    let (provider, mut more) = accepting(says).await;
    let mut plan = websocket(provider.url("/v1"));
    change(&mut plan);
    let worker = Dataplane::start([plan]);
    let (caller, answer) = open(&worker, asks).await;
    let (end, asked) = more.recv().await.unwrap();
    Pair {
        worker,
        provider,
        more,
        caller,
        end,
        asked,
        answer,
    }
}
