//! Values that end together, after a time in which nobody was there to renew them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate::domain::key::Key;
use tidegate::domain::rotation::{Record, record};
use tokio::time::sleep;

use crate::support::memory::{Process, World, clock};
use crate::support::simulator::{Fault, Settings, Simulator};

/// Lifetime of a token.
const LIFETIME: Duration = Duration::from_secs(7200);
/// A provider gets 20 calls at once and 20 in each second.
const PEAK: usize = 40;

fn herd(world: &World, size: usize) {
    world.apply_secret(&Key::new("shop", "client"), &[("secret", "client-secret")]);
    for number in 0..size {
        world.apply_credential(json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "Credential",
            "metadata": {"namespace": "shop", "name": format!("token-{number:04}")},
            "spec": {
                "allowedHosts": ["api.example.com"],
                "oauth2": {
                    "grant": "ClientCredentials",
                    "tokenURL": "https://provider.test/token",
                    "clientID": "client",
                    "clientSecretRef": {"name": "client", "key": "secret"},
                },
            },
        }));
    }
}

fn provider() -> Simulator {
    Simulator::new(Settings {
        epoch: clock()(),
        access_lifetime: LIFETIME,
        ..Settings::default()
    })
}

/// When each was issued and ends.
fn records(world: &World) -> Vec<(Timestamp, Timestamp)> {
    let read = |text: &String| serde_json::from_str::<Record>(text).unwrap();
    let held = world.all_held().into_values();
    held.filter_map(|held| held.annotations.get(record::ANNOTATION).map(read))
        .map(|record| (record.issued, record.not_after.unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn two_thousand_tokens_that_end_together_are_renewed_in_time_and_in_order() {
    const SIZE: usize = 2000;
    let (world, simulator) = (World::default(), provider());
    world.reach(Arc::new(simulator.clone()));
    herd(&world, SIZE);
    let process = Process::start(&world);
    let began = clock()();
    while records(&world).len() < SIZE {
        sleep(Duration::from_secs(1)).await;
        let took = clock()().duration_since(began);
        assert!(took < SignedDuration::from_secs(200), "the first ones take {took:?}");
    }
    let first = clock()().duration_since(began);
    let peak_of_first = simulator.read(|it| it.peak_rate());
    assert!(peak_of_first <= PEAK, "{peak_of_first} calls in a second");
    process.kill().await;
    world.deafen();

    // Nobody is there until shortly before the first one ends.
    let before = records(&world);
    let end = before.iter().map(|it| it.1).min().unwrap();
    let until = end.duration_since(clock()()) - SignedDuration::from_secs(240);
    sleep(Duration::try_from(until).unwrap()).await;
    let restarted = clock()();
    let process = Process::start(&world);
    let mut least = SignedDuration::MAX;
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = clock()();
        let records = records(&world);
        let left = records.iter().map(|it| it.1.duration_since(now)).min().unwrap();
        assert!(left > SignedDuration::from_secs(1), "one has ended");
        least = least.min(left);
        if records.iter().all(|it| it.0 >= restarted) {
            break;
        }
    }
    let peak = simulator.read(|it| it.peak_rate());
    assert!(peak <= PEAK, "{peak} calls in a second");
    // `all_held` is ordered by name, so the two lists are of the same Credentials.
    let renewed = records(&world);
    let mut order: Vec<(Timestamp, Timestamp)> = before.iter().zip(&renewed).map(|(old, new)| (new.0, old.1)).collect();
    order.sort();
    let mut latest = Timestamp::MIN;
    let mut overtaken = SignedDuration::ZERO;
    // The first at the door are served before anybody waits.
    for (_, end) in &order[PEAK..] {
        overtaken = overtaken.max(latest.duration_since(*end));
        latest = latest.max(*end);
    }
    println!("first {first:?}, renewed with {least:?} to spare, peak {peak}, overtaken by {overtaken:?} at most");
    assert!(overtaken < SignedDuration::from_secs(10), "{overtaken:?}");
    assert_eq!(simulator.read(|it| it.mints().count()), 2 * SIZE);
    process.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_punishes_every_call_is_left_alone_and_gives_all_in_the_end() {
    const SIZE: usize = 500;
    let (world, simulator) = (World::default(), provider());
    world.reach(Arc::new(simulator.clone()));
    for call in [30, 120, 250] {
        simulator.fault("POST /token", call, Fault::Throttled);
    }
    herd(&world, SIZE);
    let process = Process::start(&world);
    let began = clock()();
    while records(&world).len() < SIZE {
        sleep(Duration::from_secs(1)).await;
        let took = clock()().duration_since(began);
        assert!(
            took < SignedDuration::from_mins(30),
            "{} after {took:?}",
            records(&world).len()
        );
    }
    let calls = simulator.read(|it| it.calls_of("POST /token"));
    println!(
        "{SIZE} tokens with {calls} calls in {:?}",
        clock()().duration_since(began)
    );
    // A refusal for each of the three, and the calls that were under way.
    assert!(calls <= SIZE + 3 * 16, "{calls} calls");
    assert!(simulator.read(|it| it.peak_rate()) <= PEAK);
    process.kill().await;
}
