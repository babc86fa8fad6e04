//! WebSocket (RFC 6455) as far as a proxy has to know it: the opening handshake, and where frames begin and end.

pub mod frame;
pub mod handshake;
pub mod write;
