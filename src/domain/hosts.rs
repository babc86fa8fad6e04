//! Host patterns of `allowedHosts`: which hosts a credential may be sent to.
//!
//! A pattern is `host`, `*.suffix` or `[IPv6]`, each with an optional `:port`; without a port it means any port. Case
//! and a trailing dot do not matter. A wildcard stands for one or more whole labels, as in Gateway API, and never for
//! an address: `*.example.org` allows `a.example.org` and `a.b.example.org`, but not `example.org`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::Host;

use crate::api::bounds::HOST_PATTERN_MUST;

/// Longest pattern that is accepted, in bytes: a DNS name (253), `*.` and `:65535`.
pub const MAX_LENGTH: usize = 261;

/// A string that is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{HOST_PATTERN_MUST}")]
pub struct InvalidPattern;

/// One entry of `allowedHosts`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    name: Name,
    /// `None` means any port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// Lower case, without a trailing dot.
    Exact(String),
    /// What follows `*`, with its leading dot: `.example.org`.
    Suffix(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl HostPattern {
    /// Whether `host` may be sent to on `port`.
    ///
    /// `host` is as in a URL, with or without the brackets of an IPv6 address. What is not a host is never allowed.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|only| only != port) {
            return false;
        }
        match (&self.name, parse_host(host)) {
            (Name::Exact(name), Some(Host::Domain(host))) => *name == host,
            (Name::Suffix(suffix), Some(Host::Domain(host))) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|labels| !labels.is_empty() && !labels.ends_with('.')),
            (Name::V4(address), Some(Host::Ipv4(host))) => *address == host,
            (Name::V6(address), Some(Host::Ipv6(host))) => *address == host,
            _ => false,
        }
    }
}

/// Whether one of `patterns` allows `host` on `port`. No pattern allows nothing.
pub fn allowed(patterns: &[HostPattern], host: &str, port: u16) -> bool {
    patterns.iter().any(|pattern| pattern.allows(host, port))
}

impl FromStr for HostPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_LENGTH || !text.is_ascii() {
            return Err(InvalidPattern);
        }
        let (host, port) = split_port(text)?;
        let name = match host.strip_prefix("*.") {
            Some(suffix) => match parse_host(suffix) {
                Some(Host::Domain(suffix)) => Name::Suffix(format!(".{suffix}")),
                _ => return Err(InvalidPattern),
            },
            None => match parse_host(host) {
                Some(Host::Domain(name)) => Name::Exact(name),
                Some(Host::Ipv4(address)) => Name::V4(address),
                // Without brackets, the last group could as well be a port.
                Some(Host::Ipv6(address)) if host.starts_with('[') => Name::V6(address),
                _ => return Err(InvalidPattern),
            },
        };
        Ok(Self { name, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Exact(name) => f.write_str(name)?,
            Name::Suffix(suffix) => write!(f, "*{suffix}")?,
            Name::V4(address) => write!(f, "{address}")?,
            Name::V6(address) => write!(f, "[{address}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Cuts `:port` off. A port is a number from 1 to 65535 without leading zeros.
fn split_port(text: &str) -> Result<(&str, Option<u16>), InvalidPattern> {
    let colon = match text.rfind(']') {
        Some(bracket) => match &text[bracket + 1..] {
            "" => None,
            rest if rest.starts_with(':') => Some(bracket + 1),
            _ => return Err(InvalidPattern),
        },
        None => text.find(':'),
    };
    let Some(colon) = colon else { return Ok((text, None)) };
    let digits = &text[colon + 1..];
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidPattern);
    }
    let port = digits.parse().map_err(|_| InvalidPattern)?;
    Ok((&text[..colon], Some(port)))
}

/// The host in its one canonical form: lower case, no trailing dot, an address as an address.
///
/// The WHATWG parser decides what is an address, so that `0x7f.1` in a pattern and in a URL are the same thing. What it
/// would decode or map first (`%2e`, other scripts) is refused, because a pattern says exactly what it allows.
fn parse_host(text: &str) -> Option<Host<String>> {
    if text.starts_with('[') {
        return Host::parse(text).ok();
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(Host::Ipv6(address));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if !name.split('.').all(is_label) {
        return None;
    }
    match Host::parse(name).ok()? {
        Host::Domain(name) if name.len() > 253 => None,
        host => Some(host),
    }
}

/// A label of a host name: one to 63 letters, digits, `-` and `_` (which DNS knows and some providers use), not
/// beginning or ending in `-`.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests;
