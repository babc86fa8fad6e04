use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3600;

fn at(hours: i64) -> Timestamp {
    let start: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_hours(hours)
}

fn wanted() -> Succession {
    Succession {
        algorithm: JwtAlgorithm::ES256,
        interval: Duration::from_secs(720 * HOUR),
        overlap: Duration::from_secs(HOUR),
        requested: false,
    }
}

/// A key that signs from `signs_from`, and goes at `retires` if it has signed.
fn key(kid: &str, signs_from: i64, retires: Option<i64>) -> Key {
    Key {
        kid: kid.to_owned(),
        algorithm: JwtAlgorithm::ES256,
        created: at(0),
        signs_from: at(signs_from),
        retires: retires.map(at),
        public: BTreeMap::new(),
        private: Some(SecretValue::new("private")),
    }
}

/// One that another has taken over from.
fn old(kid: &str, signs_from: i64, retires: i64) -> Key {
    Key {
        private: None,
        ..key(kid, signs_from, Some(retires))
    }
}

fn of_rsa(key: Key) -> Key {
    Key {
        algorithm: JwtAlgorithm::RS256,
        ..key
    }
}

fn known(kid: &str) -> Signer {
    Signer::Known(kid.to_owned())
}

#[test]
fn keys_succeed_each_other() {
    let due = 720;
    let requested = Succession {
        requested: true,
        ..wanted()
    };
    let hasty = Succession {
        overlap: Duration::ZERO,
        ..wanted()
    };
    let none: &[&str] = &[];
    for (what, keys, now, wanted, add, signer, drop) in [
        (
            "the first signs at once",
            vec![],
            0,
            wanted(),
            Some(0),
            Signer::Added,
            none,
        ),
        (
            "young: nothing",
            vec![key("a", 0, Some(2))],
            due - 1,
            wanted(),
            None,
            known("a"),
            none,
        ),
        (
            "due: one is published, the old one signs",
            vec![key("a", 0, Some(2))],
            due,
            wanted(),
            Some(due + 1),
            known("a"),
            none,
        ),
        (
            "one waits: no other",
            vec![key("a", 0, Some(2)), key("b", due + 1, None)],
            due,
            wanted(),
            None,
            known("a"),
            none,
        ),
        (
            "its time has come",
            vec![key("a", 0, Some(due + 2)), key("b", due + 1, None)],
            due + 1,
            wanted(),
            None,
            known("b"),
            none,
        ),
        (
            "the old one stays for its last token",
            vec![old("a", 0, due + 3), key("b", due + 1, Some(due + 4))],
            due + 2,
            wanted(),
            None,
            known("b"),
            none,
        ),
        (
            "and goes then",
            vec![old("a", 0, due + 3), key("b", due + 1, Some(due + 4))],
            due + 3,
            wanted(),
            None,
            known("b"),
            &["a"],
        ),
        (
            "nobody looked for long: the one that waited signs, the next is published",
            vec![key("a", 0, Some(2)), key("b", due + 1, None)],
            3000,
            wanted(),
            Some(3001),
            known("b"),
            &["a"],
        ),
        (
            "asked for: one is published",
            vec![key("a", 0, Some(2))],
            5,
            requested,
            Some(6),
            known("a"),
            none,
        ),
        (
            "asked for while one waits: no other",
            vec![key("a", 0, Some(2)), key("b", 6, None)],
            5,
            requested,
            None,
            known("a"),
            none,
        ),
        (
            "no overlap: it signs at once",
            vec![key("a", 0, Some(due + 1))],
            due,
            hasty,
            Some(due),
            Signer::Added,
            none,
        ),
        (
            "another algorithm: the old one signs until the new one has been published",
            vec![of_rsa(key("a", 0, Some(2)))],
            1,
            wanted(),
            Some(2),
            known("a"),
            none,
        ),
        (
            "its time has come too",
            vec![of_rsa(key("a", 0, Some(3))), key("b", 2, None)],
            2,
            wanted(),
            None,
            known("b"),
            none,
        ),
        (
            "one that waits for an algorithm nobody wants any more gives way",
            vec![key("a", 0, Some(2)), of_rsa(key("b", 6, None))],
            5,
            wanted(),
            None,
            known("a"),
            &["b"],
        ),
        (
            "and so it does for the next one",
            vec![of_rsa(key("a", 0, Some(2))), of_rsa(key("b", 6, None))],
            5,
            wanted(),
            Some(6),
            known("a"),
            &["b"],
        ),
        (
            "the clock was set back: who signed last signs",
            vec![old("a", 0, 9), key("b", 6, Some(9))],
            1,
            wanted(),
            None,
            known("b"),
            none,
        ),
        (
            "only public halves: as if there were none",
            vec![old("a", 0, 9)],
            1,
            wanted(),
            Some(1),
            Signer::Added,
            none,
        ),
    ] {
        let keys: Vec<Key> = keys;
        let advance = advance(&keys, at(now), wanted);
        let expected = Advance {
            add: add.map(at),
            signer,
            drop: drop.iter().map(|kid| (*kid).to_owned()).collect(),
        };
        assert_eq!(advance, expected, "{what}");
    }
}

#[test]
fn full_set_gets_another_key_once_one_has_gone() {
    let mut keys: Vec<Key> = (0..7)
        .map(|number| old(&format!("old-{number}"), number, 900 + number))
        .collect();
    keys.push(key("a", 10, Some(800)));
    assert_eq!(advance(&keys, at(899), wanted()).add, None);
    let later = advance(&keys, at(900), wanted());
    assert_eq!((later.drop, later.add), (vec!["old-0".to_owned()], Some(at(901))));
}

/// What [`super::super::issue`] does with an [`Advance`], without keys.
fn apply(keys: &mut Vec<Key>, now: Timestamp, wanted: Succession, lifetime: Duration, number: usize) -> String {
    let Advance { add, signer, drop } = advance(keys, now, wanted);
    keys.retain(|key| !drop.contains(&key.kid));
    if let Some(signs_from) = add {
        keys.push(Key {
            kid: format!("key-{number}"),
            signs_from,
            algorithm: wanted.algorithm,
            ..key("", 0, None)
        });
    }
    let kid = match signer {
        Signer::Known(kid) => kid,
        Signer::Added => format!("key-{number}"),
    };
    let signer = keys.iter_mut().find(|key| key.kid == kid).unwrap();
    signer.retires = signer.retires.max(Some(later(later(now, lifetime), wanted.overlap)));
    let from = signer.signs_from;
    keys.iter_mut()
        .filter(|key| key.signs_from < from)
        .for_each(|key| key.private = None);
    kid
}

proptest! {
    /// A verifier that read the set at most `overlap` ago knows the key of every token that has not expired, whatever
    /// the pace of issues, and the set stays small.
    #[test]
    fn verifier_with_a_set_of_the_last_overlap_knows_every_token(
        steps in proptest::collection::vec((1..90_u64, any::<bool>(), any::<bool>()), 1..120),
        overlap in 0..120_u64,
        lifetime in 1..180_u64,
    ) {
        let minutes = |number: u64| Duration::from_secs(number * 60);
        let (overlap, lifetime) = (minutes(overlap), minutes(lifetime));
        let mut keys = Vec::new();
        let mut now = at(0);
        // Every set that was published, with its time; and every token, with its key and expiry.
        let mut sets: Vec<(Timestamp, Vec<String>)> = Vec::new();
        let mut tokens: Vec<(String, Timestamp, Timestamp)> = Vec::new();
        for (number, (step, requested, rsa)) in steps.into_iter().enumerate() {
            now = later(now, minutes(step));
            let wanted = Succession {
                algorithm: if rsa { JwtAlgorithm::RS256 } else { JwtAlgorithm::ES256 },
                interval: minutes(600),
                overlap,
                requested: requested && number % 7 == 0,
            };
            let kid = apply(&mut keys, now, wanted, lifetime, number);
            tokens.push((kid, now, later(now, lifetime)));
            sets.push((now, keys.iter().map(|key| key.kid.clone()).collect()));
            prop_assert!(keys.len() <= KEYS_MAX, "{keys:?}");
            let once = keys.clone();
            let again = advance(&keys, now, Succession { requested: false, ..wanted });
            let signs = tokens.last().map(|(kid, ..)| Signer::Known(kid.clone()));
            prop_assert_eq!((again.add, Some(again.signer), again.drop), (None, signs, vec![]), "{:?}", once);
        }
        // The set as it was at a time; before the first one nobody could have read any.
        let set_at = |time: Timestamp| sets.iter().rev().find(|(published, _)| *published <= time).map(|(_, set)| set);
        for (kid, issued, expires) in &tokens {
            let age = jiff::SignedDuration::try_from(overlap).unwrap();
            for (time, _) in &sets {
                if time < issued || time >= expires {
                    continue;
                }
                if let Some(set) = set_at(*time - age) {
                    prop_assert!(set.contains(kid), "{kid} of {issued} is not known at {time}");
                }
            }
        }
    }
}

#[test]
fn what_was_not_written_by_us_is_not_read() {
    let private = SigningKey::make(JwtAlgorithm::EdDSA, &mut |_| ()).unwrap();
    let read = SigningKey::read(JwtAlgorithm::EdDSA, &private).unwrap();
    let whole = Keys {
        keys: vec![Key {
            kid: read.thumbprint().unwrap(),
            algorithm: JwtAlgorithm::EdDSA,
            public: read.public().unwrap(),
            private: Some(private),
            ..key("", 0, None)
        }],
    };
    let text = |keys: &Keys| serde_json::to_string(keys).unwrap();
    assert_eq!(Keys::read(&SecretValue::new(text(&whole))), Some(whole.clone()));
    let mut other_kid = whole.clone();
    other_kid.keys[0].kid = "another".to_owned();
    let mut other_algorithm = whole.clone();
    other_algorithm.keys[0].algorithm = JwtAlgorithm::ES256;
    let many = Keys {
        keys: vec![whole.keys[0].clone(); KEYS_MAX + 1],
    };
    let cut = &text(&whole)[..100];
    for broken in [
        &text(&other_kid),
        &text(&other_algorithm),
        &text(&many),
        cut,
        "",
        "[]",
        "{}",
        "null",
    ] {
        assert_eq!(Keys::read(&SecretValue::new(broken)), None);
    }
}

#[test]
fn public_set_has_no_private_part() {
    let mut with_public = key("a", 0, None);
    with_public.public = BTreeMap::from([("kty".to_owned(), "EC".to_owned())]);
    let shared = key("b", 0, None);
    let keys = Keys {
        keys: vec![with_public, shared],
    };
    assert_eq!(
        keys.public(),
        serde_json::json!({"keys": [{"kty": "EC", "use": "sig", "alg": "ES256", "kid": "a"}]}),
        "and a shared key is not in it at all"
    );
}
