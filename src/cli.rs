//! The command line: flags, and one function for each subcommand.
