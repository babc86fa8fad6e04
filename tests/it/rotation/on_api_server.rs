//! Every write that a rotation makes to a real API server fails once, and is gone on with by the same process or by the
//! next one. The provider is on a real socket, and its ledger is asked whether all is well.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tidegate::api::ANNOTATION_ROTATE;
use tidegate::api::condition::ConditionStatus;
use tidegate::api::credential::Credential;
use tidegate::net::Dialer;
use tidegate::net::policy::AddressPolicy;
use tidegate::provider::exchange::Network;
use tokio::time::{Instant, sleep};

use crate::support::apiserver::{self, Place, eventually};
use crate::support::fault::{Fault, Faults};
use crate::support::scoped::ControlPlane;
use crate::support::simulator::{Kind, Settings, Simulator};

/// Longer than anything here takes: after a crash a call that may be under way is waited for.
const DEADLINE: Duration = Duration::from_secs(120);
const NAME: &str = "key";
const ISSUED: &str = "key-issued";

const FAULTS: [Fault; 4] = [Fault::NotSent, Fault::AnswerLost, Fault::DiesBefore, Fault::DiesAfter];

/// A Credential that is made and then replaced once on request.
#[derive(Clone, Copy)]
struct History {
    purpose: &'static str,
    /// The spec, for a provider at this address.
    spec: fn(&str) -> Value,
    /// The kind of what is published, as the provider has it.
    kind: Option<Kind>,
}

const HISTORIES: [History; 4] = [
    History {
        purpose: "matrix-chosen",
        spec: chosen,
        kind: Some(Kind::Secret),
    },
    History {
        purpose: "matrix-added",
        spec: added,
        kind: Some(Kind::Key),
    },
    History {
        purpose: "matrix-jwt",
        spec: |_| {
            let generate = json!({"overlap": "0s"});
            json!({"jwt": {"algorithm": "ES256", "generate": generate, "issuer": "us", "lifetime": "1h"}})
        },
        kind: None,
    },
    History {
        purpose: "matrix-refresh",
        spec: |base| {
            json!({"oauth2": {
                "grant": "RefreshToken",
                "tokenURL": format!("{base}/token"),
                "clientID": "client",
                "clientSecretRef": {"name": "client", "key": "secret"},
                "refreshTokenRef": {"name": "refresh", "key": "token"},
            }})
        },
        kind: Some(Kind::Access),
    },
];

/// Class A: what we generate is set, and the one before it deleted.
fn chosen(base: &str) -> Value {
    let by = json!({"name": "admin"});
    let steps = json!({
        "create": {"generate": {"length": 40}},
        "set": {
            "request": {
                "method": "PUT", "url": format!("{base}/secret"),
                "headers": {"Content-Type": "application/json"}, "body": "{\"value\": \"{{ value }}\"}",
            },
            "credentialRef": by,
        },
        "revoke": {
            "request": {
                "method": "DELETE", "url": format!("{base}/secret"),
                "headers": {"Content-Type": "application/json"}, "body": "{\"value\": \"{{ previous.value }}\"}",
            },
            "credentialRef": by,
        },
    });
    json!({"bearer": {}, "rotation": {"steps": steps, "overlap": "0s"}})
}

/// Class B: keys are added, found by their label, and taken away.
fn added(base: &str) -> Value {
    let by = json!({"name": "admin"});
    let steps = json!({
        "create": {
            "request": {
                "url": format!("{base}/keys"),
                "headers": {"Content-Type": "application/json"}, "body": "{\"label\": \"{{ attempt.id }}\"}",
            },
            "credentialRef": by,
            "extract": {"value": ".key", "id": ".id"},
        },
        "find": {
            "request": {"method": "GET", "url": format!("{base}/keys?label={{{{ attempt.id }}}}")},
            "credentialRef": by,
            "extract": {"ids": ".keys[].id"},
        },
        "revoke": {
            "request": {"method": "DELETE", "url": format!("{base}/keys/{{{{ previous.id }}}}")},
            "credentialRef": by,
        },
    });
    json!({"bearer": {}, "rotation": {"steps": steps, "overlap": "0s"}})
}

fn start(place: &Place, calling: kube::Client) -> ControlPlane {
    ControlPlane::start_apart(place, calling, place.client.clone(), |settings| {
        let policy = AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        };
        settings.exchange = Arc::new(Network::new(Dialer::new(Arc::new(policy))));
    })
}

/// Whether a call is about what the reconciler of Credentials reads and writes: events are not.
fn is_about_credentials(path: &str) -> bool {
    path.contains("/secrets") || path.contains("/credentials")
}

async fn create(place: &Place, name: &str, hosts: &Value, mut spec: Value) {
    spec["allowedHosts"] = hosts.clone();
    let manifest = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential", "metadata": {"name": name}, "spec": spec,
    });
    let object: Credential = serde_json::from_value(manifest).unwrap();
    place.api().create(&PostParams::default(), &object).await.unwrap();
}

async fn create_secret(place: &Place, name: &str, key: &str, value: &str) {
    let manifest = json!({"metadata": {"name": name}, "stringData": {key: value}});
    let object: Secret = serde_json::from_value(manifest).unwrap();
    place.api().create(&PostParams::default(), &object).await.unwrap();
}

/// Where the history has come to.
async fn stored(place: &Place) -> (Credential, Vec<Secret>) {
    let credential = place.api::<Credential>().get(NAME).await.unwrap();
    let ours = ListParams::default().labels(&format!("tidegate.dev/credential={NAME}"));
    let secrets = place.api::<Secret>().list(&ours).await.unwrap();
    (credential, secrets.items)
}

/// At rest at this revision: ready, nothing under way, and no previous value.
fn is_at(revision: i64, (credential, secrets): &(Credential, Vec<Secret>)) -> bool {
    let Some(status) = &credential.status else { return false };
    let holds = |kind: &str, wanted: ConditionStatus| {
        let mut conditions = status.conditions.iter().filter(|it| it.type_ == kind);
        conditions.all(|it| it.status == wanted)
    };
    let handled = status.handled.as_ref().and_then(|it| it.rotate.as_deref());
    let [secret] = &secrets[..] else { return false };
    let settled = secret
        .data
        .iter()
        .flatten()
        .all(|(key, _)| !key.starts_with("previous."));
    let step = status.rotation.as_ref().map(|it| format!("{:?}", it.step));
    status.revision == Some(revision)
        && status.previous.is_none()
        && step.is_none_or(|step| step.contains("Idle"))
        && status.conditions.iter().any(|it| it.type_ == "Ready")
        && holds("Ready", ConditionStatus::True)
        && holds("Issuing", ConditionStatus::False)
        && holds("Stalled", ConditionStatus::False)
        && (revision == 1 || handled == Some("asked"))
        && secret.annotations().get("tidegate.dev/revision") == Some(&revision.to_string())
        && settled
}

/// What is stored, without what no two histories have in common.
fn objects((credential, secrets): &(Credential, Vec<Secret>)) -> String {
    let mut all = vec![
        serde_json::to_value(&credential.status).unwrap(),
        json!(credential.finalizers()),
    ];
    for secret in secrets {
        let keys: Vec<&String> = secret.data.iter().flat_map(|data| data.keys()).collect();
        let record = secret.annotations().get("tidegate.dev/record");
        let mut record: Value = record.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        for name in [
            "attempt",
            "sources",
            "spec",
            "id",
            "issued",
            "notBefore",
            "notAfter",
            "paidUntil",
        ] {
            if let Some(field) = record.get_mut(name) {
                *field = "masked".into();
            }
        }
        let owners: Vec<&str> = secret.owner_references().iter().map(|it| it.name.as_str()).collect();
        all.push(json!([
            secret.name_any(),
            secret.type_,
            secret.labels(),
            owners,
            keys,
            record
        ]));
    }
    let mut all = Value::Array(all);
    mask(&mut all);
    serde_json::to_string_pretty(&all).unwrap()
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if name == "message"
                    || value
                        .as_str()
                        .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
                {
                    *value = "masked".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// What fails: the write of this number, from 1.
type Case = Option<(usize, Fault)>;

/// What a history came to.
struct Outcome {
    objects: String,
    writes: usize,
    /// What was to fail did.
    failed: bool,
    mints: usize,
}

/// Lives a history in which this fails. What ought to hold whatever fails is asserted here.
async fn live(history: History, case: Case) -> Outcome {
    let place = apiserver::namespace(history.purpose).await;
    let simulator = Simulator::new(Settings {
        epoch: jiff::Timestamp::now(),
        grace: Duration::from_secs(60),
        ..Settings::default()
    });
    let served = simulator.serve().await;
    let (hosts, base) = (
        json!([served.address.to_string()]),
        format!("http://{}", served.address),
    );
    for (name, key, value) in [
        ("admin", "token", "admin"),
        ("client", "secret", "client-secret"),
        ("refresh", "token", "refresh-0"),
    ] {
        create_secret(&place, name, key, value).await;
    }
    simulator.seed(Kind::Refresh, "refresh-0");
    let bearer = json!({"bearer": {"secretRef": {"name": "admin", "key": "token"}}});
    create(&place, "admin", &hosts, bearer).await;
    let first = start(&place, place.client.clone());
    eventually(60, || async {
        let admin = place.api::<Credential>().get("admin").await.unwrap();
        let ready = admin
            .status
            .iter()
            .flat_map(|it| &it.conditions)
            .any(|it| it.type_ == "Ready");
        if ready { Ok(()) } else { Err("not looked at".to_owned()) }
    })
    .await;
    first.stop().await;

    let faults = case.map_or_else(Faults::none, |(write, fault)| Faults::at_write(write, fault));
    let faults = faults.about(is_about_credentials);
    let mut plane = start(&place, faults.place(&place).await.client.clone());
    create(&place, NAME, &hosts, (history.spec)(&base)).await;
    let deadline = Instant::now() + DEADLINE;
    let mut revision = 1;
    let mut dies = case.is_some_and(|(_, fault)| matches!(fault, Fault::DiesBefore | Fault::DiesAfter));
    let found = loop {
        if dies && faults.happened() {
            dies = false;
            plane.kill().await;
            plane = start(&place, place.client.clone());
        }
        let found = stored(&place).await;
        if is_at(revision, &found) {
            if revision == 2 {
                break found;
            }
            revision = 2;
            let asked = json!({"metadata": {"annotations": {ANNOTATION_ROTATE: "asked"}}});
            let api: Api<Credential> = place.api();
            api.patch(NAME, &PatchParams::default(), &Patch::Merge(asked))
                .await
                .unwrap();
        }
        assert!(
            Instant::now() < deadline,
            "{} {case:?}: revision {revision} not reached: {}",
            history.purpose,
            objects(&found)
        );
        sleep(Duration::from_millis(50)).await;
    };
    plane.stop().await;
    ledger(history, case, &found.1, &simulator);

    let looked = Faults::none().about(|path| path.contains("/credentials/key"));
    let idle = start(&place, looked.place(&place).await.client.clone());
    eventually(60, || async {
        // At the start, and again when every worker had time to be heard of.
        if looked.calls() >= 2 {
            Ok(())
        } else {
            Err(format!("{} looks", looked.calls()))
        }
    })
    .await;
    idle.stop().await;
    assert_eq!(
        looked.writes(),
        0,
        "{} {case:?}: a further run writes the status",
        history.purpose
    );
    let after = stored(&place).await;
    let versions = |secrets: &[Secret]| secrets.iter().map(ResourceExt::resource_version).collect::<Vec<_>>();
    assert_eq!(
        versions(&after.1),
        versions(&found.1),
        "{} {case:?}: a further run writes a Secret",
        history.purpose
    );
    Outcome {
        objects: objects(&found),
        writes: faults.writes(),
        failed: faults.happened(),
        mints: simulator.read(|it| it.mints().count()),
    }
}

/// I1 to I5.
fn ledger(history: History, case: Case, secrets: &[Secret], simulator: &Simulator) {
    let what = format!("{} {case:?}", history.purpose);
    let Some(kind) = history.kind else { return };
    let text = |key: &str| {
        let bytes = secrets.iter().find_map(|secret| secret.data.as_ref()?.get(key))?;
        Some(String::from_utf8(bytes.0.clone()).unwrap())
    };
    let value = text("value")
        .or_else(|| text("token"))
        .unwrap_or_else(|| panic!("{what}: I1: nothing is published"));
    assert!(simulator.accepts(&value), "{what}: I1: what is published is refused");
    let most = simulator.read(|it| it.most_live(kind));
    if kind != Kind::Access {
        assert!(most <= 2 + usize::from(case.is_some()), "{what}: I2: {most} at once");
        let live = simulator.live().into_iter().filter(|it| it.kind == kind);
        let live: Vec<String> = live.map(|it| it.value).collect();
        assert_eq!(live, [value], "{what}: I3: something is alive that nobody holds");
    }
    let (most, twice, replays) = simulator.read(|it| {
        let twice = it
            .issued
            .iter()
            .filter(|one| it.successors(&one.value).count() > 1)
            .count();
        (it.most_refreshes_in_flight, twice, it.replays.len())
    });
    assert!(
        most <= 1 && twice == 0 && replays == 0,
        "{what}: I5: {most}, {twice}, {replays}"
    );
}

/// All cases of one history, or each write with one of the faults.
async fn matrix(number: usize) {
    let history = HISTORIES[number];
    assert_eq!(ISSUED, format!("{NAME}-issued"));
    let usual = live(history, None).await;
    let full = std::env::var_os("TIDEGATE_FULL_MATRIX").is_some();
    let all = (1..=usual.writes).flat_map(|write| FAULTS.map(|fault| (write, fault)));
    let some = all
        .enumerate()
        .filter(|(index, (write, _))| full || (index + write + number).is_multiple_of(4));
    let runs = stream::iter(some.map(|(_, case)| case))
        .map(|case| {
            let usual = &usual;
            async move {
                let outcome = live(history, Some(case)).await;
                if !outcome.failed {
                    return 0;
                }
                assert!(
                    outcome.objects == usual.objects,
                    "{} {case:?}:\n{}\ninstead of\n{}",
                    history.purpose,
                    outcome.objects,
                    usual.objects
                );
                // I6; of a token one more may be made, which ends by itself.
                assert!(
                    outcome.mints <= usual.mints + 1,
                    "{} {case:?}: I6: {} were made instead of {}",
                    history.purpose,
                    outcome.mints,
                    usual.mints
                );
                1
            }
        })
        .buffer_unordered(6)
        .fold(0, |sum, one| async move { sum + one })
        .await;
    println!(
        "{}: {} writes, {runs} runs, in each of which another one failed",
        history.purpose, usual.writes
    );
    assert!(runs >= usual.writes * 3 / 4, "only {runs} writes were made to fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_value_survives_every_failed_write() {
    Box::pin(matrix(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_key_survives_every_failed_write() {
    Box::pin(matrix(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_and_its_key_survive_every_failed_write() {
    Box::pin(matrix(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_survives_every_failed_write() {
    Box::pin(matrix(3)).await;
}
