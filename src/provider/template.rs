//! Templates of the calls in `rotation.steps`: `{{ name }}` in a URL, a header or a body.
//!
//! They are strict: an unknown name, open braces, or a name whose value is not there in this step is an error. What
//! stands for a name is escaped for the place where it stands, so a value never becomes anything but a value: in a URL
//! it is percent-encoded and cannot be a dot segment, in a JSON body it is the content of a string or a whole number,
//! in a form it is form-encoded, in a header it is one that a header can carry, and in a body of a form we do not know
//! it is the whole of it or made of characters that mean nothing anywhere. It is never empty: `/keys/{{ id }}` without
//! an id would be another resource.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};
use url::Url;

use crate::api::bounds;
use crate::api::credential::rotation::{StepMethod, StepRequest, Steps};
use crate::domain::secret::SecretValue;
use crate::domain::validate::Violation;
use parse::{Part, Template};
use place::{Place, body_place};

mod parse;
mod place;

/// A step of a rotation that calls the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes the new value.
    Create,
    /// Gives the provider a value of ours.
    Set,
    /// Tries the new value.
    Test,
    /// Takes a value away.
    Revoke,
    /// Lists what an attempt made.
    Find,
}

impl Step {
    /// As it is called in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Set => "set",
            Self::Test => "test",
            Self::Revoke => "revoke",
            Self::Find => "find",
        }
    }

    /// Path of its field `rest` in the spec.
    pub fn field(self, rest: &str) -> String {
        format!("spec.rotation.steps.{}.{rest}", self.name())
    }

    /// Names that can have a value in it. `previous` is the value in use, except in `revoke`, where it is the one that
    /// goes.
    fn names(self) -> &'static [Name] {
        use Name::{AttemptId, Id, PreviousId, PreviousValue, Value};
        match self {
            Self::Create | Self::Revoke | Self::Find => &[AttemptId, PreviousValue, PreviousId],
            Self::Set => &[AttemptId, Value, PreviousValue, PreviousId],
            Self::Test => &[AttemptId, Value, Id, PreviousValue, PreviousId],
        }
    }
}

/// What a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `attempt.id`.
    AttemptId,
    /// `value`: the new one.
    Value,
    /// `id`: what the provider calls the new one.
    Id,
    /// `previous.value`.
    PreviousValue,
    /// `previous.id`.
    PreviousId,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::AttemptId => "attempt.id",
            Self::Value => "value",
            Self::Id => "id",
            Self::PreviousValue => "previous.value",
            Self::PreviousId => "previous.id",
        }
    }
}

/// Values of the names in one step, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// `attempt.id`.
    pub attempt_id: Option<&'a str>,
    /// `value`.
    pub value: Option<&'a SecretValue>,
    /// `id`.
    pub id: Option<&'a str>,
    /// `previous.value`.
    pub previous_value: Option<&'a SecretValue>,
    /// `previous.id`.
    pub previous_id: Option<&'a str>,
}

impl<'a> Known<'a> {
    fn get(&self, name: Name) -> Option<&'a str> {
        match name {
            Name::AttemptId => self.attempt_id,
            Name::Value => self.value.map(SecretValue::expose),
            Name::Id => self.id,
            Name::PreviousValue => self.previous_value.map(SecretValue::expose),
            Name::PreviousId => self.previous_id,
        }
    }
}

/// A request, ready to be authorised and sent. It has no `Debug`: its URL may hold a value.
pub struct Rendered {
    /// Method.
    pub method: Method,
    /// URL.
    pub url: Url,
    /// Headers, each once; `content-type` where it could be told from the body.
    pub headers: BTreeMap<String, SecretValue>,
    /// Body.
    pub body: Option<SecretValue>,
}

/// What is wrong with the templates of `steps`, whatever the values will be. Pure.
pub fn check(steps: &Steps) -> Vec<Violation> {
    let Steps {
        create,
        set,
        test,
        revoke,
        find,
    } = steps;
    let calls = [
        (Step::Create, create.request.as_ref()),
        (Step::Set, set.as_ref().map(|it| &it.request)),
        (Step::Test, test.as_ref().map(|it| &it.request)),
        (Step::Revoke, revoke.as_ref().map(|it| &it.request)),
        (Step::Find, find.as_ref().map(|it| &it.request)),
    ];
    let given = calls.into_iter().filter_map(|(step, request)| Some((step, request?)));
    given.flat_map(|(step, request)| check_request(step, request)).collect()
}

fn check_request(step: Step, request: &StepRequest) -> Vec<Violation> {
    let mut violations = Vec::new();
    // A value that fits everywhere stands for all of them: what is wrong then is wrong always.
    let stand_in = SecretValue::new("0");
    let known = Known {
        attempt_id: Some("0"),
        value: Some(&stand_in),
        id: Some("0"),
        previous_value: Some(&stand_in),
        previous_id: Some("0"),
    };
    violations.extend(render_url(step, request, known).err());
    let mut seen: Vec<HeaderName> = Vec::new();
    for (name, text) in &request.headers {
        match render_header(step, name, text, known) {
            Err(violation) => violations.push(violation),
            Ok((name, _)) if seen.contains(&name) => violations.push(Violation {
                field: step.field(&format!("request.headers[{name}]")),
                must: "must be there once, whatever its case".to_owned(),
            }),
            Ok((name, _)) => seen.push(name),
        }
    }
    violations.extend(render_body(step, request, known).err());
    violations
}

/// The request with the values in their places.
pub fn render(step: Step, request: &StepRequest, known: Known<'_>) -> Result<Rendered, Violation> {
    let url = render_url(step, request, known)?;
    let mut headers = BTreeMap::new();
    for (name, text) in &request.headers {
        let (name, value) = render_header(step, name, text, known)?;
        headers.insert(name.as_str().to_owned(), value);
    }
    let (body, json) = render_body(step, request, known)?;
    if json {
        let entry = headers.entry("content-type".to_owned());
        entry.or_insert_with(|| SecretValue::new("application/json"));
    }
    let method = match request.method.unwrap_or_default() {
        StepMethod::GET => Method::GET,
        StepMethod::POST => Method::POST,
        StepMethod::PUT => Method::PUT,
        StepMethod::PATCH => Method::PATCH,
        StepMethod::DELETE => Method::DELETE,
    };
    Ok(Rendered {
        method,
        url,
        headers,
        body,
    })
}

/// One template of one step.
#[derive(Clone, Copy)]
struct Field<'a> {
    step: Step,
    rest: &'a str,
}

impl Field<'_> {
    fn must(self, must: impl Into<String>) -> Violation {
        Violation {
            field: self.step.field(self.rest),
            must: must.into(),
        }
    }

    /// Splits `text`; every name must be one of this step.
    fn parse(self, text: &str) -> Result<Template<'_>, Violation> {
        let template = Template::parse(text).map_err(|must| self.must(must))?;
        let names = self.step.names();
        let stranger = template.names().find(|name| !names.contains(name));
        match stranger {
            None => Ok(template),
            Some(name) => Err(self.must(format!(
                "must not name `{}` in this step; known here are {}",
                name.as_str(),
                parse::listed(names.iter().copied())
            ))),
        }
    }

    fn render(self, template: &Template<'_>, known: Known<'_>, place: Place) -> Result<String, Violation> {
        let mut text = String::new();
        for (index, part) in template.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Name(name) => {
                    let value = self.value(*name, known)?;
                    let escaped = place.escape(value, template, index);
                    let escaped = escaped
                        .map_err(|must| self.must(format!("must have a value for `{}` that {must}", name.as_str())))?;
                    text.push_str(&escaped);
                }
            }
        }
        Ok(text)
    }

    fn value(self, name: Name, known: Known<'_>) -> Result<&str, Violation> {
        known.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let there = self.step.names().iter().copied();
            let there = there.filter(|name| known.get(*name).is_some_and(|value| !value.is_empty()));
            self.must(format!(
                "must not name `{}`, which has no value now; known now are {}",
                name.as_str(),
                parse::listed(there)
            ))
        })
    }
}

fn render_url(step: Step, request: &StepRequest, known: Known<'_>) -> Result<Url, Violation> {
    let field = Field {
        step,
        rest: "request.url",
    };
    let template = field.parse(&request.url)?;
    place::check_url(&template).map_err(|must| field.must(must))?;
    let text = field.render(&template, known, Place::Url)?;
    let url = Url::parse(&text).map_err(|_| field.must("must be an http or https URL"))?;
    if place::has_dot_segment(&text) {
        return Err(field.must("must have no segment `.` or `..` in its path, and no value that makes one"));
    }
    Ok(url)
}

fn render_header(step: Step, name: &str, text: &str, known: Known<'_>) -> Result<(HeaderName, SecretValue), Violation> {
    let rest = format!("request.headers[{name}]");
    let field = Field { step, rest: &rest };
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| field.must("must have the name of a header (RFC 9110, 5.1)"))?;
    if name != http::header::CONTENT_TYPE && bounds::FRAMING_HEADERS.contains(&name.as_str()) {
        return Err(field.must("must not be a header that frames the message"));
    }
    let value = field.render(&field.parse(text)?, known, Place::Header)?;
    match HeaderValue::from_str(&value) {
        Ok(_) if value.is_ascii() => Ok((name, SecretValue::new(value))),
        _ => Err(field.must("must be visible ASCII, spaces and tabs")),
    }
}

/// The body, and whether it is JSON.
fn render_body(step: Step, request: &StepRequest, known: Known<'_>) -> Result<(Option<SecretValue>, bool), Violation> {
    let field = Field {
        step,
        rest: "request.body",
    };
    let Some(text) = &request.body else {
        return Ok((None, false));
    };
    let content_type = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.as_str());
    let template = field.parse(text)?;
    let place = body_place(content_type, &template).map_err(|must| field.must(must))?;
    let body = field.render(&template, known, place)?;
    Ok((Some(SecretValue::new(body)), place == Place::Json))
}

#[cfg(test)]
mod tests;
