//! A provider's own keys against a strict provider, of every class: what each answer, and each lost one, leaves behind.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate::api::credential::CredentialSpec;
use tidegate::domain::key::Key;
use tidegate::domain::plan::Material;
use tidegate::domain::rotation::{Attempt, Minted, Phase, Reason, Record, attempt, record};
use tidegate::domain::secret::SecretValue;
use tidegate::provider::steps::{self, Revoked, Trial};
use tidegate::provider::{Authority, Current, IssueError, Order, Sources};

use crate::support::simulator::{Fault, Kind, Settings, Simulator};

/// One attempt of one Credential.
struct Case {
    simulator: Simulator,
    key: Key,
    spec: CredentialSpec,
    attempt: Attempt,
    current: Option<(Record, BTreeMap<String, SecretValue>)>,
    sources: Sources,
}

impl Case {
    fn new(settings: Settings, kind: Value, steps: Value) -> Self {
        let simulator = Simulator::new(settings);
        let mut spec = json!({"allowedHosts": ["provider.test"], "rotation": {"steps": steps}});
        spec.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        let admin = Authority {
            allowed_hosts: vec!["provider.test".into()],
            material: Some(Material::Header {
                name: "authorization".into(),
                value: SecretValue::new("Bearer admin"),
            }),
        };
        let now = simulator.now();
        Self {
            key: Key::new("shop", "own"),
            spec: serde_json::from_value(spec).unwrap(),
            attempt: Attempt {
                format: attempt::FORMAT,
                revision: 2,
                id: "attempt-2".into(),
                candidate_number: 0,
                spec: String::new(),
                sources: String::new(),
                reason: Reason::Requested,
                requested: None,
                created: now,
                paid_until: now,
                candidate: Some(SecretValue::new("candidate")),
                sends: 1,
                sent: None,
                phase: Phase::Intent,
                minted: None,
                failed: None,
                abandoning: 0,
            },
            current: None,
            sources: Sources {
                credentials: [("admin".to_owned(), Some(admin))].into(),
                ..Sources::default()
            },
            simulator,
        }
    }

    /// `value` is in use, and the provider calls it `id`.
    fn current(&mut self, value: &str, id: Option<String>) {
        let now = self.simulator.now();
        let record = Record {
            format: record::FORMAT,
            revision: 1,
            attempt: "attempt-1".into(),
            spec: String::new(),
            sources: String::new(),
            id,
            issued: now,
            published: None,
            not_before: None,
            not_after: None,
            requested: None,
            rejections: 0,
            paid_until: now,
            previous: None,
        };
        self.current = Some((record, [("value".to_owned(), SecretValue::new(value))].into()));
    }

    fn order(&self) -> Order<'_> {
        Order {
            key: &self.key,
            uid: "uid",
            spec: &self.spec,
            attempt: &self.attempt,
            current: self.current.as_ref().map(|(record, values)| Current { record, values }),
            sources: &self.sources,
            now: self.simulator.now(),
        }
    }

    async fn create(&self) -> Result<Minted, IssueError> {
        steps::create(&self.simulator, &self.order()).await
    }

    async fn set(&self, minted: &Minted) -> Result<(), IssueError> {
        steps::set(&self.simulator, &self.order(), minted).await
    }

    async fn test(&self, minted: &Minted) -> Result<Trial, IssueError> {
        steps::test(&self.simulator, &self.order(), minted).await
    }

    async fn revoke(&self, value: Option<&str>, id: Option<&str>) -> Result<(), IssueError> {
        let value = value.map(SecretValue::new);
        let target = Revoked {
            value: value.as_ref(),
            id,
        };
        steps::revoke(&self.simulator, &self.order(), target).await
    }

    async fn find(&self) -> Result<Vec<String>, IssueError> {
        steps::find(&self.simulator, &self.order()).await
    }
}

fn value(minted: &Minted) -> &str {
    minted.values["value"].expose()
}

fn bearer() -> Value {
    json!({"bearer": {}})
}

/// Class A: we choose.
fn chosen(authority: &str) -> Value {
    json!({
        "create": {"generate": {}},
        "set": {
            "request": {
                "method": "PUT",
                "url": "https://provider.test/secret",
                "headers": {"Idempotency-Key": "{{ attempt.id }}"},
                "body": "{\"value\": \"{{ value }}\"}",
            },
            "credentialRef": {"name": authority},
        },
        "test": {
            "request": {"method": "GET", "url": "https://provider.test/whoami", "headers": {"X-API-Key": "{{ value }}"}},
        },
    })
}

/// Class B: keys are added.
fn added() -> Value {
    json!({
        "create": {
            "request": {"url": "https://provider.test/keys", "body": "{\"label\": \"{{ attempt.id }}\"}"},
            "credentialRef": {"name": "admin"},
            "extract": {"value": ".key", "id": ".id", "expiresAt": ".expires_at"},
        },
        "test": {
            "request": {"method": "GET", "url": "https://provider.test/whoami"},
            "credentialRef": {"name": "own"},
        },
        "revoke": {
            "request": {"method": "DELETE", "url": "https://provider.test/keys/{{ previous.id }}"},
            "credentialRef": {"name": "admin"},
        },
        "find": {
            "request": {"method": "GET", "url": "https://provider.test/keys?label={{ attempt.id }}"},
            "credentialRef": {"name": "admin"},
            "extract": {"ids": ".keys[].id"},
        },
    })
}

/// Classes C and D: a key is replaced.
fn replaced(path: &str, authority: &str) -> Value {
    json!({
        "create": {
            "request": {"url": format!("https://provider.test/{path}")},
            "credentialRef": {"name": authority},
            "extract": {"value": ".key"},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_value_that_we_choose_is_set_and_set_again() {
    let mut case = Case::new(Settings::default(), bearer(), chosen("admin"));
    case.simulator.seed(Kind::Secret, "current");
    case.current("current", None);
    let minted = case.create().await.unwrap();
    assert_eq!(value(&minted), "candidate");
    assert!(
        matches!(case.test(&minted).await, Ok(Trial::Fails { .. })),
        "before it is set"
    );
    case.simulator.fault("PUT /secret", 1, Fault::LostAfter);
    assert!(matches!(case.set(&minted).await, Err(IssueError::Lost { .. })));
    case.set(&minted).await.unwrap();
    assert_eq!(case.test(&minted).await, Ok(Trial::Works));
    assert!(case.simulator.accepts("candidate") && case.simulator.accepts("current"));
    assert_eq!(case.simulator.read(|it| it.mints().count()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_replaced_the_one_that_authorises_is_found_in_place() {
    let settings = Settings {
        live_secrets: 1,
        ..Settings::default()
    };
    let mut case = Case::new(settings, bearer(), chosen("own"));
    case.simulator.seed(Kind::Secret, "current");
    case.current("current", None);
    let minted = case.create().await.unwrap();
    case.simulator.fault("PUT /secret", 1, Fault::LostAfter);
    assert!(matches!(case.set(&minted).await, Err(IssueError::Lost { .. })));
    assert!(
        matches!(case.set(&minted).await, Err(IssueError::Refused { .. })),
        "the first time it is refused"
    );
    case.attempt.sends = 2;
    case.set(&minted).await.unwrap();
    assert_eq!(case.test(&minted).await, Ok(Trial::Works));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_added_tried_and_the_previous_one_taken_away() {
    let mut case = Case::new(Settings::default(), bearer(), added());
    let id = case.simulator.seed(Kind::Key, "current");
    case.current("current", Some(id.clone()));
    case.simulator.set(|it| {
        it.visible_after = Duration::from_secs(10);
        it.key_lifetime = Some(Duration::from_secs(86_400));
    });
    let minted = case.create().await.unwrap();
    assert_eq!(
        minted.not_after,
        Some(case.simulator.now() + SignedDuration::from_hours(24))
    );
    assert!(
        matches!(case.test(&minted).await, Ok(Trial::Fails { .. })),
        "not visible yet"
    );
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(
        case.test(&minted).await,
        Ok(Trial::Works),
        "its own name means the new value"
    );
    assert!(
        matches!(case.create().await, Err(IssueError::Refused { .. })),
        "the quota"
    );
    for _ in 0..2 {
        case.revoke(None, Some(&id)).await.unwrap();
    }
    assert!(case.simulator.accepts(value(&minted)) && !case.simulator.accepts("current"));
    assert_eq!(case.simulator.read(|it| it.most_live(Kind::Key)), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_answer_was_lost_is_found_by_its_attempt_and_taken_away() {
    for fault in [
        Fault::LostAfter,
        Fault::FailedAfter,
        Fault::Garbled,
        Fault::SlowBefore(Duration::from_secs(31)),
        Fault::SlowAfter(Duration::from_secs(31)),
    ] {
        let case = Case::new(Settings::default(), bearer(), added());
        case.simulator.fault("POST /keys", 1, fault);
        let failed = case.create().await;
        let expected = match fault {
            Fault::Garbled => matches!(failed, Err(IssueError::Unusable { .. })),
            _ => matches!(failed, Err(IssueError::Lost { .. })),
        };
        assert!(expected, "{fault:?}: {failed:?}");
        tokio::time::advance(Duration::from_secs(31)).await;
        // Lets what the provider still does happen.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let found = case.find().await.unwrap();
        assert_eq!(found.len(), 1, "{fault:?}");
        case.revoke(None, Some(&found[0])).await.unwrap();
        assert_eq!(case.find().await, Ok(vec![]));
        assert_eq!(case.simulator.unheld(&[]), []);
        case.create().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_made_leaves_nothing_and_says_so() {
    let case = Case::new(Settings::default(), bearer(), added());
    case.simulator.fault("POST /keys", 1, Fault::NotSent);
    case.simulator.fault("POST /keys", 2, Fault::Throttled);
    assert!(matches!(case.create().await, Err(IssueError::NotSent { .. })));
    let throttled = case.create().await;
    assert!(
        matches!(throttled, Err(IssueError::Later { after: Some(after), .. }) if after.as_secs() == 30),
        "{throttled:?}"
    );
    assert!(case.simulator.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_may_be_done_twice_is_tried_again_after_a_failure() {
    let case = Case::new(Settings::default(), bearer(), added());
    let minted = case.create().await.unwrap();
    case.simulator.fault("DELETE /keys", 1, Fault::FailedAfter);
    let id = minted.id.as_deref();
    assert!(matches!(case.revoke(None, id).await, Err(IssueError::Later { .. })));
    case.revoke(None, id).await.unwrap();
    case.simulator.fault("GET /whoami", 1, Fault::FailedBefore);
    assert!(
        matches!(case.test(&minted).await, Err(IssueError::Later { .. })),
        "nothing is said of the value"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_replaced_at_once_is_made_again_after_a_lost_answer() {
    let case = Case::new(Settings::default(), bearer(), replaced("regenerate", "admin"));
    case.simulator.seed(Kind::Regenerated, "current");
    case.simulator.fault("POST /regenerate", 1, Fault::LostAfter);
    assert!(matches!(case.create().await, Err(IssueError::Lost { .. })));
    assert!(!case.simulator.accepts("current"), "the outage that class C has");
    let minted = case.create().await.unwrap();
    assert!(case.simulator.accepts(value(&minted)));
    assert_eq!(case.simulator.live().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_replaces_itself_is_authorised_by_the_value_in_use() {
    let mut case = Case::new(Settings::default(), bearer(), replaced("rotate", "own"));
    case.simulator.seed(Kind::SelfRotating, "current");
    case.current("current", None);
    case.simulator.fault("POST /rotate", 2, Fault::LostAfter);
    let minted = case.create().await.unwrap();
    case.current(value(&minted), None);
    assert!(matches!(case.create().await, Err(IssueError::Lost { .. })));
    let refused = case.create().await.unwrap_err();
    assert!(
        refused.to_string().contains("Credential `own`, which authorises it"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_value_authorises_until_there_is_another() {
    let kind = json!({"bearer": {"secretRef": {"name": "first", "key": "token"}}});
    let mut case = Case::new(Settings::default(), kind, replaced("rotate", "own"));
    case.simulator.seed(Kind::SelfRotating, "first-value");
    let refused = case.create().await.unwrap_err();
    assert!(
        matches!(
            refused,
            IssueError::NotSent {
                reason: "SecretNotFound",
                ..
            }
        ),
        "{refused:?}"
    );
    let first = [("token".to_owned(), Some(SecretValue::new("first-value\n")))];
    case.sources.secrets.insert("first".into(), Some(first.into()));
    case.create().await.unwrap();
    let named = steps::named("own", &case.spec);
    assert!(named.secrets.contains("first") && named.credentials.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_user_name_is_that_of_the_secret_or_the_id() {
    let mut case = Case::new(Settings::default(), json!({"basic": {}}), added());
    let minted = case.create().await.unwrap();
    assert_eq!(Some(minted.values["username"].expose()), minted.id.as_deref());
    assert_eq!(case.test(&minted).await, Ok(Trial::Works));
    case.spec.basic = serde_json::from_value(json!({"secretRef": {"name": "first", "usernameKey": "user"}})).unwrap();
    let user = [("user".to_owned(), Some(SecretValue::new("shop\n")))];
    case.sources.secrets.insert("first".into(), Some(user.into()));
    assert_eq!(case.create().await.unwrap().values["username"].expose(), "shop");
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_told_by_our_clock() {
    let case = Case::new(Settings::default(), bearer(), added());
    case.simulator.set(|it| {
        it.key_lifetime = Some(Duration::from_secs(3600));
        it.ahead = SignedDuration::from_mins(10);
    });
    let minted = case.create().await.unwrap();
    assert_eq!(
        minted.not_after,
        Some(case.simulator.now() + SignedDuration::from_hours(1))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_before_anything_is_sent() {
    let other_host = |steps: &mut Value| steps["create"]["request"]["url"] = "https://elsewhere.test/keys".into();
    let no_such = |steps: &mut Value| steps["create"]["credentialRef"]["name"] = "nobody".into();
    let no_previous = |steps: &mut Value| steps["create"]["request"]["body"] = "{{ previous.value }}".into();
    let endless = |steps: &mut Value| steps["create"]["extract"]["value"] = "repeat(.)".into();
    let statuses = |steps: &mut Value| steps["create"]["expect"] = json!({"statuses": ["2xx"]});
    for (change, expected) in [
        (
            &other_host as &dyn Fn(&mut Value),
            "`spec.rotation.steps.create.request.url` must be at a host that `spec.allowedHosts` of Credential `admin` \
             allows, which `elsewhere.test:443` is not",
        ),
        (
            &no_such,
            "`spec.rotation.steps.create.credentialRef`: there is no Credential `nobody`",
        ),
        (
            &no_previous,
            "`spec.rotation.steps.create.request.body` must not name `previous.value`",
        ),
        (
            &endless,
            "`spec.rotation.steps.create.extract.value` must not call `repeat/1`",
        ),
        (&statuses, "`spec.rotation.steps.create.expect.statuses` must"),
    ] {
        let mut steps = added();
        change(&mut steps);
        let case = Case::new(Settings::default(), bearer(), steps);
        let refused = case.create().await.unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
        assert_eq!(case.simulator.read(|it| it.calls.len()), 0, "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_authority_the_hosts_of_this_credential_count() {
    let mut case = Case::new(Settings::default(), bearer(), chosen("admin"));
    let minted = case.create().await.unwrap();
    let steps = case.spec.rotation.as_mut().and_then(|rotation| rotation.steps.as_mut());
    steps.unwrap().test.as_mut().unwrap().request.url = "https://elsewhere.test/whoami".into();
    let refused = case.test(&minted).await.unwrap_err().to_string();
    assert!(refused.contains("`spec.allowedHosts` of Credential `own`"), "{refused}");
    assert_eq!(case.simulator.read(|it| it.calls.len()), 0);
}
