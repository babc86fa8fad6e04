use proptest::prelude::*;

use super::*;
use crate::domain::rotation::next::refused_until;

#[test]
fn a_failure_is_tried_again_when_its_time_has_come() {
    let record = Record {
        not_after: None,
        ..record()
    };
    for class in CLASSES {
        let policy = plain(class);
        for (permanent, waiting) in [(false, Waiting::Backoff), (true, Waiting::Edit)] {
            for attempt in [attempt(), minted(Phase::Tested)] {
                let attempt = Attempt {
                    failed: Some(failed(at(700), at(710), permanent)),
                    ..attempt
                };
                let before = next(&policy, &seen(Some(&record), Some(&attempt), at(710) - nanos(1)));
                assert_eq!((before.step, before.wake), (waits(waiting), Some(at(710))), "{class:?}");
                let then = step(&policy, &record, &attempt, at(710));
                assert!(matches!(then, Step::Act | Step::Publish), "{class:?} {then:?}");
            }
        }
    }
}

#[test]
fn what_never_is_tried_again_by_itself_waits_for_an_edit() {
    let record = Record {
        not_after: None,
        ..record()
    };
    let attempt = Attempt {
        failed: Some(failed(at(700), Timestamp::MAX, true)),
        ..attempt()
    };
    for class in CLASSES {
        let waiting = next(&plain(class), &seen(Some(&record), Some(&attempt), at(90_000_000)));
        assert_eq!((waiting.step, waiting.wake), (waits(Waiting::Edit), None), "{class:?}");
    }
}

#[test]
fn other_sources_end_the_wait_of_what_is_yet_to_be_made_and_of_nothing_else() {
    let record = record();
    for class in CLASSES {
        let observe = |attempt: Attempt, tests: bool| {
            let attempt = Attempt {
                failed: Some(failed(at(735), at(900), false)),
                ..attempt
            };
            let policy = Policy { tests, ..plain(class) };
            let observed = Observed {
                sources: "others",
                ..seen(Some(&record), Some(&attempt), at(736))
            };
            next(&policy, &observed).step
        };
        assert_eq!(observe(attempt(), false), Step::Act, "{class:?}");
        // Else whoever exchanges a source has a value tried without end.
        let backoff = waits(Waiting::Backoff);
        assert_eq!(observe(minted(Phase::Minted), true), backoff, "{class:?}");
        assert_eq!(observe(minted(Phase::Tested), false), backoff, "{class:?}");
    }
}

#[test]
fn a_request_ends_a_wait_once_for_each_request() {
    let record = record();
    for class in CLASSES {
        for permanent in [false, true] {
            let observe = |attempt: &Attempt, rotate, handled| {
                let attempt = Attempt {
                    failed: Some(failed(at(735), at(900), permanent)),
                    ..attempt.clone()
                };
                let observed = Observed {
                    rotate: Some(rotate),
                    handled,
                    ..seen(Some(&record), Some(&attempt), at(736))
                };
                next(&plain(class), &observed).step
            };
            let waiting = waits(if permanent { Waiting::Edit } else { Waiting::Backoff });
            let tried = Attempt {
                requested: Some("one".into()),
                ..attempt()
            };
            assert_eq!(observe(&attempt(), "one", None), Step::Act, "{class:?}");
            assert_eq!(observe(&attempt(), "one", Some("one")), waiting, "{class:?}");
            assert_eq!(observe(&tried, "one", None), waiting, "{class:?}");
            assert_eq!(observe(&tried, "two", None), Step::Act, "{class:?}");
            // A call without an answer does not answer the request, so it would end every wait after it.
            let expected = match (class, permanent) {
                (Class::Chained, _) => Step::Lose,
                (_, true) => OUTDATED,
                (_, false) => waits(Waiting::Backoff),
            };
            assert_eq!(observe(&sent(2), "one", None), expected, "{class:?}");
            // Nor does it make the test of a value that is there any sooner.
            if !permanent {
                assert_eq!(observe(&minted(Phase::Tested), "one", None), waiting, "{class:?}");
            }
        }
    }
}

#[test]
fn a_failure_of_a_clock_that_was_ahead_is_not_waited_for() {
    let policy = plain(Class::Free);
    let of = |last| Attempt {
        failed: Some(failed(last, last + SignedDuration::from_secs(60), false)),
        ..attempt()
    };
    let month = at(700 + 30 * 86_400);
    assert_eq!(step(&policy, &record(), &of(month), at(701)), Step::Act);
    let just = at(1000) + nanos(1);
    assert_eq!(step(&policy, &record(), &of(just), at(700)), Step::Act);
    let within = step(&policy, &record(), &of(at(1000)), at(700));
    assert_eq!(within, waits(Waiting::Backoff));
}

#[test]
fn a_value_does_not_expire_before_what_was_refused_is_tried_once_more() {
    // A month's key, refused after 20 days for another period of 20 days; it ends after 10.
    let days = |days: i64| at(days * 86_400);
    let record = Record {
        not_after: Some(days(30) + SignedDuration::from_secs(1)),
        ..record()
    };
    let policy = plain(Class::Added);
    let refused = |last| Attempt {
        failed: Some(failed(last, refused_until(&policy, Some(&record), None, last), true)),
        ..attempt()
    };
    let attempt = refused(days(20));
    let waiting = next(&policy, &seen(Some(&record), Some(&attempt), days(25) - nanos(1)));
    assert_eq!((waiting.step, waiting.wake), (waits(Waiting::Edit), Some(days(25))));
    assert_eq!(step(&policy, &record, &attempt, days(25)), Step::Act);
    // Not with next to nothing left, and not when it is over.
    for last in [days(30) - SignedDuration::from_secs(1199), days(31)] {
        let then = step(&policy, &record, &refused(last), days(40) - nanos(1));
        assert_eq!(then, waits(Waiting::Edit));
    }
}

#[test]
fn a_candidate_that_its_test_refuses_three_times_is_poisoned() {
    for class in CLASSES {
        let policy = Policy {
            tests: true,
            ..plain(class)
        };
        let record = Record {
            not_after: None,
            ..record()
        };
        let refused = |times, permanent| {
            let mut attempt = minted(Phase::Minted);
            attempt.minted.as_mut().unwrap().not_after = None;
            attempt.failed = Some(Failed {
                times,
                ..failed(at(705), at(730), permanent)
            });
            attempt
        };
        for (times, pause) in [(1, 30), (2, 60)] {
            let border = at(705 + pause);
            let before = step(&policy, &record, &refused(times, true), border - nanos(1));
            assert_eq!(before, waits(Waiting::Edit), "{class:?} {times}");
            let then = step(&policy, &record, &refused(times, true), border);
            assert_eq!(then, Step::Test, "{class:?} {times}");
        }
        let third = step(&policy, &record, &refused(3, true), at(730));
        if class == Class::Chained {
            // There is no other one: it is tried ever later, and never thrown away.
            assert_eq!(third, waits(Waiting::Edit));
            for (times, pause) in [(3, 120), (30, 6 * 3600)] {
                let border = at(705 + pause);
                let before = step(&policy, &record, &refused(times, true), border - nanos(1));
                assert_eq!(before, waits(Waiting::Edit), "{times}");
                let then = step(&policy, &record, &refused(times, true), border);
                assert_eq!(then, Step::Test, "{times}");
            }
        } else {
            assert_eq!(third, Step::Abandon(Abandoned::Poisoned), "{class:?}");
        }
        // A test that could not be made says nothing of the candidate.
        let untried = step(&policy, &record, &refused(9, false), at(730));
        assert_eq!(untried, Step::Test, "{class:?}");
    }
}

#[test]
fn poisoned_candidates_make_room_ever_later() {
    let policy = Policy {
        tests: true,
        ..plain(Class::Added)
    };
    let attempt = Attempt {
        candidate_number: 4,
        failed: Some(Failed {
            times: 3,
            ..failed(at(705), at(706), true)
        }),
        ..minted(Phase::Minted)
    };
    let border = at(700 + 480);
    let before = step(&policy, &record(), &attempt, border - nanos(1));
    assert_eq!(before, waits(Waiting::Backoff));
    let then = step(&policy, &record(), &attempt, border);
    assert_eq!(then, Step::Abandon(Abandoned::Poisoned));
}

#[test]
fn the_end_of_a_value_that_is_made_is_looked_at_though_its_next_try_is_later() {
    let policy = plain(Class::Free);
    let attempt = Attempt {
        failed: Some(failed(at(705), at(5000), false)),
        ..minted(Phase::Tested)
    };
    let record = Record {
        not_after: None,
        ..record()
    };
    let waiting = next(&policy, &seen(Some(&record), Some(&attempt), at(710)));
    assert_eq!((waiting.step, waiting.wake), (waits(Waiting::Backoff), Some(at(1699))));
}

#[test]
fn the_previous_value_does_not_outstay_its_time_because_an_attempt_waits() {
    let overlap = Policy {
        overlap: Duration::from_secs(100),
        keeps_previous: true,
        ..plain(Class::Ours)
    };
    let waiting = Attempt {
        failed: Some(failed(at(700), Timestamp::MAX, true)),
        ..attempt()
    };
    let of = |previous| Record {
        not_after: None,
        previous: Some(previous),
        ..record()
    };
    let unconfirmed = of(previous_value());
    let confirmed = of(Previous {
        confirmed: Some(at(700)),
        ..previous_value()
    });
    assert_eq!(step(&overlap, &unconfirmed, &waiting, at(701)), Step::Confirm);
    let meanwhile = next(&overlap, &seen(Some(&confirmed), Some(&waiting), at(701)));
    assert_eq!((meanwhile.step, meanwhile.wake), (waits(Waiting::Edit), Some(at(800))));
    assert_eq!(step(&overlap, &confirmed, &waiting, at(800)), Step::Retire);
    // What can go on goes on.
    assert_eq!(step(&overlap, &confirmed, &attempt(), at(800)), Step::Act);
}

#[test]
fn what_is_given_up_stays_given_up() {
    let policy = Policy {
        tests: true,
        ..plain(Class::Added)
    };
    for phase in [Phase::Minted, Phase::Tested] {
        // The spec is what it was before; it was another one for a moment.
        let attempt = Attempt {
            abandoning: 1,
            failed: Some(failed(at(705), at(710), false)),
            ..minted(phase)
        };
        let before = next(&policy, &seen(Some(&record()), Some(&attempt), at(710) - nanos(1)));
        assert_eq!((before.step, before.wake), (waits(Waiting::Backoff), Some(at(710))));
        assert_eq!(step(&policy, &record(), &attempt, at(710)), OUTDATED);
    }
}

#[test]
fn any_edit_of_the_spec_ends_a_wait_for_one() {
    let record = Record {
        not_after: None,
        ..record()
    };
    for class in CLASSES {
        let policy = Policy {
            tests: true,
            ..plain(class)
        };
        let of = |attempt: Attempt, times, whole: Option<&str>, next, permanent| {
            let mut attempt = Attempt {
                failed: Some(Failed {
                    times,
                    whole: whole.map(str::to_owned),
                    ..failed(at(705), next, permanent)
                }),
                ..attempt
            };
            if let Some(minted) = &mut attempt.minted {
                minted.not_after = None;
            }
            step(&policy, &record, &attempt, at(706))
        };
        assert_eq!(of(attempt(), 1, Some("other"), at(9000), true), Step::Act, "{class:?}");
        assert_eq!(
            of(minted(Phase::Minted), 1, Some("other"), at(9000), true),
            Step::Test,
            "{class:?}"
        );
        // What the test of before refused is not poisoned by it.
        assert_eq!(
            of(minted(Phase::Minted), 3, Some("other"), at(9000), true),
            Step::Test,
            "{class:?}"
        );
        // Not what failed with this one, and not what is tried again by itself.
        for (whole, permanent) in [(Some("whole"), true), (None, true), (Some("other"), false)] {
            let waiting = of(attempt(), 1, whole, at(9000), permanent);
            assert!(matches!(waiting, Step::Wait(_)), "{class:?} {whole:?}: {waiting:?}");
        }
        // Whoever has to authorise anew has done nothing yet.
        let waiting = of(attempt(), 1, Some("other"), Timestamp::MAX, true);
        assert_eq!(waiting, waits(Waiting::Edit), "{class:?}");
    }
}

/// Calls in the `span` from the first refusal on, where all are refused.
fn refused_calls(policy: &Policy, record: &Record, span: Duration) -> usize {
    let begin = policy.renewal(record).unwrap();
    let mut now = begin;
    let mut attempt = Attempt {
        created: now,
        ..attempt()
    };
    let mut calls = 0;
    while now < begin + span {
        let next = next(policy, &seen(Some(record), Some(&attempt), now));
        if next.step != Step::Act {
            now = next.wake.unwrap();
            continue;
        }
        calls += 1;
        assert!(calls < 100_000);
        let owed = attempt.failed.as_ref().and_then(|failed| failed.owed);
        let until = refused_until(policy, Some(record), owed, now);
        attempt.failed = Some(Failed {
            owed: Some(until),
            ..failed(now, until, true)
        });
    }
    calls
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refusal_for_good_never_costs_more_calls_than_success(
        lifetime in prop_oneof![1..600_u64, 600..7200_u64, 7200..100_000_u64, 100_000..40_000_000_u64],
        renew_at in 1..=99_u32,
        spread in 0..1000_u32,
        class in 0..5_usize,
    ) {
        let policy = Policy { renew_at, spread, ..plain(CLASSES[class]) };
        let record = Record {
            not_after: Some(at(i64::try_from(lifetime).unwrap())),
            ..record()
        };
        let period = policy.period(Some(&record));
        // A value that lives for weeks is asked for once more before it ends, which is paid back by the second period.
        let span = Duration::from_secs(86_400).max(2 * period);
        let succeeded = usize::try_from(span.as_nanos().div_ceil(period.as_nanos())).unwrap();
        let refused = refused_calls(&policy, &record, span);
        prop_assert!((1..=succeeded).contains(&refused), "{refused} calls, {succeeded} where it gives");
    }
}
