//! What somebody who may write Credentials, and read no Secret, learns from what is told of them.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus};
use tidegate::domain::key::Key;
use tokio::time::sleep;

use crate::support::manifests::integration;
use crate::support::memory::{Process, World};

/// Of the same length, so that nothing is cut at another place.
const THEIRS: &str = "theirs-issued";
const ABSENT: &str = "absent-absent";

fn credential(name: &str, host: &str, mut spec: Value) -> Value {
    spec["allowedHosts"] = json!([host]);
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Credential",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    })
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

fn conditions(world: &World, name: &str) -> Vec<Condition> {
    world.credential(&key(name)).unwrap().status.unwrap().conditions
}

fn ready(world: &World, name: &str) -> Condition {
    let mut all = conditions(world, name).into_iter();
    all.find(|it| it.type_ == "Ready").unwrap()
}

/// Whatever is to be done now is done.
async fn settle() {
    sleep(Duration::from_secs(30)).await;
}

fn oauth2(more: Value) -> Value {
    let mut oauth2 = json!({"grant": "ClientCredentials", "tokenURL": "https://evil.example/token", "clientID": "a"});
    for (name, value) in more.as_object().unwrap() {
        oauth2[name] = value.clone();
    }
    json!({"oauth2": oauth2})
}

/// Every way in which a Credential can name a Secret.
fn ways(name: &str) -> Vec<Value> {
    let reference = json!({"name": name, "key": "value"});
    let create = json!({"request": {"url": "https://evil.example/keys"}, "extract": {"value": ".key", "id": ".id"}});
    let steps = json!({"steps": {"create": create}});
    vec![
        json!({"bearer": {"secretRef": reference}}),
        json!({"bearer": {"secretRef": reference}, "rotation": steps}),
        json!({"apiKey": {"secretRef": reference}}),
        json!({"basic": {"secretRef": {"name": name}}}),
        json!({"basic": {"secretRef": {"name": name}}, "rotation": steps}),
        json!({"jwt": {"algorithm": "HS256", "keyRef": reference}}),
        json!({"certificate": {"secretRef": {"name": name}}}),
        json!({"certificate": {"issue": {"caSecretRef": {"name": name}, "commonName": "a"}}}),
        oauth2(json!({"clientSecretRef": reference})),
        oauth2(json!({"clientAuthentication": "PrivateKeyJWT", "clientKeyRef": reference})),
        oauth2(json!({"clientAuthentication": "TLS", "clientCertificateRef": {"name": name}})),
        oauth2(json!({"grant": "RefreshToken", "clientAuthentication": "None", "refreshTokenRef": reference})),
        oauth2(json!({"grant": "TokenExchange", "clientAuthentication": "None", "subjectTokenRef": reference})),
        oauth2(json!({
            "clientSecretRef": reference,
            "tls": {"caRef": {"kind": "Secret", "name": name, "key": "value"}},
        })),
    ]
}

/// All that is told of a Credential and of an Integration that name the Secret `name`.
async fn told(name: &str, spec: Value) -> (String, Option<String>) {
    let world = World::default();
    let process = Process::start(&world);
    world.apply_credential(credential("theirs", "bank.example", json!({"generated": {}})));
    settle().await;
    let value = world.held(&key("theirs-issued")).unwrap().values["value"].clone();
    world.take_notices();
    world.apply_credential(credential("payments-key", "evil.example", spec));
    let mut manifest = integration("shop", "payments-api");
    manifest["spec"]["endpoints"][0]["url"] = "https://evil.example".into();
    manifest["spec"]["tls"] = json!({"caRef": {"kind": "Secret", "name": name, "key": "value"}});
    let integration = world.apply_integration(manifest);
    settle().await;
    assert!(!world.objects().contains(value.expose()));
    let of_integration = world.integration(&integration).unwrap().status.unwrap().conditions;
    let all = conditions(&world, "payments-key").into_iter().chain(of_integration);
    // How far it is with the next try is a matter of chance.
    let all = all.filter(|it| it.type_ != "Issuing");
    let all: Vec<_> = all.map(|it| (it.type_, it.status, it.reason, it.message)).collect();
    let all = format!("{all:#?}{:#?}", world.take_notices()).replace(name, "NAMED");
    let injected = world.injected(&integration);
    process.stop().await;
    (all, injected)
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_may_not_be_named_is_told_of_like_one_that_does_not_exist() {
    for (theirs, absent) in ways(THEIRS).into_iter().zip(ways(ABSENT)) {
        let case = theirs.to_string();
        let (theirs, injected) = told(THEIRS, theirs).await;
        let (absent, nothing) = told(ABSENT, absent).await;
        assert_eq!(theirs, absent, "{case}");
        assert!(
            theirs.contains("no Secret `NAMED` in this namespace that may be named here"),
            "{theirs}"
        );
        assert_eq!((injected, nothing), (None, None), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_told_by_name_and_what_is_in_use_stays() {
    let world = World::default();
    let process = Process::start(&world);
    let reference = json!({"name": "token", "key": "value"});
    world.apply_secret(&key("token"), &[("value", "in-use")]);
    let referring = json!({"bearer": {"secretRef": reference}});
    world.apply_credential(credential("payments-key", "api.example.com", referring));
    world.apply_credential(credential("made", "api.example.com", json!({"generated": {}})));
    let signed = json!({"jwt": {"algorithm": "HS256", "keyRef": {"name": "hmac", "key": "value"}}});
    world.apply_secret(&key("hmac"), &[("value", &"k".repeat(32))]);
    world.apply_credential(credential("signed", "api.example.com", signed));
    let integration = world.apply_integration(integration("shop", "payments-api"));
    settle().await;
    let made = world.held(&key("made-issued")).unwrap();
    world.unreadable_secrets(true);
    world.take_notices();
    world.take_writes();
    for name in ["payments-key", "made", "signed"] {
        world.annotate_credential(&key(name), "tidegate.dev/reconcile", "1");
    }
    sleep(Duration::from_secs(1800)).await;
    for (name, secret) in [("payments-key", "token"), ("made", "made-issued"), ("signed", "hmac")] {
        let found = ready(&world, name);
        assert_eq!(
            (found.status, &*found.reason),
            (ConditionStatus::Unknown, "Forbidden"),
            "{name}"
        );
        for part in [
            secret,
            "not allowed to get Secret",
            "grant it to the controller's ServiceAccount",
        ] {
            assert!(found.message.contains(part), "{}", found.message);
        }
        let all = conditions(&world, name);
        assert!(
            all.iter()
                .any(|it| it.type_ == "Reconciling" && it.reason == "Forbidden"),
            "{all:?}"
        );
        assert!(!all.iter().any(|it| it.type_ == "Stalled"), "no edit of it helps");
        let status = world.credential(&key(name)).unwrap().status.unwrap();
        assert_eq!(status.revision, Some(1), "what was known stays");
    }
    assert_eq!(world.injected(&integration).as_deref(), Some("Bearer in-use"));
    assert_eq!(world.held(&key("made-issued")).unwrap(), made);
    let notices = world.take_notices();
    let told = notices.iter().filter(|it| it.regarding.kind == "Credential").count();
    assert_eq!(told, 3, "once each: {notices:?}");
    let writes = world.take_writes();
    let writes = writes.iter().filter(|it| it.contains("Credential")).count();
    assert_eq!(writes, 3, "once each");
    world.unreadable_secrets(false);
    // Nobody tells of a grant.
    sleep(Duration::from_secs(600)).await;
    for name in ["payments-key", "made", "signed"] {
        let found = ready(&world, name);
        assert_eq!(found.status, ConditionStatus::True, "{name}");
        let status = world.credential(&key(name)).unwrap().status.unwrap();
        assert_eq!(status.handled.unwrap().reconcile.as_deref(), Some("1"));
    }
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_whose_secrets_may_not_be_read_holds_its_deletion_up_for_ten_minutes() {
    let world = World::default();
    let simulator = crate::support::simulator::Simulator::new(crate::support::simulator::Settings::default());
    world.reach(std::sync::Arc::new(simulator.clone()));
    let process = Process::start(&world);
    let headers = json!({"Authorization": "Bearer admin"});
    let create = json!({
        "request": {"url": "https://provider.test/keys", "headers": headers, "body": "{\"label\": \"a\"}"},
        "extract": {"value": ".key", "id": ".id"},
    });
    let url = "https://provider.test/keys/{{ previous.id }}";
    let revoke = json!({"request": {"method": "DELETE", "url": url, "headers": headers}});
    let spec = json!({"bearer": {}, "rotation": {"steps": {"create": create, "revoke": revoke}}});
    world.apply_credential(credential("payments-key", "provider.test", spec));
    settle().await;
    assert_eq!(ready(&world, "payments-key").status, ConditionStatus::True);
    world.unreadable_secrets(true);
    world.take_notices();
    world.delete_credential(&key("payments-key"));
    sleep(Duration::from_secs(590)).await;
    assert_eq!(ready(&world, "payments-key").reason, "Forbidden");
    sleep(Duration::from_secs(600)).await;
    assert!(
        world.credential(&key("payments-key")).is_none(),
        "a namespace must not hang"
    );
    let notices = world.take_notices();
    let orphaned = notices.iter().find(|it| it.reason == "Orphaned").unwrap();
    assert!(orphaned.note.contains("not allowed to get Secret"), "{}", orphaned.note);
    process.stop().await;
}
