//! Rotations under constant load: the real program over real sockets, and not one call may fail.
//!
//! Each station is a provider of its own with an Integration and a Credential. Its rotations are asked for by annotation,
//! one after another, each waited for until it is handled and propagated, while callers keep calling the stations that
//! are being rotated. Nothing is retried: what fails is seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::Value;

use crate::support::program::{DEADLINE, Program, condition, replace};
pub use stations::stored;
use stations::{Class, Station};

mod stations;

/// Rotations of each Credential: what its account pays for at once.
const ROUNDS: usize = 5;
/// Callers at a time.
const CALLERS: usize = 4;
/// Stations that are rotated at a time.
const AT_A_TIME: usize = 5;

/// How many stations of each class; with 40 there are 1,000 rotations.
fn of_each_class() -> usize {
    if std::env::var_os("TIDEGATE_FULL_ROTATIONS").is_some() {
        40
    } else {
        2
    }
}

/// How long one wait may take with so many stations: each costs the program and its files a share of the machine.
fn patience(stations: usize) -> Duration {
    DEADLINE + Duration::from_secs(2) * u32::try_from(stations).unwrap_or(u32::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_credentials_of_every_class_are_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let (files, state) = (directory.path().join("files"), directory.path().join("state"));
    std::fs::create_dir(&files).unwrap();
    replace(&files.join("admin.json"), &stations::admin().to_string());
    let mut all = Vec::new();
    for number in 0..of_each_class() {
        for class in Class::ALL {
            let station = Station::open(class, number, &state).await;
            replace(&files.join(station.file()), &station.manifests(0));
            all.push(station);
        }
    }
    let all = Arc::new(all);
    let program = Arc::new(Program::keeping(&files, &state, "info").await);
    let patience = patience(all.len());
    program.ready_within(patience).await;

    // Callers and what they were answered.
    let active: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (calls, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let failures: Arc<Mutex<Vec<String>>> = Arc::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let (all, active, calls, over) = (all.clone(), active.clone(), calls.clone(), over.clone());
            let (failures, listen) = (failures.clone(), program.listen);
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut turn = number;
                while !over.load(Ordering::SeqCst) {
                    turn += 1;
                    // Now and then one that is not being rotated.
                    let chosen = match active.lock().unwrap().as_slice() {
                        now if !now.is_empty() && !turn.is_multiple_of(8) => now[turn % now.len()],
                        _ => turn % all.len(),
                    };
                    let station = &all[chosen];
                    let call = client
                        .get(format!("http://{listen}/whoami"))
                        .header("host", station.host());
                    let answered = call.send().await;
                    calls.fetch_add(1, Ordering::SeqCst);
                    match answered {
                        Ok(answer) if answer.status() == 200 => drop(answer.bytes().await),
                        Ok(answer) => {
                            let (status, error) = (answer.status(), answer.headers().get("tidegate-error").cloned());
                            let told = format!("{} {:?}: {status} {error:?}", jiff::Timestamp::now(), station.name);
                            failures.lock().unwrap().push(told);
                        }
                        Err(error) => failures.lock().unwrap().push(format!("{}: {error:?}", station.name)),
                    }
                }
            })
        })
        .collect();

    let rotated = AtomicUsize::new(0);
    stream::iter(0..all.len())
        .for_each_concurrent(AT_A_TIME, |index| {
            let (all, active, program, files, rotated) = (&all, &active, &program, &files, &rotated);
            async move {
                active.lock().unwrap().push(index);
                let station = &all[index];
                for round in 1..=ROUNDS {
                    replace(&files.join(station.file()), &station.manifests(round));
                    let what = format!("rotation {round} of {}", station.name);
                    program
                        .until_within(patience, &what, async |program: &Program| {
                            let objects = program.objects("credentials").await;
                            let own = objects.iter().find(|it| it["metadata"]["name"] == *station.name)?;
                            is_rotated(own, round).then_some(())
                        })
                        .await;
                    rotated.fetch_add(1, Ordering::SeqCst);
                }
                active.lock().unwrap().retain(|it| *it != index);
            }
        })
        .await;
    over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let (rotated, calls) = (rotated.into_inner(), calls.load(Ordering::SeqCst));
    let mut refused: BTreeMap<Class, usize> = BTreeMap::new();
    for station in all.iter() {
        *refused.entry(station.class).or_default() += station.refusals();
    }
    println!("{rotated} rotations, {calls} calls, refused by providers and bridged: {refused:?}");
    let failures = std::mem::take(&mut *failures.lock().unwrap());
    assert!(
        failures.is_empty(),
        "{} of {calls} failed: {failures:#?}",
        failures.len()
    );
    assert_eq!(rotated, all.len() * ROUNDS);
    for class in [Class::Accepted, Class::Added, Class::Token, Class::Certificate] {
        assert_eq!(refused[&class], 0, "{class:?}: a value was used after its end");
    }

    // The values were other ones each time, what was replaced is gone, and none of them was told to anybody.
    let mut secrets = vec!["admin-of-all".to_owned()];
    for station in all.iter() {
        station.check(ROUNDS);
        secrets.extend(station.secrets());
    }
    let mut told = program.stdout() + &program.stderr();
    for path in ["/api/v1/credentials", "/api/v1/integrations", "/metrics"] {
        told += &program.admin(path).await.1;
    }
    assert!(secrets.len() > rotated, "every value is known");
    for secret in secrets {
        assert!(!told.contains(&secret), "a secret was told");
    }
}

fn is_rotated(credential: &Value, round: usize) -> bool {
    let status = &credential["status"];
    let is = |kind: &str| condition(credential, kind).is_some_and(|it| it["status"] == "True");
    status["handled"]["rotate"].as_str() == Some(round.to_string().as_str())
        && is("Ready")
        && is("Propagated")
        && status["consumers"][0]["revision"] == status["revision"]
}
