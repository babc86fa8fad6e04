//! More callers' connections than a worker takes: the rest wait, those that are served do not notice, and every place
//! comes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, answer, eventually};

const MOST: usize = 8;

fn small(plans: impl IntoIterator<Item = tidegate::domain::plan::Plan>) -> Arc<Dataplane> {
    Arc::new(Dataplane::start_with(plans, |settings| settings.connections = MOST))
}

#[tokio::test]
async fn callers_beyond_the_bound_wait_for_those_before_them_and_are_all_served() {
    let leave = Arc::new(Semaphore::new(0));
    let held = leave.clone();
    let provider = Provider::start(move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            answer(200, "")
        }
    })
    .await;
    let worker = small([plan(&[provider.url("")])]);
    let mut calls = JoinSet::new();
    for _ in 0..3 * MOST {
        let worker = worker.clone();
        calls.spawn(async move { worker.get("/").await.status() });
    }
    eventually("as many calls as there are places", || provider.seen().len() == MOST).await;
    for done in 1..=2 * MOST {
        // One leaves, so one comes in, and no more than one.
        leave.add_permits(1);
        assert_eq!(calls.join_next().await.unwrap().unwrap(), 200);
        eventually("the next call", || provider.seen().len() == MOST + done).await;
    }
    leave.add_permits(MOST);
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(provider.seen().len(), 3 * MOST);
    // Every place is free again: as many at once as in the beginning.
    for _ in 0..MOST {
        let worker = worker.clone();
        calls.spawn(async move { worker.get("/").await.status() });
    }
    eventually("as many calls as there are places, again", || {
        provider.seen().len() == 4 * MOST
    })
    .await;
    leave.add_permits(MOST);
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

/// Time is stopped and jumps only when nothing else can happen.
#[tokio::test(start_paused = true)]
async fn connections_with_nothing_under_way_do_not_keep_callers_out() {
    let provider = Provider::start(|_| async { answer(200, "") }).await;
    for (sent, what, most) in [
        ("GET / HTTP/1.1\r\nHost: api\r\n\r\n", "an idle connection", 3),
        ("", "no first byte", 11),
        ("GET / HTT", "half a head", 11),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "no HTTP/2 settings", 11),
    ] {
        let worker = small([plan(&[provider.url("")])]);
        let mut idle = Vec::new();
        for _ in 0..MOST {
            let mut socket = TcpStream::connect(worker.address).await.unwrap();
            socket.write_all(sent.as_bytes()).await.unwrap();
            if sent.ends_with("\r\n\r\n") && sent.starts_with("GET") {
                socket.read_exact(&mut [0; 12]).await.unwrap();
            }
            idle.push(socket);
        }
        let start = tokio::time::Instant::now();
        assert_eq!(worker.get("/").await.status(), 200, "{what}");
        let waited = start.elapsed();
        assert!(waited <= Duration::from_secs(most), "{what}: waited {waited:?}");
    }
}
