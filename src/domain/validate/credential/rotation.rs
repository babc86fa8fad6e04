//! When and how a value is replaced.

use super::steps;
use crate::api::bounds;
use crate::api::credential::CredentialSpec;
use crate::api::credential::rotation::{Rotation, Window};
use crate::domain::rotation::window::Opening;
use crate::domain::validate::checks::Checks;

/// Checks `spec.rotation`.
pub fn check(checks: &mut Checks, spec: &CredentialSpec, rotation: &Rotation) {
    let Rotation {
        renew_at,
        interval,
        overlap,
        windows,
        steps,
    } = rotation;
    checks.across("spec", spec.issues(), bounds::ROTATION_IS_USED);
    checks.range_if_set("spec.rotation.renewAt", *renew_at, bounds::RENEW_AT);
    checks.span_if_set("spec.rotation.interval", *interval, bounds::ROTATION_INTERVAL);
    let makes_key = spec.jwt.as_ref().is_some_and(|jwt| jwt.generate.is_some());
    checks.across(
        "spec",
        interval.is_none() || spec.generated.is_some() || steps.is_some() || makes_key,
        bounds::INTERVAL_IS_USED,
    );
    checks.span_if_set("spec.rotation.overlap", *overlap, bounds::OVERLAP);
    checks.count("spec.rotation.windows", windows.len(), 0, 8);
    for (index, window) in windows.iter().enumerate() {
        check_window(checks, &format!("spec.rotation.windows[{index}]"), window);
    }
    if let Some(steps) = steps {
        let has_key = spec.api_key.is_some() || spec.basic.is_some() || spec.bearer.is_some();
        checks.across("spec", has_key, bounds::STEPS_HAVE_A_KEY);
        steps::check(checks, &spec.allowed_hosts, steps);
    }
}

fn check_window(checks: &mut Checks, object: &str, window: &Window) {
    let Window {
        schedule,
        duration,
        time_zone,
    } = window;
    let schedule_field = format!("{object}.schedule");
    let zone_field = format!("{object}.timeZone");
    let has_form =
        bounds::SCHEDULE.check(schedule).is_ok() && time_zone.iter().all(|zone| bounds::TIME_ZONE.check(zone).is_ok());
    checks.text(&schedule_field, schedule, bounds::SCHEDULE);
    checks.span_if_set(&format!("{object}.duration"), Some(*duration), bounds::WINDOW_DURATION);
    checks.text_if_set(&zone_field, time_zone.as_ref(), bounds::TIME_ZONE);
    // Whether the numbers are times, whether they ever come about, and whether there is such a zone, no pattern tells.
    if has_form && let Err(invalid) = Opening::parse(window) {
        let without_zone = Window {
            time_zone: None,
            ..window.clone()
        };
        match Opening::parse(&without_zone) {
            Ok(_) => checks.violated(zone_field, bounds::TIME_ZONE_MUST),
            Err(_) => checks.violated(schedule_field, invalid.to_string()),
        }
    }
}
