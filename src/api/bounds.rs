//! What every field may hold: one table for the CRD's schema and for validation, so that the API server and the
//! controller refuse the same values in the same words.
//!
//! A bound is a `schemars` transform (`#[schemars(transform = WEIGHT.schema())]` writes it into the schema, as bounds and CEL
//! rules) and has `check`, which says what a value that was not seen by the schema must be.

use kube::core::{Rule, validate};
use schemars::Schema;
use schemars::transform::Transform;

use super::duration::Duration;
use super::quantity::Bytes;

/// A [`Form`] that one pattern decides for both judges: RE2 and `regex` read what is used here alike. It has no `'`.
macro_rules! pattern {
    ($pattern:expr, $must:expr) => {
        Form {
            cel: concat!("self.matches(r'", $pattern, "')"),
            must: $must,
            holds: |text| {
                static PATTERN: std::sync::LazyLock<Option<regex::Regex>> =
                    std::sync::LazyLock::new(|| regex::Regex::new($pattern).ok());
                PATTERN.as_ref().is_some_and(|pattern| pattern.is_match(text))
            },
        }
    };
}

mod across;
mod maps;
mod numbers;
mod texts;

pub use across::*;
pub use maps::*;
pub use numbers::*;
pub use texts::*;

/// Whole numbers, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Least.
    pub min: i32,
    /// Greatest.
    pub max: i32,
}

impl Range {
    /// What writes this bound into a schema.
    #[must_use]
    pub const fn schema(self) -> Self {
        self
    }

    const fn new(min: i32, max: i32) -> Self {
        Self { min, max }
    }

    /// What a value outside must be.
    pub fn check(self, value: i32) -> Result<(), String> {
        let Self { min, max } = self;
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(format!("must be from {min} to {max}"))
        }
    }
}

impl Transform for Range {
    fn transform(&mut self, schema: &mut Schema) {
        schema.insert("minimum".into(), self.min.into());
        schema.insert("maximum".into(), self.max.into());
    }
}

/// Lengths of time, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}

impl Span {
    /// What writes this bound into a schema.
    #[must_use]
    pub const fn schema(self) -> Self {
        self
    }

    const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// What a value outside must be.
    pub fn check(self, value: Duration) -> Result<(), String> {
        if (self.min..=self.max).contains(&value) {
            Ok(())
        } else {
            Err(self.must())
        }
    }

    fn must(self) -> String {
        format!("must be from '{}' to '{}'", self.min, self.max)
    }
}

impl Transform for Span {
    fn transform(&mut self, schema: &mut Schema) {
        let Self { min, max } = self;
        let cel = format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')");
        add_rule(schema, &cel, &self.must());
    }
}

/// Sizes in bytes, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Least.
    pub min: Bytes,
    /// Greatest.
    pub max: Bytes,
}

impl Sizes {
    /// What writes this bound into a schema.
    #[must_use]
    pub const fn schema(self) -> Self {
        self
    }

    const fn new(min: u64, max: u64) -> Self {
        Self {
            min: Bytes(min),
            max: Bytes(max),
        }
    }

    /// What a value outside must be.
    pub fn check(self, value: Bytes) -> Result<(), String> {
        if (self.min..=self.max).contains(&value) {
            Ok(())
        } else {
            Err(self.must())
        }
    }

    fn must(self) -> String {
        format!("must be from '{}' to '{}'", self.min, self.max)
    }
}

impl Transform for Sizes {
    fn transform(&mut self, schema: &mut Schema) {
        let Self { min, max } = self;
        let cel = format!(
            "quantity(self).compareTo(quantity('{min}')) >= 0 && quantity(self).compareTo(quantity('{max}')) <= 0"
        );
        add_rule(schema, &cel, &self.must());
    }
}

/// Strings of a form.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Fewest characters.
    pub min: usize,
    /// Most characters.
    pub max: usize,
    /// What else they must be; each is asked only where those before it hold.
    pub forms: &'static [Form],
}

/// One thing that a string must be, as the API server asks it and as we do.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// CEL over `self`. It must not fail on a string that an earlier form of the same [`Text`] refuses.
    pub cel: &'static str,
    /// What is allowed, a phrase that begins with `must`.
    pub must: &'static str,
    /// The same as `cel`.
    pub holds: fn(&str) -> bool,
}

impl Text {
    /// What writes this bound into a schema.
    #[must_use]
    pub const fn schema(self) -> Self {
        self
    }

    /// What a string that is not of this form must be.
    pub fn check(self, value: &str) -> Result<(), String> {
        let Self { min, max, forms } = self;
        let length = value.chars().count();
        if length < min || length > max {
            return Err(match min {
                0 => format!("must have at most {max} characters"),
                _ => format!("must have {min} to {max} characters"),
            });
        }
        match forms.iter().find(|form| !(form.holds)(value)) {
            Some(form) => Err(form.must.to_owned()),
            None => Ok(()),
        }
    }
}

impl Transform for Text {
    fn transform(&mut self, schema: &mut Schema) {
        if self.min > 0 {
            schema.insert("minLength".into(), self.min.into());
        }
        schema.insert("maxLength".into(), self.max.into());
        for form in self.forms {
            add_rule(schema, form.cel, form.must);
        }
    }
}

/// The same bound for every item of a list.
#[derive(Clone, Copy, Debug)]
pub struct Each<T>(pub T);

impl<T: Transform> Transform for Each<T> {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(items) = schema
            .get_mut("items")
            .and_then(|items| <&mut Schema>::try_from(items).ok())
        {
            self.0.transform(items);
        }
    }
}

/// Between two fields of one object.
#[derive(Clone, Copy, Debug)]
pub struct Across {
    /// CEL over `self`, the object.
    pub cel: &'static str,
    /// The field that is to blame, relative to the object, such as `.attempt`. One that the schema does not know
    /// (`metadata.name`), and which the API server therefore cannot name, has no dot in front.
    pub field: &'static str,
    /// What is allowed, a phrase that begins with `must`.
    pub must: &'static str,
}

impl From<Across> for Rule {
    fn from(across: Across) -> Self {
        let Across { cel, field, must } = across;
        if field.starts_with('.') {
            Rule::new(cel).message(must).field_path(field)
        } else {
            Rule::new(cel).message(format!("`{field}` {must}").as_str())
        }
    }
}

/// For the type of a field whose own description says more than the type's.
pub fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

fn add_rule(schema: &mut Schema, cel: &str, must: &str) {
    // A rule of two strings always serialises.
    let _ = validate(schema, Rule::new(cel).message(must));
}
