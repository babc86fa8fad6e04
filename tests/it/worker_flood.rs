//! Floods of HTTP/2 frames at the traffic port, written by hand, against the real program in a process of its own: it
//! goes on serving others meanwhile, and its memory stays bounded.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::frames::{
    CANCEL, CONTINUATION, DATA, PING, PREFACE, PRIORITY, SETTINGS, WINDOW_UPDATE, frame, get, post, reset, unfinished,
};
use crate::support::program::Program;
use crate::support::provider::{Provider, answer};

/// Frames in a flood.
const COUNT: u32 = 50_000;
/// More memory than this a flood must not take: what is there for caches of the allocator and for the calls beside it.
const MOST: u64 = 16 << 20;

/// A flood: what it begins with, and its frame of a number.
struct Flood {
    what: &'static str,
    begin: Vec<u8>,
    frame: fn(u32) -> Vec<u8>,
    /// The worker is to end the connection, and not only to bear it.
    ends: bool,
}

fn floods() -> Vec<Flood> {
    let flood = |what, begin, frame, ends| Flood {
        what,
        begin,
        frame,
        ends,
    };
    vec![
        flood(
            "rapid reset",
            vec![],
            |number| [get(2 * number + 1), reset(2 * number + 1, CANCEL)].concat(),
            true,
        ),
        flood("streams that never end", vec![], |number| post(2 * number + 1), false),
        flood(
            "PING",
            vec![],
            |number| frame(PING, 0, 0, &u64::from(number).to_be_bytes()),
            false,
        ),
        flood("SETTINGS", vec![], |_| frame(SETTINGS, 0, 0, &[]), false),
        flood(
            "empty CONTINUATION",
            unfinished(1),
            |_| frame(CONTINUATION, 0, 1, &[]),
            true,
        ),
        flood(
            "CONTINUATION with a header each",
            unfinished(1),
            // A literal field that is not indexed: name `x`, value `y`.
            |_| frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']),
            true,
        ),
        flood("empty DATA", post(1), |_| frame(DATA, 0, 1, &[]), true),
        flood(
            "WINDOW_UPDATE",
            vec![],
            |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
            false,
        ),
        flood(
            "PRIORITY",
            vec![],
            |number| frame(PRIORITY, 0, 2 * number + 1, &[0, 0, 0, 0, 16]),
            false,
        ),
    ]
}

/// What became of a flooding connection.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The worker closed it.
    Closed,
    /// The worker took no more of it.
    Blocked,
    /// The worker took all of it; the connection is there still.
    Borne(Held),
}

/// Keeps the connection open until it was looked at what it costs.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "held, not read")] TcpStream);

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

/// Floods, and reads what comes back if `reads`.
async fn flood(address: SocketAddr, flood: &Flood, reads: bool) -> End {
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &flood.begin].concat();
    bytes.extend((0..COUNT).flat_map(flood.frame));
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut answers = [0; 16 << 10];
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let chunk = rest.len().min(16 << 10);
        let (mut read, mut write) = socket.split();
        let step = async {
            tokio::select! {
                read = read.read(&mut answers), if reads => read.map(|count| (count > 0).then_some(0)),
                written = write.write(&rest[..chunk]) => written.map(Some),
            }
        };
        match timeout(Duration::from_secs(3), step).await {
            Err(_) => return End::Blocked,
            Ok(Err(_) | Ok(None)) => return End::Closed,
            Ok(Ok(Some(written))) => rest = &rest[written..],
        }
    }
    // A connection that is closed says so soon after the last frame.
    let closed = async { while matches!(socket.read(&mut answers).await, Ok(1..)) {} };
    if timeout(Duration::from_secs(1), closed).await.is_ok() {
        return End::Closed;
    }
    End::Borne(Held(socket))
}

#[tokio::test]
async fn floods_of_frames_take_neither_the_worker_nor_its_memory_nor_its_other_callers() {
    let provider = Provider::start(|_| async { answer(200, "good") }).await;
    let manifest = format!(
        "apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {{name: api, namespace: shop}}
spec:
  endpoints: [{{name: primary, url: '{}'}}]
",
        provider.url("")
    );
    let program = Program::with_files(&[("api.yaml", &manifest)], "error").await;
    program.ready().await;
    for _ in 0..50 {
        assert_eq!(program.call("api", "/").await.0, 200);
    }
    let before = program.resident();
    for it in floods() {
        for reads in [true, false] {
            let mut flooding = std::pin::pin!(flood(program.listen, &it, reads));
            let mut ended = None;
            let mut good = 0;
            while ended.is_none() || good < 10 {
                tokio::select! {
                    end = flooding.as_mut(), if ended.is_none() => ended = Some(end),
                    called = timeout(Duration::from_secs(10), program.call("api", "/")) => {
                        let status = called.map(|answer| answer.0);
                        assert_eq!(status.ok(), Some(200), "{} {reads}: a good caller", it.what);
                        good += 1;
                    }
                }
            }
            let grown = program.resident().saturating_sub(before);
            eprintln!("{} (reads: {reads}): {ended:?}, {} KiB", it.what, grown >> 10);
            assert!(grown <= MOST, "{} {reads}: {grown} bytes more", it.what);
            assert!(!it.ends || ended == Some(End::Closed), "{} {reads}: {ended:?}", it.what);
        }
    }
}
