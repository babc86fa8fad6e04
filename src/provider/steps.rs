//! A provider's own keys: the calls of `rotation.steps`.
//!
//! Each function makes one call, [`set`] of a value that is already in place two, and decides nothing but what the
//! answer means. Whoever calls them keeps what is made, and knows how often a step may be tried.

use jiff::{SignedDuration, Timestamp};

use super::exchange::{Answer, Exchange};
use super::extract::{self, Around, Extracted};
use super::template::{Known, Step};
use super::{IssueError, Named, Order, lookup};
use crate::api::condition::reason;
use crate::api::credential::CredentialSpec;
use crate::api::credential::rotation::{Create, CredentialNameRef, StepCall, StepExpectation, StepRequest, Steps};
use crate::domain::rotation::Minted;
use crate::domain::secret::SecretValue;
use crate::domain::validate::{self, Violation};
use outcome::{Outcome, outcome};

mod authority;
mod call;
mod outcome;

/// Key of the value in the issued Secret.
pub const VALUE: &str = "value";
/// Key of the user name in the issued Secret, for `basic`.
pub const USERNAME: &str = "username";

/// How a trial of a new value ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The provider accepts it.
    Works,
    /// The provider answered, and not as the step expects. A new key may not be known everywhere at once, so it is worth
    /// another try; after some of them the value is to be given up.
    Fails {
        /// What failed and what can be done.
        message: String,
    },
}

/// What is to be taken away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revoked<'a> {
    /// The value, where it is known.
    pub value: Option<&'a SecretValue>,
    /// What the provider calls it, where that is known.
    pub id: Option<&'a str>,
}

/// One step, as far as it is the same for all of them.
#[derive(Clone, Copy)]
struct Given<'a> {
    step: Step,
    request: &'a StepRequest,
    credential: Option<&'a str>,
    expect: Option<&'a StepExpectation>,
}

impl<'a> Given<'a> {
    fn new(
        step: Step,
        request: &'a StepRequest,
        credential_ref: Option<&'a CredentialNameRef>,
        expect: Option<&'a StepExpectation>,
    ) -> Self {
        let credential = credential_ref.map(|it| it.name.as_str());
        Self {
            step,
            request,
            credential,
            expect,
        }
    }

    fn of(step: Step, call: &'a StepCall) -> Self {
        Self::new(step, &call.request, call.credential_ref.as_ref(), call.expect.as_ref())
    }
}

/// What the steps of the Credential `name` refer to: the Credentials that authorise calls, and the Secret with the
/// first value, which authorises until there is an issued one and has the user name of `basic`.
pub fn named(name: &str, spec: &CredentialSpec) -> Named {
    let mut named = Named::default();
    let Some(Steps {
        create,
        set,
        test,
        revoke,
        find,
    }) = spec.steps()
    else {
        return named;
    };
    let calls = [set, test, revoke].into_iter().flatten();
    let references = calls
        .map(|it| &it.credential_ref)
        .chain([&create.credential_ref])
        .chain(find.as_ref().map(|it| &it.credential_ref));
    let others = references.flatten().map(|it| it.name.clone());
    named.credentials.extend(others.filter(|other| other != name));
    named.secrets.extend(validate::secret_name(spec).map(str::to_owned));
    named
}

/// Makes the new value. Where we choose it, it is the attempt's candidate, which [`set`] then gives to the provider.
pub async fn create(exchange: &dyn Exchange, order: &Order<'_>) -> Result<Minted, IssueError> {
    let Create {
        generate,
        request,
        credential_ref,
        expect,
        extract,
    } = &steps(order)?.create;
    let (issued, id, value, not_after) = if generate.is_some() {
        let candidate = order.attempt.candidate.clone();
        let missing = "the attempt has no value to set; delete the pending Secret and another one is made";
        let value = candidate.ok_or_else(|| lookup::failed(missing))?;
        (order.now, None, value, None)
    } else {
        let (Some(request), Some(extract)) = (request, extract) else {
            let must = "must have either `generate`, or `request` with `extract`";
            return Err(invalid("spec.rotation.steps.create", must));
        };
        // A wrong filter found out afterwards would cost a key.
        if let Some(violation) = extract::check(extract).into_iter().next() {
            return Err(violation.into());
        }
        username(order, Some("0"))?;
        let given = Given::new(Step::Create, request, credential_ref.as_ref(), expect.as_ref());
        let answer = expected(exchange, order, given, known(order), None).await?;
        let extracted = extract::minted(extract, &answer.body, around(order)).await;
        let Extracted { value, id, expires_at } = extracted.map_err(|error| IssueError::Unusable {
            message: format!("the provider made a key, but it could not be taken out of its answer: {error}"),
        })?;
        let not_after = expires_at.map(|time| by_our_clock(time, order.now, &answer));
        (order.now, id, value, not_after)
    };
    let mut values = std::collections::BTreeMap::from([(VALUE.to_owned(), value)]);
    if let Some(user) = username(order, id.as_deref())? {
        values.insert(USERNAME.to_owned(), user);
    }
    if generate.is_some() {
        // Before the provider is told: what cannot be sent must not take the place of what can.
        validate::issued(order.spec, &values).map_err(|problem| IssueError::Refused {
            reason: reason::ISSUE_FAILED,
            message: problem.to_string(),
        })?;
    }
    Ok(Minted {
        values,
        id,
        issued,
        not_before: None,
        not_after,
    })
}

/// Gives the provider the value that we chose, if the spec has a step for it. May be done again with the same value.
///
/// Where the value that goes authorises the call and is refused, the call may have been made before, and its answer
/// lost: then the new value authorises it.
pub async fn set(exchange: &dyn Exchange, order: &Order<'_>, minted: &Minted) -> Result<(), IssueError> {
    let Some(call) = &steps(order)?.set else {
        return Ok(());
    };
    let given = Given::of(Step::Set, call);
    let known = Known {
        value: minted.values.get(VALUE),
        ..known(order)
    };
    let itself = given.credential == Some(&*order.key.name);
    match ask(exchange, order, given, known, None).await? {
        Outcome::Expected(_) => Ok(()),
        Outcome::Unauthorized { .. } if itself && order.attempt.sends > 1 => {
            let again = ask(exchange, order, given, known, Some(minted)).await?;
            again.into_expected().map(|_| ())
        }
        other => other.into_expected().map(|_| ()),
    }
}

/// Tries the new value, if the spec has a step for it. This Credential's own name means the new value here.
pub async fn test(exchange: &dyn Exchange, order: &Order<'_>, minted: &Minted) -> Result<Trial, IssueError> {
    let Some(call) = &steps(order)?.test else {
        return Ok(Trial::Works);
    };
    let given = Given::of(Step::Test, call);
    let known = Known {
        value: minted.values.get(VALUE),
        id: minted.id.as_deref(),
        ..known(order)
    };
    match ask(exchange, order, given, known, Some(minted)).await? {
        Outcome::Expected(_) => Ok(Trial::Works),
        Outcome::Unauthorized { message } | Outcome::Unexpected { message } => Ok(Trial::Fails { message }),
        gone @ Outcome::Gone => gone.into_expected().map(|_| Trial::Works),
    }
}

/// Takes `target` away, if the spec has a step for it. What is not there any more (404, 410) is taken away.
pub async fn revoke(exchange: &dyn Exchange, order: &Order<'_>, target: Revoked<'_>) -> Result<(), IssueError> {
    let Some(call) = &steps(order)?.revoke else {
        return Ok(());
    };
    let known = Known {
        attempt_id: Some(&order.attempt.id),
        previous_value: target.value,
        previous_id: target.id,
        ..Known::default()
    };
    match ask(exchange, order, Given::of(Step::Revoke, call), known, None).await? {
        Outcome::Gone => Ok(()),
        other => other.into_expected().map(|_| ()),
    }
}

/// What the provider calls everything that the attempt made; empty if the spec has no step for it.
pub async fn find(exchange: &dyn Exchange, order: &Order<'_>) -> Result<Vec<String>, IssueError> {
    let Some(find) = &steps(order)?.find else {
        return Ok(Vec::new());
    };
    if let Some(violation) = extract::check_find(&find.extract).into_iter().next() {
        return Err(violation.into());
    }
    let given = Given::new(Step::Find, &find.request, find.credential_ref.as_ref(), None);
    let answer = expected(exchange, order, given, known(order), None).await?;
    let ids = extract::ids(&find.extract, &answer.body, around(order)).await;
    // Nothing was made or taken away, so it may be asked again.
    ids.map_err(|error| IssueError::Later {
        after: None,
        message: format!("what the attempt made could not be taken out of the provider's answer: {error}"),
    })
}

async fn expected(
    exchange: &dyn Exchange,
    order: &Order<'_>,
    given: Given<'_>,
    known: Known<'_>,
    own: Option<&Minted>,
) -> Result<Answer, IssueError> {
    ask(exchange, order, given, known, own).await?.into_expected()
}

/// Makes the call; `own` is the value that this Credential's own name means, if it is not the one in use.
async fn ask(
    exchange: &dyn Exchange,
    order: &Order<'_>,
    given: Given<'_>,
    known: Known<'_>,
    own: Option<&Minted>,
) -> Result<Outcome, IssueError> {
    let accepted = outcome::accepted(given.step, given.expect)?;
    let call = call::build(order, given, known, own)?;
    let host = call.url.host_str().unwrap_or_default().to_owned();
    outcome(given, &accepted, &host, exchange.exchange(call).await)
}

fn steps<'a>(order: &Order<'a>) -> Result<&'a Steps, IssueError> {
    let missing = || invalid("spec.rotation.steps", "must be set");
    order.spec.steps().ok_or_else(missing)
}

/// What every step knows: the attempt, and the value in use, which will be the previous one.
fn known<'a>(order: &Order<'a>) -> Known<'a> {
    Known {
        attempt_id: Some(&order.attempt.id),
        previous_value: order.current.and_then(|current| current.values.get(VALUE)),
        previous_id: order.current.and_then(|current| current.record.id.as_deref()),
        ..Known::default()
    }
}

fn around(order: &Order<'_>) -> Around {
    Around {
        attempt_id: order.attempt.id.clone(),
        now: order.now,
    }
}

/// The user name of `basic`: that of the Secret, or what the provider calls the key.
fn username(order: &Order<'_>, id: Option<&str>) -> Result<Option<SecretValue>, IssueError> {
    let Some(basic) = &order.spec.basic else {
        return Ok(None);
    };
    if let Some(secret_ref) = &basic.secret_ref {
        let key = secret_ref.username_key.as_deref().unwrap_or("username");
        let values = order.sources.secrets.get(&secret_ref.name).and_then(Option::as_ref);
        if let Some(Some(user)) = values.and_then(|values| values.get(key)) {
            let text = user.expose();
            let line = text.strip_suffix('\n').unwrap_or(text);
            return Ok(Some(SecretValue::new(line.strip_suffix('\r').unwrap_or(line))));
        }
    }
    let of_request = order.spec.steps().and_then(|steps| steps.create.extract.as_ref());
    match id.filter(|_| of_request.is_some_and(|extract| extract.id.is_some())) {
        Some(id) => Ok(Some(SecretValue::new(id))),
        None => Err(invalid(
            "spec.basic.secretRef",
            "must name a Secret with the user name, unless `spec.rotation.steps.create.extract.id` finds it",
        )),
    }
}

/// A time that the provider told, by our clock: its `Date` says how far its own is off.
fn by_our_clock(time: Timestamp, now: Timestamp, answer: &Answer) -> Timestamp {
    // Below that it may be the way of the message, and `Date` has whole seconds.
    const UNNOTICED: SignedDuration = SignedDuration::from_secs(30);
    let Some(date) = answer.date else { return time };
    let took = SignedDuration::try_from(answer.took).unwrap_or(SignedDuration::ZERO);
    let ahead = date.duration_since(now.saturating_add(took).unwrap_or(now));
    if ahead.abs() <= UNNOTICED {
        return time;
    }
    time.checked_sub(ahead).unwrap_or(time)
}

fn invalid(field: &str, must: &str) -> IssueError {
    Violation {
        field: field.to_owned(),
        must: must.to_owned(),
    }
    .into()
}

impl From<Violation> for IssueError {
    fn from(violation: Violation) -> Self {
        Self::Refused {
            reason: reason::INVALID_SPEC,
            message: violation.to_string(),
        }
    }
}
