//! Whole orders against a scripted exchange: what is asked of whom, and what comes of the answers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::api::credential::CredentialSpec;
use crate::domain::key::Key;
use crate::domain::rotation::{Attempt, Phase, Reason, Record};
use crate::domain::secret::SecretValue;
use crate::provider::exchange::{Answer, Call};
use crate::provider::{Current, Sources};

/// Answers by a script, and keeps what it was asked.
#[derive(Default)]
pub struct Scripted {
    answers: Mutex<Vec<Result<Answer, ExchangeError>>>,
    /// What it was asked.
    pub calls: Mutex<Vec<Call>>,
}

impl Scripted {
    pub fn of(answers: impl IntoIterator<Item = Result<Answer, ExchangeError>>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Self {
            answers: Mutex::new(answers),
            calls: Mutex::default(),
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .map(|call| call.url.to_string())
            .collect()
    }
}

impl Exchange for Scripted {
    fn exchange(&self, call: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>> {
        self.calls.lock().unwrap().push(call);
        let answer = self.answers.lock().unwrap().pop().expect("one call more than scripted");
        async move { answer }.boxed()
    }
}

pub fn answer(status: u16, body: &Value) -> Answer {
    Answer {
        status,
        content_type: Some("application/json".to_owned()),
        retry_after: None,
        date: None,
        took: Duration::ZERO,
        body: SecretValue::new(body.to_string()),
    }
}

/// A Credential with this `oauth2`, allowed to send to `api.example.com` and `*.idp.example`.
pub fn credential(oauth2: Value) -> CredentialSpec {
    serde_json::from_value(json!({ "allowedHosts": ["api.example.com", "*.idp.example"], "oauth2": oauth2 })).unwrap()
}

/// One Secret `s` with these keys.
pub fn secret(pairs: &[(&str, &str)]) -> Sources {
    let values = pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), Some(SecretValue::new(value))))
        .collect();
    Sources {
        secrets: [("s".to_owned(), Some(values))].into(),
        ..Sources::default()
    }
}

pub fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub fn attempt() -> Attempt {
    Attempt {
        format: 1,
        revision: 2,
        id: "3f2c".to_owned(),
        candidate_number: 0,
        spec: "spec".to_owned(),
        sources: "sources".to_owned(),
        reason: Reason::Missing,
        requested: None,
        created: now(),
        paid_until: now(),
        candidate: None,
        sends: 1,
        sent: None,
        phase: Phase::Intent,
        minted: None,
        failed: None,
        abandoning: 0,
    }
}

fn record(sources: &str) -> Record {
    Record {
        format: 1,
        revision: 1,
        attempt: "before".to_owned(),
        spec: "spec".to_owned(),
        sources: sources.to_owned(),
        id: None,
        issued: now(),
        published: None,
        not_before: None,
        not_after: None,
        requested: None,
        rejections: 0,
        paid_until: now(),
        previous: None,
    }
}

/// Gives an order for `spec` to `with`.
pub fn ordered<T>(spec: &CredentialSpec, sources: &Sources, with: impl FnOnce(&Order<'_>) -> T) -> T {
    let (key, attempt) = (Key::new("shop", "key"), attempt());
    with(&Order {
        key: &key,
        uid: "uid",
        spec,
        attempt: &attempt,
        current: None,
        sources,
        now: now(),
    })
}

async fn issued(exchange: &Scripted, spec: &CredentialSpec, sources: &Sources) -> Result<Minted, IssueError> {
    let (key, attempt) = (Key::new("shop", "key"), attempt());
    let order = Order {
        key: &key,
        uid: "uid",
        spec,
        attempt: &attempt,
        current: None,
        sources,
        now: now(),
    };
    issue(exchange, &order).await
}

fn plain() -> CredentialSpec {
    credential(json!({
        "grant": "ClientCredentials",
        "tokenURL": "https://idp.example/token",
        "clientID": "id",
        "clientSecretRef": { "name": "s", "key": "k" },
    }))
}

fn refreshing() -> CredentialSpec {
    credential(json!({
        "grant": "RefreshToken",
        "tokenURL": "https://idp.example/token",
        "clientID": "id",
        "clientAuthentication": "None",
        "refreshTokenRef": { "name": "s", "key": "k" },
    }))
}

#[tokio::test(start_paused = true)]
async fn a_token_lives_from_when_it_was_asked_for() {
    struct Slow;
    impl Exchange for Slow {
        fn exchange(&self, call: Call) -> BoxFuture<'_, Result<Answer, ExchangeError>> {
            async move {
                let took = if call.method == Method::GET {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    let metadata =
                        json!({ "issuer": "https://idp.example", "token_endpoint": "https://idp.example/t" });
                    return Ok(answer(200, &metadata));
                } else {
                    Duration::from_secs(20)
                };
                tokio::time::sleep(took).await;
                let token = json!({ "access_token": "abc", "token_type": "Bearer", "expires_in": 60 });
                Ok(Answer {
                    took,
                    ..answer(200, &token)
                })
            }
            .boxed()
        }
    }
    let mut spec = plain();
    let oauth2 = spec.oauth2.as_mut().unwrap();
    (oauth2.token_url, oauth2.issuer_url) = (None, Some("https://idp.example".to_owned()));
    let (key, attempt, sources) = (Key::new("shop", "key"), attempt(), secret(&[("k", "x")]));
    let order = Order {
        key: &key,
        uid: "uid",
        spec: &spec,
        attempt: &attempt,
        current: None,
        sources: &sources,
        now: now(),
    };
    let minted = issue(&Slow, &order).await.unwrap();
    let sent = now() + Duration::from_secs(5);
    assert_eq!(
        minted.issued, sent,
        "the search for the endpoint is not part of it, the answer is"
    );
    assert_eq!(minted.not_after, Some(sent + Duration::from_secs(60)));
    assert_eq!(minted.not_before, None);
}

#[tokio::test]
async fn a_refresh_token_is_carried_on_until_another_one_comes() {
    for (seed, kept, kept_sources, next, used, held) in [
        ("seed", None, "sources", None, "seed", "seed"),
        ("seed", None, "sources", Some("second"), "seed", "second"),
        ("seed", Some("second"), "sources", None, "second", "second"),
        ("seed", Some("second"), "sources", Some("third"), "second", "third"),
        // Somebody put another one into the Secret: a person has authorised anew.
        ("seed", Some("second"), "other", None, "seed", "seed"),
    ] {
        let mut token = json!({ "access_token": "abc", "token_type": "bearer" });
        if let Some(next) = next {
            token["refresh_token"] = json!(next);
        }
        let exchange = Scripted::of([Ok(answer(200, &token))]);
        let (spec, sources) = (refreshing(), secret(&[("k", seed)]));
        let (key, attempt, record) = (Key::new("shop", "key"), attempt(), record(kept_sources));
        let values: BTreeMap<_, _> = kept
            .map(|kept| (REFRESH_TOKEN.to_owned(), SecretValue::new(kept)))
            .into_iter()
            .collect();
        let current = Current {
            record: &record,
            values: &values,
        };
        let order = Order {
            key: &key,
            uid: "uid",
            spec: &spec,
            attempt: &attempt,
            current: Some(current),
            sources: &sources,
            now: now(),
        };
        let minted = issue(&exchange, &order).await.unwrap();
        let body = exchange.calls.lock().unwrap()[0].body.clone().unwrap();
        assert!(
            body.expose().contains(&format!("refresh_token={used}&")),
            "{}",
            body.expose()
        );
        assert_eq!(minted.values[REFRESH_TOKEN].expose(), held);
        assert_eq!(minted.values[TOKEN].expose(), "abc");
    }
}

#[tokio::test]
async fn a_grant_without_refresh_token_keeps_none() {
    let token = json!({ "access_token": "abc", "token_type": "Bearer", "refresh_token": "r" });
    let exchange = Scripted::of([Ok(answer(200, &token))]);
    let minted = issued(&exchange, &plain(), &secret(&[("k", "x")])).await.unwrap();
    assert_eq!(minted.values.keys().collect::<Vec<_>>(), [TOKEN]);
}

#[tokio::test]
async fn what_did_not_leave_is_told_from_what_was_lost() {
    type Expected = fn(&IssueError) -> bool;
    let not_sent: Expected = |error| matches!(error, IssueError::NotSent { .. });
    let lost: Expected = |error| matches!(error, IssueError::Lost { .. });
    let unusable: Expected = |error| matches!(error, IssueError::Unusable { .. });
    for (failure, expected) in [
        (ExchangeError::NotSent("no route".to_owned()), not_sent),
        (ExchangeError::Lost("no answer".to_owned()), lost),
        (ExchangeError::Unreadable("no text".to_owned()), unusable),
    ] {
        let exchange = Scripted::of([Err(failure.clone())]);
        let error = issued(&exchange, &plain(), &secret(&[("k", "x")])).await.unwrap_err();
        assert!(expected(&error), "{failure:?}: {error:?}");
        assert!(error.to_string().contains(&failure.to_string()), "{error}");
    }
}

#[tokio::test]
async fn without_its_sources_nobody_is_asked() {
    let none = Scripted::default();
    let missing = issued(&none, &plain(), &Sources::default()).await.unwrap_err();
    let IssueError::NotSent { reason, message } = missing else {
        panic!("{missing:?}")
    };
    assert_eq!(reason, "SecretNotFound");
    assert!(
        message.contains("`spec.oauth2.clientSecretRef`") && message.contains("`s`"),
        "{message}"
    );

    let keyless = issued(&none, &plain(), &secret(&[("other", "x")])).await.unwrap_err();
    let IssueError::Refused { reason, message } = keyless else {
        panic!("{keyless:?}")
    };
    assert_eq!(reason, "KeyMissing");
    for part in ["`spec.oauth2.clientSecretRef`", "`s`", "`k`"] {
        assert!(message.contains(part), "{message}");
    }
    for unusable in ["", "\n", "hush\nhush", "\u{7}hush", &"h".repeat((16 << 10) + 1)] {
        let error = issued(&none, &plain(), &secret(&[("k", unusable)])).await.unwrap_err();
        let IssueError::Refused { reason, message } = error else {
            panic!("{error:?}")
        };
        assert_eq!(reason, "InvalidSpec", "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
    assert!(none.urls().is_empty());
}

#[test]
fn everything_that_is_referred_to_is_named() {
    let spec = credential(json!({
        "grant": "RefreshToken",
        "tokenURL": "https://idp.example/token",
        "clientSecretRef": { "name": "a", "key": "k" },
        "clientKeyRef": { "name": "b", "key": "k" },
        "clientCertificateRef": { "name": "c" },
        "refreshTokenRef": { "name": "d", "key": "k" },
        "subjectTokenRef": { "name": "e", "key": "k" },
        "tls": { "caRef": { "kind": "ConfigMap", "name": "f", "key": "k" } },
    }));
    let mut oauth2 = spec.oauth2.unwrap();
    let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let expected = Named {
        secrets: of(&["a", "b", "c", "d", "e"]),
        config_maps: of(&["f"]),
        ..Named::default()
    };
    assert_eq!(named(&oauth2), expected);
    oauth2.tls.as_mut().unwrap().ca_ref.as_mut().unwrap().kind = CaRefKind::Secret;
    assert_eq!(named(&oauth2).secrets, of(&["a", "b", "c", "d", "e", "f"]));
    assert!(named(&oauth2).config_maps.is_empty());
}
