//! `tidegate run`: Serve Integrations from manifest files.

use super::Failure;

/// Flags of `tidegate run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Serve Integrations from manifest files.
pub fn run(args: Args) -> Result<(), Failure> {
    let Args {} = args;
    Err(Failure::new("`tidegate run` is not built yet"))
}
