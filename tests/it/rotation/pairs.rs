//! Two things go wrong in one step: a fault, and another one at each later write and call.

use std::collections::BTreeMap;

use super::life::Step;
use super::matrix::{At, nothing_is, run, usual};
use super::scenario::SCENARIOS;

/// Of how many histories one is run, unless `TIDEGATE_FULL_MATRIX` is set.
const STRIDE: usize = 401;
/// With it: every pair of places, each with this many pairs of faults, which take turns.
const TURNS: usize = 2;
/// After a fault there are so many more writes and calls than there would have been, at least.
const MORE: usize = 4;

/// All histories of one scenario, or some of them.
async fn pairs(number: usize) {
    let scenario = SCENARIOS[number];
    let full = std::env::var_os("TIDEGATE_FULL_MATRIX").is_some();
    let (mut index, mut runs, mut lost) = (41 * number, 0_usize, BTreeMap::<String, usize>::new());
    let mut wrong = Vec::new();
    for step in Step::ALL {
        if step == Step::Rejected && !scenario.replaces_rejected {
            continue;
        }
        let (writes, calls, usual) = usual(scenario, step).await;
        let calls = if calls == 0 { 0 } else { calls + MORE / 2 };
        let places: Vec<At> = (0..writes + MORE)
            .map(At::Write)
            .chain((0..calls).map(At::Call))
            .collect();
        for (later, second) in places.iter().enumerate() {
            for first in &places[..later] {
                let faults = |at: &At| at.faults(scenario).collect::<Vec<_>>();
                let (one, other) = (faults(first), faults(second));
                for turn in 0..TURNS {
                    index += 1;
                    if !full && !index.is_multiple_of(STRIDE) {
                        continue;
                    }
                    // 7 has no divisor in common with 8 and 9, so that in time every fault meets every other.
                    let fault = [
                        one[(index + 4 * turn) % one.len()],
                        other[(7 * index + index / 72) % other.len()],
                    ];
                    let history = [(*first, fault[0]), (*second, fault[1])];
                    let (happened, verdict) = run(scenario, step, &history, usual).await;
                    runs += usize::from(happened);
                    if verdict.lost {
                        let what = format!("{history:?}").replace(char::is_numeric, "");
                        *lost.entry(what).or_default() += 1;
                    }
                    wrong.extend(
                        verdict
                            .wrong
                            .iter()
                            .map(|what| format!("{step:?}, {history:?}: {what}")),
                    );
                }
            }
        }
    }
    println!(
        "{}: {runs} histories of two faults, {} lost in {} ways",
        scenario.name,
        lost.values().sum::<usize>(),
        lost.len()
    );
    nothing_is(&wrong, scenario);
}

macro_rules! pairs {
    ($($name:ident $number:literal)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            pairs($number).await;
        })*

        #[test]
        fn no_scenario_is_left_out_of_the_pairs() {
            assert_eq!([$($number),*].to_vec(), (0..SCENARIOS.len()).collect::<Vec<usize>>());
        }
    };
}

pairs! {
    two_faults_lose_no_chosen_value 0
    two_faults_lose_no_chosen_value_that_is_tried 1
    two_faults_lose_no_chosen_value_that_sets_itself 2
    two_faults_lose_no_added_key 3
    two_faults_lose_no_added_key_after_a_given_one 4
    two_faults_lose_no_added_key_of_an_idempotent_provider 5
    two_faults_leave_no_added_key_unnamed 6
    two_faults_do_not_keep_a_regenerated_key_away 7
    two_faults_lose_a_refresh_token_only_where_it_must_be 8
    two_faults_lose_a_refresh_token_with_half_a_minute_of_grace_only_where_it_must_be 9
    two_faults_lose_a_refresh_token_with_a_minute_of_grace_only_where_it_must_be 10
    two_faults_lose_a_key_that_rotates_itself_only_where_it_must_be 11
    two_faults_keep_no_token_of_a_client_away 12
    two_faults_keep_no_jwt_away 13
    two_faults_keep_no_certificate_away 14
    two_faults_keep_no_generated_value_away 15
}
