//! Real parts for the tests to stand on.

pub mod apiserver;
pub mod clients;
pub mod dataplane;
pub mod fault;
pub mod frames;
pub mod loopback;
pub mod manifests;
pub mod memory;
pub mod npm;
pub mod program;
pub mod provider;
pub mod sample;
pub mod scoped;
pub mod simulator;
pub mod tools;
pub mod workers;
