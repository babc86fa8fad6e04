//! The command line: flags, and one module for each subcommand. Nothing else in the product prints.
//!
//! A subcommand is a module with `Args` (clap) and `run(Args) -> Result<(), Failure>`. Every flag has an environment
//! twin `TIDEGATE_<FLAG>`. Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong usage.

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod controller;
pub mod crds;
pub mod run;
pub mod signal;
pub mod spans;
pub mod worker;

/// Manages a company's connections to outside APIs: credentials, retries, circuit breakers and health, declared as
/// Kubernetes resources or as files.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Start with `tidegate run`: it needs nothing and shows a circuit open and close.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Integrations from manifest files: no cluster needed. Without -f: a guided tour
    Run(run::Args),
    /// Run the control plane in a cluster: turns resources into workers, and what they report into status
    Controller(controller::Args),
    /// Run one data-plane worker: the controller starts these, people hardly ever do
    Worker(worker::Args),
    /// Print the CustomResourceDefinitions as YAML, for `kubectl apply -f -`
    Crds(crds::Args),
}

/// Why a subcommand failed, for the person at the terminal.
pub struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Self(text)
    }
}

impl Failure {
    /// A failure with this message: what failed, and what can be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses the command line and does what it says.
#[expect(clippy::print_stderr, reason = "the one place where a failure is told")]
pub fn main() -> ExitCode {
    // The one crypto provider of the product; libraries that take the process's own find it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Controller(args) => controller::run(args),
        Command::Worker(args) => worker::run(args),
        Command::Crds(args) => crds::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            eprintln!("tidegate: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `future` on a runtime with a thread for each core.
pub fn block_on<F: Future<Output = Result<(), Failure>>>(future: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(future);
    // What still runs has been asked to stop; blocking calls (name lookups) are not waited for.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_twin_and_a_help_text() {
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments() {
                let Some(long) = flag.get_long().filter(|long| !["help", "version"].contains(long)) else {
                    continue;
                };
                let twin = format!("TIDEGATE_{}", long.replace('-', "_").to_uppercase());
                let env = flag.get_env().map(|env| env.to_string_lossy().into_owned());
                assert_eq!(env, Some(twin), "{} --{long}", command.get_name());
                assert!(flag.get_help().is_some(), "{} --{long}", command.get_name());
            }
        }
    }
}
