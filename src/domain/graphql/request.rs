//! A request as it comes over HTTP: JSON, one operation or a batch; a bare document; or parameters of a URL or a form.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use url::form_urlencoded;

use super::document::{self, Document};
use super::{Bounds, Kind, Refusal, lines};

/// Begins a text of some editors, and is none of it.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a body of `application/json`. `operation` is a name in the URL, which some servers prefer and others ignore.
pub fn json(body: &[u8], operation: Option<&str>, bounds: &Bounds) -> Result<Kind, Refusal> {
    let body = body.strip_prefix(MARK).unwrap_or(body);
    let mut request = Request::new(operation, bounds);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = deserializer.deserialize_any(&mut request);
    let read = read.and_then(|()| deserializer.end());
    match request.refusal.take() {
        Some(refusal) => Err(refusal),
        None if read.is_err() => Err(Refusal::NotJson),
        None => request.kind.ok_or(Refusal::Empty),
    }
}

/// Reads a body of `application/graphql`, which is a document.
pub fn bare(body: &[u8], operation: Option<&str>, bounds: &Bounds) -> Result<Kind, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| Refusal::NotGraphQl {
        line: lines(&body[..error.valid_up_to()]),
    })?;
    Ok(checked(text, 0, bounds)?.kind(operation))
}

/// What there is of an operation in the parameters of a URL, or of a form.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a> {
    /// The document.
    pub query: Option<Cow<'a, str>>,
    /// The name of the operation.
    pub operation: Option<Cow<'a, str>>,
}

impl<'a> Parameters<'a> {
    /// Reads `text`, which is `application/x-www-form-urlencoded`.
    pub fn read(text: &'a [u8]) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(text) {
            let (place, name) = match &*name {
                "query" => (&mut found.query, "query"),
                "operationName" => (&mut found.operation, "operationName"),
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Refusal::Twice(name));
            }
        }
        Ok(found)
    }

    /// The kind of the operation; `None` if there is no document.
    pub fn kind(&self, bounds: &Bounds) -> Result<Option<Kind>, Refusal> {
        let Some(query) = &self.query else { return Ok(None) };
        Ok(Some(checked(query, 0, bounds)?.kind(self.operation.as_deref())))
    }
}

/// The document, if with `before` aliases before it there are not too many.
fn checked<'a>(text: &'a str, before: u64, bounds: &Bounds) -> Result<Document<'a>, Refusal> {
    let document = document::read(text, bounds)?;
    let aliases = before.saturating_add(document.aliases);
    if aliases > bounds.aliases {
        return Err(Refusal::TooManyAliases {
            operation: document.widest,
            aliases,
            limit: bounds.aliases,
        });
    }
    Ok(document)
}

/// A body as far as it was read.
struct Request<'a> {
    operation: Option<&'a str>,
    bounds: &'a Bounds,
    /// What the operations so far are, taken together.
    kind: Option<Kind>,
    aliases: u64,
    /// Why reading stopped, where that is not for the JSON.
    refusal: Option<Refusal>,
}

impl<'a> Request<'a> {
    fn new(operation: Option<&'a str>, bounds: &'a Bounds) -> Self {
        Self {
            operation,
            bounds,
            kind: None,
            aliases: 0,
            refusal: None,
        }
    }

    fn add(&mut self, one: One) -> Result<(), Refusal> {
        if let Some(name) = one.twice {
            return Err(Refusal::Twice(name));
        }
        // What a batch asks for as one request it could ask for with aliases in one operation.
        self.aliases += u64::from(self.kind.is_some());
        let kind = match &one.query {
            Some(query) => {
                let document = checked(query, self.aliases, self.bounds)?;
                self.aliases += document.aliases;
                let kind = document.kind(one.operation.as_deref());
                // Nobody knows which of two names the provider takes.
                match self.operation {
                    Some(name) => kind.max(document.kind(Some(name))),
                    None => kind,
                }
            }
            None if self.aliases > self.bounds.aliases => {
                return Err(Refusal::TooManyAliases {
                    operation: "the batch".to_owned(),
                    aliases: self.aliases,
                    limit: self.bounds.aliases,
                });
            }
            // The provider has the document.
            None => Kind::Unknown,
        };
        self.kind = self.kind.max(Some(kind));
        Ok(())
    }

    fn note<E: de::Error>(&mut self, one: One) -> Result<(), E> {
        self.add(one).map_err(|refusal| {
            self.refusal = Some(refusal);
            E::custom("refused")
        })
    }
}

impl<'de> Visitor<'de> for &mut Request<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation, or a list of operations")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let one = One::read(map)?;
        self.note(one)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(one) = list.next_element()? {
            self.note(one)?;
        }
        Ok(())
    }
}

/// One operation of a body.
#[derive(Default)]
struct One {
    query: Option<String>,
    operation: Option<String>,
    /// A member that is there twice.
    twice: Option<&'static str>,
}

impl One {
    fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut one = Self::default();
        let mut seen = [false; 2];
        while let Some(key) = map.next_key::<String>()? {
            let (index, name) = match &*key {
                "query" => (0, "query"),
                "operationName" => (1, "operationName"),
                // To some readers of JSON these are the same.
                other if other.eq_ignore_ascii_case("query") => (2, "query"),
                other if other.eq_ignore_ascii_case("operationName") => (2, "operationName"),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => one.twice = Some(name),
            }
            let value = map.next_value::<Option<String>>()?;
            if index == 0 {
                one.query = value;
            } else {
                one.operation = value;
            }
        }
        Ok(one)
    }
}

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = One;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<One, A::Error> {
                One::read(map)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests;
