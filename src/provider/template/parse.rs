//! Splits a template into what is written and what is named.

use super::Name;

/// A template in its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Template<'t> {
    /// In their order; no two literals follow each other.
    pub parts: Vec<Part<'t>>,
}

/// One part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part<'t> {
    /// As it is written; not empty.
    Literal(&'t str),
    /// A name in braces.
    Name(Name),
}

const ALL: [Name; 5] = [
    Name::AttemptId,
    Name::Value,
    Name::Id,
    Name::PreviousValue,
    Name::PreviousId,
];

impl<'t> Template<'t> {
    /// Splits `text`, or says what it must be. `}}` without `{{` is a literal: JSON ends so.
    pub fn parse(text: &'t str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let (literal, after) = rest.split_at(open);
            let Some((name, tail)) = after[2..].split_once("}}") else {
                return Err("must close every `{{` with `}}`".to_owned());
            };
            let name = name.trim_matches(' ');
            let known = ALL.into_iter().find(|known| known.as_str() == name);
            // What is not a name is not repeated: it may be anything, a secret in the wrong place included.
            let known = known
                .ok_or_else(|| format!("must have one of {} between `{{{{` and `}}}}`", listed(ALL.into_iter())))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal));
            }
            parts.push(Part::Name(known));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest));
        }
        Ok(Self { parts })
    }

    /// Every name in it.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(*name),
            Part::Literal(_) => None,
        })
    }

    /// The literals, with `stand_in` for every name.
    pub fn with(&self, stand_in: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(literal) => literal,
            Part::Name(_) => stand_in,
        });
        parts.collect()
    }
}

/// Names, for people.
pub fn listed(names: impl Iterator<Item = Name>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{}`", name.as_str())).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
