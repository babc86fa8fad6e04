//! Collects what is wrong, field by field, and carries on with the default in its place.

use std::collections::BTreeMap;

use super::Violation;
use crate::api::bounds::{Across, Entries, Range, Sizes, Span, Text};
use crate::api::duration::Duration;
use crate::api::quantity::Bytes;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub struct Checks {
    found: Vec<Violation>,
}

impl Checks {
    /// Everything that was found, in the order of the checks.
    pub fn into_violations(self) -> Vec<Violation> {
        self.found
    }

    /// `field` is wrong: it `must` be something else.
    pub fn violated(&mut self, field: impl Into<String>, must: impl Into<String>) {
        self.found.push(Violation {
            field: field.into(),
            must: must.into(),
        });
    }

    fn check(&mut self, field: &str, checked: Result<(), String>) {
        if let Err(must) = checked {
            self.violated(field, must);
        }
    }

    /// A string.
    pub fn text(&mut self, field: &str, value: &str, bound: Text) {
        self.check(field, bound.check(value));
    }

    /// A string that may be absent.
    pub fn text_if_set(&mut self, field: &str, value: Option<&String>, bound: Text) {
        if let Some(value) = value {
            self.text(field, value, bound);
        }
    }

    /// A list that is a set of at most `max` strings.
    pub fn texts(&mut self, field: &str, values: &[String], max: usize, bound: Text) {
        let item = |index| format!("{field}[{index}]");
        self.count(field, values.len(), 0, max);
        for (index, value) in values.iter().enumerate() {
            self.text(&item(index), value, bound);
        }
        self.unique(values, item);
    }

    /// A map of strings.
    pub fn entries(&mut self, field: &str, entries: &BTreeMap<String, String>, bound: Entries) {
        for (name, must) in bound.check(entries) {
            let field = name.map_or_else(|| field.to_owned(), |name| format!("{field}.{name}"));
            self.violated(field, must);
        }
    }

    /// What holds between fields of `object`.
    pub fn across(&mut self, object: &str, holds: bool, rule: Across) {
        if !holds {
            self.violated(format!("{object}{}", rule.field), rule.must);
        }
    }

    /// A number that may be absent.
    pub fn range_if_set(&mut self, field: &str, value: Option<i32>, bound: Range) {
        if let Some(value) = value {
            self.check(field, bound.check(value));
        }
    }

    /// A length of time that may be absent.
    pub fn span_if_set(&mut self, field: &str, value: Option<Duration>, bound: Span) {
        if let Some(value) = value {
            self.check(field, bound.check(value));
        }
    }

    /// How many items a list has.
    pub fn count(&mut self, field: &str, count: usize, min: usize, max: usize) {
        if !(min..=max).contains(&count) {
            self.violated(field, format!("must have from {min} to {max} items"));
        }
    }

    /// The items of a list that is a set, or the keys of one that is a map.
    pub fn unique<T: PartialEq>(&mut self, items: &[T], field: impl Fn(usize) -> String) {
        for (index, item) in items.iter().enumerate() {
            if items[..index].contains(item) {
                self.violated(field(index), "must be unique in the list");
            }
        }
    }

    /// A number, or its default.
    pub fn range(&mut self, field: &str, value: Option<i32>, bound: Range, default: u32) -> u32 {
        let Some(value) = value else { return default };
        self.check(field, bound.check(value));
        u32::try_from(value).unwrap_or_default()
    }

    /// A length of time, or its default.
    pub fn span(
        &mut self,
        field: &str,
        value: Option<Duration>,
        bound: Span,
        default: Duration,
    ) -> std::time::Duration {
        let Some(value) = value else { return default.0 };
        self.check(field, bound.check(value));
        value.0
    }

    /// A size in bytes, or its default.
    pub fn size(&mut self, field: &str, value: Option<Bytes>, bound: Sizes, default: u64) -> u64 {
        let Some(value) = value else { return default };
        self.check(field, bound.check(value));
        value.0
    }
}

/// The defaults of two lengths of time of which `short` must not be longer than `long`: where one is set, the other's
/// default gives way to it.
pub fn defaults_of_pair(
    (short, short_default): (Option<Duration>, Duration),
    (long, long_default): (Option<Duration>, Duration),
) -> (Duration, Duration) {
    (
        long.map_or(short_default, |long| short_default.min(long)),
        short.map_or(long_default, |short| long_default.max(short)),
    )
}
