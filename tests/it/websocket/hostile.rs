//! Peers that mean no good, or cannot help it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::peer::{BINARY, PING, PONG, Peer, TEXT, accepting, handshake, pair};
use crate::support::program::Program;
use crate::support::provider::{eventually, read_head};

/// More memory than this an attack must not take: what is there for caches of the allocator and for 16 connections.
const MOST: u64 = 16 << 20;

#[tokio::test]
async fn whoever_breaks_the_protocol_is_told_so_and_the_other_side_is_let_go() {
    for bytes in [
        // Masked by the provider, not masked by the caller: each writes as the other should.
        None,
        Some(vec![0xc1, 0x00]),
        Some(vec![0x83, 0x00]),
        Some(vec![0x80, 0x00]),
        Some(vec![0x09, 0x00]),
        Some(vec![0x82, 0x7e, 0x00, 0x05]),
    ] {
        for by_caller in [true, false] {
            let mut pair = pair(|_| {}).await;
            let wrong = match &bytes {
                None if by_caller => pair.end.frame(TEXT, b"x"),
                None => pair.caller.frame(TEXT, b"x"),
                Some(bytes) => {
                    let mut bytes = bytes.clone();
                    if by_caller {
                        bytes[1] |= 0x80;
                        bytes.extend([1, 2, 3, 4]);
                    }
                    bytes
                }
            };
            let (bad, good, told) = if by_caller {
                (&mut pair.caller, &mut pair.end, 1001)
            } else {
                (&mut pair.end, &mut pair.caller, 1011)
            };
            // What is good before it arrives.
            bad.send(TEXT, b"good").await;
            assert_eq!(good.read().await, Some((TEXT, b"good".to_vec())));
            bad.socket.write_all(&wrong).await.unwrap();
            assert_eq!((bad.closed().await, good.closed().await), (1002, told), "{wrong:02x?}");
        }
    }
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_when_they_are_announced() {
    let mut pair = pair(|_| {}).await;
    let mut head = vec![BINARY, 0xff];
    head.extend(100_000_000_u64.to_be_bytes());
    head.extend([1, 2, 3, 4]);
    pair.caller.socket.write_all(&head).await.unwrap();
    assert_eq!((pair.caller.closed().await, pair.end.closed().await), (1009, 1001));
}

#[tokio::test]
async fn each_way_has_a_limit_of_its_own_and_a_message_at_it_passes() {
    let mut pair = pair(|plan| {
        plan.limits.request_body = 1000;
        plan.limits.response_body = 2000;
    })
    .await;
    pair.caller.send(BINARY, &[1; 1000]).await;
    assert_eq!(pair.end.read().await, Some((BINARY, vec![1; 1000])));
    pair.end.send(BINARY, &[2; 2000]).await;
    assert_eq!(pair.caller.read().await, Some((BINARY, vec![2; 2000])));
    pair.end.send(BINARY, &[2; 2001]).await;
    assert_eq!((pair.end.closed().await, pair.caller.closed().await), (1009, 1011));
}

#[tokio::test]
async fn a_million_fragments_are_a_message_that_is_too_large_and_cost_no_memory() {
    let mut pair = pair(|plan| plan.limits.request_body = 1 << 20).await;
    let (first, next) = (pair.caller.frame(0x02, b""), pair.caller.frame(0x00, b""));
    let (mut reader, mut writer) = pair.caller.socket.into_split();
    let flood = async {
        writer.write_all(&first).await.ok()?;
        let thousand = next.repeat(1000);
        for _ in 0..1000 {
            writer.write_all(&thousand).await.ok()?;
        }
        Some(())
    };
    let told = async {
        let mut frame = [0; 4];
        reader.read_exact(&mut frame).await.map(|_| frame)
    };
    let (code, count) = tokio::join!(async { tokio::join!(flood, told).1 }, async {
        let mut count = 0_u32;
        while let Some((0x00 | 0x02, _)) = pair.end.read().await {
            count += 1;
        }
        count
    });
    // The limit in bytes, of which each fragment costs the six of its head.
    assert!((170_000..180_000).contains(&count), "{count}");
    assert_eq!(
        code.ok().map(|frame| u16::from_be_bytes([frame[2], frame[3]])),
        Some(1009)
    );
}

#[tokio::test]
async fn frames_sent_before_the_handshake_is_answered_are_not_lost() {
    let (provider, mut opened) = accepting("").await;
    let worker = crate::support::dataplane::Dataplane::start([super::peer::websocket(provider.url(""))]);
    let socket = TcpStream::connect(worker.address).await.unwrap();
    let mut caller = Peer::caller(socket);
    let early = [handshake("").into_bytes(), caller.frame(TEXT, b"early")].concat();
    caller.socket.write_all(&early).await.unwrap();
    // Either it is taken for what it is, or the connection ends; it is never a request.
    let head = read_head(&mut caller.socket).await;
    if head.starts_with("HTTP/1.1 101") {
        let (mut end, _) = opened.recv().await.unwrap();
        let first = end.read().await;
        assert!(matches!(first, Some((TEXT, _)) | None), "{first:?}");
    }
    assert_eq!(provider.connections(), 1);
}

/// The program in front of a provider of this test, with WebSocket connections that are idle for a second at most.
async fn program(url: &str) -> Program {
    let manifest = format!(
        "apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {{name: api, namespace: shop}}
spec:
  protocol: WebSocket
  endpoints: [{{name: primary, url: '{url}'}}]
  timeouts: {{idle: 3s}}
"
    );
    let program = Program::with_files(&[("api.yaml", &manifest)], "error").await;
    program.ready().await;
    program
}

async fn open(program: &Program) -> Peer {
    let mut socket = TcpStream::connect(program.listen).await.unwrap();
    socket.write_all(handshake("").as_bytes()).await.unwrap();
    let answer = read_head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    Peer::caller(socket)
}

#[tokio::test]
async fn sides_that_do_not_read_are_closed_and_cost_no_memory() {
    let (provider, mut opened) = accepting("").await;
    let program = program(&provider.url("")).await;
    // Once before it is measured: what the first connection brings stays.
    drop(open(&program).await);
    drop(opened.recv().await);
    let before = program.resident();
    let (mut silent, mut writing) = (Vec::new(), Vec::new());
    for number in 0..16 {
        let caller = open(&program).await;
        let (end, _) = opened.recv().await.unwrap();
        let (sender, deaf) = if number % 2 == 0 { (end, caller) } else { (caller, end) };
        // A side that floods with data, or with pings; the other never reads.
        let frame = if number % 4 < 2 {
            sender.frame(BINARY, &vec![7; 60_000])
        } else {
            sender.frame(PING, &[7; 125]).repeat(500)
        };
        silent.push(deaf);
        writing.push(tokio::spawn(async move {
            let mut sender = sender;
            let mut written = 0_usize;
            // Until the worker has had enough; then its Close can be read, or the connection is gone.
            while let Ok(Ok(())) = timeout(Duration::from_secs(60), sender.socket.write_all(&frame)).await {
                written += frame.len();
            }
            written
        }));
    }
    let mut most = 0;
    eventually("the end of all that write", || {
        most = most.max(program.resident());
        writing.iter().all(tokio::task::JoinHandle::is_finished)
    })
    .await;
    assert!(
        most.saturating_sub(before) <= MOST,
        "{} KiB more",
        (most - before) >> 10
    );
    drop(silent);
    // And it serves on.
    let mut caller = open(&program).await;
    let (mut end, _) = opened.recv().await.unwrap();
    caller.send(TEXT, b"good").await;
    assert_eq!(end.read().await, Some((TEXT, b"good".to_vec())));
}

#[tokio::test]
async fn floods_that_are_read_pass_and_cost_no_memory() {
    let (provider, mut opened) = accepting("").await;
    let program = program(&provider.url("")).await;
    drop(open(&program).await);
    drop(opened.recv().await);
    let before = program.resident();
    let caller = open(&program).await;
    let (mut end, _) = opened.recv().await.unwrap();
    let thousand = [caller.frame(PING, b"?"), caller.frame(PONG, b"!")]
        .concat()
        .repeat(500);
    let (_reader, mut writer) = caller.socket.into_split();
    let flood = async {
        for _ in 0..100 {
            writer.write_all(&thousand).await.unwrap();
        }
    };
    let read = async {
        for number in 0..100_000 {
            let expected = if number % 2 == 0 { (PING, b"?") } else { (PONG, b"!") };
            assert_eq!(end.read().await, Some((expected.0, expected.1.to_vec())));
        }
    };
    tokio::join!(flood, read);
    let grown = program.resident().saturating_sub(before);
    assert!(grown <= MOST, "{} KiB more", grown >> 10);
}
