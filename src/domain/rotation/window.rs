//! When rotations that can wait may begin.

use std::time::Duration;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::Timestamp;

use crate::api::credential::rotation::Window;

/// Where a window without a time zone is.
const TIME_ZONE: &str = "Etc/UTC";

/// A window that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be five fields as in cron such as '0 2 * * *', which come about at some time, in a time zone such as \
     'Europe/Berlin'"
)]
pub struct InvalidWindow;

/// A window, parsed.
#[derive(Clone, Debug)]
pub struct Opening {
    begins: Crontab,
    lasts: Duration,
}

impl Opening {
    /// The window that `window` writes out.
    pub fn parse(window: &Window) -> Result<Self, InvalidWindow> {
        let zone = window.time_zone.as_deref().unwrap_or(TIME_ZONE);
        let begins =
            cronexpr::parse_crontab(&format!("{} {zone}", window.schedule.trim())).map_err(|_| InvalidWindow)?;
        // A 30th of February parses, and never comes.
        begins
            .find_next(MakeTimestamp(Timestamp::UNIX_EPOCH))
            .map_err(|_| InvalidWindow)?;
        Ok(Self {
            begins,
            lasts: window.duration.0,
        })
    }

    /// Whether it is open at `now`.
    fn is_open(&self, now: Timestamp) -> bool {
        // It is, if it began within the time that it lasts. `find_next` looks after the time it is given, hence the
        // nanosecond: a window that began exactly that long ago has just closed.
        let Ok(earliest) = now.checked_sub(self.lasts) else {
            return false;
        };
        self.next(earliest).is_some_and(|begin| begin <= now)
    }

    /// When it begins next, after `now`.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.begins.find_next(MakeTimestamp(now)).ok()?;
        Some(next.timestamp())
    }
}

/// When a rotation that can wait may begin, not before `now`. Without windows: now.
pub fn opens(windows: &[Opening], now: Timestamp) -> Timestamp {
    if windows.is_empty() || windows.iter().any(|window| window.is_open(now)) {
        return now;
    }
    let next = windows.iter().filter_map(|window| window.next(now)).min();
    next.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(schedule: &str, duration: &str, zone: Option<&str>) -> Result<Opening, InvalidWindow> {
        Opening::parse(&Window {
            schedule: schedule.into(),
            duration: duration.parse().unwrap(),
            time_zone: zone.map(str::to_owned),
        })
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_beginning_for_as_long_as_it_lasts() {
        let nightly = [opening("0 2 * * *", "4h", None).unwrap()];
        for (now, opens_at) in [
            ("2026-05-01T01:59:59Z", "2026-05-01T02:00:00Z"),
            ("2026-05-01T02:00:00Z", "2026-05-01T02:00:00Z"),
            ("2026-05-01T05:59:59Z", "2026-05-01T05:59:59Z"),
            ("2026-05-01T06:00:00Z", "2026-05-02T02:00:00Z"),
            ("2026-05-01T12:00:00Z", "2026-05-02T02:00:00Z"),
        ] {
            assert_eq!(opens(&nightly, at(now)), at(opens_at), "{now}");
        }
    }

    #[test]
    fn a_window_follows_the_clocks_of_its_zone() {
        // Berlin is two hours ahead of UTC in summer and one in winter.
        let berlin = [opening("0 2 * * *", "1h", Some("Europe/Berlin")).unwrap()];
        assert_eq!(opens(&berlin, at("2026-07-01T10:00:00Z")), at("2026-07-02T00:00:00Z"));
        assert_eq!(opens(&berlin, at("2026-12-01T10:00:00Z")), at("2026-12-02T01:00:00Z"));
    }

    #[test]
    fn the_first_of_several_windows_counts() {
        let two = [
            opening("0 2 * * 1", "1h", None).unwrap(),
            opening("30 12 * * *", "10m", None).unwrap(),
        ];
        assert_eq!(opens(&two, at("2026-05-04T01:00:00Z")), at("2026-05-04T02:00:00Z"));
        assert_eq!(opens(&two, at("2026-05-04T03:00:00Z")), at("2026-05-04T12:30:00Z"));
        assert_eq!(opens(&two, at("2026-05-04T12:35:00Z")), at("2026-05-04T12:35:00Z"));
    }

    #[test]
    fn without_windows_it_is_always_time() {
        let now = at("2026-05-04T01:00:00Z");
        assert_eq!(opens(&[], now), now);
    }

    #[test]
    fn what_never_comes_or_is_no_schedule_is_refused() {
        for (schedule, zone) in [
            ("0 2 30 2 *", None),
            ("0 2 * *", None),
            ("60 2 * * *", None),
            ("canary", None),
            ("0 2 * * *", Some("Mars/Olympus")),
            ("0 2 * * * UTC", None),
        ] {
            let refused = opening(schedule, "1h", zone);
            assert!(refused.is_err(), "{schedule} {zone:?}");
        }
    }
}
