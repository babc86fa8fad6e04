//! How long a provider asks us to wait, in whatever form it says so.
//!
//! `Retry-After` (RFC 9110 10.2.3: seconds or a date) and the `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers:
//! the structured form `"name";r=0;t=30`, the earlier `limit=100, remaining=0, reset=30`, and the trio
//! `RateLimit-Limit`, `-Remaining`, `-Reset`; last the trio with `X-` before it, which no document defines and many send.
//! Whatever is not understood is as if it were not there.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

/// The wait that the answer asks for; `None` if it asks for none that can be understood. `Retry-After` outranks the
/// others, because it is about this answer; of several, the longest counts. Dates in the past are no wait.
pub fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let values = headers.get_all(http::header::RETRY_AFTER).iter();
    values
        .filter_map(|value| retry_after(value, now))
        .max()
        .or_else(|| used_up(headers, 0))
        .or_else(|| unofficial(headers, now))
}

/// How long it takes until there is more, where `RateLimit` fields say that no more than `left` requests are free now.
pub fn used_up(headers: &HeaderMap, left: u32) -> Option<Duration> {
    let trio = || {
        let remaining = text(headers, "ratelimit-remaining")?;
        let reset = text(headers, "ratelimit-reset")?;
        if at_most(remaining, left) { seconds(reset) } else { None }
    };
    let structured = texts(headers, "ratelimit")
        .filter_map(|field| exhausted(field, headers, left))
        .max();
    structured.or_else(trio)
}

/// `X-RateLimit-Remaining: 0` and `X-RateLimit-Reset`, which is a number of seconds to some and a time to others, in
/// seconds or milliseconds since 1970; no limit takes 30 years to come back.
fn unofficial(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    const TIME: u64 = 1_000_000_000;
    const MILLISECONDS: u64 = 1_000_000_000_000;
    if text(headers, "x-ratelimit-remaining")? != "0" {
        return None;
    }
    let reset: u64 = text(headers, "x-ratelimit-reset")?.parse().ok()?;
    let since_1970 = match reset {
        0..TIME => return Some(Duration::from_secs(reset)),
        TIME..MILLISECONDS => Duration::from_secs(reset),
        _ => Duration::from_millis(reset),
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(since_1970.saturating_sub(now))
}

fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Some(wait) = seconds(text) {
        return Some(wait);
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

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn at_most(remaining: &str, left: u32) -> bool {
    remaining
        .parse::<u64>()
        .is_ok_and(|remaining| remaining <= u64::from(left))
}

fn texts<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// The longest wait among the policies of a `RateLimit` field that have no more than `left`: until the reset, or, where it
/// is not told, the whole window of the policy as `RateLimit-Policy` tells it.
fn exhausted(field: &str, headers: &HeaderMap, left: u32) -> Option<Duration> {
    if !field.contains(';') {
        let (remaining, reset) = (parameter(field, ',', "remaining")?, parameter(field, ',', "reset")?);
        return if at_most(remaining, left) { seconds(reset) } else { None };
    }
    let waits = field
        .split(',')
        .filter(|item| parameter(item, ';', "r").is_some_and(|remaining| at_most(remaining, left)));
    waits
        .filter_map(|item| match parameter(item, ';', "t") {
            Some(reset) => seconds(reset),
            None => window(name(item), headers),
        })
        .max()
}

/// The window of the policy `wanted`.
fn window(wanted: &str, headers: &HeaderMap) -> Option<Duration> {
    texts(headers, "ratelimit-policy")
        .flat_map(|field| field.split(','))
        .find(|item| name(item) == wanted)
        .and_then(|item| parameter(item, ';', "w"))
        .and_then(seconds)
}

/// What stands before the parameters of an item: the policy's name.
fn name(item: &str) -> &str {
    item.split(';').next().unwrap_or_default().trim()
}

fn parameter<'a>(item: &'a str, separator: char, name: &str) -> Option<&'a str> {
    item.split(separator)
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value.trim()))
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
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        wait(&map, now).map(|wait| wait.as_secs())
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
    fn where_no_reset_is_told_the_window_of_the_policy_counts() {
        let policy = ("ratelimit-policy", r#""burst";q=10;w=3, "day";q=1000;w=86400"#);
        assert_eq!(wait_for(&[("ratelimit", r#""burst";r=0"#), policy]), Some(3));
        assert_eq!(wait_for(&[("ratelimit", r#""burst";r=0;t=1"#), policy]), Some(1));
        assert_eq!(wait_for(&[("ratelimit", r#""other";r=0"#), policy]), None);
        assert_eq!(wait_for(&[policy]), None);
    }

    #[test]
    fn the_unofficial_reset_is_a_wait_or_a_time() {
        let none_left = ("x-ratelimit-remaining", "0");
        for (reset, expected) in [
            ("30", Some(30)),
            ("784111787", Some(784_111_787)),
            ("1784111777", Some(1_000_000_000)),
            ("1784111777000", Some(1_000_000_000)),
            ("18446744073709551615", Some(18_446_743_289_597_774)),
            ("-1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(
                wait_for(&[none_left, ("x-ratelimit-reset", reset)]),
                expected,
                "{reset}"
            );
        }
        assert_eq!(
            wait_for(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "30")]),
            None
        );
        let official = ("ratelimit", r#""d";r=0;t=3"#);
        assert_eq!(wait_for(&[official, none_left, ("x-ratelimit-reset", "30")]), Some(3));
    }

    #[test]
    fn a_retry_after_that_is_not_understood_is_as_if_it_were_not_there() {
        assert_eq!(
            wait_for(&[("retry-after", "-1"), ("ratelimit", r#""d";r=0;t=30"#)]),
            Some(30)
        );
        assert_eq!(wait_for(&[("retry-after", "3"), ("retry-after", "60")]), Some(60));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_ask_for_more_than_a_lifetime(
            retry_after in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
            limit in r#"("[a-z]{0,3}"|[a-z]{0,3})?(;[rtqw]=[0-9-]{0,25}){0,4},?(;r=0;t=[0-9]{0,30})?"#,
        ) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&retry_after) {
                headers.insert("retry-after", value);
            }
            headers.insert("ratelimit", HeaderValue::from_str(&limit).unwrap());
            headers.insert("ratelimit-policy", HeaderValue::from_str(&limit).unwrap());
            let wait = wait(&headers, SystemTime::UNIX_EPOCH);
            proptest::prop_assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(10_000 * 366 * 86_400)));
        }
    }

    #[test]
    fn retry_after_outranks_the_rate_limit() {
        assert_eq!(
            wait_for(&[("retry-after", "1"), ("ratelimit", r#""d";r=0;t=30"#)]),
            Some(1)
        );
    }
}
