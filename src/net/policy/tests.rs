use super::*;

fn check(policy: &AddressPolicy, address: &str) -> Result<(), Refused> {
    policy.check(address.parse().unwrap_or_else(|_| panic!("{address} is no address")))
}

fn rule(policy: &AddressPolicy, address: &str) -> Option<&'static str> {
    check(policy, address).err().map(|refused| refused.rule)
}

fn networks(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

/// Both ends of every network that is refused, and the addresses next to them.
#[test]
fn the_borders_of_every_rule_are_where_its_source_says() {
    for (address, expected) in [
        ("0.0.0.0", Some("unspecified")),
        ("0.255.255.255", Some("unspecified")),
        ("1.0.0.0", None),
        ("126.255.255.255", None),
        ("127.0.0.0", Some("loopback")),
        ("127.255.255.255", Some("loopback")),
        ("128.0.0.0", None),
        ("169.253.255.255", None),
        ("169.254.0.0", Some("link-local")),
        ("169.254.169.253", Some("link-local")),
        ("169.254.169.254", Some("a metadata service")),
        ("169.254.169.255", Some("link-local")),
        ("169.254.170.2", Some("a metadata service")),
        ("169.254.170.23", Some("a metadata service")),
        ("169.254.255.255", Some("link-local")),
        ("169.255.0.0", None),
        ("100.100.100.199", None),
        ("100.100.100.200", Some("a metadata service")),
        ("100.100.100.201", None),
        ("168.63.129.16", Some("a metadata service")),
        ("168.63.129.17", None),
        ("192.0.0.192", Some("a metadata service")),
        ("223.255.255.255", None),
        ("224.0.0.0", Some("multicast")),
        ("239.255.255.255", Some("multicast")),
        ("240.0.0.0", None),
        ("255.255.255.254", None),
        ("255.255.255.255", Some("broadcast")),
        ("::", Some("unspecified")),
        ("::1", Some("loopback")),
        ("fe7f:ffff::", None),
        ("fe80::", Some("link-local")),
        ("fe80::1", Some("link-local")),
        ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("link-local")),
        ("fec0::", None),
        ("ff00::", Some("multicast")),
        ("ff02::1", Some("multicast")),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("multicast")),
        ("fd00:ec2::253", None),
        ("fd00:ec2::254", Some("a metadata service")),
        ("fd00:ec2::23", Some("a metadata service")),
        ("fd20:ce::254", Some("a metadata service")),
    ] {
        assert_eq!(rule(&AddressPolicy::default(), address), expected, "{address}");
    }
}

#[test]
fn public_and_private_addresses_of_every_form_are_allowed() {
    for address in [
        "8.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:db8::1",
        "fd12:3456:789a::1",
        "::ffff:8.8.8.8",
        "::ffff:10.0.0.1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:808:8:800::",
        "64:ff9b:1:8:8:808::",
        "64:ff9b:1:0:8:808:800::",
        "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
        "2001:db8::5efe:8.8.8.8",
    ] {
        assert_eq!(check(&AddressPolicy::default(), address), Ok(()), "{address}");
    }
}

#[test]
fn an_address_that_leads_to_a_refused_one_is_refused_and_says_why() {
    for (address, rule, form) in [
        ("::ffff:169.254.169.254", "a metadata service", "IPv4-mapped"),
        ("::169.254.169.254", "a metadata service", "IPv4-compatible"),
        ("::ffff:0:169.254.169.254", "a metadata service", "IPv4-translated"),
        ("64:ff9b::169.254.169.254", "a metadata service", "NAT64"),
        ("64:ff9b:1::169.254.169.254", "a metadata service", "NAT64"),
        ("64:ff9b:1:a9fe:a9:fe00::", "a metadata service", "NAT64"),
        ("64:ff9b:1:a9:fe:a9fe::", "a metadata service", "NAT64"),
        ("64:ff9b:1::a9:fea9:fe00:0", "a metadata service", "NAT64"),
        ("64:ff9b:1:1:2:3:a9fe:a9fe", "a metadata service", "NAT64"),
        ("64:ff9b:1::", "unspecified", "NAT64"),
        ("2002:a9fe:a9fe::1", "a metadata service", "6to4"),
        ("2001:0:808:808:0:0:5601:5601", "a metadata service", "Teredo"),
        ("2001:0:a9fe:a9fe:0:0:f7f7:f7f7", "a metadata service", "Teredo server"),
        ("2001:db8::5efe:169.254.169.254", "a metadata service", "ISATAP"),
        ("2001:db8::200:5efe:127.0.0.1", "loopback", "ISATAP"),
        ("::127.0.0.1", "loopback", "IPv4-compatible"),
        ("64:ff9b::", "unspecified", "NAT64"),
        ("2002:e000:1::", "multicast", "6to4"),
        ("::2", "unspecified", "IPv4-compatible"),
    ] {
        let refused = check(&AddressPolicy::default(), address).unwrap_err();
        assert_eq!(refused.rule, rule, "{address}");
        assert_eq!(refused.embedded.map(|(_, form)| form), Some(form), "{address}");
    }
    let text = check(&AddressPolicy::default(), "64:ff9b::a9fe:a9fe")
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "64:ff9b::a9fe:a9fe leads to 169.254.169.254 (NAT64), which is a metadata service"
    );
}

#[test]
fn allowing_loopback_opens_loopback_and_nothing_else() {
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    };
    for address in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(check(&policy, address), Ok(()), "{address}");
    }
    for address in [
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
        "::ffff:0.0.0.0",
        "64:ff9b::169.254.1.1",
    ] {
        assert!(check(&policy, address).is_err(), "{address}");
    }
}

#[test]
fn what_the_installation_denies_is_denied_in_every_form() {
    let policy = AddressPolicy {
        denied: networks(&["10.0.0.0/8", "fd00:1::/32", "::ffff:192.168.0.0/112"]),
        ..AddressPolicy::default()
    };
    for address in [
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "2002:a01:203::",
        "fd00:1::9",
        "192.168.7.7",
        "::ffff:192.168.7.7",
    ] {
        assert_eq!(rule(&policy, address), Some("denied by the installation"), "{address}");
    }
    for address in ["11.0.0.1", "fd00:2::1", "192.169.0.1"] {
        assert_eq!(rule(&policy, address), None, "{address}");
    }
}

#[test]
fn denying_all_of_ipv6_does_not_deny_ipv4() {
    let policy = AddressPolicy {
        denied: networks(&["::/0"]),
        ..AddressPolicy::default()
    };
    assert!(check(&policy, "2606:4700:4700::1111").is_err());
    assert_eq!(check(&policy, "8.8.8.8"), Ok(()));
}

#[test]
fn the_api_server_is_refused_under_its_own_name() {
    let policy = AddressPolicy::default().with_api_server(&networks(&["10.96.0.1/32", "172.18.0.2/32"]));
    assert_eq!(rule(&policy, "10.96.0.1"), Some("the API server's own address"));
    assert_eq!(rule(&policy, "::ffff:172.18.0.2"), Some("the API server's own address"));
    assert_eq!(rule(&policy, "10.96.0.2"), None);
}

#[test]
fn an_api_server_on_loopback_stays_refused_where_loopback_is_allowed() {
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    }
    .with_api_server(&networks(&["127.0.0.5/32"]));
    assert_eq!(rule(&policy, "127.0.0.5"), Some("the API server's own address"));
    assert_eq!(rule(&policy, "127.0.0.1"), None);
}

#[test]
fn the_unspecified_address_hides_behind_no_nat64_prefix_of_the_network() {
    let refused = rule(&AddressPolicy::default(), "64:ff9b:1::");
    assert_eq!(refused, Some("unspecified"));
    // 1.0.0.0 under /64, and 0.0.1.0 under /48, where nothing answers.
    assert_eq!(rule(&AddressPolicy::default(), "64:ff9b:1:0:1::"), None);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is refused as an IPv4 address is refused in every IPv6 form that leads to it.
        ///
        /// One exception: in 64:ff9b:1::/48 the length of the prefix cannot be seen, and 0.0.1.0 under one length is
        /// 1.0.0.0 under another. Of 0.0.0.0/8, which no packet can be sent to, only 0.0.0.0 itself is refused there,
        /// because kernels take that one for loopback.
        #[test]
        fn no_form_hides_an_address(bits in any::<u32>(), prefix in any::<u64>()) {
            let policy = AddressPolicy { denied: networks(&["128.0.0.0/1"]), ..AddressPolicy::default() };
            let inner = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = inner.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let [p0, p1, p2, p3] = [prefix >> 48, prefix >> 32, prefix >> 16, prefix]
                .map(|part| u16::try_from(part & 0xffff).unwrap());
            let outer = [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, high, c, d << 8, 0, 0),
                Ipv6Addr::new(0x64, 0xff9b, 1, a, b, low, 0, 0),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, a, b << 8 | c, d << 8, 0),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, p0, p1, p2, p3, 1),
                Ipv6Addr::new(0x2001, 0, p0, p1, p2, p3, !high, !low),
                Ipv6Addr::new(0x2001, 0, high, low, p0, p1, p2, p3),
                Ipv6Addr::new(p0, p1, p2, p3, 0, 0x5efe, high, low),
                Ipv6Addr::new(p0, p1, p2, p3, 0x200, 0x5efe, high, low),
            ];
            if policy.check(IpAddr::V4(inner)).is_err() {
                for outer in outer {
                    let ambiguous = outer.segments()[..3] == [0x64, 0xff9b, 1] && a == 0 && bits != 0;
                    if ambiguous {
                        continue;
                    }
                    prop_assert!(policy.check(IpAddr::V6(outer)).is_err(), "{inner} hides in {outer}");
                }
            }
        }
    }
}
