use std::time::Instant;

use super::*;
use crate::api::integration::BalancePolicy;
use crate::domain::balance::{Draw, Standing};
use crate::domain::breaker::Gate;
use crate::domain::plan::EndpointPlan;

const KEYS: u32 = 20_000;

fn balancer(endpoints: &[(&str, u32)]) -> Balancer {
    let plan = |(name, weight): &(&str, u32)| EndpointPlan {
        name: (*name).to_owned(),
        url: "https://api.example.com".into(),
        weight: *weight,
        priority: 0,
    };
    Balancer::new(
        BalancePolicy::ConsistentHash,
        &endpoints.iter().map(plan).collect::<Vec<_>>(),
    )
}

fn key(number: u32) -> Key {
    Key::of([format!("user-{number}").as_bytes()])
}

/// The endpoint of a key while those of `shut` do not serve.
fn choose(balancer: &mut Balancer, key: Key, shut: Option<usize>) -> usize {
    let standing = |index| Standing {
        gate: if Some(index) == shut { Gate::Shut } else { Gate::Flows },
        unhealthy: false,
    };
    balancer
        .choose(standing, None, Some(key), Draw(0, 0), Instant::now())
        .unwrap()
}

const NAMES: [&str; 16] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
];

#[test]
fn when_an_endpoint_goes_its_own_keys_move_and_no_others() {
    for count in [2_u32, 3, 5, 16] {
        let endpoints: Vec<_> = NAMES[..count as usize].iter().map(|name| (*name, 1)).collect();
        let mut balancer = balancer(&endpoints);
        let mut moved = 0;
        for key in (0..KEYS).map(key) {
            let before = choose(&mut balancer, key, None);
            let after = choose(&mut balancer, key, Some(1));
            assert!(after != 1);
            assert!(before == 1 || before == after, "a key of another endpoint moved");
            moved += u32::from(before != after);
        }
        let (part, fair) = (f64::from(moved) / f64::from(KEYS), 1.0 / f64::from(count));
        assert!(
            (part - fair).abs() < 0.015,
            "{part:.3} of the keys moved, of {count} endpoints"
        );
    }
}

#[test]
fn the_order_of_the_endpoints_in_the_plan_does_not_matter() {
    let (mut one, mut other) = (
        balancer(&[("a", 1), ("b", 2), ("c", 3)]),
        balancer(&[("c", 3), ("a", 1), ("b", 2)]),
    );
    for key in (0..1000).map(key) {
        assert_eq!(choose(&mut one, key, None), [2, 0, 1][choose(&mut other, key, None)]);
    }
}

#[test]
fn weights_hold_over_many_keys() {
    let mut balancer = balancer(&[("a", 700), ("b", 200), ("c", 100), ("none", 0)]);
    let mut counts = [0_u32; 4];
    for key in (0..KEYS).map(key) {
        counts[choose(&mut balancer, key, None)] += 1;
    }
    for (count, share) in counts.into_iter().zip([0.7, 0.2, 0.1, 0.0]) {
        assert!((f64::from(count) / f64::from(KEYS) - share).abs() < 0.02, "{counts:?}");
    }
}

#[test]
fn more_weight_takes_keys_and_gives_none_away() {
    let (mut light, mut heavy) = (
        balancer(&[("a", 1), ("b", 1), ("c", 1)]),
        balancer(&[("a", 3), ("b", 1), ("c", 1)]),
    );
    for key in (0..KEYS).map(key) {
        let (before, after) = (choose(&mut light, key, None), choose(&mut heavy, key, None));
        assert!(before == after || after == 0);
    }
}

#[test]
fn one_key_that_everybody_asks_for_fills_no_endpoint_beyond_its_bound() {
    for weights in [[1, 1, 1, 1], [4, 1, 1, 2], [100, 1, 1, 1]] {
        let endpoints: Vec<_> = NAMES.into_iter().zip(weights).collect();
        let (mut balancer, total) = (balancer(&endpoints), f64::from(weights.iter().sum::<u32>()));
        for under_way in 1..=400_u32 {
            let index = choose(&mut balancer, key(7), None);
            balancer.begin(index);
            let bound = 1.25 * f64::from(under_way) * f64::from(weights[index]) / total;
            let here = balancer.in_flight(index);
            assert!(
                f64::from(here) < bound + 1.0,
                "{here} of {under_way} at {index} of {weights:?}"
            );
        }
    }
}

#[test]
fn a_request_without_a_key_goes_where_least_loaded_says() {
    let mut hashed = balancer(&[("a", 3), ("b", 1), ("c", 2)]);
    let mut least = hashed.clone();
    least.policy = BalancePolicy::LeastLoaded;
    let standing = |_| Standing {
        gate: Gate::Flows,
        unhealthy: false,
    };
    let now = Instant::now();
    for number in 0..1000_u32 {
        let draw = Draw(number.wrapping_mul(0x9e37_79b9), number.wrapping_mul(0x85eb_ca6b));
        let index = hashed.choose(standing, None, None, draw, now);
        assert_eq!(index, least.choose(standing, None, None, draw, now));
        hashed.begin(index.unwrap());
        least.begin(index.unwrap());
    }
}

#[test]
fn a_key_is_its_values_and_where_they_end() {
    let of = |values: &[&str]| Key::of(values.iter().map(|value| value.as_bytes()));
    assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    for other in [&["ab"][..], &["b", "a"], &["a"], &["a", "b", ""], &["a,b"]] {
        assert!(of(&["a", "b"]) != of(other), "{other:?}");
    }
}
