//! Hedging over real connections: who wins, and what becomes of the connection of who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use tidegate::domain::plan::{HedgePlan, Plan};

use crate::support::dataplane::{Dataplane, trusting};
use crate::support::provider::{Provider, Reply, eventually};

/// A provider that never answers the first request that it gets, and all others at once; with TLS, because that is where
/// HTTP/2 is.
async fn forgetful(http2: bool) -> (Provider, Plan) {
    let calls = Arc::new(AtomicUsize::new(0));
    let provider = Provider::start_tls(http2, move |_| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                Reply::Silence
            } else {
                Reply::from((200, "second"))
            }
        }
    })
    .await;
    let mut plan = trusting(&provider);
    plan.retries.hedge = Some(HedgePlan::After(Duration::from_millis(50)));
    (provider, plan)
}

#[tokio::test]
async fn the_second_attempt_answers_and_the_connection_of_the_first_is_closed() {
    let (provider, plan) = forgetful(false).await;
    let worker = Dataplane::start([plan]);
    let answer = worker.get("/").await;
    assert_eq!((answer.status().as_u16(), &**answer.body()), (200, &b"second"[..]));
    assert_eq!(answer.headers()["tidegate-attempts"], "2");
    assert_eq!(provider.connections(), 2);
    eventually("the end of the first connection", || provider.open() == 1).await;
    // The other is kept, and used.
    assert_eq!(worker.get("/").await.status(), 200);
    assert_eq!(provider.connections(), 2);
}

#[tokio::test]
async fn on_http2_the_stream_of_the_first_is_reset_and_the_connection_goes_on() {
    let (provider, plan) = forgetful(true).await;
    let worker = Dataplane::start([plan]);
    for attempts in ["2", "1", "1"] {
        let answer = worker.get("/").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["tidegate-attempts"], attempts);
    }
    assert_eq!((provider.connections(), provider.open()), (1, 1));
}

#[tokio::test]
async fn a_read_with_a_body_and_a_write_are_asked_once() {
    for (method, body) in [("GET", "with a body"), ("POST", "order"), ("POST", "")] {
        let (provider, mut plan) = forgetful(false).await;
        plan.timeouts.attempt = Duration::from_millis(300);
        plan.retries.limit = 1;
        let worker = Dataplane::start([plan]);
        let answer = worker.call(Request::builder().method(method).uri("/"), body).await;
        // The attempt that is not answered times out, and then what may be sent again is.
        let again = method == "GET";
        assert_eq!(answer.status(), if again { 200 } else { 504 }, "{method} {body}");
        assert_eq!(provider.seen().len(), 1 + usize::from(again));
    }
}
