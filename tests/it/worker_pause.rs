//! Pauses that a provider asks for, as the provider and the callers see them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use jiff::{SignedDuration, Timestamp};
use tidegate::domain::health::Pauses;
use tidegate::domain::plan::{Plan, ProbePlan, RateLimitPlan};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::dataplane::{Dataplane, plan, problem};
use crate::support::provider::{Provider, Reply, answer, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// A status and headers.
type Said = (u16, &'static [(&'static str, &'static str)]);

/// A provider whose first answers are these, and then 200; and when it was asked.
async fn saying(answers: impl IntoIterator<Item = Said>) -> (Provider, Arc<Mutex<Vec<Instant>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = asked.clone();
    let answers: Vec<Said> = answers.into_iter().collect();
    let provider = Provider::start(move |_| {
        let mut notes = notes.lock().unwrap();
        let (status, headers) = answers.get(notes.len()).copied().unwrap_or((200, &[]));
        notes.push(Instant::now());
        let mut reply = answer(status, "");
        for (name, value) in headers {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            reply.headers_mut().append(name, value);
        }
        async move { Reply::from(reply) }
    })
    .await;
    (provider, asked)
}

/// Without retries, so that every call is one attempt.
fn once(provider: &Provider) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.retries.limit = 0;
    plan
}

/// One whose attempts wait for so long for their turn.
fn patient(provider: &Provider, max_wait: Duration) -> Plan {
    let mut plan = once(provider);
    plan.rate_limit = Some(RateLimitPlan {
        requests: 1000,
        interval: SECOND,
        burst: 1000,
        max_wait,
        workers: 1,
    });
    plan
}

fn seconds(refused: &Response<Bytes>) -> u64 {
    refused.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

fn authority(provider: &Provider) -> String {
    provider.address.to_string()
}

#[tokio::test]
async fn a_refusal_that_says_when_to_come_back_stops_everybody_until_then() {
    let cases: [Said; 7] = [
        (429, &[("retry-after", "30")]),
        (503, &[("retry-after", "30")]),
        (429, &[("ratelimit", r#""default";r=0;t=30"#)]),
        (429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")]),
        (200, &[("ratelimit", r#""default";r=0;t=30"#)]),
        (200, &[("ratelimit", "limit=5, remaining=0, reset=30")]),
        (200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")]),
    ];
    for case in cases {
        let (provider, asked) = saying([case]).await;
        let worker = Dataplane::start([once(&provider)]);
        let first = worker.get("/").await;
        assert_eq!((first.status().as_u16(), problem(&first)), (case.0, None));
        for _ in 0..3 {
            let refused = worker.get("/").await;
            assert_eq!(
                (refused.status().as_u16(), problem(&refused)),
                (429, Some("rate-limited"))
            );
            assert!((20..=31).contains(&seconds(&refused)), "{case:?}");
        }
        assert_eq!(asked.lock().unwrap().len(), 1, "{case:?}");
        let report = worker.report(|report| !report.paused_until.is_empty()).await;
        let until = report.paused_until[&authority(&provider)];
        let left = until.duration_since(Timestamp::now()).as_secs();
        assert!((20..=31).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn an_answer_that_asks_for_nothing_stops_nobody() {
    let cases: [Said; 6] = [
        (429, &[]),
        (200, &[("ratelimit", r#""default";r=7;t=30"#)]),
        (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")]),
        (500, &[("retry-after", "30")]),
        (429, &[("retry-after", "0")]),
        (429, &[("retry-after", "next week")]),
    ];
    for case in cases {
        let (provider, asked) = saying([case]).await;
        let worker = Dataplane::start([once(&provider)]);
        worker.get("/").await;
        assert_eq!(worker.get("/").await.status(), 200, "{case:?}");
        assert_eq!(asked.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_call_waits_for_the_end_of_a_pause_as_long_as_it_may() {
    let (provider, asked) = saying([(429, &[("retry-after", "1")] as _)]).await;
    let worker = Dataplane::start([patient(&provider, 20 * SECOND)]);
    worker.get("/").await;
    let calls = futures::future::join_all((0..5).map(|_| worker.get("/"))).await;
    assert!(calls.iter().all(|answer| answer.status() == 200));
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 6);
    assert!(asked[1] - asked[0] >= SECOND, "{asked:?}");
}

#[tokio::test]
async fn no_provider_keeps_us_away_for_longer_than_the_bound() {
    let (provider, asked) = saying([
        (429, &[("retry-after", "1000000000000")] as _),
        (200, &[("ratelimit", r#""default";r=0;t=31536000"#)] as _),
        (503, &[("retry-after", "Tue, 01 Jan 2999 00:00:00 GMT")] as _),
    ])
    .await;
    let mut plan = patient(&provider, 20 * SECOND);
    plan.retries.retry_after_max = SECOND / 4;
    let worker = Dataplane::start([plan]);
    for expected in [429, 200, 503, 200] {
        assert_eq!(worker.get("/").await.status(), expected);
    }
    let asked = asked.lock().unwrap();
    assert!(
        asked.windows(2).all(|pair| pair[1] - pair[0] >= SECOND / 4),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_bound_of_nothing_switches_pauses_off() {
    let (provider, _) = saying([(429, &[("retry-after", "30")] as _)]).await;
    let mut plan = once(&provider);
    plan.retries.retry_after_max = Duration::ZERO;
    let worker = Dataplane::start([plan]);
    worker.get("/").await;
    assert_eq!(worker.get("/").await.status(), 200);
    assert!(worker.report(|_| true).await.paused_until.is_empty());
}

#[tokio::test]
async fn nobody_comes_who_would_find_nothing_left() {
    // Four are under way when the first of them is told that three more are free.
    let (release, released) = watch::channel(0_usize);
    let calls = Arc::new(AtomicUsize::new(0));
    let provider = Provider::start(move |_| {
        let number = calls.fetch_add(1, Ordering::SeqCst);
        let mut released = released.clone();
        async move {
            drop(released.wait_for(|released| *released > number).await);
            let mut reply = answer(200, "");
            let left = format!(r#""default";r={};t=30"#, 3_usize.saturating_sub(number));
            reply.headers_mut().insert("ratelimit", left.parse().unwrap());
            Reply::from(reply)
        }
    })
    .await;
    let worker = Arc::new(Dataplane::start([once(&provider)]));
    let under_way: Vec<_> = (0..4)
        .map(|_| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.get("/").await.status().as_u16() })
        })
        .collect();
    eventually("all under way", || provider.seen().len() == 4).await;
    release.send_replace(1);
    worker.report(|report| !report.paused_until.is_empty()).await;
    assert_eq!(problem(&worker.get("/").await), Some("rate-limited"));
    release.send_replace(4);
    for one in under_way {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(provider.seen().len(), 4);
}

#[tokio::test]
async fn another_host_serves_while_one_is_left_alone() {
    let (asking, asked) = saying([(429, &[("retry-after", "30")] as _)]).await;
    let (spare, _) = saying([]).await;
    let mut plan = plan(&[asking.url(""), spare.url("")]);
    plan.endpoints[1].priority = 1;
    let worker = Dataplane::start([plan]);
    for attempts in ["2", "1", "1"] {
        // The one who was refused does not wait for half a minute either.
        let served = worker.get("/").await;
        assert_eq!(served.status(), 200);
        assert_eq!(served.headers()["tidegate-endpoint"], "e1");
        assert_eq!(served.headers()["tidegate-attempts"], attempts);
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn endpoints_of_one_host_are_left_alone_together() {
    let (provider, asked) = saying([(429, &[("retry-after", "30")] as _)]).await;
    let mut plan = plan(&[provider.url("/a"), provider.url("/b")]);
    plan.retries.limit = 0;
    let worker = Dataplane::start([plan]);
    worker.get("/").await;
    assert_eq!(problem(&worker.get("/").await), Some("rate-limited"));
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pause_outlasts_an_edit() {
    let (provider, _) = saying([(429, &[("retry-after", "30")] as _)]).await;
    let plan = once(&provider);
    let worker = Dataplane::start([plan.clone()]);
    worker.get("/").await;
    worker
        .adopt(Plan {
            revision: 2,
            ..plan.clone()
        })
        .await;
    assert_eq!(problem(&worker.get("/").await), Some("rate-limited"));
    // A namesake was asked for nothing.
    worker
        .adopt(Plan {
            revision: 3,
            uid: "uid-2".to_owned(),
            ..plan
        })
        .await;
    assert_eq!(worker.get("/").await.status(), 200);
}

#[tokio::test]
async fn what_another_worker_was_asked_for_is_heeded_and_bounded() {
    let (provider, asked) = saying([]).await;
    let (tell, pauses) = watch::channel(Pauses::new());
    let mut plan = patient(&provider, 20 * SECOND);
    plan.retries.retry_after_max = SECOND;
    let worker = Dataplane::start_heeding([plan.clone()], pauses);
    assert_eq!(worker.get("/").await.status(), 200);
    let away = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    let start = Instant::now();
    tell.send_replace(Pauses::from([
        (authority(&provider), away),
        ("elsewhere.example.com".to_owned(), away),
    ]));
    // Whether the worker has been told shows in what becomes of a call.
    loop {
        let before = Instant::now();
        assert_eq!(worker.get("/").await.status(), 200);
        if before.elapsed() >= SECOND / 2 {
            break;
        }
        assert!(start.elapsed() < 10 * SECOND, "it was never told");
    }
    assert!(asked.lock().unwrap().last().unwrap().duration_since(start) >= SECOND);
    let report = worker.report(|_| true).await;
    assert!(
        report.paused_until.is_empty(),
        "what was heard from others is not told again"
    );
}

#[tokio::test]
async fn what_was_told_before_a_plan_came_holds_for_it() {
    let (provider, asked) = saying([]).await;
    let away = Timestamp::now() + SignedDuration::from_secs(30);
    let (_tell, pauses) = watch::channel(Pauses::from([(authority(&provider), away)]));
    let (elsewhere, _) = saying([]).await;
    let worker = Dataplane::start_heeding([once(&elsewhere)], pauses);
    assert_eq!(worker.get("/").await.status(), 200);
    worker
        .adopt(Plan {
            revision: 2,
            ..once(&provider)
        })
        .await;
    assert_eq!(problem(&worker.get("/").await), Some("rate-limited"));
    assert_eq!(asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_health_check_leaves_it_alone_too() {
    let (provider, asked) = saying([(429, &[("retry-after", "30")] as _)]).await;
    let mut plan = once(&provider);
    plan.health_check = Some(ProbePlan {
        interval: Duration::from_millis(10),
        timeout: SECOND,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        path: "/probe".into(),
        method: "GET".into(),
        use_credential: false,
        statuses: vec![(200, 299), (429, 429)],
        expression: None,
        service: String::new(),
    });
    // The same again without a pause: so many probes there are meanwhile.
    let (talkative, often) = saying([]).await;
    let mut other = plan.clone();
    other.endpoints[0].url = talkative.url("");
    let _probing = Dataplane::start([plan]);
    let _other = Dataplane::start([other]);
    eventually("some probes", || often.lock().unwrap().len() >= 20).await;
    assert_eq!(asked.lock().unwrap().len(), 1);
}
