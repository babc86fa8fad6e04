//! Connections between two requests, however long they rest. And connections on lanes of their own.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, answer};

/// In a time that is stopped and jumps.
const QUIET: Duration = Duration::from_secs(1);

/// Without Nagle's algorithm, which holds a second piece back until the first is acknowledged: 40 ms of real time, in which
/// a time that is stopped jumps past every deadline.
async fn connect(worker: &Dataplane) -> TcpStream {
    let socket = TcpStream::connect(worker.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

async fn send(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// Reads an answer whose body is `hello`.
async fn read(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        let read = socket.read_buf(&mut text).await.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_at_any_distance_are_answered_on_one_connection() {
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut socket = connect(&worker).await;
    let requests = [
        "GET / HTTP/1.1\r\nHost: api\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 3\r\n\r\nabc",
        // RFC 9112 2.2: some clients send an empty line after a body.
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 3\r\n\r\nabc\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    let mut sent = 0;
    for milliseconds in [0, 40, 60, 99, 101, 1000, 5000, 60_000] {
        for request in requests {
            send(&mut socket, request).await;
            assert!(read(&mut socket).await.starts_with("HTTP/1.1 200"));
            sent += 1;
            sleep(Duration::from_millis(milliseconds)).await;
        }
    }
    assert_eq!(provider.seen().len(), sent);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_in_pieces_after_a_rest_is_one_request() {
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let mut socket = connect(&worker).await;
    send(&mut socket, "GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
    read(&mut socket).await;
    for piece in [
        "\r\nPOST /x HT",
        "TP/1.1\r\nHost: api\r\nContent-Le",
        "ngth: 2\r\n\r\na",
        "b",
    ] {
        sleep(QUIET).await;
        send(&mut socket, piece).await;
    }
    assert!(read(&mut socket).await.starts_with("HTTP/1.1 200"));
    let seen = provider.seen();
    assert_eq!((seen.len(), seen[1].uri.to_string()), (2, "/x".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_ambiguous_is_refused_after_a_rest_too() {
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    for quiet in [Duration::ZERO, QUIET] {
        let mut socket = connect(&worker).await;
        send(&mut socket, "GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
        read(&mut socket).await;
        sleep(quiet).await;
        let smuggled =
            "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        send(&mut socket, smuggled).await;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    }
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_ends_after_the_idle_time_and_with_the_worker() {
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.timeouts.idle = Duration::from_secs(90);
    let worker = Dataplane::start([plan]);
    for stops in [false, true] {
        let mut socket = connect(&worker).await;
        send(&mut socket, "GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
        read(&mut socket).await;
        sleep(QUIET).await;
        let start = tokio::time::Instant::now();
        if stops {
            worker.stop.cancel();
        }
        assert_eq!(socket.read(&mut [0; 16]).await.unwrap(), 0);
        let waited = start.elapsed() + QUIET;
        let expected = if stops { QUIET } else { Duration::from_secs(90) };
        assert!(
            waited >= expected && waited < expected + Duration::from_secs(12),
            "{waited:?}"
        );
    }
}

#[tokio::test]
async fn callers_on_several_lanes_are_served_and_drained() {
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let worker = Dataplane::start_with([plan(&[provider.url("")])], |settings| settings.lanes = 2);
    let worker = Arc::new(worker);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let worker = worker.clone();
        callers.spawn(async move {
            let mut socket = connect(&worker).await;
            for _ in 0..40 {
                send(&mut socket, "GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
                assert!(read(&mut socket).await.starts_with("HTTP/1.1 200"));
            }
            socket
        });
    }
    let mut open = Vec::new();
    while let Some(socket) = callers.join_next().await {
        open.push(socket.unwrap());
    }
    assert_eq!(provider.seen().len(), 320);
    worker.stop.cancel();
    for mut socket in open {
        assert_eq!(socket.read(&mut [0; 16]).await.unwrap(), 0);
    }
}
