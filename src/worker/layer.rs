//! The layers of the stack (see [`super::stack`] for their order), one file each.

pub mod admit;
pub mod authenticate;
pub mod fault;
pub mod observe;
pub mod quota;
pub mod retry;
