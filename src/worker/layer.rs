//! The layers of the stack (see [`super::stack`] for their order), one file each.

pub mod admit;
