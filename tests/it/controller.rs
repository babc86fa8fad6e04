//! The reconcilers: in memory with paused time, and on a real API server.

mod in_memory;
mod issuing;
mod on_api_server;
