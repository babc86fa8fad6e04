//! Another try: when, how often, and above all when not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use tidegate::api::integration::{IdempotencyKey, RetryMethods};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::dataplane::{Dataplane, plan, problem};
use crate::support::provider::{Provider, Reply, answer, eventually, read_head, write};

/// A provider that fails `failures` times with `failure` and then answers 200.
async fn failing(failures: usize, failure: impl Fn() -> Reply + Send + Sync + 'static) -> Provider {
    let calls = Arc::new(AtomicUsize::new(0));
    Provider::start(move |_| {
        let reply = if calls.fetch_add(1, Ordering::SeqCst) < failures {
            failure()
        } else {
            Reply::from((200, "good"))
        };
        async move { reply }
    })
    .await
}

#[tokio::test]
async fn only_what_may_arrive_twice_is_sent_twice() {
    let failures: [fn() -> Reply; 2] = [|| Reply::from(503), || Reply::Hangup];
    for failure in failures {
        for (method, key, methods, attempts) in [
            ("GET", false, RetryMethods::Idempotent, 2),
            ("HEAD", false, RetryMethods::Idempotent, 2),
            ("OPTIONS", false, RetryMethods::Idempotent, 2),
            ("PUT", false, RetryMethods::Idempotent, 2),
            ("DELETE", false, RetryMethods::Idempotent, 2),
            ("POST", false, RetryMethods::Idempotent, 1),
            ("PATCH", false, RetryMethods::Idempotent, 1),
            ("POST", true, RetryMethods::Idempotent, 2),
            ("POST", false, RetryMethods::All, 2),
        ] {
            let provider = failing(1, failure).await;
            let mut plan = plan(&[provider.url("")]);
            plan.retries.methods = methods;
            let worker = Dataplane::start([plan]);
            let mut request = Request::builder().method(method).uri("/");
            if key {
                request = request.header("idempotency-key", "once");
            }
            let response = worker.call(request, "body").await;
            assert_eq!(
                response.status().is_success(),
                attempts == 2,
                "{method} {key} {methods:?}"
            );
            let seen = provider.seen();
            assert_eq!(seen.len(), attempts, "{method} {key} {methods:?}");
            assert!(
                seen.iter().all(|seen| seen.body == "body"),
                "each attempt carries the whole body"
            );
            if key {
                assert!(seen.iter().all(|seen| seen.header("idempotency-key") == Some("once")));
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_was_never_sent_may_try_another_endpoint_whatever_its_method() {
    let provider = failing(0, || Reply::from(500)).await;
    // Nobody listens there: the port was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut plan = plan(&[format!("http://{closed}"), provider.url("")]);
    plan.endpoints[1].priority = 1;
    let worker = Dataplane::start([plan]);
    // The first endpoint has the better priority, so it is always tried first while its circuit is closed.
    for _ in 0..3 {
        let response = worker.call(Request::post("/"), "order").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["tidegate-attempts"], "2");
        assert_eq!(response.headers()["tidegate-endpoint"], "e1");
    }
    assert_eq!(provider.seen().len(), 3);
}

#[tokio::test]
async fn a_connection_that_the_provider_closed_while_idle_costs_a_post_nothing() {
    // Each connection answers one request and closes, without saying so in the answer.
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = posts.clone();
    let provider = Provider::raw(move |mut socket, _| {
        let posts = counted.clone();
        async move {
            if read_head(&mut socket).await.starts_with("POST") {
                posts.fetch_add(1, Ordering::SeqCst);
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                // This ends when the worker has seen the close and closed its own side.
                drop(socket.shutdown().await);
                drop(socket.read_to_end(&mut Vec::new()).await);
            }
        }
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    for sent in 1..=20 {
        let request = Request::post("/").header("content-length", "0");
        assert_eq!(worker.call(request, "").await.status(), 200);
        assert_eq!(posts.load(Ordering::SeqCst), sent);
        eventually("the end of the connection", || provider.open() == 0).await;
    }
}

#[tokio::test]
async fn a_connection_that_closes_at_the_worst_moment_never_makes_a_post_arrive_twice() {
    // Each connection answers one request; of the next it reads the head, which is to say that the provider may have
    // acted on it, and closes without an answer.
    for (method, status, arrivals) in [("POST", 502, 2), ("GET", 200, 3)] {
        let arrived = Arc::new(AtomicUsize::new(0));
        let counted = arrived.clone();
        let provider = Provider::raw(move |mut socket, _| {
            let arrived = counted.clone();
            async move {
                read_head(&mut socket).await;
                arrived.fetch_add(1, Ordering::SeqCst);
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                if !read_head(&mut socket).await.is_empty() {
                    arrived.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .await;
        let worker = Dataplane::start([plan(&[provider.url("")])]);
        let request = || Request::builder().method(method).uri("/").header("content-length", "0");
        assert_eq!(worker.call(request(), "").await.status(), 200);
        let second = worker.call(request(), "").await;
        assert_eq!(second.status(), status, "{method}");
        if status == 502 {
            assert_eq!(problem(&second), Some("upstream-unreachable"));
        }
        assert_eq!(arrived.load(Ordering::SeqCst), arrivals, "{method}");
    }
}

#[tokio::test]
async fn a_post_that_meets_a_close_arrives_at_most_once_whenever_the_close_comes() {
    // The provider closes each connection a while after its first answer: just before, while and just after the next
    // request is on its way.
    let arrived: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = arrived.clone();
    let provider = Provider::raw(move |mut socket, number| {
        let arrived = noted.clone();
        async move {
            let head = read_head(&mut socket).await;
            arrived
                .lock()
                .unwrap()
                .push(head.lines().next().unwrap_or_default().to_owned());
            write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let mut late = [0; 4096];
            let wait = Duration::from_micros(number as u64 % 20 * 50);
            if let Ok(Ok(count @ 1..)) = tokio::time::timeout(wait, socket.read(&mut late)).await {
                let head = String::from_utf8_lossy(&late[..count]);
                arrived
                    .lock()
                    .unwrap()
                    .push(head.lines().next().unwrap_or_default().to_owned());
            }
        }
    })
    .await;
    let mut plan = plan(&[provider.url("")]);
    plan.breaker.consecutive_failures = 0;
    plan.breaker.failure_percent = 0;
    let worker = Dataplane::start([plan]);
    for number in 0..200 {
        let request = Request::post(format!("/{number}")).header("content-length", "0");
        let response = worker.call(request, "").await;
        assert!([200, 502].contains(&response.status().as_u16()));
    }
    let arrived = arrived.lock().unwrap().clone();
    for number in 0..200 {
        let line = format!("POST /{number} HTTP/1.1");
        assert!(
            arrived.iter().filter(|seen| **seen == line).count() <= 1,
            "{line} arrived twice"
        );
    }
}

#[tokio::test]
async fn a_large_body_is_sent_once_and_a_small_one_again() {
    for (size, attempts) in [(1 << 20, 2), ((1 << 20) + 1, 1)] {
        let provider = failing(1, || Reply::from((503, "busy"))).await;
        let worker = Dataplane::start([plan(&[provider.url("")])]);
        let response = worker.call(Request::put("/"), vec![7; size]).await;
        assert_eq!(provider.seen().len(), attempts, "{size}");
        assert!(provider.seen().iter().all(|seen| seen.body.len() == size));
        assert_eq!(response.status(), if attempts == 2 { 200 } else { 503 });
    }
}

#[tokio::test]
async fn what_the_provider_asks_for_is_obeyed_or_its_answer_passed_on() {
    let asking = |wait: &'static str| {
        move || {
            let mut response = answer(503, "later");
            response.headers_mut().insert("retry-after", wait.parse().unwrap());
            Reply::from(response)
        }
    };
    let provider = failing(1, asking("1")).await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let start = Instant::now();
    assert_eq!(worker.get("/").await.status(), 200);
    assert!(start.elapsed() >= Duration::from_secs(1));

    // Longer than `retryAfterMax`; longer than what is left of `timeouts.request`.
    for wait in ["61", "31"] {
        let provider = failing(1, asking(wait)).await;
        let worker = Dataplane::start([plan(&[provider.url("")])]);
        let response = worker.get("/").await;
        assert_eq!(
            (response.status().as_u16(), response.body().as_ref()),
            (503, b"later".as_slice())
        );
        assert_eq!(response.headers()["retry-after"], wait);
        assert_eq!(provider.seen().len(), 1);
    }
}

#[tokio::test]
async fn the_last_answer_is_passed_on_when_what_comes_after_it_fails() {
    let calls = Arc::new(AtomicUsize::new(0));
    let provider = Provider::start(move |_| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            if call == 0 {
                Reply::from((503, "said once"))
            } else {
                Reply::Hangup
            }
        }
    })
    .await;
    let worker = Dataplane::start([plan(&[provider.url("")])]);
    let response = worker.get("/").await;
    assert_eq!(
        (response.status().as_u16(), response.body().as_ref()),
        (503, b"said once".as_slice())
    );
    assert_eq!(response.headers()["tidegate-attempts"], "4");
}

/// Time is stopped and jumps only when nothing else can happen, so that it can be told to the millisecond.
#[tokio::test(start_paused = true)]
async fn every_attempt_fits_into_the_time_of_the_whole_request() {
    let provider = Provider::start(|_| async { Reply::Silence }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.timeouts.attempt = Duration::from_millis(100);
    plan.timeouts.request = Duration::from_millis(250);
    let worker = Dataplane::start([plan]);
    let start = Instant::now();
    let response = worker.get("/").await;
    let took = start.elapsed().as_millis();
    assert_eq!(problem(&response), Some("request-timeout"));
    assert_eq!(provider.seen().len(), 3, "two that timed out and one that was cut");
    assert!((250..=252).contains(&took), "{took} ms");
    eventually("the end of the attempts that timed out", || provider.open() == 0).await;
}

#[tokio::test]
async fn a_provider_that_fails_everything_sees_a_fifth_more_and_not_three_times_as_much() {
    let provider = Provider::start(|_| async { Reply::from(503) }).await;
    let mut plan = plan(&[provider.url("")]);
    plan.retries.budget_minimum_per_second = 0;
    plan.breaker.consecutive_failures = 0;
    plan.breaker.failure_percent = 0;
    let worker = Dataplane::start([plan]);
    for _ in 0..100 {
        assert_eq!(worker.get("/").await.status(), 503);
    }
    let seen = provider.seen().len();
    assert!((110..=120).contains(&seen), "{seen}");
}

#[tokio::test]
async fn after_a_timeout_no_connection_that_lay_idle_is_trusted() {
    // Each connection answers once and then swallows what it gets, as a path does that forgot about it.
    let provider = Provider::raw(|mut socket, _| async move {
        read_head(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        drop(socket.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let mut plan = plan(&[provider.url("")]);
    plan.timeouts.attempt = Duration::from_millis(300);
    let worker = Dataplane::start([plan]);
    let (one, two, three) = tokio::join!(worker.get("/"), worker.get("/"), worker.get("/"));
    assert!([one, two, three].iter().all(|response| response.status() == 200));
    let response = worker.get("/").await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["tidegate-attempts"],
        "2",
        "one attempt finds out for all of them"
    );
}

#[tokio::test]
async fn a_key_that_we_add_is_the_same_in_every_attempt_and_another_for_each_call() {
    let mut keys = std::collections::BTreeSet::new();
    for method in ["POST", "PATCH"] {
        for failure in [|| Reply::from(503), || Reply::Hangup] as [fn() -> Reply; 2] {
            let provider = failing(2, failure).await;
            let mut plan = plan(&[provider.url("")]);
            plan.retries.idempotency_key = IdempotencyKey::Add;
            let worker = Dataplane::start([plan]);
            let answer = worker.call(Request::builder().method(method).uri("/"), "body").await;
            assert_eq!(answer.status(), 200, "{method}");
            assert!(!answer.headers().contains_key("idempotency-key"));
            let seen = provider.seen();
            assert_eq!(seen.len(), 3, "{method}");
            let key = seen[0].header("idempotency-key").unwrap().to_owned();
            assert_eq!(key.len(), 36);
            assert!(
                seen.iter()
                    .all(|seen| seen.header("idempotency-key") == Some(&key) && seen.body == "body")
            );
            assert!(keys.insert(key), "each call has a key of its own");
        }
    }
}

#[tokio::test]
async fn a_provider_that_knows_keys_acts_once_however_the_answers_are_lost() {
    let acted = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let (book, calls) = (acted.clone(), Arc::new(AtomicUsize::new(0)));
    // It acts, and two answers of three are lost.
    let provider = Provider::start(move |seen| {
        book.lock()
            .unwrap()
            .insert(seen.header("idempotency-key").map(ToOwned::to_owned));
        let lost = calls.fetch_add(1, Ordering::SeqCst) % 3 != 2;
        async move { if lost { Reply::Hangup } else { Reply::from(200) } }
    })
    .await;
    let mut plan = plan(&[provider.url("")]);
    plan.retries.idempotency_key = IdempotencyKey::Add;
    plan.breaker.consecutive_failures = 1000;
    plan.breaker.minimum_requests = 1000;
    let worker = Dataplane::start([plan]);
    for _ in 0..4 {
        assert_eq!(worker.call(Request::post("/"), "body").await.status(), 200);
    }
    assert_eq!(acted.lock().unwrap().len(), 4, "once for each call");
    assert_eq!(provider.seen().len(), 12);
}

#[tokio::test]
async fn a_key_of_the_caller_stays_and_only_a_post_or_patch_gets_one() {
    let provider = failing(0, || Reply::from(500)).await;
    let mut plan = plan(&[provider.url("")]);
    plan.retries.idempotency_key = IdempotencyKey::Add;
    let worker = Dataplane::start([plan.clone()]);
    worker
        .call(Request::post("/").header("idempotency-key", "mine"), "")
        .await;
    worker.call(Request::put("/"), "").await;
    worker.get("/").await;
    plan.retries.idempotency_key = IdempotencyKey::PassOn;
    plan.revision += 1;
    worker.adopt(plan).await;
    worker.call(Request::post("/"), "").await;
    let keys: Vec<_> = provider
        .seen()
        .iter()
        .map(|seen| seen.header("idempotency-key").map(ToOwned::to_owned))
        .collect();
    assert_eq!(keys, [Some("mine".to_owned()), None, None, None]);
}
