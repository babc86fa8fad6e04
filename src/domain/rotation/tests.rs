use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::next::{Abandoned, Waiting};
use super::*;
use crate::domain::secret::SecretValue;

mod begun;
mod begun_retries;
mod fresh;
mod policy;
mod previous;
mod world;

/// Nanoseconds.
const fn nanos(count: i64) -> SignedDuration {
    SignedDuration::from_nanos(count)
}

/// So many seconds after the time that most tests begin at.
fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

const CLASSES: [Class; 5] = [Class::Free, Class::Ours, Class::Added, Class::Replaced, Class::Chained];

/// What [`Policy::of`] makes of the plainest spec of that class.
fn plain(class: Class) -> Policy {
    let revokes = class == Class::Added;
    Policy {
        spec: "spec".into(),
        whole: "whole".into(),
        class,
        renew_at: 66,
        interval: None,
        overlap: Duration::ZERO,
        windows: Vec::new(),
        tests: false,
        revokes,
        takes_effect: matches!(class, Class::Ours | Class::Replaced | Class::Chained),
        keeps_previous: revokes,
        has_first: false,
        follows_sources: false,
        replaces_rejected: true,
        spread: 0,
    }
}

/// Revision 1, valid from 0 to 1000 s; renewed at 660 s, critical at 829.5 s, ends at 999 s. An issue costs 220 s.
fn record() -> Record {
    Record {
        format: record::FORMAT,
        revision: 1,
        attempt: "one".into(),
        spec: "spec".into(),
        sources: "sources".into(),
        id: None,
        issued: at(0),
        published: None,
        not_before: None,
        not_after: Some(at(1000)),
        requested: None,
        rejections: 0,
        paid_until: at(0),
        previous: None,
    }
}

fn previous_value() -> Previous {
    Previous {
        revision: 0,
        id: None,
        not_after: None,
        confirmed: None,
        failures: 0,
        next_attempt: None,
    }
}

/// Revision 2, written down at 700 s; the provider was not asked yet.
fn attempt() -> Attempt {
    let json = serde_json::json!({
        "format": 1, "revision": 2, "id": "two", "candidateNumber": 0, "spec": "spec", "sources": "sources",
        "reason": "NearingExpiry", "created": at(700), "paidUntil": at(700), "sends": 0, "phase": "Intent",
    });
    serde_json::from_value(json).unwrap()
}

/// Asked at 700 s.
fn sent(sends: u32) -> Attempt {
    Attempt {
        sends,
        sent: (sends > 0).then(|| at(700)),
        ..attempt()
    }
}

/// Asked at 700 s, saved at 701 s, ends at 1699 s.
fn minted(phase: Phase) -> Attempt {
    Attempt {
        phase,
        minted: Some(Minted {
            values: [("token".to_owned(), SecretValue::new("new"))].into(),
            id: None,
            issued: at(701),
            not_before: None,
            not_after: Some(at(1700)),
        }),
        ..sent(1)
    }
}

fn failed(last: Timestamp, next: Timestamp, permanent: bool) -> Failed {
    Failed {
        times: 1,
        last,
        next,
        owed: None,
        whole: None,
        reason: "IssueFailed".into(),
        message: "refused".into(),
        permanent,
    }
}

fn seen<'a>(record: Option<&'a Record>, attempt: Option<&'a Attempt>, now: Timestamp) -> Observed<'a> {
    Observed {
        record,
        usable: record.is_some(),
        attempt,
        last: None,
        first: None,
        sources: "sources",
        rotate: None,
        handled: None,
        refused: None,
        adopted: true,
        now,
    }
}

fn step(policy: &Policy, record: &Record, attempt: &Attempt, now: Timestamp) -> Step {
    next(policy, &seen(Some(record), Some(attempt), now)).step
}

/// Seconds for which a call of another process may be under way.
fn quiet(class: Class) -> i64 {
    if class == Class::Chained { 15 } else { 35 }
}

fn waits(waiting: Waiting) -> Step {
    Step::Wait(waiting)
}

const OUTDATED: Step = Step::Abandon(Abandoned::Outdated);
