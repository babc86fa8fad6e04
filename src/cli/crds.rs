//! `tidegate crds`: Print the CustomResourceDefinitions.

use super::Failure;

/// Flags of `tidegate crds`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Print the CustomResourceDefinitions.
pub fn run(args: Args) -> Result<(), Failure> {
    let Args {} = args;
    Err(Failure::new("`tidegate crds` is not built yet"))
}
