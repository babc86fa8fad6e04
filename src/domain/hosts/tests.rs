use proptest::prelude::*;

use super::*;

#[test]
fn a_pattern_allows_these_hosts_and_no_others() {
    let allowed: &[(&str, &str, u16)] = &[
        ("api.example.com", "api.example.com", 443),
        ("api.example.com", "api.example.com", 8443),
        ("api.example.com", "API.Example.COM", 443),
        ("API.example.com", "api.example.com.", 443),
        ("api.example.com.", "api.example.com", 443),
        ("api.example.com:8443", "api.example.com", 8443),
        ("api.example.com.:8443", "api.example.com", 8443),
        ("*.example.org", "a.example.org", 443),
        ("*.example.org", "a.b.example.org", 443),
        ("*.Example.ORG", "A.example.org.", 443),
        ("*.example.org:8443", "a.example.org", 8443),
        ("*.com", "example.com", 443),
        ("localhost", "localhost", 80),
        ("my_service.internal", "my_service.internal", 80),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example", 443),
        ("127.0.0.1", "127.0.0.1", 80),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0x7f.1", "127.0.0.1", 80),
        ("127.0.0.1", "2130706433", 80),
        ("[::1]", "::1", 80),
        ("[::1]", "[::1]", 80),
        ("[::1]:8443", "[0:0:0:0:0:0:0:1]", 8443),
        ("[2001:DB8::1]", "2001:db8::1", 443),
    ];
    for (pattern, host, port) in allowed {
        let parsed: HostPattern = pattern.parse().unwrap();
        assert!(parsed.allows(host, *port), "{pattern} must allow {host}:{port}");
    }
    let refused: &[(&str, &str, u16)] = &[
        ("api.example.com", "example.com", 443),
        ("api.example.com", "www.api.example.com", 443),
        ("api.example.com", "api.example.com.evil.test", 443),
        ("api.example.com", "api.example.comx", 443),
        ("api.example.com", "apixexample.com", 443),
        ("api.example.com:8443", "api.example.com", 443),
        ("*.example.org", "example.org", 443),
        ("*.example.org", ".example.org", 443),
        ("*.example.org", "badexample.org", 443),
        ("*.example.org", "a.example.org.evil.test", 443),
        ("*.example.org:8443", "a.example.org", 443),
        ("*.example.org", "a..example.org", 443),
        ("*.example.org", "a%2eexample.org", 443),
        ("127.0.0.1", "127.0.0.2", 80),
        ("127.0.0.1", "::ffff:127.0.0.1", 80),
        ("[::1]", "127.0.0.1", 80),
        ("[::1]:8443", "::1", 443),
        ("localhost", "", 80),
        ("localhost", "localhost:80", 80),
        ("localhost", "user@localhost", 80),
        ("localhost", "localhost..", 80),
    ];
    for (pattern, host, port) in refused {
        let parsed: HostPattern = pattern.parse().unwrap();
        assert!(!parsed.allows(host, *port), "{pattern} must refuse {host}:{port}");
    }
}

#[test]
fn what_is_not_a_pattern_is_refused() {
    let long = format!("{}.example", "a".repeat(64));
    let longer = vec!["a".repeat(60); 5].join(".");
    for text in [
        "",
        "*",
        "*.",
        ".",
        "*.*.example.org",
        "a.*.example.org",
        "*example.org",
        "*.127.0.0.1",
        "*.0x7f.1",
        "*.[::1]",
        "::1",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[127.0.0.1]",
        "[fe80::1%eth0]",
        "example.org:",
        "example.org:0",
        "example.org:0443",
        "example.org:65536",
        "example.org:+443",
        "example.org:443:443",
        "example..org",
        ".example.org",
        "-example.org",
        "example-.org",
        "exa mple.org",
        "example.org/path",
        "https://example.org",
        "user@example.org",
        "m\u{fc}nchen.example",
        "example.org\n",
        "example%2eorg",
        "256.256.256.256",
        "1.2.3.4.5",
        &long,
        &longer,
    ] {
        assert_eq!(text.parse::<HostPattern>(), Err(InvalidPattern), "{text:?}");
    }
}

#[test]
fn no_pattern_allows_nothing_and_any_of_several_allows() {
    assert!(!allowed(&[], "example.org", 443));
    let patterns = ["a.example".parse().unwrap(), "*.b.example:8443".parse().unwrap()];
    assert!(allowed(&patterns, "a.example", 1));
    assert!(allowed(&patterns, "x.b.example", 8443));
    assert!(!allowed(&patterns, "x.b.example", 443));
}

proptest! {
    /// What a pattern prints is a pattern that means the same.
    #[test]
    fn a_printed_pattern_parses_to_itself(text in "(\\*\\.)?[a-zA-Z0-9_-]{1,8}(\\.[a-z0-9]{1,5}){0,3}\\.?(:[0-9]{1,5})?") {
        if let Ok(pattern) = text.parse::<HostPattern>() {
            prop_assert_eq!(pattern.to_string().parse::<HostPattern>(), Ok(pattern));
        }
    }

    /// Whatever is asked, nothing panics, and an exact pattern allows one name alone.
    #[test]
    fn only_the_name_itself_is_allowed(host in "\\PC{0,20}", port in 1u16..) {
        let pattern: HostPattern = "api.example.com".parse().unwrap();
        let same = host.strip_suffix('.').unwrap_or(&host).eq_ignore_ascii_case("api.example.com");
        prop_assert_eq!(pattern.allows(&host, port), same);
    }
}
