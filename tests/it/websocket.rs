//! `protocol: WebSocket`: handshakes, frames both ways, and how connections end.

use std::time::Duration;

use tidegate::api::integration::{CircuitState, Health};
use tidegate::domain::key::Key;
use tidegate::domain::plan::ProbePlan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::dataplane::{Dataplane, api_key};
use crate::support::provider::{Provider, answer, eventually, read_head, write};

use peer::{ACCEPTED, BINARY, CLOSE, PING, PONG, Peer, TEXT, accepting, handshake, open, pair, pair_with, websocket};

mod ecosystem;
mod hostile;
mod peer;

/// Sends this and reads the whole answer.
async fn ask(worker: &Dataplane, head: &str) -> String {
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64 << 10];
    let mut length = 0;
    let read = async {
        while !String::from_utf8_lossy(&answer[..length]).contains("\r\n\r\n") {
            match socket.read(&mut answer[length..]).await {
                Ok(count @ 1..) => length += count,
                _ => break,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("an answer");
    String::from_utf8_lossy(&answer[..length]).to_lowercase()
}

#[tokio::test]
async fn a_handshake_reaches_the_provider_with_the_credential_and_frames_flow_both_ways() {
    let mut pair = pair_with(
        "X-Api-Key: mine\r\nSec-WebSocket-Protocol: chat, news\r\nSec-WebSocket-Extensions: x-mux\r\nCookie: a=b\r\n",
        "Sec-WebSocket-Protocol: news\r\n",
        |plan| plan.credentials = vec![api_key(1, "s3cret")],
    )
    .await;
    let asked = pair.asked.to_lowercase();
    assert!(asked.starts_with("get /v1/feed?a=1 http/1.1"), "{asked}");
    for line in [
        "x-api-key: s3cret",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: dghlihnhbxbszsbub25jzq==",
        "sec-websocket-protocol: chat, news",
        "cookie: a=b",
    ] {
        assert_eq!(asked.matches(line).count(), 1, "{line} in {asked}");
    }
    assert!(!asked.contains("mine") && !asked.contains("x-mux"), "{asked}");
    let answer = pair.answer.to_lowercase();
    for line in [
        "sec-websocket-protocol: news",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "tidegate-endpoint: e0",
        "tidegate-attempts: 1",
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    let long = vec![7; 300_000];
    for (first, payload) in [
        (TEXT, &b"hello"[..]),
        (BINARY, b""),
        (BINARY, &long),
        (PING, b"?"),
        (PONG, b"!"),
    ] {
        let (sent, got) = tokio::join!(pair.caller.send(first, payload), pair.end.read());
        assert_eq!((sent, got), ((), Some((first, payload.to_vec()))));
        let (sent, got) = tokio::join!(pair.end.send(first, payload), pair.caller.read());
        assert_eq!((sent, got), ((), Some((first, payload.to_vec()))));
    }
    // Fragments, with a ping between them.
    for (first, payload) in [(0x01, "frag"), (PING, "now?"), (0x00, "men"), (0x80, "ted")] {
        pair.caller.send(first, payload.as_bytes()).await;
        assert_eq!(pair.end.read().await, Some((first, payload.as_bytes().to_vec())));
    }
}

#[tokio::test]
async fn compressed_frames_pass_where_both_sides_agreed() {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut pair = pair_with(offer, "Sec-WebSocket-Extensions: permessage-deflate\r\n", |_| {}).await;
    assert!(
        pair.answer.to_lowercase().contains("permessage-deflate"),
        "{}",
        pair.answer
    );
    pair.caller.send(0xc1, b"not looked into").await;
    assert_eq!(pair.end.read().await, Some((0xc1, b"not looked into".to_vec())));
    pair.end.send(0xc2, b"nor here").await;
    assert_eq!(pair.caller.read().await, Some((0xc2, b"nor here".to_vec())));
}

#[tokio::test]
async fn a_close_passes_both_ways_with_its_code_and_reason() {
    for (code, from_caller) in [(1000, true), (4321, true), (1000, false), (1012, false)] {
        let mut pair = pair(|_| {}).await;
        let (first, second) = if from_caller {
            (&mut pair.caller, &mut pair.end)
        } else {
            (&mut pair.end, &mut pair.caller)
        };
        let payload = [&u16::to_be_bytes(code)[..], b"bye"].concat();
        first.send(CLOSE, &payload).await;
        assert_eq!(second.read().await, Some((CLOSE, payload.clone())));
        // What is on its way still arrives before the answer.
        second.send(TEXT, b"last words").await;
        second.send(CLOSE, &payload).await;
        assert_eq!(first.read().await, Some((TEXT, b"last words".to_vec())));
        assert_eq!(first.read().await, Some((CLOSE, payload)));
        assert_eq!((first.read().await, second.read().await), (None, None));
    }
}

#[tokio::test]
async fn a_side_that_goes_away_without_a_close_is_told_of_to_the_other() {
    let mut one = pair(|_| {}).await;
    drop(one.end.socket);
    assert_eq!(one.caller.closed().await, 1011);
    let mut other = pair(|_| {}).await;
    drop(other.caller.socket);
    assert_eq!(other.end.closed().await, 1001);
}

#[tokio::test]
async fn a_side_that_goes_in_the_middle_of_a_frame_leaves_no_frame_that_looks_whole() {
    let mut pair = pair(|_| {}).await;
    let frame = pair.end.frame(BINARY, &[7; 1000]);
    pair.end.socket.write_all(&frame[..500]).await.unwrap();
    let mut begun = [0; 500];
    pair.caller.socket.read_exact(&mut begun).await.unwrap();
    drop(pair.end.socket);
    assert_eq!(pair.caller.socket.read(&mut begun).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn an_open_connection_is_in_flight_and_is_counted_when_it_ends() {
    let (provider, mut opened) = accepting("").await;
    let mut plan = websocket(provider.url(""));
    plan.integration = Key::new("seen", "connections");
    let worker = Dataplane::start([plan]);
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    let head = handshake("").replace("Host: api", "Host: connections.seen");
    socket.write_all(head.as_bytes()).await.unwrap();
    read_head(&mut socket).await;
    let (mut caller, (mut end, _)) = (Peer::caller(socket), opened.recv().await.unwrap());
    let value = |name: &str, outcome: Option<&str>| {
        let families = prometheus::gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let ours = family.get_metric().iter().find(|metric| {
            let has = |name: &str, value: &str| {
                let mut labels = metric.get_label().iter();
                labels.any(|label| label.name() == name && label.value() == value)
            };
            has("integration", "connections")
                && outcome.is_none_or(|outcome| has("outcome", outcome) && has("code_class", "1xx"))
        })?;
        Some(match outcome {
            None => ours.get_gauge().get_value().to_string(),
            Some(_) => ours.get_counter().get_value().to_string(),
        })
    };
    assert_eq!(value("tidegate_in_flight", None), Some("1".to_owned()));
    assert_eq!(value("tidegate_requests_total", Some("answered")), None);
    caller.close(1000).await;
    end.closed().await;
    end.close(1000).await;
    assert_eq!(caller.closed().await, 1000);
    drop((caller, end));
    eventually("the count", || {
        value("tidegate_requests_total", Some("answered")) == Some("1".to_owned())
    })
    .await;
    assert_eq!(value("tidegate_in_flight", None), Some("0".to_owned()));
}

#[tokio::test]
async fn a_refused_handshake_is_passed_on_as_it_is() {
    let provider = Provider::start(|_| async { answer(403, "not you") }).await;
    let worker = Dataplane::start([websocket(provider.url(""))]);
    let answer = ask(&worker, &handshake("")).await;
    assert!(answer.starts_with("http/1.1 403 "), "{answer}");
    assert!(!answer.contains("tidegate-error"), "{answer}");
    assert!(provider.seen()[0].header("upgrade").is_some());
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_and_never_reaches_the_provider() {
    let (provider, _more) = accepting("").await;
    let worker = Dataplane::start([websocket(provider.url(""))]);
    let good = handshake("");
    for bad in [
        good.replace("Upgrade: websocket\r\n", ""),
        good.replace("Connection: Upgrade\r\n", ""),
        good.replace("Version: 13", "Version: 8"),
        good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        good.replace("GET", "POST"),
        handshake("Content-Length: 2\r\n") + "{}",
        handshake("Origin: https://evil.example\r\n"),
        handshake("Origin: null\r\n"),
    ] {
        let answer = ask(&worker, &bad).await;
        assert!(answer.starts_with("http/1.1 400 "), "{bad}{answer}");
        assert!(answer.contains("tidegate-error: invalid-request"), "{answer}");
        assert!(answer.contains("sec-websocket-version: 13"), "{answer}");
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn the_origin_of_the_callers_own_host_is_let_in_and_not_passed_on() {
    let pair = pair_with("Origin: http://api\r\n", "", |_| {}).await;
    assert!(!pair.asked.to_lowercase().contains("origin"), "{}", pair.asked);
}

#[tokio::test]
async fn a_101_that_does_not_fit_the_handshake_is_no_connection() {
    for says in [
        ACCEPTED.replace("s3pP", "s3pQ"),
        ACCEPTED.replace("websocket", "h2c"),
        format!("{ACCEPTED}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
    ] {
        let provider = Provider::raw(move |mut socket, _| {
            let says = says.clone();
            async move {
                read_head(&mut socket).await;
                write(&mut socket, &format!("{says}\r\n")).await;
                drop(socket.read(&mut [0]).await);
            }
        })
        .await;
        let worker = Dataplane::start([websocket(provider.url(""))]);
        let answer = ask(&worker, &handshake("")).await;
        assert!(answer.contains("tidegate-error: upstream-protocol"), "{answer}");
    }
}

#[tokio::test]
async fn handshakes_are_retried_and_only_they_count_for_the_breaker() {
    let (ends, mut opened) = tokio::sync::mpsc::unbounded_channel();
    let provider = Provider::raw(move |mut socket, number| {
        let ends = ends.clone();
        async move {
            read_head(&mut socket).await;
            if number < 2 {
                write(
                    &mut socket,
                    "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await;
            } else {
                write(&mut socket, &format!("{ACCEPTED}\r\n")).await;
                drop(ends.send(Peer::provider(socket)));
            }
        }
    })
    .await;
    let mut plan = websocket(provider.url(""));
    plan.breaker.consecutive_failures = 3;
    let worker = Dataplane::start([plan]);
    let (mut caller, answer) = open(&worker, "").await;
    assert!(answer.to_lowercase().contains("tidegate-attempts: 3"), "{answer}");
    // Connections that break later say nothing of handshakes.
    drop(opened.recv().await);
    assert_eq!(caller.closed().await, 1011);
    for _ in 0..5 {
        let (mut caller, _) = open(&worker, "").await;
        drop(opened.recv().await);
        assert_eq!(caller.closed().await, 1011);
    }
    worker
        .endpoint(|endpoint| endpoint.circuit.state == CircuitState::Closed && endpoint.health == Health::Healthy)
        .await;
}

#[tokio::test]
async fn handshakes_that_fail_open_the_circuit() {
    let provider = Provider::start(|_| async { answer(500, "") }).await;
    let mut plan = websocket(provider.url(""));
    plan.retries.limit = 0;
    plan.breaker.consecutive_failures = 2;
    let worker = Dataplane::start([plan]);
    for _ in 0..2 {
        assert!(ask(&worker, &handshake("")).await.starts_with("http/1.1 500 "));
    }
    let answer = ask(&worker, &handshake("")).await;
    assert!(answer.contains("tidegate-error: circuit-open"), "{answer}");
}

#[tokio::test]
async fn a_handshake_that_is_not_answered_times_out() {
    let provider = Provider::raw(|mut socket, _| async move {
        read_head(&mut socket).await;
        drop(socket.read(&mut [0]).await);
    })
    .await;
    let mut plan = websocket(provider.url(""));
    plan.retries.limit = 0;
    plan.timeouts.attempt = Duration::from_millis(100);
    let worker = Dataplane::start([plan]);
    let answer = ask(&worker, &handshake("")).await;
    assert!(answer.contains("tidegate-error: request-timeout"), "{answer}");
}

#[tokio::test]
async fn open_connections_are_what_max_in_flight_counts() {
    let mut pair = pair(|plan| {
        plan.concurrency.max_in_flight = 1;
        plan.concurrency.max_pending = 0;
    })
    .await;
    let answer = ask(&pair.worker, &handshake("")).await;
    assert!(answer.contains("tidegate-error: overloaded"), "{answer}");
    pair.caller.close(1000).await;
    pair.end.closed().await;
    pair.end.close(1000).await;
    assert_eq!(pair.caller.closed().await, 1000);
    drop((pair.caller, pair.end));
    let next = async { while !ask(&pair.worker, &handshake("")).await.starts_with("http/1.1 101") {} };
    let next = tokio::time::timeout(Duration::from_secs(10), next).await;
    next.expect("the place is free again");
}

#[tokio::test]
async fn an_idle_side_is_pinged_and_lives_as_long_as_it_answers() {
    let mut pair = pair(|plan| plan.timeouts.idle = Duration::from_secs(1)).await;
    let mut pinged = (0, 0);
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let (end, answered, count) = tokio::select! {
            frame = pair.caller.read() => (&mut pair.caller, frame, &mut pinged.0),
            frame = pair.end.read() => (&mut pair.end, frame, &mut pinged.1),
        };
        // A pong that answers us is for nobody else.
        let Some((PING, payload)) = answered else {
            panic!("{answered:?}")
        };
        *count += 1;
        end.send(PONG, &payload).await;
    }
    assert!(pinged.0 >= 2 && pinged.1 >= 2, "{pinged:?}");
    pair.caller.send(TEXT, b"still here").await;
    assert!(matches!(pair.end.read().await, Some((TEXT | PING, _))));
}

#[tokio::test]
async fn a_side_that_is_dead_is_found_and_the_other_told() {
    for provider_is_dead in [true, false] {
        let mut pair = pair(|plan| plan.timeouts.idle = Duration::from_secs(1)).await;
        // Half open: its socket is there, and nobody behind it.
        let (alive, expected) = if provider_is_dead {
            (&mut pair.caller, 1011)
        } else {
            (&mut pair.end, 1001)
        };
        let told = async {
            loop {
                match alive.read().await {
                    Some((PING, payload)) => alive.send(PONG, &payload).await,
                    Some((CLOSE, payload)) => break u16::from_be_bytes(*payload.first_chunk().unwrap()),
                    other => panic!("{other:?}"),
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        assert_eq!(told.expect("the dead side is found"), expected);
    }
}

#[tokio::test]
async fn a_worker_that_stops_closes_both_sides_as_going_away() {
    let mut pair = pair(|_| {}).await;
    pair.worker.stop.cancel();
    let (caller, end) = tokio::join!(pair.caller.closed(), pair.end.closed());
    assert_eq!((caller, end), (1001, 1001));
    pair.caller.close(1001).await;
    pair.end.close(1001).await;
    eventually("the worker's end", || pair.worker.task.is_finished()).await;
}

#[tokio::test]
async fn sides_that_do_not_answer_a_close_do_not_hold_up_the_worker() {
    let pair = pair(|_| {}).await;
    pair.worker.stop.cancel();
    eventually("the worker's end", || pair.worker.task.is_finished()).await;
    drop(pair.caller);
}

#[tokio::test]
async fn a_newer_value_leaves_connections_alone_and_a_withdrawn_one_ends_them() {
    let mut pair = pair(|plan| plan.credentials = vec![api_key(1, "s3cret")]).await;
    let mut next = websocket(pair.provider.url("/v1"));
    next.credentials = vec![api_key(2, "newer")];
    next.revision = 2;
    pair.worker.adopt(next.clone()).await;
    pair.caller.send(TEXT, b"on").await;
    assert_eq!(pair.end.read().await, Some((TEXT, b"on".to_vec())));
    let (mut newer, _) = open(&pair.worker, "").await;
    let (_end, asked) = pair.more.recv().await.unwrap();
    assert!(asked.contains("newer"), "{asked}");
    next.credentials[0].material = None;
    next.revision = 3;
    pair.worker.adopt(next).await;
    assert_eq!(pair.caller.closed().await, 1008);
    assert_eq!(pair.end.closed().await, 1001);
    assert_eq!(newer.closed().await, 1008);
}

#[tokio::test]
async fn a_plan_that_leads_elsewhere_moves_connections_and_another_does_not() {
    let mut pair = pair(|_| {}).await;
    let mut next = websocket(pair.provider.url("/v1"));
    next.revision = 2;
    next.concurrency.max_in_flight = 3;
    pair.worker.adopt(next.clone()).await;
    pair.caller.send(TEXT, b"on").await;
    assert_eq!(pair.end.read().await, Some((TEXT, b"on".to_vec())));
    let (other, _more) = accepting("").await;
    next.endpoints[0].url = other.url("");
    next.revision = 3;
    pair.worker.adopt(next).await;
    assert_eq!((pair.caller.closed().await, pair.end.closed().await), (1001, 1001));
}

#[tokio::test]
async fn an_integration_that_is_gone_takes_its_connections_with_it() {
    let mut pair = pair(|_| {}).await;
    pair.worker.serve([]);
    assert_eq!((pair.caller.closed().await, pair.end.closed().await), (1001, 1001));
}

#[tokio::test]
async fn a_probe_is_a_handshake_with_the_credential_that_closes_what_it_opened() {
    let (provider, mut opened) = accepting("").await;
    let mut plan = websocket(provider.url("/v1"));
    plan.credentials = vec![api_key(1, "s3cret")];
    plan.health_check = Some(probes());
    let worker = Dataplane::start([plan]);
    let (mut end, asked) = opened.recv().await.unwrap();
    assert!(asked.starts_with("GET /v1/feed HTTP/1.1"), "{asked}");
    assert!(asked.contains("x-api-key: s3cret"), "{asked}");
    assert_eq!(end.closed().await, 1000);
    worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
}

#[tokio::test]
async fn a_probe_finds_out_that_nobody_speaks_websocket() {
    for says in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // To another key.
        format!("{ACCEPTED}\r\n"),
    ] {
        let provider = Provider::raw(move |mut socket, _| {
            let says = says.clone();
            async move {
                read_head(&mut socket).await;
                write(&mut socket, &says).await;
                drop(socket.read(&mut [0]).await);
            }
        })
        .await;
        let mut plan = websocket(provider.url(""));
        plan.health_check = Some(probes());
        let worker = Dataplane::start([plan]);
        worker.endpoint(|endpoint| endpoint.health == Health::Unhealthy).await;
    }
}

fn probes() -> ProbePlan {
    ProbePlan {
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(2),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        path: "/feed".to_owned(),
        method: "GET".to_owned(),
        use_credential: true,
        statuses: vec![(101, 101)],
        expression: None,
        service: String::new(),
    }
}
