//! Logs, metrics, spans and the admin endpoints.

pub mod admin;
pub mod controller_metrics;
pub mod log;
pub mod spans;
pub mod worker_metrics;
