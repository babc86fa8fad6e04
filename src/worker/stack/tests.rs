//! The stack as a whole, in paused time.

mod adaptive;
mod hedge;
mod recovery;
