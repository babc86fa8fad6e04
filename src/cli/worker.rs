//! `tidegate worker`: Run one data-plane worker.

use super::Failure;

/// Flags of `tidegate worker`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Run one data-plane worker.
pub fn run(args: Args) -> Result<(), Failure> {
    let Args {} = args;
    Err(Failure::new("`tidegate worker` is not built yet"))
}
