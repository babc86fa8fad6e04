//! `tidegate run --state` is killed (SIGKILL) while the provider is at a chosen moment of a chosen call, and goes on as
//! another process. What the ledger says at the end is right.

use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::run_issued::{check_state, credential, integration, list, secret, status_of};
use crate::support::program::{Program, condition, replace};
use crate::support::simulator::{Issued, Kind, Moment, Settings, Simulator};

/// After a crash a call that may be under way is waited for: 15 s where a value replaces itself, 35 s where keys are added.
const PATIENCE: Duration = Duration::from_secs(180);
/// Histories under way at a time: nearly all of their time is that wait.
const AT_A_TIME: usize = 14;

/// When the process dies, and what the provider does then.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// The request has arrived, and the provider never acts.
    Unheard,
    /// The request has arrived, and the provider acts afterwards.
    Outlived,
    /// The provider has acted, and did not answer yet.
    Committed,
    /// The provider has answered so many milliseconds ago.
    Answered(u64),
}

/// After the answer nothing can be timed by the provider any more; these are spread over what is written then.
const DEATHS: [Death; 7] = [
    Death::Unheard,
    Death::Outlived,
    Death::Committed,
    Death::Answered(0),
    Death::Answered(1),
    Death::Answered(4),
    Death::Answered(12),
];

/// A Credential that is made and rotated once, and killed in these calls, one process after the other.
#[derive(Clone, Debug)]
struct History {
    spec: fn(&str) -> Value,
    kind: Kind,
    grace: Duration,
    deaths: Vec<(&'static str, usize, Death)>,
}

/// Class D.
fn token(url: &str) -> Value {
    json!({"oauth2": {
        "grant": "RefreshToken", "tokenURL": format!("{url}/token"), "clientID": "client",
        "clientSecretRef": {"name": "client", "key": "value"},
        "refreshTokenRef": {"name": "refresh", "key": "value"},
    }})
}

/// Class B.
fn key(url: &str) -> Value {
    let by = json!({"name": "admin"});
    json!({"apiKey": {"name": "x-api-key"}, "rotation": {"overlap": "0s", "steps": {
        "create": {
            "request": {
                "method": "POST", "url": format!("{url}/keys"),
                "headers": {"Content-Type": "application/json"}, "body": r#"{"label": "{{ attempt.id }}"}"#,
            },
            "credentialRef": by,
            "extract": {"value": ".key", "id": ".id"},
        },
        "revoke": {
            "request": {"method": "DELETE", "url": format!("{url}/keys/{{{{ previous.id }}}}")},
            "credentialRef": by,
        },
        "find": {
            "request": {"method": "GET", "url": format!("{url}/keys?label={{{{ attempt.id }}}}")},
            "credentialRef": by,
            "extract": {"ids": ".keys[].id"},
        },
    }}})
}

fn manifests(history: &History, url: &str, rotate: usize) -> String {
    let hosts = json!(["127.0.0.1"]);
    let mut spec = (history.spec)(url);
    spec["allowedHosts"] = hosts.clone();
    let admin = json!({"allowedHosts": hosts, "bearer": {"secretRef": {"name": "admin", "key": "value"}}});
    list(&[
        secret("refresh", "refresh-seed"),
        secret("client", "client-secret"),
        secret("admin", "admin-of-all"),
        credential("admin", 0, admin),
        credential("own", rotate, spec),
        integration("own", url),
    ])
}

/// All that is kept of the Credential, as one text.
fn kept(state: &Path) -> String {
    let entries = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let secrets = entries.filter(|path| path.to_string_lossy().ends_with(".secret.json"));
    secrets.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Whether this stands in what is kept: values there are in Base64 or as they are.
fn holds(kept: &str, value: &str) -> bool {
    use base64::Engine;
    // The attempt is JSON inside of the Secret, whose data are encoded once more.
    let texts = kept.split('"').filter_map(|text| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        String::from_utf8(bytes).ok()
    });
    kept.contains(&format!("\"{value}\""))
        || texts
            .into_iter()
            .any(|text| text == value || text.contains(&format!("\"{value}\"")))
}

/// The refresh token that the provider would take now, if it is nowhere else than there.
fn unkept(simulator: &Simulator, kept: &str) -> Option<Issued> {
    let live = simulator.live();
    live.into_iter()
        .find(|it| it.kind == Kind::Refresh && !holds(kept, &it.value) && !it.seeded)
}

async fn live(history: &History) -> Vec<String> {
    let simulator = Simulator::new(Settings {
        admin: "admin-of-all".into(),
        quota: 3,
        grace: history.grace,
        epoch: jiff::Timestamp::now(),
        ..Settings::default()
    });
    simulator.seed(Kind::Refresh, "refresh-seed");
    let served = simulator.serve().await;
    let url = format!("http://{}", served.address);
    let directory = tempfile::tempdir().unwrap();
    let (files, state) = (directory.path().join("files"), directory.path().join("state"));
    std::fs::create_dir(&files).unwrap();
    replace(&files.join("all.json"), &manifests(history, &url, 0));
    let mut program = Program::keeping(&files, &state, "info").await;
    program.ready_within(PATIENCE).await;

    let mut lost = false;
    for (number, (route, nth, death)) in history.deaths.iter().enumerate() {
        let moment = match death {
            Death::Unheard | Death::Outlived => Moment::Arrived,
            Death::Committed => Moment::Committed,
            Death::Answered(_) => Moment::Answered,
        };
        let mut halted = simulator.halt(route, *nth, moment);
        if number == 0 {
            replace(&files.join("all.json"), &manifests(history, &url, 1));
        }
        let reached = tokio::time::timeout(PATIENCE, halted.reached()).await;
        assert!(
            reached.is_ok(),
            "{route} was not called: {}{}",
            program.stdout(),
            program.stderr()
        );
        if let Death::Answered(since) = death {
            // Not a wait for something, but the moment at which it dies.
            tokio::time::sleep(Duration::from_millis(*since)).await;
        }
        program.kill().await;
        if matches!(death, Death::Outlived) {
            let before = simulator.read(|it| it.issued.len());
            halted.go_on();
            // What the provider does is done before the next process asks.
            while *route != "DELETE /keys" && simulator.read(|it| it.issued.len()) == before {
                tokio::task::yield_now().await;
            }
        } else {
            drop(halted);
        }
        check_state(&state);
        // What is lost now is lost for good where nothing is given twice.
        lost |= history.grace.is_zero() && unkept(&simulator, &kept(&state)).is_some();
        program = Program::keeping(&files, &state, "info").await;
    }

    let ended = program
        .until_within(PATIENCE, "it has come to an end", async |program: &Program| {
            let own = status_of(program, "own").await?;
            let stalled = condition(&own, "Stalled").is_some_and(|it| it["status"] == "True");
            let idle = own["status"]["rotation"]["step"] == "Idle" && own["status"].get("previous").is_none();
            let done = own["status"]["handled"]["rotate"] == "1" && idle;
            (stalled || done).then_some(own)
        })
        .await;
    let mut wrong = judge(history, &simulator, &ended, lost, &kept(&state));
    if !lost {
        program
            .until("a call succeeds", async |program: &Program| {
                (program.call("own.shop", "/whoami").await.0 == 200).then_some(())
            })
            .await;
    }
    if simulator.read(|it| it.uses.iter().any(|(.., accepted)| !accepted)) {
        wrong.push("I1: a worker used what is not accepted".into());
    }
    program.kill().await;
    wrong
}

/// What should not be, by the ledger.
fn judge(history: &History, simulator: &Simulator, ended: &Value, lost: bool, kept: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let deaths = history.deaths.len();
    let stalled = condition(ended, "Stalled").filter(|it| it["status"] == "True");
    match (stalled, lost) {
        (Some(told), true) if told["reason"] == "ReauthorizationRequired" => {}
        (None, false) => {}
        (told, _) => wrong.push(format!("lost: {lost}, told: {told:?}")),
    }
    let live: Vec<Issued> = simulator
        .live()
        .into_iter()
        .filter(|it| it.kind == history.kind)
        .collect();
    if history.kind == Kind::Key {
        if live.len() != 1 || !holds(kept, &live[0].value) {
            wrong.push(format!("I1/I3: alive are {live:?}"));
        }
        let (most, made) = simulator.read(|it| (it.most_live(Kind::Key), it.mints().count()));
        if most > 2 + deaths {
            wrong.push(format!("I2: {most} were alive at once"));
        }
        if made > 2 + deaths {
            wrong.push(format!("I6: {made} were made"));
        }
    }
    let (most, twice, replays) = simulator.read(|it| {
        let twice = it.issued.iter().filter(|one| it.successors(&one.value).count() > 1);
        (it.most_refreshes_in_flight, twice.count(), it.replays.len())
    });
    if most > 1 || twice > 0 || replays > usize::from(lost) {
        wrong.push(format!(
            "I5: {most} at once, {twice} with two successors, {replays} families revoked"
        ));
    }
    wrong
}

async fn all(histories: Vec<History>) {
    let runs = histories.len();
    let wrong: Vec<String> = stream::iter(histories)
        .map(|history| async move {
            let wrong = Box::pin(live(&history)).await;
            wrong
                .into_iter()
                .map(|it| format!("{history:?}: {it}"))
                .collect::<Vec<_>>()
        })
        .buffer_unordered(AT_A_TIME)
        .concat()
        .await;
    assert!(wrong.is_empty(), "of {runs}:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_a_kill_cuts_off_is_lost_only_where_the_answer_was_and_nothing_is_given_twice() {
    let graces = [Duration::ZERO, Duration::from_secs(60)];
    let histories = graces.into_iter().flat_map(|grace| {
        DEATHS.map(|death| History {
            spec: token,
            kind: Kind::Access,
            grace,
            deaths: vec![("POST /token", 2, death)],
        })
    });
    all(histories.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_or_taken_away_when_the_process_is_killed_is_neither_lost_nor_left_over() {
    let history = |deaths| History {
        spec: key,
        kind: Kind::Key,
        grace: Duration::ZERO,
        deaths,
    };
    let made = DEATHS.map(|death| history(vec![("POST /keys", 2, death)]));
    let taken_away = DEATHS.map(|death| history(vec![("DELETE /keys", 1, death)]));
    let mut histories: Vec<History> = made.into_iter().chain(taken_away).collect();
    if std::env::var_os("TIDEGATE_FULL_ROTATIONS").is_some() {
        // It is killed while it makes the key, while it looks for it, and while it takes it away.
        histories.extend(DEATHS.map(|death| {
            history(vec![
                ("POST /keys", 2, Death::Committed),
                ("GET /keys", 1, death),
                ("DELETE /keys", 1, death),
            ])
        }));
    }
    all(histories).await;
}
