use super::*;

/// A value with this one before it, and a policy that takes it away after 100 s.
fn with(previous: Previous, revokes: bool) -> (Policy, Record) {
    let policy = Policy {
        overlap: Duration::from_secs(100),
        keeps_previous: true,
        revokes,
        ..plain(if revokes { Class::Added } else { Class::Ours })
    };
    let record = Record {
        previous: Some(previous),
        ..record()
    };
    (policy, record)
}

fn confirmed() -> Previous {
    Previous {
        confirmed: Some(at(10)),
        ..previous_value()
    }
}

#[test]
fn the_overlap_counts_from_when_every_worker_was_seen_to_use_the_new_value() {
    for revokes in [false, true] {
        let (policy, record) = with(previous_value(), revokes);
        let observed = seen(Some(&record), None, at(5));
        let waiting = Observed {
            adopted: false,
            ..observed
        };
        assert_eq!(next(&policy, &waiting).step, waits(Waiting::Workers));
        assert_eq!(next(&policy, &observed).step, Step::Confirm);
        let (policy, record) = with(confirmed(), revokes);
        let overlap = next(&policy, &seen(Some(&record), None, at(110) - nanos(1)));
        assert_eq!((overlap.step, overlap.wake), (waits(Waiting::Overlap), Some(at(110))));
        // Who has used it once may be away for a moment.
        let away = Observed {
            adopted: false,
            ..seen(Some(&record), None, at(110))
        };
        assert_eq!(next(&policy, &away).step, Step::Retire);
    }
}

#[test]
fn without_an_overlap_it_goes_as_soon_as_nobody_uses_it() {
    let (mut policy, record) = with(previous_value(), true);
    policy.overlap = Duration::ZERO;
    let observed = seen(Some(&record), None, at(5));
    assert_eq!(next(&policy, &observed).step, Step::Retire);
    let used = Observed {
        adopted: false,
        ..observed
    };
    assert_eq!(next(&policy, &used).step, waits(Waiting::Workers));
}

#[test]
fn what_expired_by_itself_goes_whoever_uses_it() {
    for previous in [previous_value(), confirmed()] {
        let ends = Previous {
            not_after: Some(at(50)),
            ..previous
        };
        let (policy, record) = with(ends, true);
        let used = |now| Observed {
            adopted: false,
            ..seen(Some(&record), None, now)
        };
        let before = next(&policy, &used(at(50) - nanos(1)));
        assert!(matches!(before.step, Step::Wait(_)));
        assert_eq!(before.wake, Some(at(50)));
        assert_eq!(next(&policy, &used(at(50))).step, Step::Retire);
        let unused = seen(Some(&record), None, at(50));
        assert_eq!(next(&policy, &unused).step, Step::Retire);
    }
}

#[test]
fn an_overlap_ends_early_where_a_third_value_would_come() {
    fn pressed(record: &Record, adopted: bool) -> Observed<'_> {
        Observed {
            rotate: Some("now"),
            adopted,
            ..seen(Some(record), None, at(20))
        }
    }
    let (policy, record) = with(confirmed(), true);
    assert_eq!(next(&policy, &pressed(&record, true)).step, Step::Retire);
    // Where nothing is revoked, the next one takes its place.
    let staged = Step::Stage(Reason::Requested);
    let (policy, record) = with(confirmed(), false);
    assert_eq!(next(&policy, &pressed(&record, true)).step, staged);
    let (policy, record) = with(previous_value(), false);
    assert_eq!(next(&policy, &pressed(&record, false)).step, staged);
}

#[test]
fn a_third_value_waits_for_workers_that_use_the_first() {
    let (policy, record) = with(previous_value(), true);
    let pressed = Observed {
        rotate: Some("now"),
        adopted: false,
        ..seen(Some(&record), None, at(20))
    };
    let waiting = next(&policy, &pressed);
    assert_eq!((waiting.step, waiting.wake), (waits(Waiting::Workers), Some(at(660))));
}

#[test]
fn a_failed_retirement_is_tried_again_when_its_time_has_come() {
    let previous = Previous {
        failures: 1,
        next_attempt: Some(at(200)),
        ..confirmed()
    };
    let (policy, record) = with(previous, true);
    let before = next(&policy, &seen(Some(&record), None, at(200) - nanos(1)));
    assert_eq!((before.step, before.wake), (waits(Waiting::Backoff), Some(at(200))));
    let then = next(&policy, &seen(Some(&record), None, at(200)));
    assert_eq!(then.step, Step::Retire);
}

#[test]
fn a_value_is_not_lost_to_a_worker_that_never_comes_round_nor_to_a_revocation_that_fails() {
    let stuck = Previous {
        failures: 7,
        next_attempt: Some(at(999_999)),
        ..confirmed()
    };
    for (previous, waiting) in [(previous_value(), Waiting::Workers), (stuck, Waiting::Backoff)] {
        let (policy, record) = with(previous, true);
        let observe = |now, refused, rotate| {
            let observed = Observed {
                adopted: false,
                refused,
                rotate,
                ..seen(Some(&record), None, now)
            };
            next(&policy, &observed)
        };
        // Renewal is at 660 s, its end at 999 s: in the middle of that it gives way.
        let critical = at(829) + SignedDuration::from_millis(500);
        let before = observe(critical - nanos(1), None, None);
        assert_eq!((before.step, before.wake), (waits(waiting), Some(critical)));
        let then = observe(critical, None, None).step;
        assert_eq!(then, Step::Stage(Reason::NearingExpiry));
        // One that is refused is of no use already.
        let before = observe(at(600) - nanos(1), Some(401), None);
        assert_eq!((before.step, before.wake), (waits(waiting), Some(at(600))));
        let then = observe(at(600), Some(401), None).step;
        assert_eq!(then, Step::Stage(Reason::Rejected));
        // Somebody's wish can wait.
        assert_eq!(observe(at(659), None, Some("now")).step, waits(waiting));
    }
}

#[test]
fn a_previous_value_that_expired_holds_up_nothing() {
    let previous = Previous {
        not_after: Some(at(50)),
        failures: 1,
        next_attempt: Some(at(500)),
        ..confirmed()
    };
    let (policy, record) = with(previous, true);
    let observed = seen(Some(&record), None, at(300));
    assert_eq!(next(&policy, &observed).step, waits(Waiting::Backoff));
    let pressed = Observed {
        rotate: Some("now"),
        ..observed
    };
    assert_eq!(next(&policy, &pressed).step, Step::Stage(Reason::Requested));
}
