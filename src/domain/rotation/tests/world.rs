//! A world in which rotations go wrong in every way that they can, played at random: a provider that refuses, is away, or
//! whose answers are lost; processes that die in the middle of a step; workers that take their time; people who edit.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

mod play;
mod steps;

use play::Random;

/// What may happen to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Succeeds,
    NotSent,
    Later,
    Refused,
    /// It never arrived, and nobody knows.
    LostBefore,
    /// It was carried out, and the answer was lost.
    LostAfter,
    /// The process died before it, or after it.
    DiesBefore,
    DiesAfter,
}

const TROUBLE: [Fate; 14] = [
    Fate::Succeeds,
    Fate::Succeeds,
    Fate::Succeeds,
    Fate::Succeeds,
    Fate::Succeeds,
    Fate::Succeeds,
    Fate::NotSent,
    Fate::Later,
    Fate::Refused,
    Fate::LostBefore,
    Fate::LostAfter,
    Fate::LostAfter,
    Fate::DiesBefore,
    Fate::DiesAfter,
];

struct World {
    random: Random,
    policy: Policy,
    /// How long the provider's values live, in seconds; 0: for ever.
    lifetime: i64,
    /// What our clock says.
    now: Timestamp,
    /// It was set.
    stepped: bool,
    record: Option<Record>,
    attempt: Option<Attempt>,
    last: Option<Timestamp>,
    sources: u32,
    edits: u32,
    rotate: Option<String>,
    presses: u32,
    refused: Option<u16>,
    /// When every worker will use the value in use.
    adopts: Timestamp,
    /// Nothing goes wrong any more.
    calm: bool,

    /// What the provider would accept, and for which attempt it was made.
    live: BTreeMap<u32, String>,
    /// Values whose revocation was given up for a value that was needed.
    left: BTreeSet<u32>,
    made: u32,
    /// Of a chain: calls with the same authority that the provider may have carried out.
    uses: BTreeMap<String, Vec<Timestamp>>,
    /// When attempts were begun that were published, and candidates in their place.
    paid: Vec<Timestamp>,
    reasons: Vec<Reason>,
    /// Of the person who was told to authorise anew.
    told: bool,
}

fn lifetimes() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(60),
        Just(600),
        Just(3600),
        Just(86_400),
        Just(30 * 86_400)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_wrong_a_valid_value_is_in_use_in_the_end(
        seed in any::<u64>(),
        class in 0..5_usize,
        lifetime in lifetimes(),
        tests in any::<bool>(),
        overlap in prop_oneof![Just(0), Just(300), Just(86_400)],
        clocks in any::<bool>(),
    ) {
        let mut world = World::new(seed, CLASSES[class], lifetime, tests, overlap);
        for _ in 0..60 {
            world.settle();
            world.pass();
            world.happen(clocks);
        }
        if !clocks {
            world.check_cap();
        }
        world.calm_down();
        world.check_that_it_goes_on();
    }

    #[test]
    fn where_nothing_goes_wrong_no_value_expires_and_none_is_issued_early(
        seed in any::<u64>(),
        class in 0..5_usize,
        lifetime in lifetimes(),
        tests in any::<bool>(),
        overlap in prop_oneof![Just(0), Just(300)],
    ) {
        let mut world = World::new(seed, CLASSES[class], lifetime, tests, overlap);
        world.calm_down();
        world.check_that_it_goes_on();
        prop_assert_eq!(world.reasons[0], Reason::Missing);
        prop_assert!(world.reasons[1..].iter().all(|reason| *reason == Reason::NearingExpiry));
    }
}
