//! What fits `protocol: WebSocket`.

use super::Across;

/// `healthCheck.method`.
pub const WEBSOCKET_PROBE: Across = Across {
    cel: "!has(self.protocol) || self.protocol != 'WebSocket' || !has(self.healthCheck) \
          || !has(self.healthCheck.method) || self.healthCheck.method == 'GET'",
    field: ".healthCheck.method",
    must: "must be 'GET' when `protocol` is 'WebSocket': the probe is a handshake",
};

/// `connections.http2`.
pub const WEBSOCKET_HTTP2: Across = Across {
    cel: "!has(self.protocol) || self.protocol != 'WebSocket' || !has(self.connections) \
          || !has(self.connections.http2) || self.connections.http2 == 'Never'",
    field: ".connections.http2",
    must: "must be 'Never' or absent when `protocol` is 'WebSocket', which is opened over HTTP/1.1",
};
