//! Which addresses may be dialled.

use std::net::IpAddr;

use ipnet::IpNet;

/// Which addresses may be dialled.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Loopback is allowed (`--allow-loopback`; on in `run`).
    pub allow_loopback: bool,
    /// Networks that the installation denies, besides those that are always refused.
    pub denied: Vec<IpNet>,
}

/// An address that may not be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {rule}")]
pub struct Refused {
    /// The address.
    pub address: IpAddr,
    /// What it is, such as `link-local`.
    pub rule: &'static str,
}

impl AddressPolicy {
    /// Whether `address` may be dialled.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let _ = address;
        todo!()
    }
}
