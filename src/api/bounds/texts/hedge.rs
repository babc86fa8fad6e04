//! When an attempt is late.

use super::super::BACKOFF;
use super::{Form, Text};
use crate::api::duration::Duration;

/// `retries.hedge.after`.
pub const HEDGE_AFTER: Text = Text {
    min: 1,
    max: 32,
    forms: &[Form {
        cel: "self == 'P95' || (self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') \
              && duration(self) >= duration('1ms') && duration(self) <= duration('10m'))",
        must: "must be 'P95', or a time from '1ms' to '10m'",
        holds: |text| text == "P95" || text.parse::<Duration>().is_ok_and(|after| BACKOFF.check(after).is_ok()),
    }],
};
