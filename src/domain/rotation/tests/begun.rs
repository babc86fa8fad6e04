use super::*;

#[test]
fn a_published_attempt_is_cleaned_away_before_anything_else_is_looked_at() {
    for class in CLASSES {
        let policy = Policy {
            spec: "other".into(),
            ..plain(class)
        };
        for revision in [2, 3] {
            let record = Record { revision, ..record() };
            for attempt in [sent(1), minted(Phase::Minted), minted(Phase::Tested)] {
                assert_eq!(step(&policy, &record, &attempt, at(700)), Step::Clean, "{class:?}");
            }
        }
        let before = next(
            &plain(class),
            &seen(Some(&record()), Some(&minted(Phase::Tested)), at(701)),
        );
        assert_eq!(
            (before.step, before.reason),
            (Step::Publish, Some(Reason::NearingExpiry))
        );
    }
}

#[test]
fn what_is_made_goes_on_to_its_test_and_its_publication() {
    for class in CLASSES {
        let mut policy = plain(class);
        assert_eq!(step(&policy, &record(), &attempt(), at(700)), Step::Act, "{class:?}");
        let made = minted(Phase::Minted);
        assert_eq!(step(&policy, &record(), &made, at(701)), Step::Publish);
        policy.tests = true;
        assert_eq!(step(&policy, &record(), &made, at(701)), Step::Test);
        assert_eq!(step(&policy, &record(), &minted(Phase::Tested), at(701)), Step::Publish);
    }
}

#[test]
fn another_spec_outdates_what_does_not_take_effect_by_itself() {
    use Class::*;
    let publish = || Step::Publish;
    // Whether there is a test; then not asked, asked and refused, made, tested.
    let table = [
        (Free, false, [OUTDATED, OUTDATED, OUTDATED, OUTDATED]),
        (Ours, false, [OUTDATED, OUTDATED, publish(), publish()]),
        (Ours, true, [OUTDATED, OUTDATED, OUTDATED, publish()]),
        (Added, false, [OUTDATED, OUTDATED, OUTDATED, OUTDATED]),
        (Added, true, [OUTDATED, OUTDATED, OUTDATED, OUTDATED]),
        (Replaced, false, [OUTDATED, OUTDATED, publish(), publish()]),
        (Replaced, true, [OUTDATED, OUTDATED, OUTDATED, publish()]),
        (Chained, false, [OUTDATED, OUTDATED, publish(), publish()]),
        (Chained, true, [OUTDATED, OUTDATED, Step::Test, publish()]),
    ];
    for (class, tests, expected) in table {
        let policy = Policy {
            spec: "other".into(),
            tests,
            ..plain(class)
        };
        let refused = Attempt {
            failed: Some(failed(at(701), at(2000), true)),
            ..attempt()
        };
        let attempts = [attempt(), refused, minted(Phase::Minted), minted(Phase::Tested)];
        let steps = attempts.map(|attempt| step(&policy, &record(), &attempt, at(702)));
        assert_eq!(steps, expected, "{class:?} {tests}");
    }
}

#[test]
fn other_sources_outdate_what_was_made_from_the_old_ones_and_follows_them() {
    let observe = |policy: &Policy, attempt: &Attempt| {
        let record = record();
        let observed = Observed {
            sources: "others",
            ..seen(Some(&record), Some(attempt), at(800))
        };
        next(policy, &observed).step
    };
    for class in CLASSES {
        let policy = plain(class);
        let follows = Policy {
            follows_sources: true,
            ..plain(class)
        };
        // Nothing was made from the old ones yet.
        assert_eq!(observe(&follows, &attempt()), Step::Act, "{class:?}");
        assert_eq!(observe(&follows, &sent(1)), OUTDATED, "{class:?}");
        assert_eq!(observe(&policy, &minted(Phase::Minted)), Step::Publish, "{class:?}");
        let made = observe(&follows, &minted(Phase::Minted));
        let expected = if policy.takes_effect { Step::Publish } else { OUTDATED };
        assert_eq!(made, expected, "{class:?}");
        let refused = Attempt {
            failed: Some(failed(at(701), at(2000), true)),
            ..sent(1)
        };
        assert_eq!(observe(&policy, &refused), OUTDATED, "{class:?}");
        let refused = Attempt { sends: 0, ..refused };
        assert_eq!(observe(&policy, &refused), Step::Act, "{class:?}");
    }
}

#[test]
fn a_client_secret_that_is_exchanged_does_not_begin_a_chain_again() {
    let policy = Policy {
        follows_sources: true,
        ..plain(Class::Chained)
    };
    let lost = Attempt {
        sources: "secret-1:token-1".into(),
        failed: Some(failed(at(740), Timestamp::MAX, true)),
        ..sent(2)
    };
    let record = Record {
        sources: "secret-1:token-1".into(),
        ..record()
    };
    for (sources, attempt, expected) in [
        ("secret-2:token-1", Some(&lost), waits(Waiting::Edit)),
        ("secret-1:token-2", Some(&lost), OUTDATED),
        ("secret-2:token-1", None, Step::Idle),
        ("secret-1:token-2", None, Step::Stage(Reason::SourceChanged)),
    ] {
        let now = if attempt.is_some() { at(800) } else { at(300) };
        let observed = Observed {
            sources,
            ..seen(Some(&record), attempt, now)
        };
        assert_eq!(next(&policy, &observed).step, expected, "{sources}");
    }
}

#[test]
fn after_a_crash_a_call_that_may_be_under_way_is_waited_for_where_two_do_harm() {
    for (class, harm) in [
        (Class::Free, false),
        (Class::Ours, false),
        (Class::Added, true),
        (Class::Replaced, true),
        (Class::Chained, true),
    ] {
        let (policy, border) = (plain(class), at(700 + quiet(class)));
        let record = Record {
            not_after: None,
            ..record()
        };
        let call = if harm { waits(Waiting::Call) } else { Step::Act };
        let before = next(&policy, &seen(Some(&record), Some(&sent(1)), border - nanos(1)));
        assert_eq!(
            (before.step, before.wake),
            (call.clone(), harm.then_some(border)),
            "{class:?}"
        );
        assert_eq!(step(&policy, &record, &sent(1), border), Step::Act, "{class:?}");
        // How it ended was written down: nobody is waited for.
        let heard = Attempt {
            failed: Some(failed(at(700), at(700), false)),
            ..sent(1)
        };
        assert_eq!(step(&policy, &record, &heard, at(701)), Step::Act, "{class:?}");
        // That was the call before.
        let unheard = Attempt {
            failed: Some(failed(at(700) - nanos(1), at(800), false)),
            ..sent(1)
        };
        assert_eq!(step(&policy, &record, &unheard, at(701)), call, "{class:?}");
        // A call that surely did nothing is not counted, and not waited for.
        let uncounted = Attempt { sends: 0, ..sent(1) };
        assert_eq!(step(&policy, &record, &uncounted, at(701)), Step::Act, "{class:?}");
        // Nor is a clock that was ahead by a month.
        let ahead = Attempt {
            sent: Some(at(701 + 300) + nanos(1)),
            ..sent(1)
        };
        let then = step(&policy, &record, &ahead, at(701));
        assert!(matches!(then, Step::Act | Step::Lose), "{class:?} {then:?}");
    }
}

#[test]
fn an_edit_waits_for_a_call_whose_effect_would_come_after_its_own() {
    for (class, harm) in [
        (Class::Free, false),
        (Class::Ours, true),
        (Class::Added, true),
        (Class::Replaced, true),
        (Class::Chained, true),
    ] {
        let policy = Policy {
            spec: "other".into(),
            ..plain(class)
        };
        let expected = if harm { waits(Waiting::Call) } else { OUTDATED };
        let border = at(700 + quiet(class));
        let before = step(&policy, &record(), &sent(1), border - nanos(1));
        assert_eq!(before, expected, "{class:?}");
        // Another spec does not bring back a value that authorises its replacement: once more, as long as that may be.
        let then = if class == Class::Chained { Step::Act } else { OUTDATED };
        assert_eq!(step(&policy, &record(), &sent(1), border), then, "{class:?}");
    }
}

#[test]
fn a_refusal_from_before_a_call_that_was_not_heard_of_says_nothing_of_it() {
    let policy = Policy {
        spec: "other".into(),
        ..plain(Class::Chained)
    };
    let attempt = Attempt {
        failed: Some(failed(at(600), at(700), true)),
        ..sent(1)
    };
    // Else the value that may be used up would be used again by another attempt, which knows of no call.
    assert_eq!(step(&policy, &record(), &attempt, at(715)), Step::Act);
    assert_eq!(step(&policy, &record(), &attempt, at(761)), Step::Lose);
}

#[test]
fn calls_of_which_nothing_is_ever_heard_are_made_ever_later() {
    for class in [Class::Free, Class::Ours, Class::Added, Class::Replaced] {
        for (sends, pause) in [(3, 35), (4, 70), (5, 140), (20, 3600), (u32::MAX, 3600)] {
            let policy = plain(class);
            let border = at(700 + pause);
            let before = step(&policy, &record(), &sent(sends), border - nanos(1));
            assert_eq!(before, waits(Waiting::Call), "{class:?} {sends}");
            let then = step(&policy, &record(), &sent(sends), border);
            assert_eq!(then, Step::Act, "{class:?} {sends}");
        }
    }
    assert_eq!(step(&plain(Class::Free), &record(), &sent(2), at(700)), Step::Act);
}

#[test]
fn a_value_that_replaces_itself_is_used_once_more_and_only_within_the_grace_period() {
    let policy = plain(Class::Chained);
    let heard = |sends, next| Attempt {
        failed: Some(failed(at(711), next, false)),
        ..sent(sends)
    };
    let late = at(760) + nanos(1);
    for (attempt, now, expected) in [
        (sent(1), at(760), Step::Act),
        (sent(1), late, Step::Lose),
        (sent(2), at(715), Step::Lose),
        (heard(1, at(713)), at(713) - nanos(1), waits(Waiting::Backoff)),
        (heard(1, at(713)), at(713), Step::Act),
        // The backoff must not outlast the grace period.
        (heard(1, at(900)), at(715) - nanos(1), waits(Waiting::Backoff)),
        (heard(1, at(900)), at(715), Step::Act),
        // There is nothing to wait for.
        (heard(2, at(900)), at(712), Step::Lose),
        (heard(1, at(900)), late, Step::Lose),
        // What surely did nothing is asked as often as it takes.
        (heard(0, at(732)), at(5000), Step::Act),
        // Without a time nothing can be said of a grace period, nor with one that is yet to come.
        (Attempt { sent: None, ..sent(1) }, at(715), Step::Lose),
        (
            Attempt {
                sent: Some(at(1002)),
                ..sent(1)
            },
            at(701),
            Step::Lose,
        ),
    ] {
        assert_eq!(step(&policy, &record(), &attempt, now), expected, "{attempt:?} {now}");
    }
}

#[test]
fn who_was_told_to_authorise_anew_is_told_once_and_nothing_is_asked_until_they_do() {
    let policy = Policy {
        follows_sources: true,
        ..plain(Class::Chained)
    };
    let told = Attempt {
        failed: Some(failed(at(740), Timestamp::MAX, true)),
        ..sent(2)
    };
    let record = Record {
        not_after: None,
        ..record()
    };
    let observed = Observed {
        rotate: Some("please"),
        refused: Some(401),
        ..seen(Some(&record), Some(&told), at(9_000_000))
    };
    let waiting = next(&policy, &observed);
    assert_eq!((waiting.step, waiting.wake), (waits(Waiting::Edit), None));
    let anew = Observed {
        sources: "others",
        ..observed
    };
    assert_eq!(next(&policy, &anew).step, OUTDATED);
    let edited = Policy {
        spec: "other".into(),
        ..policy
    };
    assert_eq!(next(&edited, &observed).step, OUTDATED);
}

#[test]
fn a_value_that_ended_before_it_was_in_use_is_given_up_unless_it_is_all_there_is() {
    for class in CLASSES {
        let policy = plain(class);
        for phase in [Phase::Minted, Phase::Tested] {
            let expected = match class {
                Class::Chained => Step::Publish,
                _ => Step::Abandon(Abandoned::Expired),
            };
            let before = step(&policy, &record(), &minted(phase), at(1699) - nanos(1));
            assert_eq!(before, Step::Publish, "{class:?}");
            let then = step(&policy, &record(), &minted(phase), at(1699));
            assert_eq!(then, expected, "{class:?}");
        }
        // There is no use in a test of it either.
        let tests = Policy { tests: true, ..policy };
        let then = step(&tests, &record(), &minted(Phase::Minted), at(1699));
        assert_ne!(then, Step::Test, "{class:?}");
    }
}

#[test]
fn values_that_end_as_soon_as_they_are_made_are_not_made_at_full_speed() {
    let policy = plain(Class::Free);
    for (candidate_number, pause) in [(0, 30), (1, 60), (3, 240), (40, 6 * 3600)] {
        let mut attempt = Attempt {
            candidate_number,
            ..minted(Phase::Minted)
        };
        attempt.minted.as_mut().unwrap().not_after = Some(at(701));
        let border = at(700 + pause);
        let before = next(&policy, &seen(Some(&record()), Some(&attempt), border - nanos(1)));
        assert_eq!(before.step, waits(Waiting::Backoff), "{candidate_number}");
        assert!(before.wake.is_some_and(|wake| wake <= border));
        let then = step(&policy, &record(), &attempt, border);
        assert_eq!(then, Step::Abandon(Abandoned::Expired), "{candidate_number}");
    }
}

#[test]
fn a_further_candidate_is_asked_for_within_the_cap() {
    let policy = plain(Class::Added);
    // An issue costs 220 s, and seven are paid for ahead, this one included.
    let again = Attempt {
        candidate_number: 1,
        paid_until: at(700 + 7 * 220 + 100),
        ..attempt()
    };
    let before = next(&policy, &seen(Some(&record()), Some(&again), at(800) - nanos(1)));
    assert_eq!((before.step, before.wake), (waits(Waiting::Cap), Some(at(800))));
    assert_eq!(step(&policy, &record(), &again, at(800)), Step::Act);
    // One for each cost, whatever was run up.
    let far = Attempt {
        paid_until: at(1_000_000),
        ..again.clone()
    };
    let before = step(&policy, &record(), &far, at(920) - nanos(1));
    assert_eq!(before, waits(Waiting::Cap));
    assert_eq!(step(&policy, &record(), &far, at(920)), Step::Act);
    // The account was looked at when the first candidate was staged.
    let first = Attempt {
        candidate_number: 0,
        ..again
    };
    assert_eq!(step(&policy, &record(), &first, at(700)), Step::Act);
}
