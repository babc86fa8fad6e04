//! Decisions, pure: no async, no clock, no randomness, no I/O. `now` and random numbers are arguments.

pub mod aggregate;
pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod classify;
pub mod compile;
pub mod expression;
pub mod graphql;
pub mod grpc;
pub mod hash;
pub mod health;
pub mod hosts;
pub mod inject;
pub mod key;
pub mod pause;
pub mod plan;
pub mod probing;
pub mod quota;
pub mod retry_after;
pub mod rotation;
pub mod secret;
pub mod status;
pub mod validate;
pub mod websocket;
