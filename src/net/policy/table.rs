//! The special-purpose addresses that are always refused, in one table.

use std::net::IpAddr;

use ipnet::IpNet;

/// The one kind that an installation can allow.
pub const LOOPBACK: &str = "loopback";
const METADATA: &str = "a metadata service";
const LINK_LOCAL: &str = "link-local";
const MULTICAST: &str = "multicast";
const UNSPECIFIED: &str = "unspecified";
const BROADCAST: &str = "broadcast";

/// What is refused, and what it is called. The first that matches gives the name, so the single addresses stand above
/// the networks they lie in. Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), IANA multicast
/// registries; for metadata services, the documentation of each cloud.
const REFUSED: [(&str, &str); 18] = [
    // Metadata services: whoever can ask them acts as the machine.
    ("169.254.169.254/32", METADATA), // AWS, Azure, Google Cloud, OpenStack, DigitalOcean, Oracle
    ("169.254.170.2/32", METADATA),   // AWS, credentials of an ECS task
    ("169.254.170.23/32", METADATA),  // AWS, EKS Pod Identity
    ("fd00:ec2::254/128", METADATA),  // AWS
    ("fd00:ec2::23/128", METADATA),   // AWS, EKS Pod Identity
    ("fd20:ce::254/128", METADATA),   // Google Cloud
    ("100.100.100.200/32", METADATA), // Alibaba Cloud
    ("168.63.129.16/32", METADATA),   // Azure, WireServer
    ("192.0.0.192/32", METADATA),     // Oracle Cloud
    // The worker itself.
    ("127.0.0.0/8", LOOPBACK), // RFC 1122, 3.2.1.3
    ("::1/128", LOOPBACK),     // RFC 4291
    // The link: the node and what answers on it.
    ("169.254.0.0/16", LINK_LOCAL), // RFC 3927
    ("fe80::/10", LINK_LOCAL),      // RFC 4291
    // Not one host.
    ("224.0.0.0/4", MULTICAST),        // RFC 1112
    ("ff00::/8", MULTICAST),           // RFC 4291
    ("255.255.255.255/32", BROADCAST), // RFC 919
    // "This host on this network": kernels connect 0.0.0.0 and :: to loopback.
    ("0.0.0.0/8", UNSPECIFIED), // RFC 1122, 3.2.1.3
    ("::/128", UNSPECIFIED),    // RFC 4291
];

/// What kind of refused address this is, if it is one. IPv4-mapped addresses are to be unwrapped before.
pub fn kind(address: IpAddr) -> Option<&'static str> {
    parsed()
        .iter()
        .find(|(network, _)| network.contains(&address))
        .map(|(_, kind)| *kind)
}

/// The table, parsed once.
fn parsed() -> &'static [(IpNet, &'static str)] {
    static PARSED: std::sync::LazyLock<Vec<(IpNet, &'static str)>> = std::sync::LazyLock::new(|| {
        REFUSED
            .iter()
            .filter_map(|(network, kind)| Some((network.parse().ok()?, *kind)))
            .collect()
    });
    &PARSED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_parses_and_names_its_own_network() {
        assert_eq!(parsed().len(), REFUSED.len());
        for (network, kind) in parsed() {
            assert_eq!(super::kind(network.addr()), Some(*kind), "{network}");
            assert_eq!(network.trunc(), *network, "{network} has bits beyond its prefix");
        }
    }
}
