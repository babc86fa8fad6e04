//! Decisions, pure: no async, no clock, no randomness, no I/O. `now` and random numbers are arguments.

pub mod compile;
pub mod health;
pub mod hosts;
pub mod key;
pub mod plan;
pub mod secret;
pub mod status;
pub mod validate;
