use super::*;
use crate::api::credential::CredentialSpec;
use serde_json::{Value, json};

fn of(kind: Value) -> Policy {
    Policy::of(&spec(kind), "self", "uid")
}

fn spec(kind: Value) -> CredentialSpec {
    let mut whole = json!({"allowedHosts": ["api.example.com"]});
    for (key, value) in kind.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

fn steps(steps: Value) -> Value {
    json!({"bearer": {}, "rotation": {"steps": steps}})
}

fn asks() -> Value {
    json!({"request": {"url": "https://api.example.com/keys"}, "extract": {"value": ".key"}})
}

fn call() -> Value {
    json!({"request": {"url": "https://api.example.com/keys/1"}})
}

fn authorised(by: &str) -> Value {
    let mut create = asks();
    create["credentialRef"] = json!({"name": by});
    create
}

fn refreshes() -> Value {
    json!({"oauth2": {"grant": "RefreshToken", "tokenURL": "https://api.example.com/token", "clientID": "me",
        "refreshTokenRef": {"name": "first", "key": "token"}}})
}

fn client() -> Value {
    json!({"oauth2": {"grant": "ClientCredentials", "tokenURL": "https://api.example.com/token", "clientID": "me"}})
}

fn certificate() -> Value {
    json!({"certificate": {"issue": {"caSecretRef": {"name": "ca"}, "commonName": "me"}}})
}

fn signed() -> Value {
    json!({"jwt": {"algorithm": "ES256", "keyRef": {"name": "key", "key": "pem"}}})
}

#[test]
fn what_a_lost_answer_means_follows_from_who_chooses_and_who_authorises() {
    for (kind, class, takes_effect) in [
        (json!({"generated": {}}), Class::Ours, false),
        (client(), Class::Free, false),
        (refreshes(), Class::Chained, true),
        (signed(), Class::Free, false),
        (certificate(), Class::Free, false),
        (
            steps(json!({"create": {"generate": {}}, "set": call(), "revoke": call()})),
            Class::Ours,
            true,
        ),
        (steps(json!({"create": asks(), "revoke": call()})), Class::Added, false),
        (
            steps(json!({"create": authorised("self"), "revoke": call()})),
            Class::Added,
            false,
        ),
        (steps(json!({"create": authorised("self")})), Class::Chained, true),
        (steps(json!({"create": authorised("admin")})), Class::Replaced, true),
        (steps(json!({"create": asks()})), Class::Replaced, true),
    ] {
        let policy = of(kind.clone());
        assert_eq!((policy.class, policy.takes_effect), (class, takes_effect), "{kind}");
        // A refused key that authorises its own replacement cannot be replaced; a refresh token is not what is refused.
        let replaces = class != Class::Chained || kind.get("oauth2").is_some();
        assert_eq!(policy.replaces_rejected, replaces, "{kind}");
    }
}

#[test]
fn the_overlap_is_a_day_where_nothing_expires_by_itself() {
    let revoking = steps(json!({"create": asks(), "revoke": call()}));
    for (kind, hours, keeps) in [
        (json!({"generated": {}}), 24, true),
        (steps(json!({"create": asks()})), 24, true),
        (revoking, 24, true),
        (client(), 0, false),
        (refreshes(), 0, false),
        (signed(), 0, false),
        (certificate(), 0, false),
    ] {
        let policy = of(kind.clone());
        assert_eq!(policy.overlap, Duration::from_secs(hours * 3600), "{kind}");
        assert_eq!(policy.keeps_previous, keeps, "{kind}");
        let mut set = kind.clone();
        set["rotation"]["overlap"] = json!("5m");
        assert_eq!(of(set.clone()).overlap, Duration::from_secs(300), "{set}");
        assert!(of(set.clone()).keeps_previous, "{set}");
        set["rotation"]["overlap"] = json!("0s");
        let policy = of(set.clone());
        assert_eq!(policy.overlap, Duration::ZERO, "{set}");
        // What is to be revoked must be known until it is.
        assert_eq!(policy.keeps_previous, policy.revokes, "{set}");
    }
}

#[test]
fn what_decides_over_the_value_is_its_identity_and_the_rest_is_not() {
    let stepped = steps(json!({"create": {"generate": {}}, "set": call(), "revoke": call()}));
    for (kind, path, value, other) in [
        (client(), "/oauth2/scopes", json!(["read"]), true),
        (client(), "/oauth2/clientID", json!("you"), true),
        (
            client(),
            "/oauth2/clientSecretRef",
            json!({"name": "other", "key": "x"}),
            true,
        ),
        (client(), "/allowedHosts", json!(["other.example.com"]), false),
        (client(), "/secretName", json!("elsewhere"), false),
        (client(), "/suspend", json!(true), false),
        (client(), "/rotation/renewAt", json!(50), false),
        (client(), "/rotation/overlap", json!("1h"), false),
        (signed(), "/jwt/lifetime", json!("5m"), true),
        (signed(), "/jwt/claims", json!({"role": "reader"}), true),
        (signed(), "/jwt/in", json!("Query"), false),
        (signed(), "/jwt/name", json!("token"), false),
        (signed(), "/jwt/prefix", json!("JWT "), false),
        (
            certificate(),
            "/certificate/issue/dnsNames",
            json!(["me.example.com"]),
            true,
        ),
        (json!({"generated": {}}), "/generated/length", json!(64), true),
        (json!({"generated": {}}), "/rotation/interval", json!("24h"), false),
        (
            stepped.clone(),
            "/rotation/steps/create/generate/length",
            json!(64),
            true,
        ),
        (
            stepped.clone(),
            "/rotation/steps/set/request/url",
            json!("https://api.example.com/other"),
            true,
        ),
        (
            stepped.clone(),
            "/rotation/steps/revoke/request/url",
            json!("https://api.example.com/other"),
            false,
        ),
        (stepped.clone(), "/rotation/steps/test", call(), false),
        (
            stepped,
            "/bearer/secretRef",
            json!({"name": "first", "key": "token"}),
            false,
        ),
    ] {
        let before = of(kind.clone()).spec;
        let mut edited = kind.clone();
        let mut place = &mut edited;
        for part in path[1..].split('/') {
            place = &mut place[part];
        }
        *place = value;
        assert_eq!(of(edited).spec != before, other, "{path} of {kind}");
        assert_eq!(of(kind).spec, before);
    }
    // Another kind is another value.
    let kinds = [client(), refreshes(), signed(), certificate(), json!({"generated": {}})];
    let all: std::collections::BTreeSet<String> = kinds.into_iter().map(|kind| of(kind).spec).collect();
    assert_eq!(all.len(), 5);
}

#[test]
fn what_is_signed_by_a_source_or_begins_a_chain_follows_it() {
    for (kind, follows) in [
        (client(), false),
        (refreshes(), true),
        (signed(), true),
        (certificate(), true),
        (json!({"generated": {}}), false),
        (steps(json!({"create": asks()})), false),
    ] {
        let policy = of(kind.clone());
        assert_eq!(policy.follows("a", "b"), follows, "{kind}");
        assert!(!policy.follows("a", "a"));
        assert_eq!(policy.follows("a:b", "a:c"), follows);
        assert!(!policy.follows("a:b", "c:b"));
    }
}

#[test]
fn a_first_value_of_somebody_else_is_one() {
    let mut kind = steps(json!({"create": asks()}));
    assert!(!of(kind.clone()).has_first);
    kind["bearer"] = json!({"secretRef": {"name": "first", "key": "token"}});
    assert!(of(kind).has_first);
    assert!(!of(refreshes()).has_first);
}

#[test]
fn an_interval_is_that_of_what_has_no_lifetime() {
    let interval = |mut kind: Value| {
        kind["rotation"]["interval"] = json!("10h");
        of(kind).interval
    };
    let hours = Some(Duration::from_secs(36_000));
    assert_eq!(interval(json!({"generated": {}})), hours);
    assert_eq!(interval(steps(json!({"create": asks()}))), hours);
    // There it is the interval of the key.
    let generates = json!({"jwt": {"algorithm": "ES256", "generate": {}}});
    assert_eq!(interval(generates), None);
    assert_eq!(interval(client()), None);
}

#[test]
fn a_share_outside_its_bounds_is_brought_within() {
    for (renew_at, expected) in [
        (None, 66),
        (Some(1), 1),
        (Some(99), 99),
        (Some(-5), 1),
        (Some(1000), 99),
    ] {
        let mut kind = client();
        if let Some(renew_at) = renew_at {
            kind["rotation"]["renewAt"] = json!(renew_at);
        }
        assert_eq!(of(kind).renew_at, expected, "{renew_at:?}");
    }
}

#[test]
fn renewals_of_what_was_issued_together_are_spread_evenly_over_six_percent() {
    let lifetime = 1_000_000;
    for renew_at in [1, 10, 66, 99] {
        let mut kind = client();
        kind["rotation"]["renewAt"] = json!(renew_at);
        let spec = spec(kind);
        let record = Record {
            not_after: Some(at(lifetime)),
            ..record()
        };
        let latest = i128::from(lifetime * renew_at * 10);
        let mut twelfths = [0; 12];
        for number in 0..10_000 {
            let policy = Policy::of(&spec, "name", &format!("uid-{number}"));
            let renewal = policy.renewal(&record).unwrap().duration_since(at(0)).as_millis();
            assert!(
                renewal <= latest && renewal > latest * 94 / 100,
                "{renew_at}: {renewal}"
            );
            let early = usize::try_from((latest - renewal) * 200 / latest).unwrap();
            twelfths[early] += 1;
        }
        // 833 each; the standard deviation is 28.
        assert!(
            twelfths.iter().all(|count| (690..980).contains(count)),
            "{renew_at}: {twelfths:?}"
        );
    }
}

#[test]
fn values_of_any_lifetime_have_a_renewal_before_their_end() {
    for spread in [0, 999] {
        let policy = Policy {
            spread,
            ..plain(Class::Free)
        };
        let ten_years = 10 * 366 * 86_400;
        for (lifetime, earliest, latest) in [
            (0, 0, 0),
            (1, 620, 660),
            (60, 37_200, 39_600),
            (ten_years, ten_years * 620, ten_years * 660),
        ] {
            let record = Record {
                not_after: Some(at(lifetime)),
                ..record()
            };
            let renewal = policy.renewal(&record).unwrap().duration_since(at(0)).as_millis();
            let bounds = i128::from(earliest)..=i128::from(latest);
            assert!(bounds.contains(&renewal), "{lifetime}: {renewal}");
        }
        // Neither what ended before it began nor the end of time is too much.
        for end in [at(-5), Timestamp::MAX] {
            let record = Record {
                issued: at(0),
                not_after: Some(end),
                ..record()
            };
            let renewal = policy.renewal(&record);
            assert_eq!(renewal.is_some(), end > at(0));
        }
    }
}

#[test]
fn of_lifetime_and_interval_the_sooner_one_counts() {
    let policy = Policy {
        interval: Some(Duration::from_secs(500)),
        ..plain(Class::Added)
    };
    assert_eq!(policy.renewal(&record()), Some(at(500)));
    let short = Record {
        not_after: Some(at(500)),
        ..record()
    };
    assert_eq!(policy.renewal(&short), Some(at(330)));
    let endless = Record {
        not_after: None,
        ..record()
    };
    assert_eq!(policy.renewal(&endless), Some(at(500)));
    assert_eq!(plain(Class::Added).renewal(&endless), None);
}

#[test]
fn a_period_is_the_time_until_the_renewal_or_a_day() {
    let endless = Record {
        not_after: None,
        ..record()
    };
    let interval = Policy {
        interval: Some(Duration::from_secs(500)),
        ..plain(Class::Added)
    };
    for (policy, record, seconds) in [
        (plain(Class::Added), Some(record()), 660),
        (plain(Class::Added), Some(endless.clone()), 86_400),
        (plain(Class::Added), None, 86_400),
        (interval.clone(), None, 500),
        (interval, Some(endless), 500),
    ] {
        assert_eq!(policy.period(record.as_ref()), Duration::from_secs(seconds));
    }
}

#[test]
fn the_previous_value_is_retired_at_the_end_of_its_overlap_or_of_itself() {
    let policy = Policy {
        overlap: Duration::from_secs(100),
        ..plain(Class::Added)
    };
    for (confirmed, not_after, expected) in [
        (None, None, None),
        (None, Some(at(50)), Some(at(50))),
        (Some(at(10)), None, Some(at(110))),
        (Some(at(10)), Some(at(50)), Some(at(50))),
        (Some(at(10)), Some(at(500)), Some(at(110))),
    ] {
        let previous = Previous {
            not_after,
            confirmed,
            ..previous_value()
        };
        let record = Record {
            previous: Some(previous),
            ..record()
        };
        assert_eq!(policy.retirement(&record), expected);
    }
    assert_eq!(policy.retirement(&record()), None);
}
