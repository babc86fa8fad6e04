//! What a filter gives, as far as it can be of use.

use jiff::Timestamp;

use super::ID_MAX;
use crate::domain::secret::SecretValue;

/// The outputs of one filter.
pub type Given = Vec<Found>;

/// One output.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A string.
    Text(SecretValue),
    /// A whole number, as it is written.
    Whole(String),
    /// Any other number.
    Fraction(f64),
    /// `null`.
    Null,
    /// A list.
    List(Vec<Found>),
    /// Anything else.
    Other,
}

impl Found {
    /// As an id.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Text(text) if (1..=ID_MAX).contains(&text.expose().len()) => Some(text.expose().to_owned()),
            Self::Whole(number) if number.len() <= ID_MAX => Some(number.clone()),
            _ => None,
        }
    }

    /// As a time: RFC 3339, or seconds since 1970, also in a string.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => {
                let text = text.expose();
                text.parse()
                    .ok()
                    .or_else(|| Timestamp::from_second(text.parse().ok()?).ok())
            }
            Self::Whole(number) => Timestamp::from_second(number.parse().ok()?).ok(),
            // Fractions of a second are dropped: who expires early is safe.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and the range is checked after it"
            )]
            Self::Fraction(number) => Timestamp::from_second(number.floor() as i64).ok(),
            Self::Null | Self::List(_) | Self::Other => None,
        }
    }
}
