//! What a caller may send that is malformed, ambiguous, oversized or slow: it gets a 4xx or a closed connection, and the
//! provider sees nothing of it. Written on raw sockets, and judged by what the provider saw.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, answer};

/// Writes `stream` and reads until the worker closes.
async fn exchange(worker: &Dataplane, stream: &[u8]) -> String {
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    // A worker that refuses early closes before all is written, which is no failure.
    drop(socket.write_all(stream).await);
    read_to_close(&mut socket).await
}

async fn read_to_close(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..count]);
        }
    });
    assert!(
        closed.await.is_ok(),
        "not closed; read so far: {}",
        String::from_utf8_lossy(&read)
    );
    String::from_utf8_lossy(&read).into_owned()
}

fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer[..3].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_ambiguous_gets_400_and_a_closed_connection_and_reaches_nobody() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    for stream in [
        // Length and framing.
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 5, 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: +5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 5x\r\n\r\nabcde",
        // Lines.
        "GET / HTTP/1.1\r\nHost: api\r\nX-Folded: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\nHost: api\n\n",
        "GET / HTTP/1.1\r\nHost: api\r\nX: a\nY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api\r\nX: a\rY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api\r\nX Y: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\n: api\r\nHost: api\r\n\r\n",
        // Hosts.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api\r\nHost: other\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api\r\nHost: api\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a pi\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@api\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api/x\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nHost: api\r\n\r\n",
        "GET http://api/ HTTP/1.1\r\nHost: other\r\n\r\n",
        // Request lines.
        "GET  / HTTP/1.1\r\nHost: api\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: api\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: api\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: api\r\n\r\n",
        "GET /\r\n\r\n",
        "CONNECT api:80 HTTP/1.1\r\nHost: api:80\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: api\r\n\r\n",
        "G\0T / HTTP/1.1\r\nHost: api\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 a TLS client hello\r\n\r\n",
    ] {
        let answers = exchange(&worker, stream.as_bytes()).await;
        assert_eq!(statuses(&answers), [400], "{stream:?} got {answers:?}");
        assert!(answers.to_lowercase().contains("connection: close") || answers.contains("content-length: 0"));
    }
    assert_eq!(provider.seen().len(), 0);
}

#[tokio::test]
async fn what_is_not_even_http_is_closed_without_a_word() {
    let worker = Dataplane::start([plan(&["http://127.0.0.1:1".to_owned()])]);
    for stream in [
        "INVALID CONNECTION PREFACE\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\nVia: a\r\n\r\n",
    ] {
        assert_eq!(exchange(&worker, stream.as_bytes()).await, "", "{stream:?}");
    }
    // Who speaks HTTP badly is told so.
    for stream in [
        "GET /a b HTTP/1.1\r\nHost: api\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        assert_eq!(
            statuses(&exchange(&worker, stream.as_bytes()).await),
            [400],
            "{stream:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_turns_out_to_be_ambiguous_is_refused_and_what_follows_it_is_no_request() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api\r\n\r\n";
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "0\r\nX: a\n\r\n",
    ] {
        let stream = format!("POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n{body}{smuggled}");
        let answers = exchange(&worker, stream.as_bytes()).await;
        assert_eq!(statuses(&answers), [400], "{body:?} got {answers:?}");
    }
    assert!(provider.seen().iter().all(|seen| seen.uri.path() != "/smuggled"));
    assert!(
        provider.seen().is_empty(),
        "a provider never sees the proper end of such a body"
    );
}

#[tokio::test]
async fn a_refusal_does_not_take_back_the_answers_before_it() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let good = "GET /good HTTP/1.1\r\nHost: api\r\n\r\n";
    let bad = "GET /bad HTTP/1.1\nHost: api\r\n\r\n";
    let answers = exchange(&worker, format!("{good}{good}{bad}{good}").as_bytes()).await;
    assert_eq!(statuses(&answers), [200, 200, 400]);
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn what_is_too_large_gets_a_4xx_and_reaches_nobody() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.limits.headers = 8 << 10;
    plan.limits.request_body = 1000;
    let worker = Dataplane::start([plan]);
    let long = "v".repeat(9 << 10);
    let huge = "v".repeat(1 << 20);
    let many = "X-Many: v\r\n".repeat(200);
    for (stream, status) in [
        (format!("GET / HTTP/1.1\r\nHost: api\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: api\r\nX: {huge}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: api\r\n{many}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: api\r\n\r\n"), 431),
        (
            "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 1001\r\n\r\n".to_owned() + &huge,
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 18446744073709551615\r\n\r\n".to_owned(),
            431,
        ),
    ] {
        let answers = exchange(&worker, stream.as_bytes()).await;
        assert_eq!(statuses(&answers), [status], "{}", &stream[..60]);
    }
    assert_eq!(provider.seen().len(), 0);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_at_the_limit_and_the_provider_never_sees_its_end() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.limits.request_body = 1000;
    let worker = Dataplane::start([plan]);
    let chunk = format!("{:x}\r\n{}\r\n", 600, "b".repeat(600));
    let stream = format!("POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let answers = exchange(&worker, stream.as_bytes()).await;
    assert_eq!(statuses(&answers), [413]);
    assert!(answers.contains("tidegate-error: request-too-large"), "{answers}");
    assert_eq!(provider.seen().len(), 0);
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_our_hop_and_cannot_take_the_credential_with_them() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.credentials = vec![crate::support::dataplane::api_key(1, "s3cret")];
    let worker = Dataplane::start([plan]);
    let stream = "GET / HTTP/1.1\r\nHost: api\r\nConnection: close, X-Api-Key, X-Once\r\nX-Once: 1\r\nX-API-KEY: mine\r\n\
                  x_api_key: mine\r\nUpgrade: websocket\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic x\r\n\
                  Proxy-Connection: close\r\nTE: gzip\r\nX-Stays: 1\r\n\r\n";
    assert_eq!(statuses(&exchange(&worker, stream.as_bytes()).await), [200]);
    let seen = &provider.seen()[0];
    assert_eq!(seen.header("x-api-key"), Some("s3cret"));
    assert_eq!(seen.header("x-stays"), Some("1"));
    let names = [
        "connection",
        "x-once",
        "x_api_key",
        "upgrade",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
    ];
    for name in names {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_is_closed() {
    // Time is stopped and jumps only when nothing else can happen, so what is waited for here are the worker's own timers.
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let head = "GET / HTTP/1.1\r\nHost: api\r\n";
    let done = "GET / HTTP/1.1\r\nHost: api\r\n\r\n";
    for (sent, what) in [
        ("", "no first byte"),
        ("P", "half a preface"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "no HTTP/2 settings"),
        (head, "half a head"),
        (done, "an idle connection"),
    ] {
        let start = tokio::time::Instant::now();
        let mut socket = TcpStream::connect(worker.address).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        drop(
            tokio::time::timeout(Duration::from_secs(300), socket.read_to_end(&mut read))
                .await
                .expect(what),
        );
        assert!(
            start.elapsed() <= Duration::from_secs(110),
            "{what} was closed after {:?}",
            start.elapsed()
        );
    }
}
