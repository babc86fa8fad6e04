//! Durations as Gateway API writes them (GEP-2257): `1h30m`, `10s`, `250ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as a GEP-2257 string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// GEP-2257: one to four pairs of digits (at most five) and a unit.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A string that is not a GEP-2257 duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a duration of one to four parts such as '1h30m', '10s' or '250ms', not '{0}'")]
pub struct InvalidDuration(String);

impl Duration {
    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// A duration of milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.chars().take(32).collect());
        let mut rest = text;
        let mut total = std::time::Duration::ZERO;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
            let number: u64 = match digits {
                1..=5 => rest[..digits].parse().map_err(|_| invalid())?,
                _ => return Err(invalid()),
            };
            rest = &rest[digits..];
            let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = match &rest[..end] {
                "h" => std::time::Duration::from_secs(3600),
                "m" => std::time::Duration::from_secs(60),
                "s" => std::time::Duration::from_secs(1),
                "ms" => std::time::Duration::from_millis(1),
                _ => return Err(invalid()),
            };
            rest = &rest[end..];
            // 99999 hours fit, so the product cannot overflow.
            total += unit * u32::try_from(number).map_err(|_| invalid())?;
            parts += 1;
        }
        if (1..=4).contains(&parts) {
            Ok(Self(total))
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_millis();
        let (hours, minutes) = (total / 3_600_000, total / 60_000 % 60);
        let (seconds, milliseconds) = (total / 1000 % 60, total % 1000);
        if total == 0 {
            return f.write_str("0s");
        }
        for (number, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s"), (milliseconds, "ms")] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_gep_2257_parses_to_its_length() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1h2m3s4ms", 3_723_004),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "100000s",
            "1s1s1s1s1s",
            "1d",
            " 1s",
            "1s ",
            "1ｓ",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn display_parses_back_to_the_same_length() {
        for milliseconds in [0, 1, 999, 1000, 61_000, 3_600_000, 5_400_001] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
