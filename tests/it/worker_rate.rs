//! The rate limit, as the provider sees it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tidegate::domain::plan::{Plan, ProbePlan, RateLimitPlan};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::dataplane::{Dataplane, plan, problem};
use crate::support::provider::{Provider, Reply, eventually};

const SECOND: Duration = Duration::from_secs(1);
/// Between a token and the provider lies a connection: what was sent in a second may arrive in a little less.
const NEARLY: Duration = Duration::from_millis(900);

/// A provider that notes when it was asked, and answers with this status.
async fn noting(status: u16) -> (Provider, Arc<Mutex<Vec<Instant>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = asked.clone();
    let provider = Provider::start(move |_| {
        notes.lock().unwrap().push(Instant::now());
        async move { Reply::from(status) }
    })
    .await;
    (provider, asked)
}

fn limited(provider: &Provider, limit: RateLimitPlan) -> Plan {
    let mut plan = plan(&[provider.url("")]);
    plan.rate_limit = Some(limit);
    plan
}

fn limit(requests: u32, burst: u32, max_wait: Duration) -> RateLimitPlan {
    RateLimitPlan {
        requests,
        interval: SECOND,
        burst,
        max_wait,
        workers: 2,
    }
}

fn most_in_a_window(asked: &[Instant], length: Duration) -> usize {
    let windows = asked
        .iter()
        .enumerate()
        .map(|(first, start)| asked[first..].iter().take_while(|at| **at < *start + length).count());
    windows.max().unwrap_or(0)
}

#[tokio::test]
async fn beyond_the_promise_a_caller_is_told_when_to_come_back_and_the_provider_is_not_asked() {
    let (provider, _) = noting(200).await;
    let limit = RateLimitPlan {
        interval: 60 * SECOND,
        ..limit(2, 1, SECOND)
    };
    let worker = Dataplane::start([limited(&provider, limit)]);
    for _ in 0..2 {
        assert_eq!(worker.get("/").await.status(), 200);
    }
    let refused = worker.get("/").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(problem(&refused), Some("rate-limited"));
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((20..=30).contains(&seconds), "{seconds}");
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn a_call_waits_for_its_turn_and_then_passes() {
    let (provider, asked) = noting(200).await;
    let worker = Dataplane::start([limited(&provider, limit(5, 0, 10 * SECOND))]);
    let calls = futures::future::join_all((0..4).map(|_| worker.get("/"))).await;
    assert!(calls.iter().all(|answer| answer.status() == 200));
    let asked = asked.lock().unwrap();
    assert!(asked[3] - asked[0] >= 3 * NEARLY / 5, "{asked:?}");
}

#[tokio::test]
async fn every_attempt_counts_and_the_last_answer_is_passed_on() {
    let (provider, _) = noting(503).await;
    let mut plan = limited(
        &provider,
        RateLimitPlan {
            interval: 60 * SECOND,
            ..limit(2, 1, Duration::from_millis(10))
        },
    );
    plan.retries.limit = 5;
    let worker = Dataplane::start([plan]);
    let answer = worker.get("/").await;
    assert_eq!((answer.status().as_u16(), problem(&answer)), (503, None));
    assert_eq!(answer.headers()["tidegate-attempts"], "2");
    assert_eq!(provider.seen().len(), 2, "the third attempt had no turn");
}

#[tokio::test]
async fn a_call_for_which_every_circuit_is_open_costs_no_turn() {
    let (provider, _) = noting(200).await;
    let mut plan = limited(
        &provider,
        RateLimitPlan {
            interval: 60 * SECOND,
            ..limit(1, 0, Duration::ZERO)
        },
    );
    plan.breaker.mode = tidegate::api::integration::BreakerMode::ForcedOpen;
    let worker = Dataplane::start([plan.clone()]);
    for _ in 0..3 {
        assert_eq!(problem(&worker.get("/").await), Some("circuit-open"));
    }
    plan.breaker.mode = tidegate::api::integration::BreakerMode::ForcedClosed;
    plan.revision += 1;
    worker.adopt(plan).await;
    assert_eq!(worker.get("/").await.status(), 200);
    assert_eq!(problem(&worker.get("/").await), Some("rate-limited"));
}

#[tokio::test]
async fn probes_count_and_those_without_a_turn_are_left_out() {
    let (provider, asked) = noting(200).await;
    let mut plan = limited(&provider, limit(5, 0, Duration::ZERO));
    plan.health_check = Some(ProbePlan {
        interval: Duration::from_millis(20),
        timeout: SECOND,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        path: "/probe".into(),
        method: "GET".into(),
        use_credential: false,
        statuses: vec![(200, 299)],
        expression: None,
        service: String::new(),
    });
    let _worker = Dataplane::start([plan]);
    eventually("a few probes", || asked.lock().unwrap().len() >= 7).await;
    let most = most_in_a_window(&asked.lock().unwrap(), NEARLY);
    assert!(most <= 5, "{most}");
}

#[tokio::test]
async fn two_workers_together_keep_the_promise_while_shares_move_and_one_is_replaced() {
    let (provider, asked) = noting(200).await;
    let plan = limited(&provider, limit(20, 6, Duration::from_millis(300)));
    let shared = |of| watch::channel(Some(of));
    let (first, share) = shared(2);
    let one = Arc::new(Dataplane::start_sharing([plan.clone()], share));
    let (second, share) = shared(2);
    let two = Arc::new(Dataplane::start_sharing([plan.clone()], share));
    let crowd = |worker: Arc<Dataplane>, callers: &mut JoinSet<()>| {
        for _ in 0..8 {
            let worker = worker.clone();
            callers.spawn(async move {
                loop {
                    let sent = worker.send(Request::get("/").body(String::new()).unwrap());
                    // Refused or served: what counts is what the provider sees.
                    drop(sent.await);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
    };
    let mut callers = JoinSet::new();
    crowd(one.clone(), &mut callers);
    crowd(two, &mut callers);
    let count = |asked: &Mutex<Vec<Instant>>| asked.lock().unwrap().len();
    eventually("both at work", || count(&asked) >= 25).await;
    // A third one comes: the two are told first.
    first.send_replace(Some(3));
    second.send_replace(Some(3));
    let (_third, share) = shared(3);
    let three = Arc::new(Dataplane::start_sharing([plan], share));
    crowd(three, &mut callers);
    let before = count(&asked);
    eventually("three at work", || count(&asked) >= before + 25).await;
    // And one goes.
    second.send_replace(Some(0));
    let before = count(&asked);
    first.send_replace(Some(2));
    eventually("two at work", || count(&asked) >= before + 25).await;
    drop(callers);
    let most = most_in_a_window(&asked.lock().unwrap(), NEARLY);
    assert!(most <= 26, "{most} in a second");
}
