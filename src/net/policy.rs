//! Which addresses may be dialled.
//!
//! The check is on the address itself, after every notation of it has been read and every name resolved, so it does not
//! matter how a URL spells it. Private networks (RFC 1918, unique local addresses) are allowed: companies call APIs of
//! their own. What a worker could reach only because it is where it is, is not: its own node and pod, the metadata
//! service of the cloud, the API server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

mod embedded;
mod table;

/// Which addresses may be dialled.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Loopback is allowed (`--allow-loopback`; on in `run`). It opens nothing else.
    pub allow_loopback: bool,
    /// Networks that the installation denies, besides those that are always refused.
    pub denied: Vec<IpNet>,
    /// The API server's own addresses.
    pub api_server: Vec<IpNet>,
}

/// An address that may not be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The address.
    pub address: IpAddr,
    /// What it is, such as `link-local`.
    pub rule: &'static str,
    /// The IPv4 address that the rule is about, where `address` only leads to it, and how it leads there.
    pub embedded: Option<(Ipv4Addr, &'static str)>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.embedded {
            None => write!(f, "{} is {}", self.address, self.rule),
            Some((inner, form)) => write!(f, "{} leads to {inner} ({form}), which is {}", self.address, self.rule),
        }
    }
}

impl AddressPolicy {
    /// This policy, which also refuses the addresses of the API server.
    #[must_use]
    pub fn with_api_server(&self, addresses: &[IpNet]) -> Self {
        let mut policy = self.clone();
        policy.api_server.extend_from_slice(addresses);
        policy
    }

    /// Whether `address` may be dialled.
    ///
    /// An IPv6 address that carries an IPv4 address in it (mapped, compatible, translated, 6to4, Teredo, ISATAP) is
    /// refused for its own sake or for the sake of the one it carries.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let refuse = |rule, embedded| {
            Err(Refused {
                address,
                rule,
                embedded,
            })
        };
        // A mapped address is the IPv4 address itself for the kernel: there is no other to speak of.
        let canonical = address.to_canonical();
        if let Some(rule) = self.rule(canonical) {
            let embedded = match canonical {
                IpAddr::V4(inner) if address.is_ipv6() => Some((inner, embedded::MAPPED)),
                _ => None,
            };
            return refuse(rule, embedded);
        }
        if let IpAddr::V6(outer) = canonical {
            for (inner, form) in embedded::addresses(outer) {
                if let Some(rule) = self.rule(IpAddr::V4(inner)) {
                    return refuse(rule, Some((inner, form)));
                }
            }
        }
        Ok(())
    }

    /// The first rule that refuses exactly this address.
    fn rule(&self, address: IpAddr) -> Option<&'static str> {
        match table::kind(address) {
            Some(table::LOOPBACK) if self.allow_loopback => {}
            Some(kind) => return Some(kind),
            None => {}
        }
        if holds(&self.api_server, address) {
            return Some("the API server's own address");
        }
        holds(&self.denied, address).then_some("denied by the installation")
    }
}

/// Whether one of `networks` holds `address`. IPv4 networks may be written in the IPv6-mapped form.
fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let mapped = match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    networks
        .iter()
        .any(|network| network.contains(&address) || is_mapped(network) && network.contains(&mapped))
}

/// Whether `network` lies within ::ffff:0:0/96. A shorter prefix such as ::/0 means IPv6, not IPv4 as well.
fn is_mapped(network: &IpNet) -> bool {
    match network {
        IpNet::V4(_) => false,
        IpNet::V6(network) => network.prefix_len() >= 96 && as_mapped(network.network()).is_some(),
    }
}

fn as_mapped(address: Ipv6Addr) -> Option<Ipv4Addr> {
    address.to_ipv4_mapped()
}

#[cfg(test)]
mod tests;
