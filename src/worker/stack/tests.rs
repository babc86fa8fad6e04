//! The stack as a whole, in paused time.

mod adaptive;
mod addresses;
mod hedge;
mod recovery;
