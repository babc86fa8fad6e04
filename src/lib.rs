//! Tidegate manages a company's connections to outside APIs.
//!
//! A platform team declares an `Integration` (where the API is, how to behave towards it) and a `Credential` (how to
//! authenticate). The **controller** turns them into plans and plans into workers, and what the workers report into the
//! resources' status. A **worker** serves traffic from its plan, with the API server and the controller up or down.
//! `tidegate run` is both in one process over files.
//!
//! Layers, lowest first; a module may use those to its left and no others (`tests/it/tidy.rs` checks it):
//!
//! ```text
//! api <- domain <- { net <- provider, cluster, fleet } <- { controller, worker } <- { standalone, cli } <- main
//! telemetry <- any
//! ```
//!
//! The modules, in reading order:

pub mod api;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod domain;
pub mod fleet;
pub mod net;
pub mod provider;
pub mod standalone;
pub mod telemetry;
pub mod worker;
