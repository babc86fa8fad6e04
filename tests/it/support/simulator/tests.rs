//! The simulator is strict, and a planted mistake of a client is seen.

use super::*;

fn simulator(change: impl FnOnce(&mut Settings)) -> Simulator {
    let mut settings = Settings::default();
    change(&mut settings);
    Simulator::new(settings)
}

fn call(method: &str, path: &str, authorization: &str, content_type: &str, body: &str) -> Call {
    let headers = [("authorization", authorization), ("content-type", content_type)];
    let given = headers.into_iter().filter(|(_, value)| !value.is_empty());
    Call {
        method: method.parse().unwrap(),
        url: format!("https://provider.test{path}").parse().unwrap(),
        headers: given
            .map(|(name, value)| (name.parse().unwrap(), SecretValue::new(value)))
            .collect(),
        body: Some(SecretValue::new(body)),
        ca_pem: None,
        certificate: None,
    }
}

fn json(method: &str, path: &str, body: &str) -> Call {
    call(method, path, "Bearer admin", "application/json", body)
}

fn refresh(token: &str) -> Call {
    let form = format!("grant_type=refresh_token&refresh_token={token}&client_id=client&client_secret=client-secret");
    call("POST", "/token", "", "application/x-www-form-urlencoded", &form)
}

async fn told(simulator: &Simulator, call: Call) -> (u16, serde_json::Value) {
    let answer = simulator.exchange(call).await.unwrap();
    (
        answer.status,
        serde_json::from_str(answer.body.expose()).unwrap_or_default(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_we_choose_joins_the_newest_and_ends_the_oldest() {
    let simulator = simulator(|it| it.least_length = 2);
    for (value, status) in [("s1", 200), ("s2", 200), ("s2", 200), ("s", 422), ("s3", 200)] {
        let set = json("PUT", "/secret", &format!(r#"{{"value": "{value}"}}"#));
        assert_eq!(told(&simulator, set).await.0, status, "{value}");
    }
    assert_eq!(
        ["s1", "s2", "s3"].map(|value| simulator.use_value(value)),
        [false, true, true]
    );
    assert_eq!(simulator.read(|it| it.most_live(Kind::Secret)), 2);
    let by_old = call("PUT", "/secret", "Bearer s1", "application/json", r#"{"value": "s4"}"#);
    assert_eq!(told(&simulator, by_old).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_added_within_the_quota_listed_by_label_and_deleted() {
    let simulator = simulator(|it| it.visible_after = Duration::from_secs(5));
    let (status, key) = told(&simulator, json("POST", "/keys", r#"{"label": "one"}"#)).await;
    assert_eq!(status, 201);
    let value = key["key"].as_str().unwrap().to_owned();
    assert!(!simulator.accepts(&value), "not at once");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(simulator.accepts(&value));
    told(&simulator, json("POST", "/keys", r#"{"label": "two"}"#)).await;
    assert_eq!(told(&simulator, json("POST", "/keys", "{}")).await.0, 409);
    let (_, listed) = told(&simulator, json("GET", "/keys?label=one", "")).await;
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    assert!(!listed.to_string().contains(&value), "shown once");
    assert_eq!(simulator.unheld(&[&value]).len(), 1, "the second is held by nobody");
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(told(&simulator, json("DELETE", &path, "")).await.0, 204);
    assert_eq!(told(&simulator, json("DELETE", &path, "")).await.0, 404);
    assert!(!simulator.use_value(&value));
    assert_eq!(simulator.read(|it| it.refusals(&value).len()), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_makes_one_key_only_where_it_is_honoured() {
    for (honoured, mints) in [(true, 1), (false, 2)] {
        let simulator = simulator(|it| it.idempotency = honoured);
        for _ in 0..2 {
            let mut create = json("POST", "/keys", "{}");
            create
                .headers
                .push(("idempotency-key".parse().unwrap(), SecretValue::new("attempt")));
            told(&simulator, create).await;
        }
        assert_eq!(simulator.read(|it| it.mints().count()), mints);
        assert_eq!(simulator.read(|it| it.most_mints_in(Duration::from_secs(1))), mints);
        assert_eq!(simulator.live()[0].label.as_deref(), Some("attempt"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_replaces_at_once_leaves_nothing_of_the_old() {
    let simulator = simulator(|_| {});
    simulator.seed(Kind::Regenerated, "old");
    simulator.seed(Kind::SelfRotating, "own");
    assert_eq!(
        told(&simulator, call("POST", "/regenerate", "Bearer old", "", ""))
            .await
            .0,
        401
    );
    assert_eq!(told(&simulator, json("POST", "/regenerate", "")).await.0, 200);
    assert_eq!(
        told(&simulator, call("POST", "/rotate", "Bearer own", "", "")).await.0,
        200
    );
    assert_eq!(
        told(&simulator, call("POST", "/rotate", "Bearer own", "", "")).await.0,
        401
    );
    assert!(!simulator.accepts("old") && !simulator.accepts("own"));
    assert_eq!(simulator.live().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_spent_once_and_a_second_time_ends_its_family() {
    for (grace, later, status, replays) in [(0, 0, 400, 1), (30, 20, 200, 0), (30, 31, 400, 1), (60, 31, 200, 0)] {
        let simulator = simulator(|it| it.grace = Duration::from_secs(grace));
        simulator.seed(Kind::Refresh, "r0");
        assert!(!simulator.accepts("r0"), "it is no use in a request");
        let (_, first) = told(&simulator, refresh("r0")).await;
        let access = first["access_token"].as_str().unwrap();
        assert!(simulator.accepts(access));
        tokio::time::advance(Duration::from_secs(later)).await;
        let (again, second) = told(&simulator, refresh("r0")).await;
        assert_eq!(again, status, "{grace} {later}");
        assert_eq!(simulator.read(|it| it.replays.len()), replays);
        assert_eq!(
            simulator.accepts(access),
            replays == 0,
            "access tokens go with the family"
        );
        assert_eq!(simulator.read(|it| it.successors("r0").count()), 1);
        if status == 200 {
            assert_eq!(second["refresh_token"], first["refresh_token"], "the same successor");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_that_is_not_the_immediate_one_is_a_replay_even_within_the_grace() {
    let simulator = simulator(|it| it.grace = Duration::from_secs(60));
    simulator.seed(Kind::Refresh, "r0");
    let (_, first) = told(&simulator, refresh("r0")).await;
    told(&simulator, refresh(first["refresh_token"].as_str().unwrap())).await;
    assert_eq!(told(&simulator, refresh("r0")).await.0, 400);
    assert_eq!(simulator.read(|it| it.replays.len()), 1);
    assert!(simulator.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_refreshes_at_once_are_seen() {
    let simulator = simulator(|it| it.grace = Duration::from_secs(60));
    simulator.seed(Kind::Refresh, "r0");
    simulator.seed(Kind::Refresh, "other");
    simulator.fault("POST /token", 1, Fault::SlowAfter(Duration::from_secs(2)));
    let (..) = tokio::join!(told(&simulator, refresh("r0")), told(&simulator, refresh("other")));
    assert_eq!(simulator.read(|it| it.most_refreshes_in_flight), 1, "of one family");
    simulator.fault("POST /token", 3, Fault::SlowAfter(Duration::from_secs(2)));
    let (..) = tokio::join!(told(&simulator, refresh("r0")), told(&simulator, refresh("r0")));
    assert_eq!(simulator.read(|it| it.most_refreshes_in_flight), 2);
}

#[tokio::test(start_paused = true)]
async fn client_credentials_give_tokens_that_expire_to_the_client_alone() {
    let simulator = simulator(|_| {});
    let grant = |secret: &str| {
        let basic = format!("Basic {}", {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(format!("client:{secret}"))
        });
        call(
            "POST",
            "/token",
            &basic,
            "application/x-www-form-urlencoded",
            "grant_type=client_credentials",
        )
    };
    assert_eq!(told(&simulator, grant("wrong")).await.0, 401);
    let (_, token) = told(&simulator, grant("client-secret")).await;
    let token = token["access_token"].as_str().unwrap();
    assert!(simulator.accepts(token));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(!simulator.accepts(token));
}

#[tokio::test(start_paused = true)]
async fn each_fault_does_what_it_says() {
    let slow = Duration::from_secs(60);
    for (fault, status, mints) in [
        (Fault::NotSent, None, 0),
        (Fault::LostBefore, None, 0),
        (Fault::LostAfter, None, 1),
        (Fault::SlowBefore(slow), None, 1),
        (Fault::SlowAfter(slow), None, 1),
        (Fault::FailedBefore, Some(500), 0),
        (Fault::FailedAfter, Some(500), 1),
        (Fault::Garbled, Some(201), 1),
        (Fault::Throttled, Some(429), 0),
        (Fault::Twice, Some(201), 2),
    ] {
        let simulator = simulator(|_| {});
        simulator.fault("POST /keys", 2, fault);
        told(&simulator, json("GET", "/keys", "")).await;
        simulator.set(|it| it.quota = 9);
        told(&simulator, json("POST", "/keys", "{}")).await;
        let got = simulator.exchange(json("POST", "/keys", "{}")).await;
        assert_eq!(got.as_ref().ok().map(|it| it.status), status, "{fault:?}");
        assert_eq!(matches!(got, Err(ExchangeError::NotSent(_))), fault == Fault::NotSent);
        // What is slow goes on when the client has gone.
        tokio::time::sleep(slow).await;
        assert_eq!(simulator.read(|it| it.mints().count()), 1 + mints, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_is_throttled_for_longer() {
    let simulator = simulator(|_| {});
    simulator.fault("GET /keys", 1, Fault::Throttled);
    let mut waits = Vec::new();
    for advance in [0, 10, 10, 119, 121] {
        tokio::time::advance(Duration::from_secs(advance)).await;
        let answer = simulator.exchange(json("GET", "/keys", "")).await.unwrap();
        waits.push((answer.status, answer.retry_after.map(|it| it.as_secs())));
    }
    assert_eq!(
        waits,
        [
            (429, Some(30)),
            (429, Some(60)),
            (429, Some(120)),
            (429, Some(240)),
            (429, Some(480))
        ]
    );
    tokio::time::advance(Duration::from_secs(481)).await;
    assert_eq!(told(&simulator, json("GET", "/keys", "")).await.0, 200);
    assert_eq!(simulator.read(|it| it.peak_rate()), 1);
}

#[tokio::test]
async fn over_a_socket_it_is_the_same_provider() {
    let simulator = simulator(|_| {});
    let served = simulator.serve().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", served.address);
    let create = || {
        let create = client.post(url("/keys")).bearer_auth("admin");
        create.json(&serde_json::json!({"label": "one"})).send()
    };
    let answer: serde_json::Value = create().await.unwrap().json().await.unwrap();
    assert!(simulator.accepts(answer["key"].as_str().unwrap()));
    let used = client
        .get(url("/whoami"))
        .header("x-api-key", answer["key"].as_str().unwrap())
        .send();
    assert_eq!(used.await.unwrap().status(), 200);
    simulator.fault("POST /keys", 2, Fault::LostAfter);
    create().await.unwrap_err();
    assert!(simulator.live().len() >= 2, "a client may have tried again");
}
