use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use ConditionStatus::{False, True, Unknown};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn finding(kind: &'static str, status: ConditionStatus) -> Finding {
    Finding {
        kind,
        status,
        reason: "Because",
        message: format!("{kind} is {status:?}"),
    }
}

fn kinds(conditions: &[Condition]) -> Vec<&str> {
    conditions.iter().map(|condition| condition.type_.as_str()).collect()
}

fn foreign(kind: &str) -> Condition {
    Condition {
        type_: kind.into(),
        status: True,
        reason: "Theirs".into(),
        message: String::new(),
        last_transition_time: at(1),
        observed_generation: None,
    }
}

fn stalled() -> Progress {
    Progress::Stalled {
        reason: "InvalidSpec",
        message: "only an edit helps".into(),
    }
}

fn reconciling() -> Progress {
    Progress::Reconciling {
        reason: "Progressing",
        message: "wait".into(),
    }
}

#[test]
fn the_time_moves_only_when_the_status_does() {
    let first = merge(&[], &[finding("Ready", Unknown)], &Progress::Settled, 1, at(10));
    assert_eq!(first[0].last_transition_time, at(10));

    let mut other = finding("Ready", Unknown);
    (other.reason, other.message) = ("Other", "other".into());
    let second = merge(&first, &[other], &Progress::Settled, 2, at(20));
    assert_eq!(second[0].last_transition_time, at(10));
    assert_eq!(
        (second[0].reason.as_str(), second[0].observed_generation),
        ("Other", Some(2))
    );

    let third = merge(&second, &[finding("Ready", True)], &Progress::Settled, 2, at(30));
    assert_eq!(third[0].last_transition_time, at(30));
}

#[test]
fn places_are_kept_and_what_is_ours_and_over_goes() {
    let old = merge(
        &[foreign("example.com/Paused")],
        &[finding("Ready", False), finding("Accepted", True)],
        &reconciling(),
        1,
        at(10),
    );
    assert_eq!(kinds(&old), ["example.com/Paused", "Ready", "Accepted", "Reconciling"]);

    let new = [
        finding("Programmed", True),
        finding("Accepted", True),
        finding("Ready", True),
    ];
    let settled = merge(&old, &new, &Progress::Settled, 1, at(20));
    assert_eq!(
        kinds(&settled),
        ["example.com/Paused", "Ready", "Accepted", "Programmed"]
    );
    assert_eq!(settled[0], foreign("example.com/Paused"));

    let stuck = merge(&settled, &[finding("Ready", False)], &stalled(), 2, at(30));
    assert_eq!(kinds(&stuck), ["example.com/Paused", "Ready", "Stalled"]);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let mut long = finding("Ready", True);
    long.message = "\u{e4}".repeat(2000);
    let merged = merge(&[], &[long], &Progress::Settled, 1, at(1));
    assert_eq!(merged[0].message.chars().count(), 1024);
}

/// How kstatus (v1.3.0) reads a custom resource: see its `pkg/kstatus/status`. In order, the first that applies.
fn kstatus(generation: i64, observed: Option<i64>, conditions: &[Condition]) -> &'static str {
    if observed.is_some_and(|observed| observed != generation) {
        return "InProgress";
    }
    for condition in conditions.iter().filter(|condition| condition.status == True) {
        match condition.type_.as_str() {
            "Reconciling" => return "InProgress",
            "Stalled" => return "Failed",
            _ => (),
        }
    }
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(Condition { status: True, .. }) | None => "Current",
        Some(_) => "InProgress",
    }
}

#[test]
fn tools_that_wait_read_it_as_it_is_meant() {
    let ready = [finding("Ready", True), finding("CircuitClosed", False)];
    let unready = [finding("Ready", False)];
    let unknown = [finding("Ready", Unknown)];
    // What came before must not matter.
    let pasts = [
        vec![],
        merge(&[], &unready, &stalled(), 1, at(1)),
        merge(&[], &unready, &reconciling(), 1, at(1)),
        merge(&[], &ready, &Progress::Settled, 1, at(1)),
    ];
    for past in &pasts {
        for (findings, progress, expected) in [
            (&ready[..], Progress::Settled, "Current"),
            (&ready, reconciling(), "InProgress"),
            (&unready, Progress::Settled, "InProgress"),
            (&unready, reconciling(), "InProgress"),
            (&unready, stalled(), "Failed"),
            (&unknown, Progress::Settled, "InProgress"),
            (&unknown, reconciling(), "InProgress"),
        ] {
            let merged = merge(past, findings, &progress, 2, at(2));
            assert_eq!(kstatus(2, Some(2), &merged), expected, "{progress:?} {merged:?}");
            assert_eq!(
                kstatus(3, Some(2), &merged),
                "InProgress",
                "an edit has not been seen yet"
            );
        }
    }
    // The default of the CRD: nobody has looked yet.
    assert_eq!(kstatus(1, Some(-1), &[]), "InProgress");
}

fn any_status() -> impl Strategy<Value = ConditionStatus> {
    select(vec![True, False, Unknown])
}

fn any_findings() -> impl Strategy<Value = Vec<Finding>> {
    let kinds = select(vec![
        "Ready",
        "Accepted",
        "Programmed",
        "CircuitClosed",
        "Reconciling",
        "Stalled",
    ]);
    vec(
        (kinds, any_status()).prop_map(|(kind, status)| finding(kind, status)),
        0..6,
    )
}

fn any_progress() -> impl Strategy<Value = Progress> {
    select(vec![Progress::Settled, reconciling(), stalled()])
}

fn any_conditions() -> impl Strategy<Value = Vec<Condition>> {
    let kinds = select(vec![
        "Ready",
        "Accepted",
        "Stalled",
        "Reconciling",
        "Fresh",
        "a.example/X",
        "b.example/Y",
    ]);
    vec((kinds, any_status(), 0..100_i64), 0..7).prop_map(|found| {
        let mut conditions: Vec<Condition> = Vec::new();
        for (kind, status, second) in found {
            if !conditions.iter().any(|condition| condition.type_ == kind) {
                conditions.push(Condition {
                    status,
                    last_transition_time: at(second),
                    ..foreign(kind)
                });
            }
        }
        conditions
    })
}

proptest! {
    #[test]
    fn reconciling_and_stalled_are_never_both_there(
        old in any_conditions(), findings in any_findings(), progress in any_progress(),
    ) {
        let merged = merge(&old, &findings, &progress, 1, at(1000));
        let abnormal = merged.iter().filter(|it| ["Reconciling", "Stalled"].contains(&it.type_.as_str())).count();
        prop_assert_eq!(abnormal, usize::from(progress != Progress::Settled));
        prop_assert!(merged.iter().filter(|it| it.type_ == "Reconciling" || it.type_ == "Stalled").all(|it| it.status == True));
    }

    #[test]
    fn each_kind_is_there_once_and_every_finding_is(
        old in any_conditions(), findings in any_findings(), progress in any_progress(),
    ) {
        let merged = merge(&old, &findings, &progress, 1, at(1000));
        let mut names = kinds(&merged);
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), merged.len());
        for finding in findings.iter().filter(|it| !["Reconciling", "Stalled"].contains(&it.kind)) {
            prop_assert!(merged.iter().any(|it| it.type_ == finding.kind));
        }
        for theirs in old.iter().filter(|it| it.type_.contains('/')) {
            prop_assert!(merged.contains(theirs));
        }
    }

    #[test]
    fn what_is_merged_again_later_is_the_same(
        old in any_conditions(), findings in any_findings(), progress in any_progress(),
    ) {
        let merged = merge(&old, &findings, &progress, 1, at(1000));
        prop_assert_eq!(merge(&merged, &findings, &progress, 1, at(2000)), merged);
    }

    #[test]
    fn a_time_is_either_kept_or_now(
        old in any_conditions(), findings in any_findings(), progress in any_progress(),
    ) {
        for condition in merge(&old, &findings, &progress, 1, at(1000)) {
            let before = old.iter().find(|it| it.type_ == condition.type_);
            let expected = match before {
                Some(before) if before.status == condition.status => before.last_transition_time,
                _ => at(1000),
            };
            prop_assert_eq!(condition.last_transition_time, expected);
        }
    }
}
