//! Hedging, in paused time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

use crate::api::integration::CircuitState;
use crate::domain::plan::{HedgePlan, Plan, RateLimitPlan};
use crate::worker::simulated::{Provider, World, plan, status};

const MS: Duration = Duration::from_millis(1);

/// Answers the first requests after these times, with these statuses, and all others with the last of them.
struct Script {
    answers: Vec<(Duration, u16)>,
    seen: Arc<Mutex<Vec<(SocketAddr, String)>>>,
    given_up: Arc<AtomicUsize>,
}

struct GivenUp(Arc<AtomicUsize>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Provider for Script {
    fn answer(&self, at: SocketAddr, request: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> {
        let mut seen = self.seen.lock().unwrap();
        let (after, code) = self.answers[seen.len().min(self.answers.len() - 1)];
        seen.push((at, request.method().to_string()));
        let given_up = GivenUp(self.given_up.clone());
        Box::pin(async move {
            sleep(after).await;
            std::mem::forget(given_up);
            status(code)
        })
    }
}

struct Stage {
    world: World,
    seen: Arc<Mutex<Vec<(SocketAddr, String)>>>,
    given_up: Arc<AtomicUsize>,
}

impl Stage {
    async fn start(plan: Plan, answers: impl IntoIterator<Item = (Duration, u16)>) -> Self {
        let (seen, given_up): (Arc<Mutex<Vec<_>>>, Arc<AtomicUsize>) = Default::default();
        let provider = Script {
            answers: answers.into_iter().collect(),
            seen: seen.clone(),
            given_up: given_up.clone(),
        };
        Self {
            world: World::start(plan, provider).await,
            seen,
            given_up,
        }
    }

    /// Status, attempts and time of a call.
    async fn call(&self, method: &str) -> (u16, String, Duration) {
        let start = Instant::now();
        let answer = self.world.call(method, &[]).await;
        let attempts = answer.headers().get("tidegate-attempts");
        let attempts = attempts.map_or("-", |attempts| attempts.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), attempts, start.elapsed())
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn hedged(endpoints: usize, after: Duration) -> Plan {
    let mut plan = plan(endpoints);
    plan.retries.hedge = Some(HedgePlan::After(after));
    plan
}

fn about(took: Duration, expected: Duration) -> bool {
    took >= expected && took < expected + 20 * MS
}

#[tokio::test(start_paused = true)]
async fn a_late_read_is_asked_for_again_and_the_first_answer_counts() {
    for method in ["GET", "HEAD"] {
        let stage = Stage::start(hedged(1, 100 * MS), [(5000 * MS, 200), (10 * MS, 200)]).await;
        let (code, attempts, took) = stage.call(method).await;
        assert_eq!((code, attempts.as_str()), (200, "2"));
        assert!(about(took, 110 * MS), "{took:?}");
        // The one that lost is told at once.
        sleep(MS).await;
        assert_eq!(stage.given_up.load(Ordering::SeqCst), 1);
        assert_eq!(stage.seen(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_may_win_after_all() {
    let stage = Stage::start(hedged(1, 100 * MS), [(150 * MS, 200), (5000 * MS, 200)]).await;
    let (code, attempts, took) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "2"));
    assert!(about(took, 150 * MS), "{took:?}");
    sleep(MS).await;
    assert_eq!(stage.given_up.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_time_or_not_a_read_is_asked_once() {
    let stage = Stage::start(hedged(1, 100 * MS), [(90 * MS, 200)]).await;
    assert_eq!(stage.call("GET").await.1, "1");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let stage = Stage::start(hedged(1, 100 * MS), [(500 * MS, 200)]).await;
        assert_eq!(stage.call(method).await.1, "1", "{method}");
    }
    let mut off = hedged(1, 100 * MS);
    off.retries.limit = 0;
    for plan in [plan(1), off] {
        let stage = Stage::start(plan, [(500 * MS, 200)]).await;
        assert_eq!(stage.call("GET").await.1, "1");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_good_does_not_win() {
    let stage = Stage::start(hedged(1, 100 * MS), [(500 * MS, 200), (10 * MS, 503)]).await;
    let (code, attempts, took) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "2"));
    assert!(about(took, 500 * MS), "{took:?}");
    let stage = Stage::start(hedged(1, 100 * MS), [(150 * MS, 503), (400 * MS, 200)]).await;
    let (code, attempts, took) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "2"));
    assert!(about(took, 500 * MS), "{took:?}");
    // What the caller is not to be spared is an answer like any other.
    let stage = Stage::start(hedged(1, 100 * MS), [(500 * MS, 200), (10 * MS, 404)]).await;
    assert_eq!(stage.call("GET").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn two_that_fail_are_one_failure_that_is_tried_again() {
    let answers = [(150 * MS, 503), (100 * MS, 502), (10 * MS, 200)];
    let stage = Stage::start(hedged(1, 100 * MS), answers).await;
    let (code, attempts, _) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "3"));
    // Both count for the limit.
    let mut plan = hedged(1, 100 * MS);
    plan.retries.limit = 1;
    let stage = Stage::start(plan, [(150 * MS, 503)]).await;
    let (code, attempts, _) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (503, "2"));
    assert_eq!(stage.seen(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_endpoint_is_asked_where_there_is_one() {
    for _ in 0..8 {
        let stage = Stage::start(hedged(2, 100 * MS), [(5000 * MS, 200), (10 * MS, 200)]).await;
        assert_eq!(stage.call("GET").await.1, "2");
        let seen = stage.seen.lock().unwrap();
        assert_ne!(seen[0].0, seen[1].0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_retries_bounds_them() {
    let mut plan = hedged(1, 100 * MS);
    plan.retries.budget_minimum_per_second = 0;
    plan.breaker.mode = crate::api::integration::BreakerMode::ForcedClosed;
    let stage = Stage::start(plan, [(200 * MS, 200)]).await;
    for _ in 0..100 {
        assert_eq!(stage.call("GET").await.0, 200);
    }
    let seen = stage.seen();
    assert!(
        (105..=120).contains(&seen),
        "{seen} attempts of 100 calls that are all late"
    );
}

#[tokio::test(start_paused = true)]
async fn a_promise_to_the_provider_is_not_broken_for_it() {
    let mut plan = hedged(1, 100 * MS);
    plan.rate_limit = Some(RateLimitPlan {
        requests: 1,
        interval: Duration::from_secs(60),
        burst: 0,
        max_wait: Duration::from_secs(30),
        workers: 1,
    });
    let stage = Stage::start(plan, [(500 * MS, 200)]).await;
    let (code, attempts, took) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "1"));
    assert!(about(took, 500 * MS), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_loses_counts_for_no_circuit() {
    let mut plan = hedged(1, 100 * MS);
    plan.breaker.consecutive_failures = 1;
    // One that loses, one that fails for good and opens the circuit, and the trial.
    let answers = [(5000 * MS, 200), (10 * MS, 200), (10 * MS, 500), (700 * MS, 200)];
    plan.retries.limit = 1;
    plan.retries.statuses = vec![503];
    let stage = Stage::start(plan, answers).await;
    let state = || stage.world.stack.endpoints[0].standing().report("e0").circuit.state;
    assert_eq!(stage.call("GET").await.0, 200);
    assert_eq!(state(), CircuitState::Closed);
    assert_eq!(stage.call("GET").await.0, 500);
    assert_eq!(state(), CircuitState::Open);
    sleep(Duration::from_secs(31)).await;
    let (code, attempts, took) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "1"));
    assert!(about(took, 700 * MS), "{took:?}");
    assert_eq!(state(), CircuitState::Closed);
    assert_eq!(stage.seen(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_trial_is_waited_for_though_another_endpoint_would_be_faster() {
    let mut plan = hedged(2, 100 * MS);
    plan.breaker.consecutive_failures = 1;
    plan.retries.statuses = vec![503];
    let stage = Stage::start(plan, [(10 * MS, 500), (700 * MS, 200), (10 * MS, 200)]).await;
    assert_eq!(stage.call("GET").await.0, 500);
    sleep(Duration::from_secs(31)).await;
    let (code, attempts, took) = stage.call("GET").await;
    assert_eq!((code, attempts.as_str()), (200, "1"));
    assert!(about(took, 700 * MS), "{took:?}");
    for endpoint in &stage.world.stack.endpoints {
        let circuit = endpoint.standing().report(endpoint.name()).circuit;
        assert_eq!(circuit.state, CircuitState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_always_loses_is_found_slow() {
    /// The second endpoint hangs.
    struct Uneven(Arc<[AtomicUsize; 2]>);

    impl Provider for Uneven {
        fn answer(&self, at: SocketAddr, _: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> {
            let second = at.ip() == std::net::IpAddr::from([10, 0, 0, 2]);
            self.0[usize::from(second)].fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                sleep(if second { 5000 * MS } else { 10 * MS }).await;
                status(200)
            })
        }
    }

    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let mut plan = hedged(2, 100 * MS);
    // So that it is never waited for: that would tell it too.
    plan.retries.budget_percent = 1000;
    let world = World::start(plan, Uneven(counts.clone())).await;
    for _ in 0..200 {
        assert_eq!(world.get().await, 200);
    }
    let slow = counts[1].load(Ordering::SeqCst);
    assert!(slow < 40, "{slow} of 200 went to the one that hangs");
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_learned_from_what_answers_take() {
    /// One answer in forty is slow, the others take 10 to 30 ms.
    struct Uneven(Arc<AtomicUsize>);

    impl Provider for Uneven {
        fn answer(&self, _: SocketAddr, _: Request<Incoming>) -> BoxFuture<'static, Response<Full<Bytes>>> {
            let number = u32::try_from(self.0.fetch_add(1, Ordering::SeqCst)).unwrap();
            let after = if number % 40 == 39 {
                2000 * MS
            } else {
                (10 + number * 7 % 20) * MS
            };
            Box::pin(async move {
                sleep(after).await;
                status(200)
            })
        }
    }

    let attempts = Arc::new(AtomicUsize::new(0));
    let mut plan = plan(1);
    plan.retries.hedge = Some(HedgePlan::P95);
    let world = World::start(plan, Uneven(attempts.clone())).await;
    let (mut slow, calls) = (0, 1000);
    for number in 0..calls {
        let start = Instant::now();
        assert_eq!(world.get().await, 200);
        if number >= 50 && start.elapsed() > 500 * MS {
            slow += 1;
        }
    }
    let attempts = attempts.load(Ordering::SeqCst);
    assert!(slow <= 3, "{slow} calls were slow, of about 25 slow answers");
    assert!(
        attempts <= calls + calls * 8 / 100,
        "{attempts} attempts of {calls} calls"
    );
}
