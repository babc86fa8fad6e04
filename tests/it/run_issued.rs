//! `tidegate run --state`: what is issued outlives the process, however it ends, and is told to nobody.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::cluster::files::manifest::{self, Object};
use tidegate::domain::validate;
use tidegate::provider::{extract, template};

use crate::support::program::{Program, condition, ended, replace};
use crate::support::simulator::{Kind, Settings, Simulator};

pub fn credential(name: &str, rotate: usize, spec: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"tidegate.dev/rotate": rotate.to_string()}},
        "spec": spec,
    })
}

pub fn integration(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Integration",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "endpoints": [{"name": "primary", "url": url}],
            "credentialRefs": [{"name": name}],
            "retries": {"limit": 0},
        },
    })
}

pub fn secret(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"},
        "stringData": {"value": value},
    })
}

pub fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Tokens by refresh tokens, keys that are added, and values of our own, each of which is asked for the `rotate`th time.
fn manifests(url: &str, rotate: usize) -> String {
    list(&[
        secret("refresh", "refresh-seed"),
        secret("client", "client-secret"),
        secret("admin", "admin-of-all"),
        credential(
            "admin",
            0,
            json!({"allowedHosts": ["127.0.0.1"], "bearer": {"secretRef": {"name": "admin", "key": "value"}}}),
        ),
        credential(
            "token",
            rotate,
            json!({"allowedHosts": ["127.0.0.1"], "oauth2": {
                "grant": "RefreshToken", "tokenURL": format!("{url}/token"), "clientID": "client",
                "clientSecretRef": {"name": "client", "key": "value"},
                "refreshTokenRef": {"name": "refresh", "key": "value"},
            }}),
        ),
        credential(
            "key",
            rotate,
            json!({"allowedHosts": ["127.0.0.1"], "apiKey": {"name": "x-api-key"}, "rotation": {
                "interval": "1m", "overlap": "0s",
                "steps": {
                    "create": {
                        "request": {
                            "method": "POST", "url": format!("{url}/keys"),
                            "headers": {"Content-Type": "application/json"}, "body": r#"{"label": "{{ attempt.id }}"}"#,
                        },
                        "credentialRef": {"name": "admin"},
                        "extract": {"value": ".key", "id": ".id", "expiresAt": ".expires_at"},
                    },
                    "revoke": {
                        "request": {"method": "DELETE", "url": format!("{url}/keys/{{{{ previous.id }}}}")},
                        "credentialRef": {"name": "admin"},
                    },
                    "find": {
                        "request": {"method": "GET", "url": format!("{url}/keys?label={{{{ attempt.id }}}}")},
                        "credentialRef": {"name": "admin"},
                        "extract": {"ids": ".keys[].id"},
                    },
                },
            }}),
        ),
        credential(
            "own",
            rotate,
            json!({"allowedHosts": ["127.0.0.1"], "generated": {"encoding": "Hex"}, "rotation": {"interval": "1m", "overlap": "0s"}}),
        ),
        integration("token", url),
        integration("key", url),
    ])
}

/// The files of a state directory are whole and nobody else's, whatever moment the process ended at.
pub fn check_state(state: &Path) {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state), 0o700);
    for entry in std::fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        if path.to_string_lossy().ends_with(".secret.json") {
            let secret: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(secret["kind"], "Secret", "{}", path.display());
        }
    }
}

pub async fn status_of(program: &Program, name: &str) -> Option<Value> {
    let objects = program.objects("credentials").await;
    objects.into_iter().find(|it| it["metadata"]["name"] == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_at_any_moment_of_a_rotation_loses_nothing() {
    let simulator = Simulator::new(Settings {
        admin: "admin-of-all".into(),
        quota: 3,
        grace: Duration::from_secs(60),
        access_lifetime: Duration::from_secs(30),
        key_lifetime: Some(Duration::from_secs(600)),
        epoch: jiff::Timestamp::now(),
        ..Settings::default()
    });
    simulator.seed(Kind::Refresh, "refresh-seed");
    let served = simulator.serve().await;
    let url = format!("http://{}", served.address);
    let directory = tempfile::tempdir().unwrap();
    let (files, state) = (directory.path().join("files"), directory.path().join("state"));
    std::fs::create_dir(&files).unwrap();
    let kills = if std::env::var_os("TIDEGATE_FULL_ROTATIONS").is_some() {
        40
    } else {
        20
    };
    let mut told = String::new();
    let mut revisions = [0_i64; 3];
    let mut owned = BTreeSet::new();
    for kill in 1..=kills {
        replace(&files.join("all.json"), &manifests(&url, kill));
        let program = Program::keeping(&files, &state, "info").await;
        // Not a wait for something, but the moment at which it dies: spread over what a rotation takes.
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..700))).await;
        told += &program.kill().await;
        check_state(&state);
        for (name, least) in ["token", "key", "own"].into_iter().zip(&mut revisions) {
            let path = state.join(format!("shop.{name}-issued.secret.json"));
            let Ok(text) = std::fs::read(&path) else {
                assert_eq!(*least, 0, "what was issued for {name} is gone");
                continue;
            };
            let issued: Value = serde_json::from_slice(&text).unwrap();
            let revision = issued["metadata"]["annotations"]["tidegate.dev/revision"]
                .as_str()
                .unwrap();
            let revision: i64 = revision.parse().unwrap();
            assert!(revision >= *least, "{name} went back from {least} to {revision}");
            *least = revision;
            if name == "own" {
                owned.insert(super::rotation_load::stored(&path, "value").unwrap());
            }
        }
    }

    // It recovers by itself: every value is usable, and nothing is left over.
    let program = Program::keeping(&files, &state, "info").await;
    program.ready().await;
    for name in ["token", "key"] {
        program
            .until(&format!("a call with {name} succeeds"), async |program: &Program| {
                (program.call(&format!("{name}.shop"), "/whoami").await.0 == 200).then_some(())
            })
            .await;
    }
    program
        .until("no key is live that is not in use", async |program: &Program| {
            let key = status_of(program, "key").await?;
            let idle = key["status"]["rotation"]["step"] == "Idle" || key["status"]["rotation"]["step"] == "Wait";
            let keys = simulator.live().into_iter().filter(|it| it.kind == Kind::Key).count();
            (idle && keys == 1).then_some(())
        })
        .await;
    let other = ended(&[
        "run",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "-f",
        files.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ])
    .await;
    assert_eq!(
        other.0,
        Some(1),
        "a second process must not use the directory: {}",
        other.2
    );
    assert!(other.2.contains("another process uses it"), "{}", other.2);
    for path in ["/api/v1/credentials", "/api/v1/integrations", "/metrics"] {
        told += &program.admin(path).await.1;
    }
    told += &program.kill().await;
    println!("{kills} kills; revisions of token, key, own: {revisions:?}");
    simulator.read(|ledger| {
        assert!(
            ledger.replays.is_empty(),
            "a refresh token was used twice: its family is gone"
        );
        assert!(ledger.most_refreshes_in_flight <= 1);
        for issued in &ledger.issued {
            assert!(!told.contains(&format!("{}\"", issued.value)) && !told.contains(&format!("{} ", issued.value)));
            assert!(ledger.successors(&issued.value).count() <= 1);
        }
    });
    for secret in owned
        .iter()
        .map(String::as_str)
        .chain(["refresh-seed", "client-secret", "admin-of-all"])
    {
        assert!(!told.contains(secret), "a secret was told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_serves_to_its_end_without_its_issuer_and_comes_back_with_it() {
    let lifetime = Duration::from_secs(6);
    let simulator = Simulator::new(Settings {
        access_lifetime: lifetime,
        ..Settings::default()
    });
    let served = simulator.serve().await;
    let issuer = simulator.serve().await;
    let (url, address) = (format!("http://{}", served.address), issuer.address);
    let spec = json!({"allowedHosts": ["127.0.0.1"], "oauth2": {
        "grant": "ClientCredentials", "tokenURL": format!("http://{address}/token"), "clientID": "client",
        "clientSecretRef": {"name": "client", "key": "value"},
    }});
    let text = list(&[
        secret("client", "client-secret"),
        credential("token", 0, spec),
        integration("token", &url),
    ]);
    let program = Program::with_files(&[("all.json", &text)], "info").await;
    program.ready().await;
    let warned = program.stderr() + &program.stdout();
    assert!(warned.contains("keep it with --state DIR"), "{warned}");
    assert_eq!(program.call("token.shop", "/whoami").await.0, 200);
    drop(issuer);
    let refused = program
        .until("the token is at its end", async |program: &Program| {
            let (status, headers, _) = program.call("token.shop", "/whoami").await;
            (status != 200).then_some((status, headers))
        })
        .await;
    assert_eq!(
        (refused.0, &refused.1["tidegate-error"]),
        (503, &"credential-unavailable".parse().unwrap())
    );
    let last = simulator.read(|ledger| {
        assert!(
            ledger.uses.iter().all(|(.., accepted)| *accepted),
            "nothing was sent after its end"
        );
        ledger.uses.last().map(|(at, value, _)| (*at, value.clone())).unwrap()
    });
    let born = simulator.read(|ledger| ledger.issued.iter().find(|it| it.value == last.1).unwrap().born);
    // A token is not used in its last second, and times of a provider are whole ones.
    assert!(
        last.0 + Duration::from_secs(3) > born + lifetime,
        "it served to its end"
    );
    program
        .until("its status says so", async |program: &Program| {
            let token = status_of(program, "token").await?;
            (condition(&token, "Ready")?["status"] == "False").then_some(())
        })
        .await;
    let _issuer = simulator.serve_on(address).await;
    program
        .until("it is back", async |program: &Program| {
            (program.call("token.shop", "/whoami").await.0 == 200).then_some(())
        })
        .await;
}

/// The API server is asked about every file of `examples/` elsewhere.
#[test]
fn every_example_of_a_credential_is_read_as_it_stands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/credentials");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} says what to expect", path.display());
        let reading = manifest::read(&text);
        assert_eq!(reading.problems, [], "{}", path.display());
        for (_, object) in reading.objects {
            let Object::Credential(credential) = object else {
                continue;
            };
            assert_eq!(validate::credential_spec(&credential.spec), [], "{}", path.display());
            if let Some(steps) = credential.spec.steps() {
                assert_eq!(template::check(steps), [], "{}", path.display());
                let wrong = steps.create.extract.as_ref().map(extract::check);
                assert_eq!(wrong.unwrap_or_default(), [], "{}", path.display());
            }
            if credential.spec.issues() {
                seen.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let all = ["certificate", "generated", "jwt", "oauth2", "steps"];
    assert_eq!(seen, all.map(str::to_owned).into());
}
