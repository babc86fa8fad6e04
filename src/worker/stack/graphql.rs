//! What is other about a call of an Integration that speaks GraphQL: its body is read before anything is asked, to tell
//! what the operation is, and what its answer says is told from the body.
//!
//! What is read is kept in memory until it has been sent, so there is a bound on what all such requests together may keep.

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Stack;
use super::head::Asked;
use crate::api::integration::ErrorsAreFailures;
use crate::domain::graphql::answer::{Reader, Verdict};
use crate::domain::graphql::request::{self, Parameters};
use crate::domain::graphql::{Bounds, Kind, Refusal};
use crate::domain::plan::GraphQlPlan;
use crate::worker::body::Broken;
use crate::worker::kept::Resumed;
use crate::worker::layer::fault::Unanswered;
use crate::worker::problem::Failure;

/// So much of a body costs nothing; more is taken from what there is for all.
const FREE: usize = 64 << 10;

/// What the bodies of all requests of this process may keep beyond what is free, in units.
static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new((64 << 20) / UNIT)));
const UNIT: usize = 64 << 10;

/// What is known of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub kind: Kind,
    pub errors: ErrorsAreFailures,
}

/// The answer to an operation while it passes.
#[derive(Debug)]
pub(super) struct Reading {
    reader: Box<Reader>,
    errors: ErrorsAreFailures,
}

impl Reading {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.reader.read(bytes);
    }

    /// What it says, and whether that is a failure.
    pub(super) fn finish(&self) -> (Verdict, bool) {
        let verdict = self.reader.finish();
        (verdict, verdict.is_failure(self.errors))
    }

    /// Whether it is not known before the end what the answer says of the endpoint.
    pub(super) fn decides(&self) -> bool {
        self.errors != ErrorsAreFailures::Never
    }
}

impl Operation {
    /// Whether it may be sent twice.
    pub(super) fn is_repeatable(self) -> bool {
        self.kind == Kind::Query
    }

    /// What is to be read of an answer; `None` where its status is all that counts.
    pub(super) fn reading<B>(self, response: &Response<B>) -> Option<Reading> {
        let is_read = response.status().is_success()
            && !is_encoded(response.headers())
            && media_type(response.headers())
                .is_some_and(|kind| matches!(&*kind, "application/json" | "application/graphql-response+json"));
        is_read.then(|| Reading {
            reader: Box::default(),
            errors: self.errors,
        })
    }
}

impl Stack {
    /// Reads the operation that is asked for, and the body with it.
    pub(super) async fn operation(
        &self,
        plan: &GraphQlPlan,
        asked: &mut Asked,
        body: Incoming,
        started: Instant,
        deadline: Instant,
    ) -> Result<Resumed, Failure> {
        let refuse = |refusal: Refusal| Failure::InvalidRequest {
            detail: refusal.to_string().into(),
        };
        let invalid = |detail: &'static str| Failure::InvalidRequest { detail: detail.into() };
        if plan.errors_are_failures != ErrorsAreFailures::Never {
            // What is compressed cannot be read in passing.
            asked
                .headers
                .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let bounds = Bounds {
            depth: plan.max_depth.into(),
            aliases: plan.max_aliases.into(),
        };
        let query = asked.target.query().unwrap_or_default().to_owned();
        let parameters = Parameters::read(query.as_bytes()).map_err(refuse)?;
        let mut note = |kind| {
            asked.operation = Some(Operation {
                kind,
                errors: plan.errors_are_failures,
            });
        };
        match asked.method {
            Method::OPTIONS => return Ok(body.into()),
            Method::GET | Method::HEAD => {
                if !body.is_end_stream() {
                    return Err(invalid("an operation by GET has its document in the URL, and no body"));
                }
                // Without a document it is a page, a probe, or a document that the provider has and GET may ask for only
                // if it is a query: whatever it is, it is as repeatable as any GET.
                if let Some(kind) = parameters.kind(&bounds).map_err(refuse)? {
                    note(kind);
                }
                return Ok(body.into());
            }
            Method::POST => {}
            _ => return Err(invalid("operations come by POST or GET")),
        }
        if parameters.query.is_some() {
            return Err(invalid(
                "an operation by POST has its document in the body, and none in the URL",
            ));
        }
        if is_encoded(&asked.headers) {
            return Err(invalid("the body of an operation must not be compressed"));
        }
        let format = media_type(&asked.headers).and_then(|kind| Format::of(&kind));
        let Some(format) = format else {
            return Err(invalid(
                "an operation by POST is application/json, application/graphql or application/x-www-form-urlencoded, in \
                 UTF-8; for uploads make another Integration, with `protocol: HTTP`",
            ));
        };
        let (bytes, body) = self.gather(body, started, deadline).await?;
        let named = parameters.operation.as_deref();
        let kind = match format {
            Format::Json => request::json(&bytes, named, &bounds),
            Format::Document => request::bare(&bytes, named, &bounds),
            Format::Form => Parameters::read(&bytes).and_then(|form| match (form.operation.is_some(), named) {
                (_, None) | (false, _) => Ok(form.kind(&bounds)?.unwrap_or(Kind::Unknown)),
                (true, Some(_)) => Err(Refusal::Twice("operationName")),
            }),
        };
        note(kind.map_err(refuse)?);
        Ok(body)
    }

    /// Reads a body to its end.
    async fn gather(
        &self,
        mut body: Incoming,
        started: Instant,
        deadline: Instant,
    ) -> Result<(Bytes, Resumed), Failure> {
        let (limit, idle) = (self.plan.limits.request_body, self.plan.timeouts.idle);
        let broke = |broken| Unanswered::caller(broken).failure;
        let mut room = Room::default();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        room.take(announced)?;
        let mut whole = BytesMut::with_capacity(announced);
        let mut trailers = None;
        loop {
            let until = deadline.min(Instant::now() + idle);
            let frame = match tokio::time::timeout_at(until, body.frame()).await {
                Err(_) if until == deadline => return Err(Unanswered::deadline(deadline - started).failure),
                Err(_) => return Err(broke(Broken::Paused(idle))),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(broke(Broken::BrokenOff)),
                Ok(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    let length = whole.len() + data.len();
                    if length as u64 > limit {
                        return Err(broke(Broken::TooLarge(limit)));
                    }
                    room.take(length)?;
                    whole.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let whole = whole.freeze();
        Ok((whole.clone(), Resumed::whole(whole, trailers, room.0)))
    }
}

/// What a body has taken of the room for all.
#[derive(Default)]
struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Takes what a body of so many bytes needs; what it had stays its own.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        let wanted = bytes.saturating_sub(FREE).div_ceil(UNIT);
        let more = wanted.saturating_sub(self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Failure::Overloaded)?;
        let taken = ROOM
            .clone()
            .try_acquire_many_owned(more)
            .map_err(|_| Failure::Overloaded)?;
        match &mut self.0 {
            Some(before) => before.merge(taken),
            None => self.0 = Some(taken),
        }
        Ok(())
    }
}

/// How a body carries an operation.
enum Format {
    Json,
    Document,
    Form,
}

impl Format {
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "application/json" => Some(Self::Json),
            "application/graphql" => Some(Self::Document),
            "application/x-www-form-urlencoded" => Some(Self::Form),
            _ => None,
        }
    }
}

/// The one media type, in lower case; `None` where its charset is not UTF-8.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next()?.to_str().ok()?.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next()?.to_owned();
    let charset = parts.filter_map(|part| part.strip_prefix("charset="));
    let is_utf8 = charset
        .map(|name| name.trim_matches('"'))
        .all(|name| matches!(name, "utf-8" | "utf8" | "us-ascii"));
    (values.next().is_none() && is_utf8).then_some(kind)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| value != "identity")
}
