//! Addresses that must not be dialled, in every notation that URLs, resolvers and networks know.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::*;

/// Where a request must never arrive, and the rule that says so.
const FORBIDDEN: [(&str, &str); 8] = [
    ("127.0.0.1", "loopback"),
    ("127.9.8.7", "loopback"),
    ("169.254.169.254", "a metadata service"),
    ("100.100.100.200", "a metadata service"),
    ("169.254.10.20", "link-local"),
    ("0.0.0.0", "unspecified"),
    ("224.0.0.251", "multicast"),
    ("255.255.255.255", "broadcast"),
];

/// Ways to write an IPv4 address in a URL, and IPv6 addresses that lead to it.
fn notations(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let bits = address.to_bits();
    let (high, low) = (bits >> 16, bits & 0xffff);
    let fullwidth: String = address
        .to_string()
        .chars()
        .map(|c| match c {
            '.' => '。',
            digit => char::from_u32(digit as u32 - '0' as u32 + '０' as u32).unwrap(),
        })
        .collect();
    let percent = address.to_string().bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    });
    let v6 = |segments: [u32; 8]| {
        format!(
            "[{}]",
            Ipv6Addr::from(segments.map(|part| u16::try_from(part & 0xffff).unwrap()))
        )
    };
    let nat64 = 0xff9b;
    vec![
        address.to_string(),
        format!("{address}."),
        format!("{bits}"),
        format!("0x{bits:x}"),
        format!("0X{bits:08X}"),
        format!("0{bits:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.0x{c:x}.{d}"),
        format!("{a}.{}", bits & 0x00ff_ffff),
        format!("{a}.{b}.{}", bits & 0xffff),
        format!("0x{a:x}.{}", bits & 0x00ff_ffff),
        fullwidth,
        percent,
        format!("api.example.com@{address}"),
        format!("api.example.com:443@{address}"),
        format!("[::ffff:{address}]"),
        v6([0, 0, 0, 0, 0, 0xffff, high, low]),
        format!("[0:0:0:0:0:FFFF:{high:X}:{low:X}]"),
        v6([0, 0, 0, 0, 0xffff, 0, high, low]),
        v6([0x64, nat64, 0, 0, 0, 0, high, low]),
        v6([0x64, nat64, 1, 0, 0, 0, high, low]),
        v6([0x64, nat64, 1, high, (low >> 8) & 0xff, low << 8, 0, 0]),
        v6([0x2002, high, low, 0, 0, 0, 0, 1]),
        v6([0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low]),
        v6([0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7]),
        v6([0x2001, 0xdb8, 0, 0, 0, 0x5efe, high, low]),
        v6([0x2001, 0xdb8, 0, 0, 0x200, 0x5efe, high, low]),
    ]
}

/// More hosts, with the rule that refuses them.
const HOSTS: [(&str, &str); 30] = [
    ("0", "unspecified"),
    ("0x0", "unspecified"),
    ("00000", "unspecified"),
    ("127.1", "loopback"),
    ("127.0.1", "loopback"),
    ("0177.1", "loopback"),
    ("0x7f.1", "loopback"),
    ("017700000001", "loopback"),
    ("127.0.0.1\\@api.example.com", "loopback"),
    ("127.0.0.1#@api.example.com", "loopback"),
    ("127.0.0.1?@api.example.com", "loopback"),
    ("a:b@127.0.0.1", "loopback"),
    ("[::]", "unspecified"),
    ("[::1]", "loopback"),
    ("[0:0:0:0:0:0:0:1]", "loopback"),
    ("[0000:0000:0000:0000:0000:0000:0000:0001]", "loopback"),
    ("[::0.0.0.1]", "loopback"),
    ("[::127.0.0.1]", "loopback"),
    ("[::7f00:1]", "loopback"),
    ("[fe80::1]", "link-local"),
    ("[FE80::A9FE:A9FE]", "link-local"),
    ("[febf::1]", "link-local"),
    ("[ff02::1]", "multicast"),
    ("[ff0e::fb]", "multicast"),
    ("[fd00:ec2::254]", "a metadata service"),
    ("[fd00:0ec2:0:0:0:0:0:254]", "a metadata service"),
    ("[fd00:ec2::23]", "a metadata service"),
    ("[fd20:ce::254]", "a metadata service"),
    ("168.63.129.16", "a metadata service"),
    ("10.96.0.1", "the API server's own address"),
];

/// Names as the resolver answers them. IDNA makes the odd ones of these to the plain ones before anybody is asked.
const NAMES: [(&str, &str, &[&str], &str); 16] = [
    ("localhost", "localhost", &["127.0.0.1", "::1"], "loopback"),
    ("LOCALHOST", "localhost", &["::1"], "loopback"),
    ("localhost.", "localhost.", &["127.0.0.1"], "loopback"),
    ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost", &["127.0.0.1"], "loopback"),
    ("ｌｏｃａｌｈｏｓｔ", "localhost", &["127.0.0.1"], "loopback"),
    ("loc\u{ad}alhost", "localhost", &["127.0.0.1"], "loopback"),
    ("%6cocalhost", "localhost", &["127.0.0.1"], "loopback"),
    ("foo.localhost", "foo.localhost", &["127.0.0.1"], "loopback"),
    ("api.example.com@localhost", "localhost", &["127.0.0.1"], "loopback"),
    (
        "metadata.google.internal",
        "metadata.google.internal",
        &["169.254.169.254"],
        "a metadata service",
    ),
    (
        "metadata.google.internal.",
        "metadata.google.internal.",
        &["fd20:ce::254"],
        "a metadata service",
    ),
    ("127.0.0.1.nip.io", "127.0.0.1.nip.io", &["127.0.0.1"], "loopback"),
    (
        "kubernetes.default.svc",
        "kubernetes.default.svc",
        &["10.96.0.1"],
        "the API server's own address",
    ),
    (
        "dns64.example.com",
        "dns64.example.com",
        &["64:ff9b::a9fe:a9fe"],
        "a metadata service",
    ),
    (
        "two.example.com",
        "two.example.com",
        &["fe80::1", "0.0.0.0"],
        "link-local",
    ),
    (
        "bücher.example",
        "xn--bcher-kva.example",
        &["::ffff:127.0.0.1"],
        "loopback",
    ),
];

/// The host as the product hands it to the dialer.
fn host_of(url: &Url) -> String {
    match url.host().unwrap() {
        Host::Ipv6(address) => address.to_string(),
        Host::Ipv4(address) => address.to_string(),
        Host::Domain(name) => name.to_owned(),
    }
}

#[tokio::test]
async fn no_notation_of_a_forbidden_address_is_dialled() {
    let trap = Trap::at("127.0.0.1:0");
    let trap_v6 = Trap::at(&format!("[::1]:{}", trap.port()));
    let policy = Arc::new(AddressPolicy::default().with_api_server(&["10.96.0.1/32".parse().unwrap()]));

    let mut vectors: Vec<(String, String)> = Vec::new();
    for (forbidden, rule) in FORBIDDEN {
        let notations = notations(forbidden.parse().unwrap());
        vectors.extend(notations.into_iter().map(|host| (host, rule.to_owned())));
    }
    vectors.extend(HOSTS.map(|(host, rule)| (host.to_owned(), rule.to_owned())));
    vectors.extend(NAMES.map(|(host, _, _, rule)| (host.to_owned(), rule.to_owned())));
    assert!(vectors.len() >= 120);

    for (written, rule) in &vectors {
        for scheme in ["http", "https"] {
            // What follows the host in some of the tricks is no port, so the port is given apart.
            let url =
                Url::parse(&format!("{scheme}://{written}/v1")).unwrap_or_else(|error| panic!("{written}: {error}"));
            // `localhost` has several answers in the list, so each row brings its own script.
            let scripted = NAMES.iter().find(|(host, ..)| host == written).map_or_else(
                || Script::of(&[]),
                |(_, name, answer, _)| Script::of(&[(*name, &[*answer])]),
            );
            let dialer = Dialer::with_resolver(Arc::clone(&policy), scripted);
            let error = dialer
                .dial(&plain(&host_of(&url), trap.port()), PATIENCE)
                .await
                .unwrap_err();
            match &error {
                DialError::Refused { refused, .. } => assert_eq!(refused.rule, rule, "{written}: {error}"),
                other => panic!("{written} was not refused: {other}"),
            }
        }
    }
    println!("{} notations refused", vectors.len());
    assert_eq!(trap.caught() + trap_v6.caught(), 0);
}

#[tokio::test]
async fn a_host_that_no_url_parser_has_seen_is_refused_by_its_address() {
    let trap = Trap::at("127.0.0.1:0");
    // The system's resolver reads the old notations by itself (inet_aton).
    for host in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0x7f.1",
        "0",
        "localhost",
        "localhost.",
        "169.254.43518",
        "2852039166",
        "::1",
        "::ffff:127.0.0.1",
    ] {
        let dialer = Dialer::new(Arc::new(AddressPolicy::default()));
        let error = dialer.dial(&plain(host, trap.port()), PATIENCE).await.unwrap_err();
        assert!(
            matches!(error, DialError::Refused { .. } | DialError::Resolve { .. }),
            "{host}: {error}"
        );
    }
    assert_eq!(trap.caught(), 0);
}

#[test]
fn what_is_no_host_is_refused_by_the_parser() {
    for written in [
        "127.0.0.1%00",
        "127.0.0.1%0d%0aHost:x",
        "[::1",
        "::1]",
        "[fe80::1%25eth0]",
        "256.0.0.1",
        "0x100000000",
        "127.0.0.1.5",
        "1.2.3.4.5",
        "a b",
        "",
    ] {
        assert!(Url::parse(&format!("http://{written}/")).is_err(), "{written}");
    }
}
