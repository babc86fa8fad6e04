//! A Credential that is deleted takes with it all that it had made, or says what it left.

use std::time::Duration;

use tokio::time::sleep;

use super::life::{Life, Step};
use super::scenario::{SCENARIOS, own};
use crate::support::memory::Fault;
use crate::support::simulator::Kind;

/// Keys are added, found by their label, and taken away.
const ADDED: usize = 3;

fn live(life: &Life) -> usize {
    life.simulator.live().iter().filter(|it| it.kind == Kind::Key).count()
}

async fn in_use() -> Life {
    let mut life = Life::begin(SCENARIOS[ADDED]).await;
    life.happens(Step::First);
    life.passes(Step::First).await;
    life
}

fn injects(life: &Life) -> bool {
    let plan = life.world.plan(&life.integration).unwrap();
    plan.credentials.iter().any(|it| it.material.is_some())
}

#[tokio::test(start_paused = true)]
async fn current_and_previous_are_taken_away() {
    let mut life = in_use().await;
    life.happens(Step::Asked);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(live(&life), 2, "in the overlap");
    life.happens(Step::Deleted);
    sleep(Duration::from_secs(5)).await;
    assert!(life.world.credential(&own()).is_none() && !injects(&life));
    assert_eq!((live(&life), life.world.all_held().len()), (0, 0));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn wherever_a_rotation_has_come_to_nothing_is_left() {
    let mut stopped = 0;
    for write in 0..14 {
        for fault in [Fault::DiesBefore, Fault::DiesAfter] {
            let mut life = in_use().await;
            life.world.fail_write(write, fault);
            life.happens(Step::Asked);
            sleep(Duration::from_secs(10)).await;
            stopped += usize::from(!life.world.clear_faults());
            life.happens(Step::Deleted);
            life.start_anew().await;
            life.passes(Step::Deleted).await;
            assert!(life.world.credential(&own()).is_none(), "write {write}, {fault:?}");
            assert_eq!(live(&life), 0, "write {write}, {fault:?}");
            life.end().await;
        }
    }
    assert!(stopped > 16, "only {stopped} rotations were stopped");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_holds_it_up_for_ten_minutes_and_what_is_left_is_named() {
    let mut life = in_use().await;
    life.happens(Step::Asked);
    sleep(Duration::from_secs(20)).await;
    life.line.cut(true);
    life.happens(Step::Deleted);
    sleep(Duration::from_secs(5)).await;
    assert!(!injects(&life), "withdrawn from workers at once");
    sleep(Duration::from_secs(9 * 60)).await;
    assert!(life.world.credential(&own()).is_some(), "the provider may come back");
    sleep(Duration::from_secs(80)).await;
    assert!(life.world.credential(&own()).is_none());
    let notices = life.world.take_notices();
    for left in life.simulator.live() {
        let named = notices
            .iter()
            .any(|it| it.warning && it.reason == "Orphaned" && it.note.contains(&left.id));
        assert!(
            named || left.kind != Kind::Key,
            "{} is alive and nobody was told",
            left.id
        );
    }
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_comes_back_in_time_is_left_with_nothing() {
    let mut life = in_use().await;
    life.line.cut(true);
    life.happens(Step::Deleted);
    sleep(Duration::from_secs(300)).await;
    life.line.cut(false);
    sleep(Duration::from_secs(20)).await;
    assert!(life.world.credential(&own()).is_none());
    assert_eq!(live(&life), 0);
    assert!(life.world.take_notices().iter().all(|it| it.reason != "Orphaned"));
    life.end().await;
}
