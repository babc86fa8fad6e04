//! Whether an answer asks to be left alone, and for how long.
//!
//! Two answers do. One that refuses (429, 503) and says when to come back: every request before that time is another
//! refusal. And one of whatever status whose `RateLimit` fields say that no more is left than what is under way already:
//! those requests use it up, and whoever came then would be refused, so nobody comes. The unofficial `X-RateLimit-*` fields
//! count with a refusal alone, because some providers keep several limits under that one name, and an answer that is good
//! must not stop what another limit allows.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use super::retry_after;

/// How long the answer with this status and these headers asks to be left alone; not bounded here. `under_way` are the
/// requests to the same host that have no answer yet.
pub fn asked(status: StatusCode, headers: &HeaderMap, under_way: u32, now: SystemTime) -> Option<Duration> {
    let refused = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
    let told = if refused { retry_after::wait(headers, now) } else { None };
    told.or_else(|| retry_after::used_up(headers, under_way))
        .filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn seconds(status: u16, under_way: u32, pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        asked(status, &headers, under_way, SystemTime::UNIX_EPOCH).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_refusal_that_says_when_to_come_back_asks_for_that() {
        for (status, expected) in [
            (429, Some(7)),
            (503, Some(7)),
            (200, None),
            (301, None),
            (500, None),
            (413, None),
        ] {
            assert_eq!(seconds(status, 0, &[("retry-after", "7")]), expected, "{status}");
        }
        assert_eq!(seconds(429, 0, &[]), None);
        assert_eq!(seconds(429, 0, &[("retry-after", "0")]), None);
    }

    #[test]
    fn what_is_under_way_uses_up_what_is_left() {
        let left = |left: &'static str| [("ratelimit", left)];
        for status in [200, 404, 429, 500] {
            assert_eq!(seconds(status, 0, &left(r#""d";r=0;t=30"#)), Some(30), "{status}");
        }
        assert_eq!(seconds(200, 0, &left(r#""d";r=1;t=30"#)), None);
        assert_eq!(seconds(200, 2, &left(r#""d";r=3;t=30"#)), None);
        assert_eq!(seconds(200, 3, &left(r#""d";r=3;t=30"#)), Some(30));
        assert_eq!(seconds(200, 3, &left("limit=10, remaining=2, reset=4")), Some(4));
        assert_eq!(
            seconds(200, 1, &[("ratelimit-remaining", "1"), ("ratelimit-reset", "9")]),
            Some(9)
        );
    }

    #[test]
    fn of_several_limits_the_one_that_is_used_up_for_longest_counts() {
        let field = r#""second";r=9;t=1, "day";r=2;t=300, "month";r=100;t=90000"#;
        assert_eq!(seconds(200, 2, &[("ratelimit", field)]), Some(300));
    }

    #[test]
    fn the_unofficial_fields_stop_nothing_that_is_answered_well() {
        let fields = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")];
        assert_eq!(seconds(200, 0, &fields), None);
        assert_eq!(seconds(429, 0, &fields), Some(30));
    }
}
