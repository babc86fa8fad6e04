//! What is refused before anybody is asked.

use std::time::Duration;

use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SOON, graphql, post};
use crate::support::dataplane::{Dataplane, problem};
use crate::support::provider::Provider;

#[tokio::test]
async fn what_is_over_a_bound_or_has_two_meanings_reaches_nobody() {
    let provider = Provider::start(|_| async { 200 }).await;
    let worker = Dataplane::start([graphql(provider.url(""))]);
    let typed = |kind: &str| Request::post("/").header("content-type", kind);
    let by = |method: Method, uri: &str| Request::builder().method(method).uri(uri);
    let deep = "{a {b {c {d {e}}}}}";
    for (request, body, detail) in [
        (
            post("/"),
            format!(r#"{{"query": "query Deep {deep}"}}"#),
            "the operation `Deep` is 5 fields deep, and `graphql.maxDepth` is 4",
        ),
        (typed("application/graphql"), deep.to_owned(), "is 5 fields deep"),
        (
            typed("application/x-www-form-urlencoded"),
            format!("query={deep}"),
            "is 5 fields deep",
        ),
        (
            by(Method::GET, "/?query=%7Ba%7Bb%7Bc%7Bd%7Be%7D%7D%7D%7D%7D"),
            String::new(),
            "is 5 fields deep",
        ),
        (
            by(Method::HEAD, "/?query=%7Ba%7Bb%7Bc%7Bd%7Be%7D%7D%7D%7D%7D"),
            String::new(),
            "",
        ),
        (
            post("/"),
            r#"{"query": "{...F} fragment F on T {v: a w: a x: a y: a z: a}"}"#.to_owned(),
            "there are 5 aliases, and `graphql.maxAliases` is 4",
        ),
        (
            post("/"),
            format!("[{}]", [r#"{"query": "query Q {a}"}"#; 6].join(",")),
            "with the operation `Q` there are 5 aliases",
        ),
        (
            post("/"),
            r#"{"query": "{...F} fragment F on T {...F}"}"#.to_owned(),
            "the fragment `F` contains itself",
        ),
        (
            post("/"),
            r#"{"query": "{a}", "Query": "mutation {a}"}"#.to_owned(),
            "`query` must be there once",
        ),
        (post("/"), "[]".to_owned(), "the list of operations is empty"),
        (post("/"), r#"{"query": "{a"}"#.to_owned(), "the document is not one"),
        (post("/"), "query {a}".to_owned(), "must be a JSON object"),
        (
            post("/?query=%7Ba%7D"),
            r#"{"query": "{a}"}"#.to_owned(),
            "none in the URL",
        ),
        (by(Method::GET, "/?query=%7Ba%7D"), "{}".to_owned(), "and no body"),
        (by(Method::PUT, "/"), r#"{"query": "{a}"}"#.to_owned(), "by POST or GET"),
        (Request::post("/"), r#"{"query": "{a}"}"#.to_owned(), "application/json"),
        (
            typed("multipart/form-data; boundary=x"),
            "--x--".to_owned(),
            "for uploads make another Integration",
        ),
        (
            typed("application/json; charset=utf-16"),
            r#"{"query": "{a}"}"#.to_owned(),
            "in UTF-8",
        ),
        (
            post("/").header("content-type", "application/graphql"),
            r#"{"query": "{a}"}"#.to_owned(),
            "application/json",
        ),
        (
            post("/").header("content-encoding", "gzip"),
            r#"{"query": "{a}"}"#.to_owned(),
            "must not be compressed",
        ),
    ] {
        let response = worker.call(request, body.clone()).await;
        assert_eq!(
            (response.status().as_u16(), problem(&response)),
            (400, Some("invalid-request")),
            "{body}"
        );
        let told = String::from_utf8_lossy(response.body());
        assert!(told.contains(detail), "{body}: {told}");
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn a_body_is_read_within_its_bounds_before_anybody_is_asked() {
    let provider = Provider::start(|_| async { 200 }).await;
    let mut plan = graphql(provider.url(""));
    plan.limits.request_body = 100;
    plan.timeouts.idle = SOON;
    let worker = Dataplane::start([plan.clone()]);
    let head = |more: &str| format!("POST / HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n{more}\r\n\r\n");
    let large = format!(r#"{{"query": "{{a}}", "x": "{}"}}"#, "x".repeat(200));
    // It need not end to be too large.
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    for (sent, status) in [
        (head("Transfer-Encoding: chunked") + &chunk, 413),
        (head("Content-Length: 101"), 413),
        // The rest does not come.
        (head("Content-Length: 50") + r#"{"query": "#, 504),
        (head("Transfer-Encoding: chunked") + "5\r\n{\"que", 504),
    ] {
        assert_eq!(exchange(&worker, &sent).await, status, "{sent}");
    }
    // What is left of the whole request's time is a bound too.
    plan.timeouts.idle = Duration::from_secs(60);
    plan.timeouts.request = SOON;
    plan.timeouts.attempt = SOON;
    let worker = Dataplane::start([plan]);
    assert_eq!(exchange(&worker, &(head("Content-Length: 50") + "{")).await, 504);
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn there_is_a_bound_on_what_all_bodies_may_keep() {
    let provider = Provider::start(|_| async { 200 }).await;
    let mut plan = graphql(provider.url(""));
    plan.limits.request_body = 1 << 30;
    let worker = Dataplane::start([plan]);
    let head = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
    };
    assert_eq!(exchange(&worker, &head(80 << 20)).await, 503);
    // One that has its room, which it has when it is told to go on, keeps it from others, and gives it back when it goes.
    let mut first = TcpStream::connect(worker.address).await.unwrap();
    let asking = head(40 << 20).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    first.write_all(asking.as_bytes()).await.unwrap();
    let mut go_on = [0; 12];
    first.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    assert_eq!(exchange(&worker, &head(40 << 20)).await, 503);
    drop(first);
    let small = format!(r#"{{"query": "{{a}}", "x": "{}"}}"#, "x".repeat(1 << 20));
    let sent = head(small.len()) + &small;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let large = head(40 << 20).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    while exchange(&worker, &large).await != 100 {
        assert!(tokio::time::Instant::now() < deadline, "the room never comes back");
    }
    while exchange(&worker, &sent).await != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the room never comes back");
    }
}

/// Writes `sent`; the status of what comes back, or 0 if nothing does in a while.
async fn exchange(worker: &Dataplane, sent: &str) -> u16 {
    let mut socket = TcpStream::connect(worker.address).await.unwrap();
    // A worker that refuses early closes before all is written, which is no failure.
    drop(socket.write_all(sent.as_bytes()).await);
    let mut head = [0; 12];
    match tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut head)).await {
        Ok(Ok(_)) => std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(),
        _ => 0,
    }
}
