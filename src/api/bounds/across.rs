//! What holds between fields.

use super::Across;

mod credential;
mod graphql;
mod grpc;
mod resilience;
mod rotation;
mod websocket;

pub use credential::*;
pub use graphql::*;
pub use grpc::*;
pub use resilience::*;
pub use rotation::*;
pub use websocket::*;

/// `timeouts`.
pub const ATTEMPT_WITHIN_REQUEST: Across = Across {
    cel: "!has(self.attempt) || !has(self.request) || duration(self.attempt) <= duration(self.request)",
    field: ".attempt",
    must: "must not be longer than `request`",
};

/// `retries.backoff`.
pub const BASE_WITHIN_MAX: Across = Across {
    cel: "!has(self.base) || !has(self.max) || duration(self.base) <= duration(self.max)",
    field: ".base",
    must: "must not be longer than `max`",
};

/// `circuitBreaker`.
pub const OPEN_WITHIN_MAX: Across = Across {
    cel: "!has(self.openFor) || !has(self.maxOpenFor) || duration(self.openFor) <= duration(self.maxOpenFor)",
    field: ".openFor",
    must: "must not be longer than `maxOpenFor`",
};

/// `rateLimit`, against `workers.replicas`.
pub const RATE_FOR_WORKERS: Across = Across {
    cel: "!has(self.spec.rateLimit) \
          || self.spec.rateLimit.requests + (has(self.spec.rateLimit.burst) ? self.spec.rateLimit.burst : 0) \
          >= (has(self.spec.workers) && has(self.spec.workers.replicas) ? self.spec.workers.replicas : 2)",
    field: ".spec.rateLimit.requests",
    must: "must be, with `burst`, at least `workers.replicas`, because each worker needs a share",
};

/// `loadBalancing`.
pub const HASH_ON_SOMETHING: Across = Across {
    cel: "!has(self.policy) || self.policy != 'ConsistentHash' || has(self.hashOn)",
    field: ".hashOn",
    must: "must be set when `policy` is 'ConsistentHash'",
};

/// `loadBalancing`.
pub const HASH_ON_FOR_HASH: Across = Across {
    cel: "!has(self.hashOn) || (has(self.policy) && self.policy == 'ConsistentHash')",
    field: ".hashOn",
    must: "must not be set unless `policy` is 'ConsistentHash'",
};

/// `healthCheck`.
pub const TIMEOUT_WITHIN_INTERVAL: Across = Across {
    cel: "!has(self.timeout) || !has(self.interval) || duration(self.timeout) <= duration(self.interval)",
    field: ".timeout",
    must: "must not be longer than `interval`",
};

/// `workers.resources`.
pub const CPU_WITHIN_LIMIT: Across = Across {
    cel: "!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) \
          || quantity(self.requests.cpu).compareTo(quantity(self.limits.cpu)) <= 0",
    field: ".requests.cpu",
    must: "must not be more than `limits.cpu`",
};

/// `workers.resources`.
pub const MEMORY_WITHIN_LIMIT: Across = Across {
    cel: "!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) \
          || quantity(self.requests.memory).compareTo(quantity(self.limits.memory)) <= 0",
    field: ".requests.memory",
    must: "must not be more than `limits.memory`",
};

/// The name of an Integration: RFC 1035, because a Service gets it.
pub const SERVICE_NAME: Across = Across {
    cel: "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
    field: "metadata.name",
    must: "must be a DNS label (RFC 1035) of at most 63 characters, because a Service gets this name: lower-case \
           letters, digits and '-', beginning with a letter and ending with a letter or digit",
};

/// `endpoints`: a list that traffic can go to. The rule is on the list itself.
pub const SOME_WEIGHT: (&str, &str) = (
    "self.exists(e, !has(e.weight) || e.weight > 0)",
    "must have at least one endpoint whose `weight` is more than 0",
);

/// `protocol`, against what it was.
pub const PROTOCOL_STAYS: (&str, &str) = (
    "self == oldSelf",
    "must not change; make another Integration for another protocol",
);

/// `apiKey` and `jwt`: `in` is a reserved word of CEL, hence the underscores.
pub const NAME_OUTSIDE_HEADERS: Across = Across {
    cel: "has(self.name) || !has(self.__in__) || self.__in__ == 'Header'",
    field: ".name",
    must: "must be set when `in` is 'Query' or 'Cookie'",
};

/// `apiKey` and `jwt`: a header's or a cookie's name is a token (RFC 9110, 5.6.2; RFC 6265, 4.1.1).
pub const NAME_IS_TOKEN: Across = Across {
    cel: "!has(self.name) || (has(self.__in__) && self.__in__ == 'Query') \
          || self.name.matches('^[-!#$%&\\'*+.^_`|~0-9A-Za-z]+$')",
    field: ".name",
    must: "must be the name of a header or cookie: letters, digits and the signs ! # $ % & ' * + - . ^ _ ` | ~",
};

/// `apiKey` and `jwt`: headers that frame the message or say where it goes cannot carry a key.
pub const NAME_IS_FREE: Across = Across {
    cel: "!has(self.name) || (has(self.__in__) && self.__in__ != 'Header') || !(self.name.lowerAscii() in [\
          'connection', 'content-encoding', 'content-length', 'content-type', 'cookie', 'date', 'expect', 'host', \
          'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', \
          'transfer-encoding', 'upgrade', 'via'])",
    field: ".name",
    must: "must not be a header that frames or routes the request, such as 'Host' or 'Content-Length'; for a cookie, \
           set `in` to 'Cookie'",
};

/// The headers of [`NAME_IS_FREE`].
pub const FRAMING_HEADERS: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// `apiKey` and `jwt`: nothing stands before the value in a query or a cookie.
pub const PREFIX_IN_HEADERS: Across = Across {
    cel: "!has(self.prefix) || self.prefix == '' || !has(self.__in__) || self.__in__ == 'Header'",
    field: ".prefix",
    must: "must be empty unless `in` is 'Header'",
};
