//! The same end whatever fails on the way: for each step in the life of the objects and each write that it takes, that
//! write fails, or the process dies of it, and what is stored at the end is what a run without faults leaves. A further
//! run then writes nothing.
//!
//! The names follow Sieve's three patterns (OSDI 2022): an *intermediate* state is seen by the next process, a *stale*
//! one is acted on, or a change goes *unobserved*.

use std::time::Duration;

use serde_json::json;
use tidegate::api::integration::CircuitState;
use tidegate::domain::key::Key;
use tokio::time::sleep;

use crate::support::manifests::{credential, integration, shop};
use crate::support::memory::{Fault, Process, World, clock};

mod on_api_server;

/// Long enough for every backoff that a few failures can bring about, and for what waits for the start to be over.
const SETTLED: Duration = Duration::from_secs(60);

/// After this time every object has been looked at again, though nothing was heard of it.
const LOOKED_AGAIN: Duration = Duration::from_secs(950);

/// A step in the life of the objects.
type Step = (&'static str, fn(&World));

const STEPS: [Step; 14] = [
    ("everything is applied", |world| {
        world.apply_integration(integration("shop", "payments-api"));
        world.apply_credential(credential("shop"));
        world.apply_secret(&shop().0, &[("key", "first")]);
    }),
    ("the spec is edited", |world| {
        let mut manifest = integration("shop", "payments-api");
        manifest["spec"]["timeouts"] = json!({"request": "7s"});
        world.apply_integration(manifest);
    }),
    ("the value is edited", |world| {
        world.apply_secret(&shop().0, &[("key", "second")]);
    }),
    ("a circuit opens", |world| {
        world.turn(&shop().2, 0, CircuitState::Open, clock()());
    }),
    ("it closes", |world| {
        world.turn(&shop().2, 0, CircuitState::Closed, clock()());
    }),
    ("there are more workers", |world| {
        let mut manifest = integration("shop", "payments-api");
        manifest["spec"]["workers"] = json!({"replicas": 3});
        world.apply_integration(manifest);
    }),
    ("the Secret goes", |world| world.delete_secret(&shop().0)),
    ("it comes back with another value", |world| {
        world.apply_secret(&shop().0, &[("key", "third")]);
    }),
    ("the Credential puts it elsewhere", |world| {
        let mut manifest = credential("shop");
        manifest["spec"]["apiKey"]["name"] = "X-Other-Key".into();
        world.apply_credential(manifest);
    }),
    ("the spec becomes unacceptable", |world| {
        let mut manifest = integration("shop", "payments-api");
        manifest["spec"]["endpoints"][0]["url"] = "https://elsewhere.example.com".into();
        world.apply_integration(manifest);
    }),
    ("the Credential goes", |world| world.delete_credential(&shop().1)),
    ("it comes back", |world| {
        world.apply_credential(credential("shop"));
    }),
    ("the Integration is another one of that name", |world| {
        world.delete_integration(&shop().2);
        world.apply_integration(integration("shop", "payments-api"));
    }),
    ("the Integration goes", |world| world.delete_integration(&shop().2)),
];

/// What is stored after each step, when nothing fails.
async fn reference() -> Vec<String> {
    let world = World::default();
    let process = Process::start(&world);
    let mut stored = Vec::new();
    for (_, step) in STEPS {
        step(&world);
        sleep(SETTLED).await;
        stored.push(world.objects());
    }
    process.stop().await;
    stored
}

/// A world after the first `steps`, and the controller that runs on it.
async fn after(steps: usize) -> (World, Process) {
    let world = World::default();
    let process = Process::start(&world);
    for (_, step) in &STEPS[..steps] {
        step(&world);
        sleep(SETTLED).await;
    }
    world.take_writes();
    (world, process)
}

/// Lets everything happen; a process that dies is followed by another.
async fn settle(world: &World, mut process: Process) -> Process {
    loop {
        tokio::select! {
            () = sleep(2 * SETTLED) => return process,
            () = world.died.notified() => {
                process.kill().await;
                process = Process::start(world);
            }
        }
    }
}

/// What is stored is what a run without faults leaves, and a further run, by the same and by a new process, writes
/// nothing.
async fn ends_well(case: &str, world: &World, process: Process, reference: &str) {
    let stored = world.objects();
    assert!(stored == reference, "{case}: {}", difference(reference, &stored));
    world.take_writes();
    sleep(LOOKED_AGAIN).await;
    process.kill().await;
    let process = Process::start(world);
    sleep(SETTLED).await;
    assert_eq!(world.take_writes(), [""; 0], "{case}: a further run");
    process.kill().await;
}

fn difference(expected: &str, found: &str) -> String {
    let lines = expected.lines().zip(found.lines()).enumerate();
    let different = lines.filter(|(_, (expected, found))| expected != found).take(5);
    let told: Vec<String> = different
        .map(|(number, (expected, found))| format!("line {number}: {expected} became {found}"))
        .collect();
    format!(
        "{} ({} and {} lines)",
        told.join("; "),
        expected.lines().count(),
        found.lines().count()
    )
}

#[tokio::test(start_paused = true)]
async fn intermediate_every_write_fails_once_in_every_way() {
    let reference = reference().await;
    let mut runs = 0;
    for (number, (name, step)) in STEPS.iter().enumerate() {
        for fault in Fault::ALL {
            for write in 0.. {
                let (world, process) = after(number).await;
                world.fail_write(write, fault);
                step(&world);
                let process = settle(&world, process).await;
                if world.clear_faults() {
                    process.kill().await;
                    break; // The step takes no more writes than that.
                }
                runs += 1;
                ends_well(
                    &format!("{name}, write {write}, {fault:?}"),
                    &world,
                    process,
                    &reference[number],
                )
                .await;
            }
        }
    }
    println!("{runs} runs, each with another write that failed");
    assert!(runs > 100, "only {runs} writes were made to fail");
}

#[tokio::test(start_paused = true)]
async fn intermediate_two_writes_fail_one_after_the_other() {
    let reference = reference().await;
    let mut runs = 0;
    for (number, (name, step)) in STEPS.iter().enumerate() {
        for (first, second) in Fault::ALL
            .into_iter()
            .flat_map(|first| Fault::ALL.map(|second| (first, second)))
        {
            for (one, other) in [(0, 1), (0, 2), (1, 2), (1, 3)] {
                let (world, process) = after(number).await;
                world.fail_write(one, first);
                world.fail_write(other, second);
                step(&world);
                let process = settle(&world, process).await;
                world.clear_faults();
                runs += 1;
                let case = format!("{name}, writes {one} {first:?} and {other} {second:?}");
                ends_well(&case, &world, process, &reference[number]).await;
            }
        }
    }
    println!("{runs} runs, each with another two writes that failed");
}

/// A pseudo-random number below `below` (Knuth's MMIX).
fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap() % below
}

#[tokio::test(start_paused = true)]
async fn intermediate_in_any_order_of_things_with_any_writes_failing() {
    let reference = reference().await;
    for seed in 0..300 {
        let mut dice = seed;
        let world = World::default();
        // Every call takes another time, so that what runs side by side meets in every order.
        world.latency(Duration::from_millis(50), seed);
        let mut process = Process::start(&world);
        let steps = 1 + random(&mut dice, STEPS.len());
        for (_, step) in &STEPS[..steps] {
            for _ in 0..random(&mut dice, 3) {
                world.fail_write(random(&mut dice, 5), Fault::ALL[random(&mut dice, 4)]);
            }
            step(&world);
            process = settle(&world, process).await;
            world.clear_faults();
        }
        ends_well(&format!("seed {seed}"), &world, process, &reference[steps - 1]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unobserved_what_happens_while_no_controller_runs() {
    let reference = reference().await;
    for (number, (name, step)) in STEPS.iter().enumerate() {
        let (world, process) = after(number).await;
        process.kill().await;
        world.deafen();
        step(&world);
        let process = Process::start(&world);
        sleep(2 * SETTLED).await;
        ends_well(name, &world, process, &reference[number]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unobserved_what_no_watch_tells_of_is_found_by_looking_again() {
    let reference = reference().await;
    for (number, (name, step)) in STEPS.iter().enumerate() {
        // The first step makes objects of which nobody knows anything; there is nothing to look at again.
        if number == 0 {
            continue;
        }
        let (world, process) = after(number).await;
        world.lose_changes(true);
        step(&world);
        world.lose_changes(false);
        sleep(LOOKED_AGAIN + SETTLED).await;
        ends_well(name, &world, process, &reference[number]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stale_a_leader_that_does_not_know_that_it_was_deposed_changes_nothing() {
    let reference = reference().await;
    for (number, (name, step)) in STEPS.iter().enumerate() {
        let (world, old) = after(number).await;
        let new = Process::start(&world);
        step(&world);
        sleep(2 * SETTLED).await;
        let stored = world.objects();
        assert!(
            stored == reference[number],
            "{name}: {}",
            difference(&reference[number], &stored)
        );
        world.take_writes();
        sleep(LOOKED_AGAIN).await;
        assert_eq!(world.take_writes(), [""; 0], "{name}: the two do not come to rest");
        old.kill().await;
        ends_well(name, &world, new, &reference[number]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reports_that_come_late_are_corrected_by_the_next() {
    let (world, process) = after(1).await;
    let key: Key = shop().2;
    let before = world.observation(&key, 0);
    STEPS[1].1(&world);
    sleep(SETTLED).await;
    let stored = world.objects();
    world.observe(before);
    sleep(Duration::from_secs(6)).await;
    assert_ne!(world.objects(), stored, "what a worker says is believed");
    world.observe(world.observation(&key, 0));
    sleep(Duration::from_secs(6)).await;
    assert_eq!(world.objects(), stored);
    process.kill().await;
}
