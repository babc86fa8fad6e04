//! What the status tells of a value that we issue.

use jiff::{SignedDuration, Timestamp};

use super::super::scene::Scene;
use crate::api::condition::{ConditionStatus, kind, reason};
use crate::api::credential::{PreviousValue, RotationStatus, RotationStep};
use crate::cluster::ClusterError;
use crate::controller::report::finding;
use crate::domain::rotation::next::Waiting;
use crate::domain::rotation::{Failed, Next, Step};
use crate::domain::status::{Finding, Progress};
use crate::domain::validate::CredentialProblem;

/// A renewal that is this late is told of as overdue; what is in time goes by without a word.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// What is known after a step.
#[derive(Clone, Debug, Default)]
pub struct Issuing {
    /// For `status.rotation`.
    pub rotation: Option<RotationStatus>,
    /// For `status.previous`.
    pub previous: Option<PreviousValue>,
    /// For `status.pendingSecretName`.
    pub pending: Option<String>,
    /// When the value in use begins to be valid.
    pub not_before: Option<Timestamp>,
    /// When it ceases to be.
    pub not_after: Option<Timestamp>,
    /// When it is renewed.
    pub renewal: Option<Timestamp>,
    /// When it was issued.
    pub issued: Option<Timestamp>,
    /// The value in use is the first one, which somebody else wrote.
    pub first: bool,
    /// The last request for a rotation that was carried out, or given up.
    pub requested: Option<String>,
    /// What failed last.
    pub failed: Option<Failed>,
    /// What it waits for, where nothing has failed.
    pub waits: Option<&'static str>,
    /// What the API server refuses, and only a person can grant.
    pub refusal: Option<String>,
    /// What is being done, where something is.
    pub doing: Option<&'static str>,
}

impl Issuing {
    /// What `scene` is after `next` was decided, and perhaps taken.
    pub fn of(scene: &Scene, next: &Next, first: Option<Timestamp>) -> Self {
        let record = scene.record.as_ref();
        let attempt = scene.attempt.as_ref();
        let failed = attempt.and_then(|attempt| attempt.failed.clone());
        let step = step_of(&next.step);
        let given_up = attempt.filter(|attempt| attempt.failed.as_ref().is_some_and(|failed| failed.permanent));
        let under_way = !matches!(step, RotationStep::Idle | RotationStep::Overlap | RotationStep::Confirm);
        Self {
            rotation: Some(RotationStatus {
                step,
                reason: next.reason.map(|reason| reason.as_str().to_owned()),
                attempt: attempt.map(|attempt| attempt.id.clone()),
                failed_attempts: failed.as_ref().and_then(|failed| i32::try_from(failed.times).ok()),
                last_failure_time: failed.as_ref().and_then(|failed| whole(failed.last)),
                next_attempt_time: failed
                    .as_ref()
                    .filter(|failed| failed.next < Timestamp::MAX)
                    .and_then(|failed| whole(failed.next)),
            }),
            previous: record.and_then(|record| {
                let previous = record.previous.as_ref()?;
                Some(PreviousValue {
                    revision: previous.revision,
                    valid_until: scene.policy.retirement(record).and_then(whole),
                })
            }),
            pending: attempt.map(|_| scene.pending_key.name.to_string()),
            not_before: record.and_then(|record| record.not_before).and_then(whole),
            not_after: record.and_then(|record| record.not_after).and_then(whole),
            renewal: record
                .and_then(|record| scene.policy.renewal(record))
                .or_else(|| scene.policy.interval_over(first?))
                .and_then(whole),
            issued: record.and_then(|record| whole(record.issued)),
            first: first.is_some(),
            requested: given_up
                .and_then(|attempt| attempt.requested.clone())
                .or_else(|| record.and_then(|record| record.requested.clone())),
            failed,
            waits: waits(&next.step),
            refusal: None,
            doing: under_way.then(|| name_of(step)),
        }
    }

    /// The step was refused by the API server. Another failure of the store is over with the next try.
    pub fn refused(&mut self, error: &ClusterError, now: Timestamp) {
        if !matches!(error, ClusterError::Forbidden { .. } | ClusterError::Refused { .. }) {
            return;
        }
        let message = error.to_string();
        self.refusal = Some(message.clone());
        self.failed = Some(Failed {
            times: 1,
            last: now,
            next: now,
            owed: None,
            whole: None,
            reason: reason::ISSUE_FAILED.to_owned(),
            message,
            permanent: false,
        });
    }

    /// `Issuing`.
    pub fn issuing(&self) -> Finding {
        match (self.doing, &self.failed) {
            (None, _) => finding(
                kind::ISSUING,
                ConditionStatus::False,
                reason::IDLE,
                "no rotation is under way".into(),
            ),
            (Some(step), Some(failed)) => finding(kind::ISSUING, ConditionStatus::True, step, failed.message.clone()),
            (Some(step), None) => finding(
                kind::ISSUING,
                ConditionStatus::True,
                step,
                self.waits.unwrap_or("a new value is on its way").into(),
            ),
        }
    }

    /// `Fresh`.
    pub fn fresh(&self, now: Timestamp) -> Finding {
        let told = |status, reason, message: String| finding(kind::FRESH, status, reason, message);
        if let Some(end) = self.not_after.filter(|end| *end <= now) {
            return told(
                ConditionStatus::False,
                reason::EXPIRED,
                format!("the value expired at {end}"),
            );
        }
        match self.renewal {
            None => told(
                ConditionStatus::True,
                "NoExpiry",
                "the value has no renewal time".into(),
            ),
            Some(renewal) if now.duration_since(renewal) > SLACK => told(
                ConditionStatus::False,
                reason::RENEWAL_OVERDUE,
                format!("the value was to be renewed at {renewal}"),
            ),
            Some(renewal) => told(
                ConditionStatus::True,
                "Fresh",
                format!("the value is renewed at {renewal}"),
            ),
        }
    }

    /// Why there is no usable value: what failed on the way to one says more than that there is none.
    pub fn explain(&self, problem: CredentialProblem) -> CredentialProblem {
        let Some(Failed {
            reason,
            message,
            permanent,
            ..
        }) = &self.failed
        else {
            return problem;
        };
        let message = match &problem {
            CredentialProblem::NotIssued => message.clone(),
            CredentialProblem::Expired { message: expired } => format!("{expired}; {message}"),
            _ => return problem,
        };
        if reason == reason::REAUTHORIZATION_REQUIRED {
            return CredentialProblem::ReauthorizationRequired { message };
        }
        match problem {
            CredentialProblem::Expired { .. } => CredentialProblem::Expired { message },
            _ => CredentialProblem::IssueFailed {
                message,
                permanent: *permanent,
            },
        }
    }

    /// How far the object is, where it has a usable value.
    pub fn progress(&self) -> Option<Progress> {
        let failed = self.failed.as_ref()?;
        let (reason, message) = (ready_reason(failed), failed.message.clone());
        Some(if failed.permanent {
            Progress::Stalled { reason, message }
        } else {
            Progress::Reconciling {
                reason: reason::PROGRESSING_WITH_RETRY,
                message,
            }
        })
    }
}

/// The reason of a failure, from the closed list of `Ready`.
fn ready_reason(failed: &Failed) -> &'static str {
    [
        reason::SECRET_NOT_FOUND,
        reason::KEY_MISSING,
        reason::INVALID_SPEC,
        reason::REAUTHORIZATION_REQUIRED,
    ]
    .into_iter()
    .find(|known| *known == failed.reason)
    .unwrap_or(reason::ISSUE_FAILED)
}

fn step_of(step: &Step) -> RotationStep {
    match step {
        Step::Idle => RotationStep::Idle,
        Step::Stage(_) => RotationStep::Stage,
        Step::Act | Step::Wait(Waiting::Call) => RotationStep::Act,
        Step::Test => RotationStep::Test,
        Step::Publish => RotationStep::Publish,
        Step::Confirm | Step::Wait(Waiting::Workers) => RotationStep::Confirm,
        Step::Wait(Waiting::Overlap) => RotationStep::Overlap,
        Step::Retire => RotationStep::Retire,
        Step::Clean => RotationStep::Clean,
        Step::Abandon(_) => RotationStep::Abandon,
        Step::Lose | Step::Wait(_) => RotationStep::Wait,
    }
}

/// What a person should know who wonders why nothing happens.
fn waits(step: &Step) -> Option<&'static str> {
    match step {
        Step::Wait(Waiting::Window) => Some(
            "a new value is due and waits for a window of `rotation.windows`; the annotation tidegate.dev/rotate does not \
             wait",
        ),
        Step::Wait(Waiting::Cap) => Some(
            "a new value is due and waits, because so many were issued lately; look at what makes them be replaced so often",
        ),
        Step::Wait(Waiting::Call) => Some("a call to the provider may still be under way; it is given time to end"),
        _ => None,
    }
}

/// The reason of `Issuing` is the step.
fn name_of(step: RotationStep) -> &'static str {
    match step {
        RotationStep::Idle => "Idle",
        RotationStep::Stage => "Stage",
        RotationStep::Act => "Act",
        RotationStep::Test => "Test",
        RotationStep::Publish => "Publish",
        RotationStep::Confirm => "Confirm",
        RotationStep::Overlap => "Overlap",
        RotationStep::Retire => "Retire",
        RotationStep::Clean => "Clean",
        RotationStep::Abandon => "Abandon",
        RotationStep::Wait => "Wait",
    }
}

/// Times in a status are whole seconds.
fn whole(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(time.as_second()).ok()
}
