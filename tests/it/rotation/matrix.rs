//! Every write and every call of every step fails once in every way, for every class of provider.

use std::collections::BTreeMap;
use std::time::Duration;

use super::life::{Life, Step};
use super::oracle::{Usual, Verdict, judge, mints};
use super::scenario::{Promise, SCENARIOS, Scenario};
use crate::support::memory::Fault;
use crate::support::simulator::Kind;

/// What can go wrong with a write.
pub const WRITE_FAULTS: [Fault; 9] = [
    Fault::Refused,
    Fault::AnswerLost,
    Fault::DiesBefore,
    Fault::DiesAfter,
    Fault::StallsBefore,
    Fault::StallsAfter,
    Fault::Throttled,
    Fault::SeenLate,
    Fault::Twice,
];

/// What can go wrong with a call.
pub const CALL_FAULTS: [Fault; 8] = [
    Fault::Refused,
    Fault::AnswerLost,
    Fault::DiesBefore,
    Fault::DiesAfter,
    Fault::StallsBefore,
    Fault::StallsAfter,
    Fault::Throttled,
    Fault::Twice,
];

/// Of how many cases one is run, unless `TIDEGATE_FULL_MATRIX` is set.
const STRIDE: usize = 29;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Write(usize),
    Call(usize),
}

impl At {
    /// What can go wrong here. A provider that adds keys and honours no idempotency key adds two where it is asked twice,
    /// and nobody can know.
    pub fn faults(self, scenario: Scenario) -> impl Iterator<Item = Fault> {
        let all: &'static [Fault] = match self {
            Self::Write(_) => &WRITE_FAULTS,
            Self::Call(_) => &CALL_FAULTS,
        };
        let adds_two = matches!(self, Self::Call(_)) && scenario.kind == Some(Kind::Key) && !scenario.idempotent;
        all.iter()
            .copied()
            .filter(move |fault| !(adds_two && *fault == Fault::Twice))
    }
}

/// A life up to this step, which is the next one.
async fn until(scenario: Scenario, step: Step) -> Life {
    let mut life = Life::begin(scenario).await;
    for before in Step::ALL {
        if before == step {
            break;
        }
        life.happens(before);
        life.passes(before).await;
    }
    life.world.take_writes();
    life.notices.clear();
    // What came before is not what is judged; a value that somebody ended was refused.
    *life.seen.lock().unwrap() = super::life::Seen::default();
    life
}

/// A life in which nothing fails: what it takes, and what is made.
pub async fn usual(scenario: Scenario, step: Step) -> (usize, usize, Usual) {
    let mut life = until(scenario, step).await;
    let (calls, before) = (life.line.calls(), mints(&life));
    life.happens(step);
    life.passes(step).await;
    let taken = (life.world.take_writes().len(), life.line.calls() - calls);
    let usual = Usual {
        mints: mints(&life) - before,
    };
    let verdict = judge(&mut life, step, 0, before, usual).await;
    assert_eq!(verdict.wrong, [""; 0], "{}, {step:?}, without a fault", scenario.name);
    assert!(!verdict.lost);
    life.end().await;
    (taken.0, taken.1, usual)
}

/// A life with these faults in this step; whether all of them happened, and how it ended.
pub async fn run(scenario: Scenario, step: Step, faults: &[(At, Fault)], usual: Usual) -> (bool, Verdict) {
    let mut life = until(scenario, step).await;
    let before = mints(&life);
    for (at, fault) in faults {
        match at {
            At::Write(number) => life.world.fail_write(*number, *fault),
            At::Call(number) => life.line.fail_call(*number, *fault),
        }
    }
    life.happens(step);
    life.passes(step).await;
    let unused = life.world.clear_faults() | life.line.clear_faults();
    let verdict = judge(&mut life, step, faults.len(), before, usual).await;
    life.end().await;
    (!unused, verdict)
}

/// All cases of one scenario, or some of them.
async fn matrix(number: usize) {
    let scenario = SCENARIOS[number];
    let full = std::env::var_os("TIDEGATE_FULL_MATRIX").is_some();
    let (mut index, mut runs, mut lost) = (number, 0_usize, BTreeMap::<String, usize>::new());
    let mut longest = Duration::ZERO;
    let mut wrong = Vec::new();
    for step in Step::ALL {
        if step == Step::Rejected && !scenario.replaces_rejected {
            continue;
        }
        let (writes, calls, usual) = usual(scenario, step).await;
        let all = (0..writes).map(At::Write).chain((0..calls).map(At::Call));
        for (at, fault) in all.flat_map(|at| at.faults(scenario).map(move |fault| (at, fault))) {
            index += 1;
            if !full && index % STRIDE != 0 {
                continue;
            }
            let (happened, verdict) = run(scenario, step, &[(at, fault)], usual).await;
            runs += usize::from(happened);
            if step != Step::Rejected {
                longest = longest.max(verdict.outage);
            }
            if verdict.lost {
                *lost
                    .entry(format!("{at:?} {fault:?}").replace(char::is_numeric, ""))
                    .or_default() += 1;
            }
            for what in verdict.wrong {
                wrong.push(format!("{step:?}, {at:?} {fault:?}: {what}"));
            }
        }
    }
    println!(
        "{}: {runs} runs, lost {lost:?}, longest outage {longest:?}",
        scenario.name
    );
    if scenario.promise == Promise::Recovers {
        assert!(longest < Duration::from_secs(300), "{longest:?}");
    }
    nothing_is(&wrong, scenario);
}

/// Asserts that no run of `scenario` went wrong.
pub fn nothing_is(wrong: &[String], scenario: Scenario) {
    assert!(
        wrong.is_empty(),
        "{}: {} wrong\n{}",
        scenario.name,
        wrong.len(),
        wrong.join("\n")
    );
}

macro_rules! matrices {
    ($($name:ident $number:literal)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            matrix($number).await;
        })*

        #[test]
        fn no_scenario_is_left_out() {
            assert_eq!([$($number),*].to_vec(), (0..SCENARIOS.len()).collect::<Vec<usize>>());
        }
    };
}

matrices! {
    a_chosen_value_is_never_lost 0
    a_chosen_value_that_is_tried_is_never_lost 1
    a_chosen_value_that_sets_itself_is_never_lost 2
    an_added_key_is_never_lost 3
    an_added_key_after_a_given_one_is_never_lost 4
    an_added_key_of_an_idempotent_provider_is_never_lost 5
    an_added_key_that_cannot_be_found_is_named 6
    a_regenerated_key_comes_back 7
    a_refresh_token_without_grace_is_lost_where_it_must_be 8
    a_refresh_token_with_half_a_minute_of_grace_is_never_lost 9
    a_refresh_token_with_a_minute_of_grace_is_never_lost 10
    a_key_that_rotates_itself_is_lost_where_it_must_be 11
    a_token_of_a_client_is_never_missing 12
    a_jwt_is_never_missing 13
    a_certificate_is_never_missing 14
    a_generated_value_is_never_missing 15
}
