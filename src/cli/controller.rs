//! `tidegate controller`: Run the control plane in a cluster.

use super::Failure;

/// Flags of `tidegate controller`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Run the control plane in a cluster.
pub fn run(args: Args) -> Result<(), Failure> {
    let Args {} = args;
    Err(Failure::new("`tidegate controller` is not built yet"))
}
