//! `tidegate crds`: Print the CustomResourceDefinitions.

use std::io::Write;

use super::Failure;
use crate::api;

/// Flags of `tidegate crds`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints both CRDs as YAML, for `kubectl apply -f -`.
pub fn run(args: Args) -> Result<(), Failure> {
    let Args {} = args;
    let mut out = std::io::stdout().lock();
    for crd in api::crds::all() {
        writeln!(out, "---\n{}", api::crds::yaml(&crd)?.trim_end())?;
    }
    Ok(())
}
