//! What an answer means, by its status and the step.

use std::time::Duration;

use super::Given;
use crate::api::bounds;
use crate::api::condition::reason;
use crate::api::credential::rotation::StepExpectation;
use crate::domain::validate::Violation;
use crate::provider::exchange::{Answer, ExchangeError};
use crate::provider::template::Step;
use crate::provider::{IssueError, WAIT_MAX};

/// What an answer means, where there is one that says what was done.
#[derive(Debug)]
pub enum Outcome {
    /// It was done.
    Expected(Answer),
    /// It was not done: 401, 403.
    Unauthorized {
        /// What failed and what can be done.
        message: String,
    },
    /// What the call was about is not there: 404, 410.
    Gone,
    /// It was not done, and will not be.
    Unexpected {
        /// What failed and what can be done.
        message: String,
    },
}

impl Outcome {
    /// The answer, if it was done.
    pub fn into_expected(self) -> Result<Answer, IssueError> {
        let message = match self {
            Self::Expected(answer) => return Ok(answer),
            Self::Unauthorized { message } | Self::Unexpected { message } => message,
            Self::Gone => "the provider says that what was asked about is not there".to_owned(),
        };
        Err(IssueError::Refused {
            reason: reason::ISSUE_FAILED,
            message,
        })
    }
}

/// Ranges of statuses that mean success.
pub fn accepted(step: Step, expect: Option<&StepExpectation>) -> Result<Vec<(u16, u16)>, IssueError> {
    let statuses = expect.map(|it| &it.statuses[..]).unwrap_or_default();
    if statuses.is_empty() {
        return Ok(vec![(200, 299)]);
    }
    let range = |text: &String| {
        let checked = bounds::STATUS_RANGE.check(text);
        checked.map_err(|must| Violation {
            field: step.field("expect.statuses"),
            must,
        })?;
        Ok(bounds::status_range(text).unwrap_or_default())
    };
    statuses.iter().map(range).collect()
}

/// What `answered` means in this step. Nothing of the answer but its status is in any message.
pub fn outcome(
    given: Given<'_>,
    accepted: &[(u16, u16)],
    host: &str,
    answered: Result<Answer, ExchangeError>,
) -> Result<Outcome, IssueError> {
    let step = given.step.name();
    let answer = match answered {
        Ok(answer) => answer,
        Err(ExchangeError::NotSent(what)) => {
            return Err(IssueError::NotSent {
                reason: reason::ISSUE_FAILED,
                message: format!("step `{step}` did not reach `{host}`: {what}"),
            });
        }
        // What made no key may be asked again.
        Err(ExchangeError::Unreadable(what)) if given.step == Step::Create => {
            return Err(IssueError::Unusable {
                message: format!("step `{step}` has no answer of `{host}` that can be read: {what}"),
            });
        }
        Err(ExchangeError::Lost(what) | ExchangeError::Unreadable(what)) => {
            return Err(IssueError::Lost {
                message: format!("step `{step}` has no answer of `{host}`: {what}"),
            });
        }
    };
    let status = answer.status;
    if accepted.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Ok(Outcome::Expected(answer));
    }
    let later = |after: Option<Duration>| {
        Err(IssueError::Later {
            after: after.map(|after| after.min(WAIT_MAX)),
            message: format!("step `{step}`: `{host}` answered {status}; it is tried again"),
        })
    };
    match status {
        429 | 503 => later(answer.retry_after),
        // A provider that fails halfway may have made a key; the other steps may be done twice.
        408 | 500..=599 if given.step == Step::Create => Err(IssueError::Lost {
            message: format!("step `{step}`: `{host}` answered {status}, and may have made a key all the same"),
        }),
        408 | 500..=599 => later(answer.retry_after),
        401 | 403 => {
            let who = match given.credential {
                Some(name) => format!("Credential `{name}`, which authorises it"),
                None => "a request that no Credential authorises".to_owned(),
            };
            Ok(Outcome::Unauthorized {
                message: format!("step `{step}`: `{host}` answered {status} to {who}; see that it may do this"),
            })
        }
        404 | 410 if given.step == Step::Revoke => Ok(Outcome::Gone),
        300..=399 => Ok(Outcome::Unexpected {
            message: format!(
                "step `{step}`: `{host}` answered {status}; redirects are not followed, so name its target"
            ),
        }),
        _ => Ok(Outcome::Unexpected {
            message: format!("step `{step}`: `{host}` answered {status}, which is no success; see what it wants"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::credential::rotation::StepRequest;
    use crate::domain::secret::SecretValue;

    #[test]
    fn a_wait_that_is_asked_for_is_granted_up_to_an_hour() {
        let request: StepRequest = serde_json::from_value(serde_json::json!({"url": "https://a.example/"})).unwrap();
        for step in [Step::Create, Step::Set, Step::Test, Step::Revoke, Step::Find] {
            for (asked, granted) in [(30, 30), (10 * 365 * 86_400, 3600), (u64::MAX, 3600)] {
                let answer = Answer {
                    status: 429,
                    content_type: None,
                    retry_after: Some(Duration::from_secs(asked)),
                    date: None,
                    took: Duration::ZERO,
                    body: SecretValue::new(""),
                };
                let given = Given::new(step, &request, None, None);
                let Err(IssueError::Later { after, .. }) = outcome(given, &[(200, 299)], "a.example", Ok(answer))
                else {
                    panic!("{asked}");
                };
                assert_eq!(after, Some(Duration::from_secs(granted)));
            }
        }
    }
}
