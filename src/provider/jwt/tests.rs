use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::provider::sample::Sample;

mod openssl;

const EC: &str = include_str!("vectors/rfc7515-a3-ec.pem");
const RSA: &str = include_str!("vectors/rfc7515-a2-rsa.pem");
const ED: &str = include_str!("vectors/rfc8037-a1-ed25519.pem");
const SHARED: &str = "a shared key of at least 32 bytes";

/// A source of which every draw differs.
fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u64;
    move |buffer| {
        for byte in buffer {
            next += 1;
            *byte = (next % 251).to_le_bytes()[0];
        }
    }
}

fn with_key(algorithm: &str, key: &str) -> Sample {
    let mut sample = Sample::new(json!({"jwt": {
        "algorithm": algorithm,
        "keyRef": {"name": "signing", "key": "key.pem"},
        "keyID": "k1",
    }}));
    sample.secret("signing", &[("key.pem", key)]);
    sample
}

fn generated(algorithm: &str) -> Sample {
    Sample::new(json!({"jwt": {"algorithm": algorithm, "generate": {}}}))
}

fn issued(sample: &Sample) -> Minted {
    issue(&sample.order(), &mut counting()).unwrap()
}

fn refusal(sample: &Sample) -> IssueError {
    issue(&sample.order(), &mut counting()).unwrap_err()
}

fn token(minted: &Minted) -> &str {
    minted.values[TOKEN].expose()
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn jwks(minted: &Minted) -> Value {
    serde_json::from_str(minted.values[JWKS].expose()).unwrap()
}

fn kids(minted: &Minted) -> Vec<String> {
    let set = jwks(minted);
    let kids = set["keys"].as_array().unwrap().iter();
    kids.map(|jwk| jwk["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(minted: &Minted) -> String {
    part(token(minted), 0)["kid"].as_str().unwrap().to_owned()
}

#[test]
fn token_of_every_algorithm_verifies_elsewhere() {
    for (algorithm, pem) in [("RS256", RSA), ("ES256", EC), ("EdDSA", ED)] {
        let minted = issued(&with_key(algorithm, pem));
        let key = SigningKey::read(
            serde_json::from_value(json!(algorithm)).unwrap(),
            &SecretValue::new(pem),
        )
        .unwrap();
        let mut jwk = json!(key.public().unwrap());
        jwk["kid"] = json!("k1");
        jwk["alg"] = json!(algorithm);
        let set = json!({"keys": [jwk]});
        assert!(openssl::verifies(&set, token(&minted)), "{algorithm}");
        let (message, signature) = token(&minted).rsplit_once('.').unwrap();
        let forged = format!("{message}x.{signature}");
        assert!(
            !openssl::verifies(&set, &forged),
            "{algorithm}: the verifier can say no"
        );
    }
    let minted = issued(&with_key("HS256", &format!("{SHARED}\n")));
    let (message, signature) = token(&minted).rsplit_once('.').unwrap();
    assert_eq!(signature, openssl::tag(SHARED, message));
}

#[test]
fn header_and_claims_are_what_the_spec_says() {
    let mut sample = with_key("ES256", EC);
    sample.respec(json!({"jwt": {
        "algorithm": "ES256",
        "keyRef": {"name": "signing", "key": "key.pem"},
        "keyID": "k1",
        "issuer": "shop",
        "subject": "payments",
        "audience": "https://api.example.com",
        "lifetime": "5m",
        "claims": {"scope": ["read", "write"], "nbf": 1, "iss": "other", "exp": 1, "iat": 1, "jti": "mine"},
    }}));
    sample.now = "2026-11-24T12:00:00.75Z".parse().unwrap();
    let minted = issued(&sample);
    assert_eq!(
        part(token(&minted), 0),
        json!({"alg": "ES256", "typ": "JWT", "kid": "k1"})
    );
    let now = 1_795_521_600;
    let claims = json!({
        "iss": "shop",
        "sub": "payments",
        "aud": "https://api.example.com",
        "iat": now,
        "exp": now + 300,
        "jti": sample.attempt.id,
        "nbf": 1,
        "scope": ["read", "write"],
    });
    assert_eq!(part(token(&minted), 1), claims, "further claims do not stand over ours");
    assert_eq!(minted.issued.as_second(), now);
    assert_eq!(minted.not_after.map(Timestamp::as_second), Some(now + 300));
    assert_eq!(
        minted.issued.subsec_nanosecond(),
        0,
        "what is written down is what the token says"
    );
}

#[test]
fn token_without_wishes_has_three_claims_and_ten_minutes() {
    let mut sample = with_key("EdDSA", ED);
    sample.respec(json!({"jwt": {"algorithm": "EdDSA", "keyRef": {"name": "signing", "key": "key.pem"}}}));
    let minted = issued(&sample);
    assert_eq!(part(token(&minted), 0), json!({"alg": "EdDSA", "typ": "JWT"}));
    let claims = part(token(&minted), 1);
    let names: Vec<_> = claims.as_object().unwrap().keys().collect();
    assert_eq!(names, ["exp", "iat", "jti"]);
    assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|iat| iat + 600));
    assert_eq!(minted.values.keys().collect::<Vec<_>>(), [TOKEN], "no keys of ours");
}

#[test]
fn sources_that_cannot_be_used_are_named() {
    let absent = Sample::new(json!({"jwt": {"algorithm": "ES256", "keyRef": {"name": "signing", "key": "key.pem"}}}));
    let mut other_key = with_key("ES256", EC);
    other_key.secret("signing", &[("tls.key", EC)]);
    let mut binary = with_key("HS256", EC);
    let values = BTreeMap::from([("key.pem".to_owned(), None)]);
    binary.sources.secrets.insert("signing".to_owned(), Some(values));
    let bomb = "-----BEGIN PRIVATE KEY-----\n".repeat(3000);
    let usable = "`spec.jwt.keyRef` must name a usable value: key `key.pem` of Secret `signing` must";
    for (error, reason, message) in [
        (
            refusal(&absent),
            "SecretNotFound",
            "`spec.jwt.keyRef`: there is no Secret `signing` in this namespace that may be named here; create it or name another".to_owned(),
        ),
        (
            refusal(&other_key),
            "KeyMissing",
            "`spec.jwt.keyRef`: Secret `signing` has no key `key.pem`; add it or name another".to_owned(),
        ),
        (
            refusal(&with_key("RS256", EC)),
            "InvalidSpec",
            format!("{usable} be an RSA key of 2048 to 8192 bits for RS256"),
        ),
        (refusal(&binary), "InvalidSpec", format!("{usable} be text (UTF-8)")),
        (
            refusal(&with_key("ES256", &bomb)),
            "InvalidSpec",
            format!("{usable} be at most 64 KiB long"),
        ),
        (
            refusal(&with_key("HS256", "short")),
            "InvalidSpec",
            format!("{usable} have at least 32 bytes for HS256 (RFC 7518, 3.2)"),
        ),
    ] {
        match error {
            IssueError::NotSent {
                reason: found,
                message: text,
            } => {
                assert_eq!((found, text), (reason, message), "it may be on its way");
                assert_eq!(reason, "SecretNotFound");
            }
            IssueError::Refused {
                reason: found,
                message: text,
            } => assert_eq!((found, text), (reason, message)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn spec_that_nobody_checked_is_refused() {
    for jwt in [
        json!({"algorithm": "ES256"}),
        json!({"algorithm": "ES256", "generate": {}, "keyRef": {"name": "signing", "key": "key.pem"}}),
        json!({"algorithm": "ES256", "generate": {}, "keyID": "mine"}),
        json!({"algorithm": "ES256", "generate": {}, "claims": {"long": "x".repeat(20_000)}}),
    ] {
        let error = refusal(&Sample::new(json!({"jwt": jwt})));
        assert!(
            matches!(
                error,
                IssueError::Refused {
                    reason: "InvalidSpec",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn generated_key_verifies_by_the_set_alone() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let minted = issued(&generated(algorithm));
        assert_eq!(kids(&minted), [kid(&minted)]);
        assert!(openssl::verifies(&jwks(&minted), token(&minted)), "{algorithm}");
        assert_eq!(jwks(&minted)["keys"][0]["use"], "sig");
        let keys: Value = serde_json::from_str(minted.values[KEYS].expose()).unwrap();
        let private = keys["keys"][0]["private"].as_str().unwrap();
        assert!(
            openssl::reads_private_key(private),
            "{algorithm}: PKCS#8 that others read"
        );
    }
}

#[test]
fn generated_shared_key_is_in_no_public_set() {
    let minted = issued(&generated("HS256"));
    assert_eq!(jwks(&minted), json!({"keys": []}));
    let keys: Value = serde_json::from_str(minted.values[KEYS].expose()).unwrap();
    let private = keys["keys"][0]["private"].as_str().unwrap();
    let (message, signature) = token(&minted).rsplit_once('.').unwrap();
    assert_eq!(signature, openssl::tag(private, message));
    assert!(!minted.values[JWKS].expose().contains(private));
}

/// The life of a generated key, one token after the other, as the controller renews them.
#[test]
fn every_token_verifies_by_a_set_of_an_hour_before() {
    let mut sample = generated("ES256");
    sample.respec(json!({
        "jwt": {"algorithm": "ES256", "generate": {"overlap": "1h"}, "lifetime": "40m"},
        "rotation": {"interval": "3h"},
    }));
    let start = sample.now;
    let mut sets: Vec<(i64, Value)> = Vec::new();
    let mut signers = Vec::new();
    for minute in (0..20 * 60).step_by(25) {
        sample.now = start + jiff::SignedDuration::from_mins(minute);
        let minted = issued(&sample);
        let stale = sets.iter().rev().find(|(at, _)| *at <= minute - 60);
        if let Some((at, set)) = stale {
            assert!(
                set["keys"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|jwk| jwk["kid"] == json!(kid(&minted))),
                "{at} {minute}"
            );
        }
        assert!(kids(&minted).len() <= 3);
        if !signers.contains(&kid(&minted)) {
            assert!(openssl::verifies(&jwks(&minted), token(&minted)));
            signers.push(kid(&minted));
        }
        sets.push((minute, jwks(&minted)));
        sample.publish(minted, Reason::NearingExpiry);
    }
    assert_eq!(signers.len(), 5, "a key for each interval and overlap, in twenty hours");
    let keys: Value = serde_json::from_str(sample.current.unwrap().1[KEYS].expose()).unwrap();
    let private = keys["keys"].as_array().unwrap().iter();
    assert!(
        private.filter(|key| key["private"].is_string()).count() <= 2,
        "what never signs again is gone"
    );
}

#[test]
fn another_algorithm_takes_over_once_it_has_been_published() {
    let mut sample = generated("ES256");
    let first = issued(&sample);
    let old = kid(&first);
    sample.publish(first, Reason::SpecChanged);
    sample.respec(json!({"jwt": {"algorithm": "EdDSA", "generate": {}}}));
    let second = issued(&sample);
    assert_eq!((kid(&second), kids(&second).len()), (old.clone(), 2));
    sample.publish(second, Reason::NearingExpiry);
    sample.now += jiff::SignedDuration::from_hours(1);
    let third = issued(&sample);
    assert_eq!(part(token(&third), 0)["alg"], "EdDSA");
    assert!(openssl::verifies(&jwks(&third), token(&third)));
    assert!(kids(&third).contains(&old), "a token that it signed may still be about");
    sample.publish(third, Reason::NearingExpiry);
    sample.now += jiff::SignedDuration::from_mins(11);
    let fourth = issued(&sample);
    assert_eq!(
        kids(&fourth),
        [kid(&fourth)],
        "the last token has expired, and the overlap after it is over"
    );
}

#[test]
fn person_who_asks_gets_another_key() {
    let mut sample = generated("EdDSA");
    let first = issued(&sample);
    let old = kid(&first);
    sample.publish(first, Reason::Requested);
    let second = issued(&sample);
    assert_eq!((kid(&second), kids(&second).len()), (old.clone(), 2));
    sample.publish(second, Reason::NearingExpiry);
    sample.now += jiff::SignedDuration::from_hours(1);
    assert_ne!(kid(&issued(&sample)), old);
}

#[test]
fn unreadable_keys_begin_anew() {
    let mut sample = generated("EdDSA");
    let mut first = issued(&sample);
    let old = kid(&first);
    first
        .values
        .insert(KEYS.to_owned(), SecretValue::new("{\"keys\": [{}]}"));
    sample.publish(first, Reason::NearingExpiry);
    let second = issued(&sample);
    assert_ne!(kid(&second), old);
    assert!(openssl::verifies(&jwks(&second), token(&second)));
}

#[test]
fn messages_and_debug_have_no_key_in_them() {
    let canary = "canary0canary0canary0canary0canary0";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{canary}\n-----END PRIVATE KEY-----\n");
    for algorithm in ["RS256", "ES256", "EdDSA", "HS256"] {
        let sample = with_key(algorithm, &pem);
        let error = refusal(&sample);
        let shown = format!("{error} {error:?} {:?}", sample.order());
        assert!(!shown.contains("canary"), "{shown}");
    }
    let minted = issued(&with_key("HS256", canary));
    assert!(!format!("{minted:?}").contains("canary"));
    let minted = issued(&generated("ES256"));
    let keys = Keys::read(&minted.values[KEYS]).unwrap();
    let shown = format!("{minted:?} {keys:?}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn named_are_the_secrets_that_are_read() {
    let of = |sample: &Sample| named(sample.spec.jwt.as_ref().unwrap()).secrets;
    assert_eq!(of(&with_key("ES256", EC)), ["signing".to_owned()].into());
    assert!(of(&generated("ES256")).is_empty());
}

#[test]
fn a_key_that_was_published_late_signs_late() {
    let hours = jiff::SignedDuration::from_hours;
    let mut sample = generated("EdDSA");
    let start = sample.now;
    let first = issued(&sample);
    let old = kid(&first);
    sample.publish(first, Reason::Requested);
    let second = issued(&sample);
    sample.publish(second, Reason::NearingExpiry);
    // The API server was away for 3 hours between the two.
    sample.current.as_mut().unwrap().0.published = Some(start + hours(3));
    sample.now = start + hours(3) + jiff::SignedDuration::from_mins(30);
    let third = issued(&sample);
    assert_eq!(kid(&third), old, "nobody who verifies can have the new one yet");
    sample.publish(third, Reason::NearingExpiry);
    sample.current.as_mut().unwrap().0.published = Some(sample.now);
    sample.now = start + hours(4) - jiff::SignedDuration::from_secs(1);
    assert_eq!(kid(&issued(&sample)), old);
    sample.now = start + hours(4);
    assert_ne!(kid(&issued(&sample)), old);
}
