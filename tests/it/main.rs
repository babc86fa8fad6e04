//! The one integration binary: real sockets, a real kube-apiserver, the real program.

// A test that cannot go on panics; the product may not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs
)]

mod chart;
mod control;
mod controller;
mod crd;
mod credential_attacks;
mod credential_edits;
mod credential_hostile;
mod credential_network;
mod credential_oracle;
mod credential_rights;
mod credentials_on_api_server;
mod docs;
mod faults;
mod fleet;
mod grpcio;
mod h2spec;
mod net;
mod oauth2;
mod parsers;
mod propagation;
mod provider_steps;
mod rotation;
mod rotation_load;
mod run;
mod run_issued;
mod run_killed;
mod spans;
mod support;
mod tidy;
mod websocket;
mod worker;
mod worker_certificate;
mod worker_crowd;
mod worker_drain;
mod worker_edit;
mod worker_exits;
mod worker_expiry;
mod worker_flood;
mod worker_graphql;
mod worker_grpc;
mod worker_hedge;
mod worker_hostile;
mod worker_panic;
mod worker_pause;
mod worker_probe;
mod worker_rate;
mod worker_recovery;
mod worker_refused;
mod worker_renew;
mod worker_rest;
mod worker_retry;
mod worker_seen;
mod worker_smuggling;
mod worker_stream;
