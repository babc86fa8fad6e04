//! What was accepted, compiled into the plan that workers run.

use ipnet::IpNet;

use super::plan::Plan;
use super::validate::{Accepted, References};

/// The plan for `accepted`.
///
/// `stored` is the plan that was programmed last, if any. Its revision is kept if nothing else differs, and is one
/// higher otherwise. A credential that is there but has no usable value now (its Secret is missing or broken) keeps the
/// last good value that `stored` has of it; one that is gone, or never had a value, has none. `denied` are the addresses
/// that the installation refuses besides those that every worker refuses by itself.
pub fn plan(accepted: &Accepted, denied: &[IpNet], stored: Option<&Plan>) -> Plan {
    let _ = (accepted, denied, stored);
    todo!()
}

/// The stored plan with its credentials as they are now, for an Integration that is not acceptable as it stands.
///
/// The last good plan keeps serving, but a credential that was rotated, withdrawn or bound to fewer hosts since must
/// not wait for somebody to mend the Integration.
pub fn refresh(stored: &Plan, references: &References) -> Plan {
    let _ = (stored, references);
    todo!()
}
