//! A provider in trouble for a while, over real connections: when calls are answered again after it.
//!
//! The same in paused time, with the defaults and at its full length, is in `src/worker/stack/tests/recovery.rs`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::domain::plan::Plan;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, Reply, answer};

const SECOND: Duration = Duration::from_secs(1);
/// How long the trouble lasts.
const LENGTH: Duration = Duration::from_secs(2);
/// Calls begin this often.
const PACE: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Nothing,
    Down,
    Failing,
    Slow,
    Half,
    Storm,
}

async fn provider(trouble: Arc<Mutex<Trouble>>) -> Provider {
    Provider::start(move |_| {
        let trouble = *trouble.lock().unwrap();
        async move {
            match trouble {
                Trouble::Down => Reply::Hangup,
                Trouble::Failing => Reply::from(503),
                Trouble::Slow => {
                    sleep(5 * SECOND).await;
                    Reply::from(200)
                }
                Trouble::Half if rand::random() => Reply::from(500),
                Trouble::Storm => {
                    let mut refusal = answer(429, "");
                    refusal.headers_mut().insert("retry-after", "1".parse().unwrap());
                    Reply::from(refusal)
                }
                Trouble::Nothing | Trouble::Half => Reply::from(200),
            }
        }
    })
    .await
}

/// A plan whose times are in proportion to a trouble of two seconds.
fn brisk(providers: &[&Provider]) -> Plan {
    let urls: Vec<_> = providers.iter().map(|provider| provider.url("")).collect();
    let mut plan = plan(&urls);
    plan.timeouts.attempt = SECOND;
    plan.timeouts.request = 2 * SECOND;
    plan.breaker.open_for = LENGTH / 4;
    plan.breaker.max_open_for = LENGTH;
    plan
}

/// Whether 95 of 100 calls that begin in the second after `from` are answered well.
async fn is_well(worker: &Arc<Dataplane>, from: Instant) -> bool {
    let mut calls = JoinSet::new();
    for number in 0..40 {
        sleep_until(from + number * PACE).await;
        let worker = worker.clone();
        calls.spawn(async move { worker.get("/").await.status() == 200 });
    }
    let good = calls.join_all().await.into_iter().filter(|good| *good).count();
    good * 100 >= 40 * 95
}

async fn recovers(trouble: Trouble, spare: bool) {
    let state = Arc::new(Mutex::new(Trouble::Nothing));
    let (one, two) = (
        provider(state.clone()).await,
        provider(Arc::new(Mutex::new(Trouble::Nothing))).await,
    );
    let providers: &[&Provider] = if spare { &[&one, &two] } else { &[&one] };
    let worker = Arc::new(Dataplane::start([brisk(providers)]));
    assert!(is_well(&worker, Instant::now()).await, "it was never well");
    *state.lock().unwrap() = trouble;
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..u32::try_from(LENGTH.as_millis() / PACE.as_millis()).unwrap() {
        sleep_until(start + number * PACE).await;
        let worker = worker.clone();
        calls.spawn(async move { drop(worker.get("/").await) });
    }
    sleep_until(start + LENGTH).await;
    *state.lock().unwrap() = Trouble::Nothing;
    let end = Instant::now();
    let mut from = end;
    while !is_well(&worker, from).await {
        from = from.max(Instant::now());
        assert!(
            from <= end + 2 * LENGTH,
            "{trouble:?} is felt for more than twice its length"
        );
    }
    drop(calls.join_all().await);
}

#[tokio::test]
async fn a_provider_that_was_down_is_used_again_in_time() {
    recovers(Trouble::Down, false).await;
}

#[tokio::test]
async fn a_provider_that_failed_is_used_again_in_time() {
    recovers(Trouble::Failing, false).await;
}

#[tokio::test]
async fn a_provider_that_was_slow_is_used_again_in_time() {
    recovers(Trouble::Slow, false).await;
}

#[tokio::test]
async fn a_provider_that_failed_half_the_time_is_used_again_in_time() {
    recovers(Trouble::Half, false).await;
}

#[tokio::test]
async fn a_provider_that_refused_by_rate_is_used_again_in_time() {
    recovers(Trouble::Storm, false).await;
}

#[tokio::test]
async fn one_dead_endpoint_of_two_is_used_again_in_time() {
    recovers(Trouble::Down, true).await;
}
