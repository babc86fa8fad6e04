//! A provider that answers whatever it likes, and people who edit what is ours: seen from the objects, the calls and the
//! workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::api::condition::{Condition, ConditionStatus};
use tidegate::cluster::Held;
use tidegate::domain::key::Key;
use tidegate::domain::secret::SecretValue;
use tidegate::provider::exchange::{Answer, Call, Exchange, ExchangeError};
use tokio::time::sleep;
use url::Url;

use crate::support::manifests::integration;
use crate::support::memory::{Process, World, clock};

const DAY: Duration = Duration::from_secs(86_400);

/// A call as it came.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    url: Url,
    headers: BTreeMap<String, String>,
    body: String,
}

type Reply = Result<Answer, ExchangeError>;

/// A provider that answers by a script, and remembers.
#[derive(Clone)]
struct Scripted {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<dyn Fn(&Seen) -> Reply + Send + Sync>,
}

impl Scripted {
    fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            seen: Arc::default(),
            script: Arc::new(script),
        }
    }

    fn seen(&self, method: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|it| it.method == method).cloned().collect()
    }
}

impl Exchange for Scripted {
    fn exchange(&self, call: Call) -> BoxFuture<'_, Reply> {
        let headers = call.headers.iter();
        let seen = Seen {
            method: call.method.to_string(),
            url: call.url.clone(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.expose().to_owned()))
                .collect(),
            body: call.body.map(|it| it.expose().to_owned()).unwrap_or_default(),
        };
        let reply = (self.script)(&seen);
        self.seen.lock().unwrap().push(seen);
        async move { reply }.boxed()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "other replies are errors")]
fn says(status: u16, body: impl AsRef<str>) -> Reply {
    Ok(Answer {
        status,
        content_type: Some("application/json".into()),
        retry_after: None,
        date: None,
        took: Duration::ZERO,
        body: SecretValue::new(body.as_ref()),
    })
}

fn own() -> Key {
    Key::new("shop", "payments-key")
}

fn issued() -> Key {
    Key::new("shop", "payments-key-issued")
}

fn credential(spec: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Credential",
        "metadata": {"name": "payments-key", "namespace": "shop"}, "spec": spec,
    })
}

/// Keys that are added; the hosts are the provider's and that of the Integration.
fn added(kind: Value, change: impl FnOnce(&mut Value)) -> Value {
    let place = "https://provider.test/keys/{{ previous.id }}?old={{ previous.id }}&value={{ previous.value }}";
    let body = "{\"id\": \"{{ previous.id }}\", \"value\": \"{{ previous.value }}\"}";
    let mut steps = json!({
        "create": {
            "request": {"url": "https://provider.test/keys", "body": "{\"label\": \"{{ attempt.id }}\"}"},
            "extract": {"value": ".key", "id": ".id", "expiresAt": ".expires"},
        },
        "test": {"request": {
            "method": "PUT", "url": "https://provider.test/try/{{ id }}/{{ value }}?v={{ value }}",
            "headers": {"X-Value": "{{ value }}", "Content-Type": "application/json"},
            "body": "{\"id\": \"{{ id }}\", \"value\": \"{{ value }}\"}",
        }},
        "revoke": {"request": {
            "method": "DELETE", "url": place, "headers": {"Content-Type": "application/json"}, "body": body,
        }},
        "find": {
            "request": {"method": "GET", "url": "https://provider.test/keys?label={{ attempt.id }}"},
            "extract": {"ids": ".ids"},
        },
    });
    change(&mut steps);
    let mut spec = kind;
    spec["allowedHosts"] = json!(["provider.test", "api.example.com"]);
    spec["rotation"] = json!({"interval": "720h", "overlap": "0s", "steps": steps});
    credential(spec)
}

fn start(provider: &Scripted, manifest: Value) -> (World, Process, Key) {
    let world = World::default();
    world.reach(Arc::new(provider.clone()));
    let process = Process::start(&world);
    let key = world.apply_integration(integration("shop", "payments-api"));
    world.apply_credential(manifest);
    (world, process, key)
}

fn condition(world: &World, kind: &str) -> Option<Condition> {
    let status = world.credential(&own()).unwrap().status.unwrap_or_default();
    status.conditions.into_iter().find(|it| it.type_ == kind)
}

/// All that is told: of every object, and in events. None of it is longer than Kubernetes takes, or steers a terminal.
fn told(world: &World, case: &str) -> String {
    let status = world.credential(&own()).unwrap().status.unwrap();
    let notices = world.take_notices();
    let messages = status.conditions.iter().map(|it| &it.message);
    for text in messages.chain(notices.iter().map(|it| &it.note)) {
        assert!(text.len() <= 32_768, "{case}: {} bytes", text.len());
        let steers = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{200b}';
        assert!(!text.contains(steers), "{case}: {text:?}");
    }
    format!("{}{notices:?}", world.objects())
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_calls_a_key_names_it_in_every_request_and_does_nothing_else() {
    let long = "é".repeat(512);
    for id in [
        "a\r\nX-Evil: 1",
        "a\0b",
        "\u{1b}[2J\u{202e}\u{200b}",
        "\"},\"admin\":{\"",
        "../../admin",
        "a/../..",
        "%2f%2e%2e%0d",
        "{{ value }}{{ attempt.id }}",
        "ключ ключ",
        "a b?c#d&e=f;g@h:i",
        "\\\" \\u0000",
        "' OR 1=1; --",
        "@evil.example/",
        "0",
        &long,
    ] {
        let case = id.to_owned();
        let count = Arc::new(Mutex::new(0));
        let name = id.to_owned();
        let provider = Scripted::new(move |seen| match seen.method.as_str() {
            "POST" => {
                *count.lock().unwrap() += 1;
                let key = format!("key-{}", count.lock().unwrap());
                says(201, json!({"key": key, "id": name}).to_string())
            }
            _ => says(200, "{}"),
        });
        let (world, process, _) = start(&provider, added(json!({"apiKey": {}}), |_| ()));
        sleep(Duration::from_secs(30)).await;
        world.annotate_credential(&own(), "tidegate.dev/rotate", "1");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(
            world.held(&issued()).unwrap().values["value"].expose(),
            "key-2",
            "{case}"
        );
        let revoked = provider.seen("DELETE");
        assert_eq!(revoked.len(), 1, "{case}");
        let Seen { url, headers, body, .. } = &revoked[0];
        assert_eq!(
            (url.host_str(), url.fragment()),
            (Some("provider.test"), None),
            "{case}"
        );
        let segments: Vec<String> = url
            .path_segments()
            .unwrap()
            .map(|it| {
                percent_encoding::percent_decode_str(it)
                    .decode_utf8()
                    .unwrap()
                    .into_owned()
            })
            .collect();
        assert_eq!(segments, ["keys", id], "{case}");
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(
            pairs,
            [("old".into(), case.clone()), ("value".into(), "key-1".into())],
            "{case}"
        );
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, json!({"id": id, "value": "key-1"}), "{case}");
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["content-type"], "{case}");
        told(&world, &case);
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_elsewhere_or_fits_no_header_is_sent_nowhere_and_told_of() {
    for (id, in_header) in [
        ("..", false),
        (".", false),
        ("a\r\nX-Evil: 1", true),
        ("ключ", true),
        ("a\0", true),
    ] {
        let count = Arc::new(Mutex::new(0));
        let provider = Scripted::new(move |seen| match seen.method.as_str() {
            "POST" => {
                *count.lock().unwrap() += 1;
                says(
                    201,
                    json!({"key": format!("key-{}", count.lock().unwrap()), "id": id}).to_string(),
                )
            }
            _ => says(200, "{}"),
        });
        let manifest = added(json!({"apiKey": {}}), |steps| {
            steps.as_object_mut().unwrap().remove("test");
            if in_header {
                steps["revoke"]["request"]["headers"] = json!({"X-Old": "{{ previous.id }}"});
            }
        });
        let (world, process, _) = start(&provider, manifest);
        sleep(Duration::from_secs(30)).await;
        world.annotate_credential(&own(), "tidegate.dev/rotate", "1");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(provider.seen("DELETE").len(), 0, "{id:?}");
        let notices = world.take_notices();
        let notice = notices.iter().find(|it| it.reason == "RevokeFailed");
        let notice = notice.unwrap_or_else(|| panic!("{id:?}: {notices:?}"));
        assert!(
            notice.note.contains("spec.rotation.steps.revoke.request"),
            "{}",
            notice.note
        );
        assert_eq!(condition(&world, "Ready").unwrap().status, ConditionStatus::True);
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_stands_in_every_place_as_it_is() {
    let value = r#"k"\{{ value }}%2f&=?#/../<>'`;|$(x)~ {[]}!"#;
    let provider = Scripted::new(move |seen| match seen.method.as_str() {
        "POST" => says(201, json!({"key": value, "id": 7}).to_string()),
        _ => says(200, "{}"),
    });
    let (world, process, integration) = start(&provider, added(json!({"apiKey": {}}), |_| ()));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.injected(&integration).as_deref(), Some(value));
    let [Seen { url, headers, body, .. }] = &provider.seen("PUT")[..] else {
        panic!("it is tried once");
    };
    let segments: Vec<String> = url
        .path_segments()
        .unwrap()
        .map(|it| {
            percent_encoding::percent_decode_str(it)
                .decode_utf8()
                .unwrap()
                .into_owned()
        })
        .collect();
    assert_eq!(segments, ["try", "7", value]);
    assert_eq!(url.query_pairs().collect::<Vec<_>>(), [("v".into(), value.into())]);
    assert_eq!(headers["x-value"], value);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({"id": "7", "value": value}));
    process.stop().await;
}

/// The same, which are taken away by their names alone.
fn named(kind: Value, change: impl FnOnce(&mut Value)) -> Value {
    added(kind, |steps| {
        let url = "https://provider.test/keys/{{ previous.id }}";
        steps["revoke"]["request"] = json!({"method": "DELETE", "url": url});
        change(steps);
    })
}

/// Answers with success that have no key in them that can be used, with what is expected to be said.
fn useless() -> Vec<(&'static str, Reply, &'static str)> {
    let key = |value: &str| says(201, json!({"key": value, "id": "canary-id"}).to_string());
    let expires = |text: &str| says(201, format!(r#"{{"key": "canary", "id": "i", "expires": {text}}}"#));
    vec![
        ("a web page", says(200, "<html>canary</html>"), "JSON"),
        ("nothing", says(204, ""), "JSON"),
        ("null", says(200, "null"), "extract.value"),
        ("another shape", says(200, r#"["canary"]"#), "extract.value"),
        ("deep", says(200, "[".repeat(100_000)), "JSON"),
        ("CR and LF", key("canary\r\nX-Evil: 1"), "extract.value"),
        ("NUL", key("canary\0"), "extract.value"),
        ("no ASCII", key("canarü"), "extract.value"),
        ("steers a terminal", key("canary\u{1b}[2J"), "extract.value"),
        ("16 KiB and more", key(&"canary".repeat(3000)), "extract.value"),
        ("no token", key("canary with \"quotes\""), "RFC 6750"),
        ("nothing in it", key(""), "extract.value"),
        (
            "a bomb for the filter",
            says(200, format!("\"{}\"", "\\\\".repeat(60_000))),
            "256 MiB",
        ),
        (
            "its own name",
            says(201, r#"{"key": "canary", "id": "x-canary"}"#),
            "extract.id",
        ),
        (
            "a name of 1 KiB and more",
            says(201, json!({"key": "canary", "id": "i".repeat(1025)}).to_string()),
            "extract.id",
        ),
        (
            "a number without end",
            says(201, format!(r#"{{"key": "canary", "id": {}}}"#, "9".repeat(5000))),
            "",
        ),
        (
            "a list for a name",
            says(201, r#"{"key": "canary", "id": ["a"]}"#),
            "extract.id",
        ),
        ("1e400", expires("1e400"), ""),
        ("NaN", expires("NaN"), "JSON"),
        ("\"NaN\"", expires("\"NaN\""), "extract.expiresAt"),
        ("milliseconds", expires("1900000000000"), "extract.expiresAt"),
        (
            "the year 10000",
            expires("\"10000-01-01T00:00:00Z\""),
            "extract.expiresAt",
        ),
        ("a float without end", expires("1e300"), "extract.expiresAt"),
        ("long ago", expires("-1"), "expired"),
        ("at once", expires("0"), "expired"),
        (
            "1 MiB",
            Err(ExchangeError::Unreadable(
                "`provider.test` answered 200, and the body is longer than 262144 bytes".into(),
            )),
            "262144",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_used_never_takes_the_place_of_one_that_works() {
    for (case, reply, said) in useless() {
        let good = Arc::new(Mutex::new(true));
        let is_good = good.clone();
        let provider = Scripted::new(move |seen| match seen.method.as_str() {
            "POST" if *is_good.lock().unwrap() => says(201, r#"{"key": "works", "id": "first"}"#),
            "POST" => reply.clone(),
            "GET" => says(200, r#"{"ids": ["found"]}"#),
            _ => says(200, "{}"),
        });
        let greedy = |steps: &mut Value| {
            if case == "a bomb for the filter" {
                let text = ["[.] | tostring"; 12].join(" | ");
                steps["create"]["extract"]["value"] = format!(".key? // ({text})").into();
            }
        };
        let (world, process, integration) = start(&provider, named(json!({"bearer": {}}), greedy));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.injected(&integration).as_deref(), Some("Bearer works"), "{case}");
        world.take_notices();
        *good.lock().unwrap() = false;
        world.annotate_credential(&own(), "tidegate.dev/rotate", "1");
        sleep(DAY / 8).await;
        // Each of them may have made a key. Three in a row are no accident.
        assert_eq!(provider.seen("POST").len(), 1 + 3, "{case}");
        let stalled = condition(&world, "Stalled").unwrap_or_else(|| panic!("{case}: only an edit helps"));
        assert!(stalled.message.contains(said), "{case}: {}", stalled.message);
        let ready = condition(&world, "Ready").unwrap();
        assert_eq!(ready.status, ConditionStatus::True, "{case}: {}", ready.message);
        assert_eq!(world.injected(&integration).as_deref(), Some("Bearer works"), "{case}");
        assert_eq!(
            world.held(&issued()).unwrap().values["value"].expose(),
            "works",
            "{case}"
        );
        // What it made is taken away.
        let gone: Vec<String> = provider
            .seen("DELETE")
            .iter()
            .map(|it| it.url.path().to_owned())
            .collect();
        assert!(gone.len() >= 3, "{case}: {gone:?}");
        assert!(!gone.contains(&"/keys/first".to_owned()), "{case}");
        let all = told(&world, case);
        assert!(
            !all.contains("canary") || all.contains("canary-id") && !all.contains("canary\""),
            "{case}: {all}"
        );
        // An edit has it tried at once.
        *good.lock().unwrap() = true;
        world.apply_credential(named(json!({"bearer": {}}), |steps| {
            steps["create"]["extract"]["value"] = ".key // .token".into();
        }));
        sleep(Duration::from_secs(30)).await;
        assert!(condition(&world, "Stalled").is_none(), "{case}");
        assert_eq!(
            condition(&world, "Ready").unwrap().status,
            ConditionStatus::True,
            "{case}"
        );
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_way_to_find_it_a_key_that_cannot_be_used_is_told_of() {
    let provider = Scripted::new(|seen| match seen.method.as_str() {
        "POST" => says(201, r#"{"token": "canary"}"#),
        _ => says(200, "{}"),
    });
    let manifest = added(json!({"bearer": {}}), |steps| {
        steps.as_object_mut().unwrap().remove("find");
    });
    let (world, process, _) = start(&provider, manifest);
    sleep(DAY).await;
    assert_eq!(provider.seen("POST").len(), 1);
    let notices = world.take_notices();
    assert_eq!(
        notices.iter().filter(|it| it.reason == "OrphanPossible").count(),
        1,
        "{notices:?}"
    );
    assert!(condition(&world, "Stalled").unwrap().message.contains("extract.value"));
    process.stop().await;
}

fn token(more: &str) -> Scripted {
    let body = format!(r#"{{"access_token": "t0ken", "token_type": "Bearer"{more}}}"#);
    Scripted::new(move |_| says(200, &body))
}

fn client() -> Value {
    credential(json!({
        "allowedHosts": ["api.example.com"],
        "oauth2": {
            "grant": "ClientCredentials", "tokenURL": "https://idp.test/token", "clientID": "id",
            "clientSecretRef": {"name": "client", "key": "secret"},
        },
    }))
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_is_believed_as_far_as_one_can_be_meant() {
    // Seconds until the token ends; 0: there is none.
    for (written, expected) in [
        ("", 3600_i64),
        (r#", "expires_in": null"#, 3600),
        (r#", "expires_in": 600"#, 600),
        (r#", "expires_in": "600""#, 600),
        (r#", "expires_in": 600.9"#, 600),
        (r#", "expires_in": 1e300"#, 315_360_000),
        (r#", "expires_in": 18446744073709551615"#, 315_360_000),
        (r#", "expires_in": "99999999999999999999999999""#, 315_360_000),
        (r#", "expires_in": 1e400"#, 0),
        (r#", "expires_in": -1"#, 0),
        (r#", "expires_in": 0"#, 0),
        (r#", "expires_in": 0.5"#, 0),
        (r#", "expires_in": "NaN""#, 0),
        (r#", "expires_in": "-1""#, 0),
        (r#", "expires_in": """#, 0),
        (r#", "expires_in": true"#, 0),
        (r#", "expires_in": {}"#, 0),
    ] {
        let provider = token(written);
        let (world, process, integration) = start(&provider, client());
        world.apply_secret(&Key::new("shop", "client"), &[("secret", "hush")]);
        let begun = clock()();
        sleep(Duration::from_secs(5)).await;
        if expected > 0 {
            assert_eq!(
                world.injected(&integration).as_deref(),
                Some("Bearer t0ken"),
                "{written}"
            );
            let status = world.credential(&own()).unwrap().status.unwrap();
            let end = status.not_after.unwrap().duration_since(begun).as_secs();
            assert!((expected - 6..=expected + 6).contains(&end), "{written}: {end}");
        } else {
            sleep(Duration::from_secs(3600)).await;
            assert_eq!(world.injected(&integration), None, "{written}");
            let stalled = condition(&world, "Stalled").unwrap_or_else(|| panic!("{written}"));
            assert_eq!(stalled.reason, "IssueFailed", "{written}");
            let calls = provider.seen("POST").len();
            assert!(calls <= 6, "{written}: {calls} calls in an hour");
        }
        told(&world, written);
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_instead_of_a_token_is_not_fetched_more_often_than_tokens() {
    let provider = Scripted::new(|_| says(200, format!("<html>{}</html>", "canary".repeat(40_000))));
    let (world, process, _) = start(&provider, client());
    world.apply_secret(&Key::new("shop", "client"), &[("secret", "hush")]);
    sleep(DAY).await;
    let calls = provider.seen("POST").len();
    // A token whose lifetime is not known is renewed after 40 minutes: 36 in a day.
    assert!(calls <= 38, "{calls} calls in a day");
    let stalled = condition(&world, "Stalled").unwrap();
    assert!(
        stalled.message.contains("URL is that of a token endpoint"),
        "{}",
        stalled.message
    );
    let all = told(&world, "a page");
    assert!(!all.contains("canary") && !all.contains("hush"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_a_failure_says_is_in_no_message() {
    let body = format!(
        r#"{{"error": "canary", "error_description": "{}"}}"#,
        "canary".repeat(40_000)
    );
    for status in [400, 401, 403, 404, 408, 418, 429, 500, 503, 599, 302] {
        for steps in [false, true] {
            let answer = body.clone();
            let provider = Scripted::new(move |_| says(status, &answer));
            let manifest = if steps {
                added(json!({"bearer": {}}), |_| ())
            } else {
                client()
            };
            let (world, process, _) = start(&provider, manifest);
            world.apply_secret(&Key::new("shop", "client"), &[("secret", "hush")]);
            sleep(Duration::from_secs(120)).await;
            let ready = condition(&world, "Ready").unwrap();
            assert_eq!(
                (ready.status, &*ready.reason),
                (ConditionStatus::False, "IssueFailed"),
                "{status}"
            );
            let all = told(&world, &status.to_string());
            assert!(!all.contains("canary") && !all.contains("hush"), "{status}: {all}");
            process.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_provider_puts_us_off_for_longer_than_an_hour() {
    for after in [
        Some(Duration::MAX),
        Some(Duration::from_secs(10 * 365 * 86_400)),
        Some(Duration::ZERO),
        None,
    ] {
        for steps in [false, true] {
            let provider = Scripted::new(move |_| {
                let mut answer = says(429, "")?;
                answer.retry_after = after;
                Ok(answer)
            });
            let manifest = if steps {
                added(json!({"bearer": {}}), |_| ())
            } else {
                client()
            };
            let (world, process, _) = start(&provider, manifest);
            world.apply_secret(&Key::new("shop", "client"), &[("secret", "hush")]);
            sleep(Duration::from_secs(60)).await;
            let first = provider.seen("POST").len();
            sleep(Duration::from_secs(3700)).await;
            let more = provider.seen("POST").len() - first;
            assert!((1..=40).contains(&more), "{after:?}: {more} calls in an hour");
            process.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_would_not_end_is_refused_before_anybody_is_asked() {
    let provider = Scripted::new(|_| says(200, r#"{"key": "k", "id": "i"}"#));
    for filter in [
        "def f: f; f",
        "def f: [f]; f",
        "range(1e12)",
        "[range(1e12)] | length",
        "[limit(1000000000; repeat(.))]",
        "\"a\" * 1e12",
        "[.[] * 1e9]",
        "last(range(1e9))",
        "until(false; .)",
        "recurse",
        ".key | test(\"(a+)+$\")",
        "[.,.] | [.,.] | [.,.] | combinations",
        "input",
        "env",
        "$ENV.PATH",
    ] {
        for field in ["value", "id", "expiresAt"] {
            let manifest = added(json!({"bearer": {}}), |steps| {
                steps["create"]["extract"][field] = filter.into();
            });
            let (world, process, _) = start(&provider, manifest);
            sleep(Duration::from_secs(10)).await;
            let ready = condition(&world, "Ready").unwrap();
            assert_eq!(ready.reason, "InvalidSpec", "{filter}");
            assert!(
                ready.message.contains(&format!("create.extract.{field}")),
                "{}",
                ready.message
            );
            assert!(condition(&world, "Stalled").is_some(), "{filter}");
            process.stop().await;
        }
    }
    assert_eq!(provider.seen("POST").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_and_certificates_without_end_are_refused_by_their_size() {
    let certificate = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let (one, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let (many, long) = (one.repeat(2000), format!("{key}{}", "\n".repeat(1 << 20)));
    let reference = json!({"name": "pem", "key": "tls.key"});
    let oauth2 = |more: Value| {
        let mut spec = json!({"grant": "ClientCredentials", "tokenURL": "https://idp.test/token", "clientID": "id"});
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        json!({"oauth2": spec})
    };
    let tls = json!({"caRef": {"kind": "Secret", "name": "pem", "key": "tls.crt"}});
    for spec in [
        json!({"certificate": {"secretRef": {"name": "pem"}}}),
        json!({"certificate": {"issue": {"caSecretRef": {"name": "pem"}, "commonName": "a"}}}),
        json!({"jwt": {"algorithm": "ES256", "keyRef": reference}}),
        json!({"bearer": {"secretRef": reference}}),
        oauth2(json!({"clientAuthentication": "PrivateKeyJWT", "clientKeyRef": reference})),
        oauth2(json!({"clientAuthentication": "TLS", "clientCertificateRef": {"name": "pem"}})),
        oauth2(json!({"clientSecretRef": {"name": "pem", "key": "short"}, "tls": tls})),
    ] {
        let case = spec.to_string();
        let provider = Scripted::new(|_| says(200, "{}"));
        let mut spec = spec;
        spec["allowedHosts"] = json!(["api.example.com"]);
        let (world, process, integration) = start(&provider, credential(spec));
        let begun = std::time::Instant::now();
        world.apply_secret(
            &Key::new("shop", "pem"),
            &[("tls.crt", &many), ("tls.key", &long), ("short", "s")],
        );
        sleep(Duration::from_secs(10)).await;
        let ready = condition(&world, "Ready").unwrap();
        assert_eq!(ready.status, ConditionStatus::False, "{case}");
        assert_eq!(condition(&world, "Stalled").unwrap().reason, "InvalidSpec", "{case}");
        assert!(
            ready.message.contains("`pem`") && ready.message.contains("KiB"),
            "{case}: {}",
            ready.message
        );
        assert_eq!(world.injected(&integration), None, "{case}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{case}: it is not parsed");
        assert_eq!(provider.seen("POST").len(), 0, "{case}");
        process.stop().await;
    }
}

type Edit = fn(&mut Held);

/// What a person may do to a Secret of ours.
fn edits() -> [(&'static str, Edit); 7] {
    fn say(held: &mut Held, record: &str) {
        held.annotations.insert("tidegate.dev/record".into(), record.into());
    }
    [
        ("a record that is no JSON", |held| say(held, "\u{0}{{{")),
        ("an empty record", |held| say(held, "{}")),
        ("a record of a later program", |held| {
            let record = held.annotations["tidegate.dev/record"].replace("\"format\":1", "\"format\":99");
            say(held, &record);
        }),
        ("a record with a time that is none", |held| {
            let record = held.annotations["tidegate.dev/record"].replace("\"issued\":\"", "\"issued\":\"9");
            say(held, &record);
        }),
        ("no record", |held| held.annotations.clear()),
        ("no value", |held| held.values.clear()),
        ("a value that cannot be sent", |held| {
            held.values.insert("value".into(), SecretValue::new("a b\r\n"));
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_issued_secret_that_somebody_garbled_is_made_anew_and_workers_keep_what_they_have_until_then() {
    for (case, edit) in edits() {
        let up = Arc::new(Mutex::new(true));
        let count = Arc::new(Mutex::new(0));
        let is_up = up.clone();
        let provider = Scripted::new(move |seen| match seen.method.as_str() {
            _ if !*is_up.lock().unwrap() => says(500, ""),
            "POST" => {
                *count.lock().unwrap() += 1;
                let count = count.lock().unwrap();
                says(
                    201,
                    json!({"key": format!("key-{count}"), "id": format!("id-{count}")}).to_string(),
                )
            }
            "GET" => says(200, r#"{"ids": []}"#),
            _ => says(200, "{}"),
        });
        let (world, process, integration) = start(&provider, added(json!({"bearer": {}}), |_| ()));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.injected(&integration).as_deref(), Some("Bearer key-1"), "{case}");
        *up.lock().unwrap() = false;
        world.take_notices();
        world.edit_held(&issued(), edit);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.injected(&integration).as_deref(), Some("Bearer key-1"), "{case}");
        let issuing = condition(&world, "Issuing").unwrap();
        assert_eq!(issuing.status, ConditionStatus::True, "{case}");
        assert!(issuing.message.contains("500"), "{case}: {}", issuing.message);
        *up.lock().unwrap() = true;
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.injected(&integration).as_deref(), Some("Bearer key-2"), "{case}");
        assert_eq!(
            condition(&world, "Ready").unwrap().status,
            ConditionStatus::True,
            "{case}"
        );
        let status = world.credential(&own()).unwrap().status.unwrap();
        assert_eq!(status.revision, Some(2), "{case}: revisions never go back");
        told(&world, case);
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_issued_secret_that_somebody_took_over_is_left_alone_and_workers_keep_what_they_have() {
    for (case, edit) in [
        ("no owner", (|held: &mut Held| held.owner = None) as Edit),
        ("another owner", |held| held.owner = Some("somebody".into())),
    ] {
        let provider = Scripted::new(|seen| match seen.method.as_str() {
            "POST" => says(201, r#"{"key": "key-1", "id": "a"}"#),
            _ => says(200, "{}"),
        });
        let (world, process, integration) = start(&provider, added(json!({"bearer": {}}), |_| ()));
        sleep(Duration::from_secs(30)).await;
        world.edit_held(&issued(), edit);
        let before = world.held(&issued());
        sleep(DAY).await;
        assert_eq!(world.held(&issued()), before, "{case}");
        let stalled = condition(&world, "Stalled").unwrap();
        assert!(
            stalled.message.contains("payments-key-issued"),
            "{case}: {}",
            stalled.message
        );
        assert_eq!(world.injected(&integration).as_deref(), Some("Bearer key-1"), "{case}");
        assert_eq!(provider.seen("POST").len(), 1, "{case}");
        process.stop().await;
    }
}
