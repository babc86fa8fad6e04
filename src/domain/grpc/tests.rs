use super::*;
use crate::domain::classify::{self, Ending, Outcome};

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.clone(), value.parse().unwrap());
    }
    headers
}

#[test]
fn the_numbers_of_codes_are_those_of_grpc() {
    for (number, (code, _)) in CODES.into_iter().enumerate() {
        assert_eq!(usize::from(code.number()), number);
        assert_eq!(Code::of(&headers(&[(STATUS, &number.to_string())])), Some(code));
    }
    assert_eq!(Code::of(&HeaderMap::new()), None);
    for none in ["", "17", "-1", "OK", "1.0", "99999999999999999999"] {
        assert_eq!(Code::of(&headers(&[(STATUS, none)])), Some(Code::Unknown), "{none}");
    }
}

#[test]
fn exactly_the_five_codes_of_the_contract_count_for_the_breaker() {
    for (code, name) in CODES {
        let outcome = classify::outcome(Ending::Answered(code.decides_as()));
        let expected = match code {
            Code::Ok => Outcome::Success,
            Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::DataLoss => {
                Outcome::Failure
            }
            Code::Unauthenticated | Code::PermissionDenied => Outcome::Unauthorized,
            Code::ResourceExhausted => Outcome::RateLimited,
            _ => Outcome::CallerError,
        };
        assert_eq!(outcome, expected, "{name}");
    }
}

#[test]
fn a_timeout_is_up_to_eight_digits_and_a_unit() {
    for (text, expected) in [
        ("1H", Duration::from_secs(3600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("0004m", Duration::from_millis(4)),
        ("5u", Duration::from_micros(5)),
        ("6n", Duration::from_nanos(6)),
        ("0S", Duration::ZERO),
        ("99999999H", Duration::from_secs(99_999_999 * 3600)),
    ] {
        assert_eq!(timeout(text.as_bytes()), Some(expected), "{text}");
    }
    for none in [
        "",
        "S",
        "1",
        "1s",
        "-1S",
        "+1S",
        "1.5S",
        "123456789n",
        " 1S",
        "1S ",
        "1 S",
        "\u{661}S",
    ] {
        assert_eq!(timeout(none.as_bytes()), None, "{none}");
    }
}

#[test]
fn what_is_written_of_a_timeout_is_never_more_and_hardly_less() {
    for left in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_nanos(99_999_999),
        Duration::from_nanos(100_000_001),
        Duration::from_millis(1500),
        Duration::from_secs(86_399),
        Duration::from_secs(400_000_000),
        Duration::MAX,
    ] {
        let text = written_timeout(left);
        let read = timeout(text.as_bytes()).unwrap_or_else(|| panic!("{text} is no timeout"));
        assert!(read <= left, "{left:?} became {text}");
        if left < Duration::from_secs(400_000_000) {
            assert!(read >= left.mul_f64(0.999_99), "{left:?} became {text}");
        }
    }
}

#[test]
fn a_pushback_is_a_wait_or_a_stop() {
    for (text, expected) in [
        ("0", Pushback::After(Duration::ZERO)),
        ("1500", Pushback::After(Duration::from_millis(1500))),
        ("-1", Pushback::Stop),
        ("soon", Pushback::Stop),
        ("", Pushback::Stop),
    ] {
        assert_eq!(pushback(&headers(&[(PUSHBACK, text)])), Some(expected), "{text}");
    }
    assert_eq!(
        pushback(&headers(&[(PUSHBACK, "1"), (PUSHBACK, "2")])),
        Some(Pushback::Stop)
    );
    assert_eq!(pushback(&HeaderMap::new()), None);
}

#[test]
fn a_message_travels_as_printable_ascii() {
    assert_eq!(written_message("a b~"), "a b~");
    assert_eq!(written_message("100 %\r\n\u{e4}\u{7f}"), "100 %25%0D%0A%C3%A4%7F");
}

#[test]
fn the_content_type_is_that_of_grpc_and_of_nothing_else() {
    for is in [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC+json",
        "application/grpc; charset=x",
    ] {
        assert!(is_content_type(is.as_bytes()), "{is}");
    }
    for not in [
        "",
        "application/grp",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpcx",
        "text/application/grpc",
    ] {
        assert!(!is_content_type(not.as_bytes()), "{not}");
    }
}
