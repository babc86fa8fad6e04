//! Takes values out of a provider's JSON answer: jq, as far as it surely ends.
//!
//! An interpreter cannot be stopped from outside, so [`allowed`] accepts only filters whose work grows with the answer
//! and no faster: no loops but over what is there, no definitions, no input or output. They run on a thread of their own
//! with a stack that the longest text cannot overflow, and are given up after [`LIMIT`] all the same. `now` is the time
//! of day, and `$attempt.id` the id of the attempt, for providers that cannot search by label.

use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::credential::rotation::{Extract, FindExtract};
use crate::domain::expression::deep_thread;
use crate::domain::secret::SecretValue;
use crate::domain::validate::Violation;
use crate::provider::exchange::ANSWER_MAX;
use found::{Found, Given};

mod allowed;
mod found;
mod run;

/// Longest filter, in characters.
pub const TEXT: usize = 1024;
/// Longest value, in bytes.
const VALUE_MAX: usize = 16 << 10;
/// Longest id, in bytes.
const ID_MAX: usize = 1024;
/// Most ids that are taken out of one answer.
const IDS_MAX: usize = 1000;
/// When a filter is given up.
const LIMIT: Duration = Duration::from_secs(5);

const FAILS: &str = "must not fail on the provider's answer, nor make more than 256 MiB of it";

const VALUE: &str = "spec.rotation.steps.create.extract.value";
const ID: &str = "spec.rotation.steps.create.extract.id";
const EXPIRES_AT: &str = "spec.rotation.steps.create.extract.expiresAt";
const IDS: &str = "spec.rotation.steps.find.extract.ids";

/// An answer out of which nothing can be taken. Nothing of the answer is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The answer is no JSON, or too much of it.
    #[error("the answer is not JSON of at most 256 KiB and 128 levels")]
    NotJson,
    /// A filter does not find what it should in this answer.
    #[error("`{field}` {must}")]
    NotFound {
        /// The filter.
        field: &'static str,
        /// What it must give.
        must: &'static str,
    },
    /// The filters did not end in time.
    #[error("`{field}` must end within 5 s; use a simpler filter")]
    Endless {
        /// The first of the filters.
        field: &'static str,
    },
}

/// What a new value's answer has in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// The value: visible ASCII with spaces within, 1 to 16 KiB.
    pub value: SecretValue,
    /// What the provider calls it.
    pub id: Option<String>,
    /// When it expires, by the provider's clock.
    pub expires_at: Option<Timestamp>,
}

/// What a filter may ask about besides the answer.
#[derive(Clone, Debug)]
pub struct Around {
    /// The id of the attempt.
    pub attempt_id: String,
    /// The time of day.
    pub now: Timestamp,
}

/// What is wrong with the filters of `create`. Pure, but for a thread to parse on.
pub fn check(extract: &Extract) -> Vec<Violation> {
    filters(extract).into_iter().filter_map(check_filter).collect()
}

/// What is wrong with the filter of `find`. Pure, but for a thread to parse on.
pub fn check_find(extract: &FindExtract) -> Vec<Violation> {
    check_filter((IDS, &extract.ids)).into_iter().collect()
}

fn filters(extract: &Extract) -> Vec<(&'static str, &String)> {
    let Extract { value, id, expires_at } = extract;
    let id = id.as_ref().map(|text| (ID, text));
    let expires_at = expires_at.as_ref().map(|text| (EXPIRES_AT, text));
    [(VALUE, value)].into_iter().chain(id).chain(expires_at).collect()
}

fn check_filter((field, text): (&'static str, &String)) -> Option<Violation> {
    let must = if text.chars().count() > TEXT {
        Err(format!("must be at most {TEXT} characters long"))
    } else {
        let text = text.clone();
        let checked = deep_thread(move || allowed::check(&text).and_then(|()| run::compiles(&text)));
        let checked = checked.and_then(|thread| {
            let gave_up = |_| std::io::Error::other("the parser gave up");
            thread.join().map_err(gave_up)
        });
        checked.unwrap_or_else(|error| Err(format!("must be a jq filter: {error}")))
    };
    let must = must.err()?;
    Some(Violation {
        field: field.to_owned(),
        must,
    })
}

/// Takes the new value out of the answer to `create`. The filters must have passed [`check`].
pub async fn minted(extract: &Extract, answer: &SecretValue, around: Around) -> Result<Extracted, ExtractError> {
    let filters = filters(extract);
    let fields: Vec<&'static str> = filters.iter().map(|(field, _)| *field).collect();
    let outputs = run_all(&filters, answer, around, 2).await?;
    let mut extracted = Extracted {
        value: SecretValue::new(""),
        id: None,
        expires_at: None,
    };
    for (field, outputs) in fields.into_iter().zip(outputs) {
        let wrong = |must| ExtractError::NotFound { field, must };
        let given = outputs.ok_or(wrong(FAILS))?;
        match (field, &given[..]) {
            (VALUE, [Found::Text(text)]) => {
                const FIT: &str = "must give a value of 1 to 16 KiB visible ASCII, with spaces within";
                extracted.value = Some(text).filter(|text| fits(text.expose())).ok_or(wrong(FIT))?.clone();
            }
            (VALUE, _) => return Err(wrong("must give exactly one string")),
            (ID, [one]) => {
                let id = one
                    .id()
                    .ok_or(wrong("must give a string of 1 to 1024 bytes or a whole number"))?;
                // It stands in events and in an annotation.
                if id.contains(extracted.value.expose()) {
                    return Err(wrong(
                        "must not give the value itself; where it has no other name, leave `id` out and revoke by \
                         `previous.value`",
                    ));
                }
                extracted.id = Some(id);
            }
            (ID, _) => return Err(wrong("must give exactly one string or whole number")),
            // Providers say null, or nothing, for what does not expire.
            (_, [] | [Found::Null]) => {}
            (_, [one]) => {
                let time = one
                    .time()
                    .ok_or(wrong("must give a time: RFC 3339, or seconds since 1970"))?;
                extracted.expires_at = Some(time);
            }
            _ => return Err(wrong("must give one time at most")),
        }
    }
    Ok(extracted)
}

/// Takes the ids out of the answer to `find`. The filter must have passed [`check_find`].
pub async fn ids(extract: &FindExtract, answer: &SecretValue, around: Around) -> Result<Vec<String>, ExtractError> {
    const MUST: &str = "must give ids: strings of 1 to 1024 bytes or whole numbers, each an output, or one list of them, \
                        1000 at most";
    let wrong = |must| ExtractError::NotFound { field: IDS, must };
    let mut outputs = run_all(&[(IDS, &extract.ids)], answer, around, IDS_MAX + 1).await?;
    let given = outputs.pop().flatten();
    let given = given.ok_or(wrong(FAILS))?;
    let given = match <[Found; 1]>::try_from(given) {
        Ok([Found::List(list)]) => list,
        Ok(one) => one.into(),
        Err(several) => several,
    };
    let ids: Option<Vec<String>> = given.iter().map(Found::id).collect();
    ids.filter(|ids| ids.len() <= IDS_MAX).ok_or(wrong(MUST))
}

/// The first `most` outputs of each filter; `None` for one that failed.
async fn run_all(
    filters: &[(&'static str, &String)],
    answer: &SecretValue,
    around: Around,
    most: usize,
) -> Result<Vec<Option<Given>>, ExtractError> {
    let field = filters.first().map_or(VALUE, |(field, _)| field);
    if answer.expose().len() > ANSWER_MAX {
        return Err(ExtractError::NotJson);
    }
    let texts: Vec<String> = filters.iter().map(|(_, text)| (*text).clone()).collect();
    let answer = answer.clone();
    // The outer thread waits in real time, whatever clock the runtime has; the inner one has the stack.
    let waited = tokio::task::spawn_blocking(move || {
        let (sender, receiver) = mpsc::sync_channel(1);
        let started = deep_thread(move || {
            let outputs = run::all(&texts, &answer, &around, most);
            // Nobody waits any more after the limit.
            let _ = sender.send(outputs);
        });
        started.ok().and_then(|_| receiver.recv_timeout(LIMIT).ok())
    });
    match waited.await {
        Ok(Some(outputs)) => outputs.ok_or(ExtractError::NotJson),
        Ok(None) | Err(_) => Err(ExtractError::Endless { field }),
    }
}

/// Whether a header can carry `value`.
fn fits(value: &str) -> bool {
    (1..=VALUE_MAX).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && value.trim_matches(' ').len() == value.len()
}

#[cfg(test)]
mod tests;
