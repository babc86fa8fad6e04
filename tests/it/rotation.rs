//! The replacement of values against a strict provider: whatever fails on the way, what the provider's ledger says at the
//! end is right.

mod deletion;
mod herd;
mod life;
mod line;
mod matrix;
mod on_api_server;
mod oracle;
mod pairs;
mod permanent;
mod scenario;
