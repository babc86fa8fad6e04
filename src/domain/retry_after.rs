//! How long a provider asks us to wait, in whatever form it says so.
//!
//! `Retry-After` (RFC 9110 10.2.3: seconds or a date) and the `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers:
//! the structured form `"name";r=0;t=30`, the earlier `limit=100, remaining=0, reset=30`, and the trio
//! `RateLimit-Limit`, `-Remaining`, `-Reset`. Whatever is not understood is as if it were not there.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

/// The wait that the answer asks for; `None` if it asks for none that can be understood. `Retry-After` outranks the
/// others, because it is about this answer. Dates in the past are no wait.
pub fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    match headers.get(http::header::RETRY_AFTER) {
        Some(value) => retry_after(value, now),
        None => rate_limit(headers),
    }
}

fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return seconds(text);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Digits that overflow mean "very long", which is what they were meant to say.
fn seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(
        text.parse().unwrap_or(u64::from(u32::MAX)).min(u64::from(u32::MAX)),
    ))
}

fn rate_limit(headers: &HeaderMap) -> Option<Duration> {
    let trio = || {
        let remaining = headers.get("ratelimit-remaining")?.to_str().ok()?.trim();
        let reset = headers.get("ratelimit-reset")?.to_str().ok()?.trim();
        if remaining == "0" { seconds(reset) } else { None }
    };
    let structured = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|value| exhausted(value.to_str().ok()?))
        .max();
    structured.or_else(trio)
}

/// The longest reset among the policies of a `RateLimit` field that have nothing left.
fn exhausted(field: &str) -> Option<Duration> {
    let parameters = |item: &str, separator: char, remaining: &str, reset: &str| {
        let find = |name: &str| {
            item.split(separator)
                .filter_map(|pair| pair.trim().split_once('='))
                .find(|(key, _)| *key == name)
        };
        match (find(remaining), find(reset)) {
            (Some((_, "0")), Some((_, reset))) => seconds(reset.trim()),
            _ => None,
        }
    };
    if field.contains(';') {
        field
            .split(',')
            .filter_map(|item| parameters(item, ';', "r", "t"))
            .max()
    } else {
        parameters(field, ',', "remaining", "reset")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(pairs: &[(&'static str, &str)]) -> Option<u64> {
        let headers = pairs.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        wait(&headers.collect(), now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_understood() {
        for (value, expected) in [
            ("0", 0),
            ("120", 120),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
            ("Sunday, 06-Nov-94 08:49:47 GMT", 10),
            ("Sun Nov  6 08:49:47 1994", 10),
        ] {
            assert_eq!(wait_for(&[("retry-after", value)]), Some(expected), "{value}");
        }
    }

    #[test]
    fn hostile_values_are_bounded_or_ignored() {
        for (value, expected) in [
            ("-1", None),
            ("1000000000000000000", Some(u64::from(u32::MAX))),
            ("99999999999999999999999999", Some(u64::from(u32::MAX))),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ] {
            assert_eq!(wait_for(&[("retry-after", value)]), expected, "{value}");
        }
        assert!(wait_for(&[("retry-after", "Tue, 01 Jan 2999 00:00:00 GMT")]) > Some(1_000_000_000));
    }

    #[test]
    fn a_used_up_rate_limit_asks_to_wait_for_its_reset() {
        assert_eq!(wait_for(&[("ratelimit", r#""default";r=0;t=30"#)]), Some(30));
        assert_eq!(
            wait_for(&[("ratelimit", r#""burst";r=0;t=3, "day";r=0;t=300"#)]),
            Some(300)
        );
        assert_eq!(wait_for(&[("ratelimit", "limit=100, remaining=0, reset=7")]), Some(7));
        assert_eq!(
            wait_for(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "9")]),
            Some(9)
        );
    }

    #[test]
    fn a_rate_limit_with_something_left_asks_for_nothing() {
        assert_eq!(wait_for(&[("ratelimit", r#""default";r=5;t=30"#)]), None);
        assert_eq!(
            wait_for(&[("ratelimit-remaining", "1"), ("ratelimit-reset", "9")]),
            None
        );
        assert_eq!(wait_for(&[("ratelimit", ";;;==,,")]), None);
    }

    #[test]
    fn retry_after_outranks_the_rate_limit() {
        assert_eq!(
            wait_for(&[("retry-after", "1"), ("ratelimit", r#""d";r=0;t=30"#)]),
            Some(1)
        );
    }
}
