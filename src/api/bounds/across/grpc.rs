//! What fits `protocol: GRPC`, and what fits nothing else.

use super::Across;

/// `retries.statuses`.
pub const GRPC_STATUSES: Across = Across {
    cel: "!has(self.protocol) || self.protocol != 'GRPC' || !has(self.retries) || !has(self.retries.statuses)",
    field: ".retries.statuses",
    must: "must not be set when `protocol` is 'GRPC', whose status is not that of HTTP; `retries.methods` 'All' retries \
           UNAVAILABLE",
};

/// `connections.http2`.
pub const GRPC_HTTP2: Across = Across {
    cel: "!has(self.protocol) || self.protocol != 'GRPC' || !has(self.connections) || !has(self.connections.http2) \
          || self.connections.http2 != 'Never'",
    field: ".connections.http2",
    must: "must not be 'Never' when `protocol` is 'GRPC', which is spoken over HTTP/2 alone",
};

/// `healthCheck`, which is one of grpc.health.v1.
pub const GRPC_PROBE: Across = Across {
    cel: "!has(self.protocol) || self.protocol != 'GRPC' || !has(self.healthCheck) || !has(self.healthCheck.path) \
          && !has(self.healthCheck.method) && (!has(self.healthCheck.expect) || !has(self.healthCheck.expect.statuses))",
    field: ".healthCheck",
    must: "must not have `path`, `method` or `expect.statuses` when `protocol` is 'GRPC'; the probe is a call of \
           grpc.health.v1, and `service` says what it asks about",
};

/// `healthCheck.service`.
pub const GRPC_SERVICE: Across = Across {
    cel: "has(self.protocol) && self.protocol == 'GRPC' || !has(self.healthCheck) || !has(self.healthCheck.service)",
    field: ".healthCheck.service",
    must: "must be set only when `protocol` is 'GRPC'",
};
