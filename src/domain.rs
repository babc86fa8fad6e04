//! Decisions, pure: no async, no clock, no randomness, no I/O. `now` and random numbers are arguments.

pub mod health;
pub mod key;
pub mod plan;
pub mod secret;
