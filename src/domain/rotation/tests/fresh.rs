use super::*;
use crate::api::credential::rotation::Window;
use crate::domain::rotation::next::{cost, pay};
use crate::domain::rotation::window::Opening;

/// Open from 14:00 to 15:00, two hours after the time that tests begin at.
fn window() -> Vec<Opening> {
    let window = Window {
        schedule: "0 14 * * *".into(),
        duration: "1h".parse().unwrap(),
        time_zone: None,
    };
    vec![Opening::parse(&window).unwrap()]
}

#[test]
fn of_the_reasons_for_a_new_value_the_most_urgent_is_told() {
    // Everything holds at once, and then one after the other not any more.
    let mut policy = Policy {
        spec: "other".into(),
        follows_sources: true,
        interval: Some(Duration::from_secs(500)),
        ..plain(Class::Free)
    };
    let mut record = record();
    let now = at(999);
    let told = |policy: &Policy, record: &Record, usable, sources, rotate, refused| {
        let observed = Observed {
            usable,
            sources,
            rotate,
            refused,
            ..seen(Some(record), None, now)
        };
        next(policy, &observed)
    };
    let stage = |reason| Next {
        step: Step::Stage(reason),
        reason: Some(reason),
        wake: None,
    };
    let (press, no) = (Some("now"), Some(401));
    let first = told(&policy, &record, false, "others", press, no);
    assert_eq!(first, stage(Reason::Missing));
    let then = told(&policy, &record, true, "others", press, no);
    assert_eq!(then, stage(Reason::SpecChanged));
    policy.spec = "spec".into();
    let then = told(&policy, &record, true, "others", press, no);
    assert_eq!(then, stage(Reason::SourceChanged));
    let then = told(&policy, &record, true, "sources", press, no);
    assert_eq!(then, stage(Reason::Requested));
    let then = told(&policy, &record, true, "sources", None, no);
    assert_eq!(then, stage(Reason::Rejected));
    let then = told(&policy, &record, true, "sources", None, None);
    assert_eq!(then, stage(Reason::Expired));
    record.not_after = Some(at(1000) + nanos(1));
    let then = told(&policy, &record, true, "sources", None, None);
    assert_eq!(then, stage(Reason::NearingExpiry));
    record.not_after = None;
    let then = told(&policy, &record, true, "sources", None, None);
    assert_eq!(then, stage(Reason::IntervalElapsed));
    policy.interval = None;
    let idle = told(&policy, &record, true, "sources", None, None);
    assert_eq!((idle.step, idle.reason, idle.wake), (Step::Idle, None, None));
}

#[test]
fn a_value_is_renewed_at_its_time_and_not_before() {
    let policy = plain(Class::Free);
    let before = next(&policy, &seen(Some(&record()), None, at(660) - nanos(1)));
    assert_eq!((before.step, before.wake), (Step::Idle, Some(at(660))));
    let then = next(&policy, &seen(Some(&record()), None, at(660)));
    assert_eq!(then.step, Step::Stage(Reason::NearingExpiry));
    let last = next(&policy, &seen(Some(&record()), None, at(999) - nanos(1)));
    assert_eq!(last.step, Step::Stage(Reason::NearingExpiry));
    let over = next(&policy, &seen(Some(&record()), None, at(999)));
    assert_eq!(over.step, Step::Stage(Reason::Expired));
}

#[test]
fn only_401_replaces_a_value_and_only_where_it_can_be_replaced() {
    for (refused, replaces, expected) in [
        (Some(401), true, Step::Stage(Reason::Rejected)),
        (Some(401), false, Step::Idle),
        (Some(403), true, Step::Idle),
        (None, true, Step::Idle),
    ] {
        let policy = Policy {
            replaces_rejected: replaces,
            ..plain(Class::Replaced)
        };
        let record = record();
        let observed = Observed {
            refused,
            ..seen(Some(&record), None, at(1))
        };
        assert_eq!(next(&policy, &observed).step, expected, "{refused:?} {replaces}");
    }
}

#[test]
fn values_that_are_refused_one_after_the_other_are_replaced_ever_later() {
    let policy = plain(Class::Added);
    for (rejections, pause) in [(1, 30), (2, 60), (3, 120), (11, 6 * 3600), (u32::MAX, 6 * 3600)] {
        let record = Record {
            rejections,
            not_after: None,
            ..record()
        };
        let refused = |now| Observed {
            refused: Some(401),
            ..seen(Some(&record), None, now)
        };
        let before = next(&policy, &refused(at(pause) - nanos(1)));
        assert_eq!(
            (before.step, before.wake),
            (Step::Idle, Some(at(pause))),
            "{rejections}"
        );
        let then = next(&policy, &refused(at(pause))).step;
        assert_eq!(then, Step::Stage(Reason::Rejected), "{rejections}");
    }
}

#[test]
fn a_request_is_carried_out_once() {
    let policy = plain(Class::Free);
    for (requested, handled, carried_out) in [
        (None, None, false),
        (Some("before"), Some("before"), false),
        (Some("now"), None, true),
        (None, Some("now"), true),
    ] {
        let record = Record {
            requested: requested.map(str::to_owned),
            ..record()
        };
        let pressed = Observed {
            rotate: Some("now"),
            handled,
            ..seen(Some(&record), None, at(1))
        };
        let expected = if carried_out {
            Step::Idle
        } else {
            Step::Stage(Reason::Requested)
        };
        assert_eq!(next(&policy, &pressed).step, expected, "{requested:?} {handled:?}");
    }
}

#[test]
fn without_a_value_one_is_issued_unless_somebody_else_wrote_the_first() {
    let missing = seen(None, None, at(0));
    let pressed = Observed {
        rotate: Some("now"),
        ..missing
    };
    let refused = Observed {
        refused: Some(401),
        ..missing
    };
    let forbidden = Observed {
        refused: Some(403),
        ..missing
    };
    let ours = plain(Class::Added);
    let theirs = Policy {
        has_first: true,
        ..plain(Class::Added)
    };
    let chained = Policy {
        replaces_rejected: false,
        ..theirs.clone()
    };
    assert_eq!(next(&ours, &missing).step, Step::Stage(Reason::Missing));
    assert_eq!(next(&theirs, &missing).step, Step::Idle);
    assert_eq!(next(&theirs, &pressed).step, Step::Stage(Reason::Requested));
    assert_eq!(next(&theirs, &refused).step, Step::Stage(Reason::Rejected));
    assert_eq!(next(&theirs, &forbidden).step, Step::Idle);
    assert_eq!(next(&chained, &refused).step, Step::Idle);
}

#[test]
fn an_issued_secret_that_is_removed_again_and_again_is_not_replaced_at_full_speed() {
    for (class, pause) in [
        (Class::Free, 10),
        (Class::Ours, 10),
        (Class::Added, 120),
        (Class::Replaced, 120),
        (Class::Chained, 120),
    ] {
        let removed = |last, now| Observed {
            last: Some(last),
            ..seen(None, None, now)
        };
        let policy = plain(class);
        let before = next(&policy, &removed(at(0), at(pause) - nanos(1)));
        assert_eq!(
            (before.step, before.wake),
            (waits(Waiting::Cap), Some(at(pause))),
            "{class:?}"
        );
        let then = next(&policy, &removed(at(0), at(pause)));
        assert_eq!(then.step, Step::Stage(Reason::Missing), "{class:?}");
        // A clock that was ahead by a month does not leave us without a value for one.
        let ahead = next(&policy, &removed(at(300) + nanos(1), at(0)));
        assert_eq!(ahead.step, Step::Stage(Reason::Missing), "{class:?}");
    }
}

#[test]
fn the_cap_lets_seven_through_at_once_and_then_one_for_each_cost() {
    // 220 s each.
    let policy = plain(Class::Free);
    let mut record = record();
    let mut count = 0;
    let mut issued = Vec::new();
    for second in 0..3600 {
        let pressed = Observed {
            rotate: Some("new"),
            ..seen(Some(&record), None, at(second))
        };
        let step = next(&policy, &pressed);
        match step.step {
            Step::Stage(_) => {
                count += 1;
                issued.push(second);
                record = Record {
                    issued: at(second),
                    not_after: Some(at(second + 1000)),
                    paid_until: pay(&policy, Some(&record), at(second)),
                    requested: Some(format!("old-{count}")),
                    ..record
                };
            }
            step => assert_eq!(step, waits(Waiting::Cap), "{second}"),
        }
    }
    assert_eq!(issued[..7], [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(issued[7], 220);
    assert_eq!(count, 7 + 3599 / 220);
}

#[test]
fn the_cap_never_holds_up_the_renewal_of_a_value_that_lives_shorter_than_the_one_before() {
    for class in CLASSES {
        let policy = plain(class);
        // A loop of values of a month has run the account up; or it was a clock that was ahead.
        for paid_until in [at(7 * 600), at(1_000_000)] {
            let record = Record {
                not_after: Some(at(60)),
                paid_until,
                ..record()
            };
            let renewal = policy.renewal(&record).unwrap();
            let then = next(&policy, &seen(Some(&record), None, renewal));
            assert_eq!(then.step, Step::Stage(Reason::NearingExpiry), "{class:?}");
            let paid = pay(&policy, Some(&record), renewal);
            assert!(paid <= renewal + 7 * cost(&policy, Some(&record)), "{paid}");
        }
    }
}

#[test]
fn the_first_value_of_all_does_not_run_the_account_up() {
    let policy = plain(Class::Free);
    let first = Record {
        not_after: Some(at(60)),
        paid_until: pay(&policy, None, at(0)),
        ..record()
    };
    let renewal = policy.renewal(&first).unwrap();
    let then = next(&policy, &seen(Some(&first), None, renewal));
    assert_eq!(then.step, Step::Stage(Reason::NearingExpiry));
}

#[test]
fn an_issue_costs_a_third_of_its_pace_within_bounds() {
    let policy = plain(Class::Free);
    for (lifetime, expected) in [(1, 1000), (60, 13_200), (1000, 220_000), (10_000_000, 600_000)] {
        let record = Record {
            not_after: Some(at(lifetime)),
            ..record()
        };
        assert_eq!(cost(&policy, Some(&record)).as_millis(), expected, "{lifetime}");
    }
    let paid = Record {
        paid_until: at(500),
        ..record()
    };
    assert_eq!(pay(&policy, Some(&paid), at(100)), at(720));
    assert_eq!(pay(&policy, Some(&paid), at(600)), at(820));
}

#[test]
fn what_can_wait_waits_for_a_window_and_nothing_else_does() {
    let policy = Policy {
        windows: window(),
        interval: Some(Duration::from_secs(600)),
        ..plain(Class::Added)
    };
    let opens = at(7200);
    let kept = Record {
        not_after: None,
        ..record()
    };
    let before = next(&policy, &seen(Some(&kept), None, opens - nanos(1)));
    assert_eq!((before.step, before.wake), (waits(Waiting::Window), Some(opens)));
    assert_eq!(before.reason, Some(Reason::IntervalElapsed));
    let then = next(&policy, &seen(Some(&kept), None, opens));
    assert_eq!(then.step, Step::Stage(Reason::IntervalElapsed));
    let open = next(&policy, &seen(Some(&kept), None, at(10_800) - nanos(1)));
    assert_eq!(open.step, Step::Stage(Reason::IntervalElapsed));
    let closed = next(&policy, &seen(Some(&kept), None, at(10_800)));
    assert_eq!((closed.step, closed.wake), (waits(Waiting::Window), Some(at(93_600))));
    let observed = seen(Some(&kept), None, at(700));
    let urgent = [
        Observed {
            usable: false,
            ..observed
        },
        Observed {
            rotate: Some("now"),
            ..observed
        },
        Observed {
            refused: Some(401),
            ..observed
        },
    ];
    for observed in urgent {
        let step = next(&policy, &observed).step;
        assert!(matches!(step, Step::Stage(_)), "{step:?}");
    }
    let edited = Policy {
        spec: "other".into(),
        ..policy
    };
    assert_eq!(next(&edited, &observed).step, Step::Stage(Reason::SpecChanged));
}

#[test]
fn a_window_that_opens_too_late_is_no_reason_to_let_a_value_expire() {
    let policy = Policy {
        windows: window(),
        ..plain(Class::Added)
    };
    let opens = 7200;
    let of = |end| Record {
        not_after: Some(end),
        ..record()
    };
    let late = of(at(opens + 35));
    let now = policy.renewal(&late).unwrap();
    let then = next(&policy, &seen(Some(&late), None, now));
    assert_eq!(then.step, Step::Stage(Reason::NearingExpiry));
    let in_time = of(at(opens + 35) + nanos(1));
    let then = next(&policy, &seen(Some(&in_time), None, now + nanos(1_000_000)));
    assert_eq!((then.step, then.wake), (waits(Waiting::Window), Some(at(opens))));
}

#[test]
fn the_end_of_an_overlap_is_not_forgotten_while_a_window_or_the_cap_is_waited_for() {
    let previous = Previous {
        confirmed: Some(at(650)),
        ..previous_value()
    };
    let record = Record {
        not_after: None,
        paid_until: at(0),
        previous: Some(previous),
        ..record()
    };
    let policy = Policy {
        windows: window(),
        interval: Some(Duration::from_secs(600)),
        overlap: Duration::from_secs(100),
        keeps_previous: true,
        ..plain(Class::Ours)
    };
    let window = next(&policy, &seen(Some(&record), None, at(700)));
    assert_eq!((window.step, window.wake), (waits(Waiting::Window), Some(at(750))));
    // An issue costs 200 s here.
    let record = Record {
        issued: at(640),
        paid_until: at(640 + 7 * 200),
        ..record
    };
    let pressed = Observed {
        rotate: Some("now"),
        ..seen(Some(&record), None, at(700))
    };
    let cap = next(&policy, &pressed);
    assert_eq!((cap.step, cap.wake), (waits(Waiting::Cap), Some(at(750))));
}

#[test]
fn a_value_of_a_clock_that_was_ahead_is_replaced_without_delay() {
    let month = 30 * 86_400;
    let policy = Policy {
        windows: window(),
        ..plain(Class::Added)
    };
    // So says our record; what the provider believes, nobody knows.
    let record = Record {
        issued: at(month),
        not_after: Some(at(month + 3600)),
        paid_until: at(month + 600),
        ..record()
    };
    let then = next(&policy, &seen(Some(&record), None, at(0)));
    assert_eq!(then.step, Step::Stage(Reason::NearingExpiry));
    let paid = pay(&policy, Some(&record), at(0));
    assert!(paid <= at(7 * 600), "{paid}");
    // Where it is our clock that is right, and goes on to be, the cap holds all the same.
    let again = |last| Observed {
        last: Some(last),
        ..seen(Some(&record), None, at(0))
    };
    assert_eq!(next(&policy, &again(at(-599))).step, waits(Waiting::Cap));
    assert_eq!(next(&policy, &again(at(-600))).step, Step::Stage(Reason::NearingExpiry));
    let just = Record {
        issued: at(300),
        ..record.clone()
    };
    let waiting = next(&policy, &seen(Some(&just), None, at(0)));
    assert_eq!(waiting.step, Step::Idle);
    // A value that never ends is not in danger; but when it is refused, it is replaced.
    let kept = Record {
        not_after: None,
        rejections: 5,
        ..record
    };
    let observed = seen(Some(&kept), None, at(0));
    assert_eq!(next(&policy, &observed).step, Step::Idle);
    let refused = Observed {
        refused: Some(401),
        ..observed
    };
    assert_eq!(next(&policy, &refused).step, Step::Stage(Reason::Rejected));
}

#[test]
fn the_interval_of_a_first_value_counts_from_when_it_came_in_use() {
    for class in CLASSES {
        let policy = Policy {
            has_first: true,
            interval: Some(Duration::from_secs(600)),
            ..plain(class)
        };
        let observe = |policy: &Policy, now| {
            let observed = Observed {
                first: Some(at(100)),
                ..seen(None, None, now)
            };
            next(policy, &observed)
        };
        let before = observe(&policy, at(700) - nanos(1));
        assert_eq!((before.step, before.wake), (Step::Idle, Some(at(700))), "{class:?}");
        let then = observe(&policy, at(700));
        assert_eq!(then.step, Step::Stage(Reason::IntervalElapsed), "{class:?}");
        // It can wait.
        let windows = Policy {
            windows: window(),
            ..policy.clone()
        };
        assert_eq!(observe(&windows, at(700)).step, waits(Waiting::Window), "{class:?}");
        let without = Policy {
            interval: None,
            ..policy
        };
        assert_eq!(observe(&without, at(90_000_000)).step, Step::Idle, "{class:?}");
    }
}
