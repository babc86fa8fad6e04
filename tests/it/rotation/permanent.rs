//! A provider that refuses for good, and one that is away for a while.

use std::time::Duration;

use tidegate::api::condition::{Condition, ConditionStatus};
use tidegate::domain::key::Key;
use tokio::time::sleep;

use super::life::{Life, Step};
use super::scenario::{SCENARIOS, own};
use crate::support::memory::clock;

/// A token of a client.
const TOKEN: usize = 12;
const DAY: Duration = Duration::from_secs(86_400);

async fn in_use() -> Life {
    let mut life = Life::begin(SCENARIOS[TOKEN]).await;
    life.happens(Step::First);
    life.passes(Step::First).await;
    life
}

fn condition(life: &Life, kind: &str) -> Option<Condition> {
    let status = life.world.credential(&own())?.status?;
    status.conditions.into_iter().find(|it| it.type_ == kind)
}

fn refuse(life: &Life) {
    life.simulator.set(|it| it.client.1 = "another".into());
}

fn correct(life: &Life) {
    life.world
        .apply_secret(&Key::new("shop", "client"), &[("secret", "another")]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_is_asked_no_more_often_than_one_that_gives() {
    let life = in_use().await;
    let before = life.line.calls();
    sleep(DAY).await;
    let gives = life.line.calls() - before;
    life.end().await;

    let life = in_use().await;
    refuse(&life);
    let before = life.line.calls();
    sleep(DAY).await;
    let refuses = life.line.calls() - before;
    println!("{gives} calls in a day where it gives, {refuses} where it refuses");
    // Once more on the way to the end of the value, which is paid back.
    assert!(
        (1..=gives).contains(&refuses),
        "{refuses} calls, and {gives} where it gives"
    );
    let stalled = condition(&life, "Stalled").expect("Stalled");
    assert!(
        stalled.message.contains("invalid_client") && stalled.message.contains("clientAuthentication"),
        "{}",
        stalled.message
    );
    assert_eq!(condition(&life, "Ready").unwrap().status, ConditionStatus::False);
    let warnings = life.world.take_notices();
    let warnings = warnings.iter().filter(|it| it.reason == "RotationFailed").count();
    assert!(warnings <= 2, "told {warnings} times");

    correct(&life);
    sleep(Duration::from_secs(10)).await;
    assert!(condition(&life, "Stalled").is_none(), "mended by the edit, at once");
    assert_eq!(condition(&life, "Ready").unwrap().status, ConditionStatus::True);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_first_one_stalls_and_is_mended_by_the_secret() {
    let mut life = Life::begin(SCENARIOS[TOKEN]).await;
    refuse(&life);
    life.happens(Step::First);
    sleep(Duration::from_secs(30)).await;
    let calls = life.line.calls();
    assert_eq!(condition(&life, "Stalled").unwrap().reason, "IssueFailed");
    sleep(DAY / 2).await;
    assert!(
        life.line.calls() - calls <= 1,
        "{} more calls",
        life.line.calls() - calls
    );
    correct(&life);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(condition(&life, "Ready").unwrap().status, ConditionStatus::True);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_is_asked_ever_later_and_the_value_serves_to_its_end() {
    let life = in_use().await;
    let end = life.world.plan(&life.integration).unwrap().credentials[0]
        .not_after
        .unwrap();
    let value = life.value();
    life.line.cut(true);
    let before = life.line.calls();
    let left = Duration::try_from(end.duration_since(clock()())).unwrap();
    sleep(left.checked_sub(Duration::from_secs(5)).unwrap()).await;
    assert_eq!(
        condition(&life, "Ready").unwrap().status,
        ConditionStatus::True,
        "until its end"
    );
    assert_eq!(life.value(), value);
    assert!(life.seen.lock().unwrap().absent.is_empty() && life.seen.lock().unwrap().refused.is_empty());
    let tries = life.line.calls() - before;
    // From the renewal, at two thirds, there are 40 minutes, and 5 minutes between two tries in the end.
    assert!((10..60).contains(&tries), "{tries}");
    sleep(Duration::from_secs(30)).await;
    let ready = condition(&life, "Ready").unwrap();
    assert_eq!((ready.status, &*ready.reason), (ConditionStatus::False, "Expired"));
    let plan = life.world.plan(&life.integration).unwrap();
    let usable = |it: &tidegate::domain::plan::CredentialPlan| {
        it.material.is_some() && it.not_after.is_none_or(|end| end > clock()())
    };
    assert!(!plan.credentials.iter().any(usable), "workers do not send it any more");
    life.line.cut(false);
    sleep(Duration::from_secs(330)).await;
    assert_eq!(condition(&life, "Ready").unwrap().status, ConditionStatus::True);
    assert!(life.simulator.accepts(&life.value().unwrap()));
    life.end().await;
}
