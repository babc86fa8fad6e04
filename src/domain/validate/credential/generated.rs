//! Random values.

use crate::api::bounds;
use crate::api::credential::generated::Generated;
use crate::domain::validate::checks::Checks;

/// Checks what stands in `object`.
pub fn check(checks: &mut Checks, object: &str, spec: &Generated) {
    let Generated { length, encoding: _ } = spec;
    checks.range_if_set(&format!("{object}.length"), *length, bounds::GENERATED_LENGTH);
}
