//! Manifests that must be refused: what is changed in a good one, the field that is to blame, and what is said of it.
//!
//! One table for two judges: the API server with our CRDs, and `domain::validate`, which sees what comes from files or
//! was stored under older CRDs.

use serde_json::Value;

/// A change to a good manifest that makes it a bad one.
#[derive(Clone, Copy)]
pub struct Bad {
    /// JSON merge patch (RFC 7396), in YAML; it replaces lists as a whole.
    pub patch: &'static str,
    /// The field that both judges must name.
    pub field: &'static str,
    /// What the API server must say; `domain::validate` too, where it begins with `must`.
    pub says: &'static str,
}

pub const fn bad(patch: &'static str, field: &'static str, says: &'static str) -> Bad {
    Bad { patch, field, says }
}

const NAME: &str = "must be a DNS label (RFC 1035) of at most 63 characters, because a Service gets this name";
const LABEL: &str = "must be a DNS label: lower-case letters, digits and '-'";
const OBJECT: &str = "must be the name of an object";
const TOKEN: &str = "must be the name of a header or cookie";
const HOST: &str = "must be a host such as 'api.example.com', a wildcard such as '*.example.com'";
const KIND: &str =
    "must have exactly one of `apiKey`, `basic`, `bearer`, `oauth2`, `jwt`, `certificate` and `generated`";
const ISSUED: &str =
    "must be set only where a value is issued: with `oauth2`, `jwt`, `certificate.issue`, `generated` or";
const HEDGE: &str = "must be 'P95', or a time from '1ms' to '10m'";
const DURATION: &str = "should match '^([0-9]{1,5}(h|m|s|ms)){1,4}$'";
const SIZE: &str = "should match '^[0-9]{1,10}(k|M|G|Ki|Mi|Gi)?$'";

/// Changes to `integration.yaml`.
pub const INTEGRATIONS: &[Bad] = &[
    bad("metadata: {name: 1api}", "metadata.name", NAME),
    bad("metadata: {name: pay.api}", "metadata.name", NAME),
    bad(
        "metadata: {name: a123456789012345678901234567890123456789012345678901234567890123}",
        "metadata.name",
        NAME,
    ),
    bad(
        "spec: {protocol: TCP}",
        "spec.protocol",
        "supported values: \"HTTP\", \"GraphQL\", \"GRPC\", \"WebSocket\"",
    ),
    bad(
        "spec: {protocol: http}",
        "spec.protocol",
        "supported values: \"HTTP\", \"GraphQL\", \"GRPC\", \"WebSocket\"",
    ),
    bad(
        "spec: {healthCheck: {service: shop.Orders}}",
        "spec.healthCheck.service",
        "must be set only when `protocol` is 'GRPC'",
    ),
    bad(
        "spec: {protocol: GRPC, connections: null, healthCheck: null, retries: {hedge: null}}",
        "spec.retries.statuses",
        "must not be set when `protocol` is 'GRPC'",
    ),
    bad(
        "spec: {protocol: GRPC, retries: null, healthCheck: null}",
        "spec.connections.http2",
        "must not be 'Never' when `protocol` is 'GRPC'",
    ),
    bad(
        "spec: {protocol: GRPC, retries: null, connections: null}",
        "spec.healthCheck",
        "must not have `path`, `method` or `expect.statuses` when `protocol` is 'GRPC'",
    ),
    bad(
        "spec: {protocol: WebSocket, connections: null, retries: null, healthCheck: {method: HEAD}}",
        "spec.healthCheck.method",
        "must be 'GET' when `protocol` is 'WebSocket'",
    ),
    bad(
        "spec: {protocol: WebSocket, healthCheck: null, retries: null, connections: {http2: Auto}}",
        "spec.connections.http2",
        "must be 'Never' or absent when `protocol` is 'WebSocket'",
    ),
    bad(
        "spec: {graphql: {maxDepth: 8}}",
        "spec.graphql",
        "must be set only when `protocol` is 'GraphQL'",
    ),
    bad(
        "spec: {protocol: GraphQL, retries: {hedge: null}, graphql: {maxDepth: 0}}",
        "spec.graphql.maxDepth",
        "greater than or equal to 1",
    ),
    bad(
        "spec: {protocol: GraphQL, retries: {hedge: null}, graphql: {maxDepth: 1001}}",
        "spec.graphql.maxDepth",
        "less than or equal to 1000",
    ),
    bad(
        "spec: {protocol: GraphQL, retries: {hedge: null}, graphql: {maxAliases: -1}}",
        "spec.graphql.maxAliases",
        "greater than or equal to 0",
    ),
    bad(
        "spec: {protocol: GraphQL, retries: {hedge: null}, graphql: {maxAliases: 10001}}",
        "spec.graphql.maxAliases",
        "less than or equal to 10000",
    ),
    bad(
        "spec: {protocol: GraphQL, retries: {hedge: null}, graphql: {errorsAreFailures: Sometimes}}",
        "spec.graphql.errorsAreFailures",
        "supported values",
    ),
    bad(
        "spec: {protocol: WebSocket, healthCheck: null, connections: null}",
        "spec.retries.hedge",
        "must be absent unless `protocol` is 'HTTP'",
    ),
    bad(
        "spec: {retries: {hedge: {after: p95}}}",
        "spec.retries.hedge.after",
        HEDGE,
    ),
    bad(
        "spec: {retries: {hedge: {after: ''}}}",
        "spec.retries.hedge.after",
        "should be at least 1 chars long",
    ),
    bad(
        "spec: {retries: {hedge: {after: 0ms}}}",
        "spec.retries.hedge.after",
        HEDGE,
    ),
    bad(
        "spec: {retries: {hedge: {after: 10m1s}}}",
        "spec.retries.hedge.after",
        HEDGE,
    ),
    bad(
        "spec: {concurrency: {adaptive: {minimum: 0}}}",
        "spec.concurrency.adaptive.minimum",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {concurrency: {adaptive: {minimum: 61}}}",
        "spec.concurrency.adaptive.minimum",
        "must not be more than `maximum`",
    ),
    bad(
        "spec: {concurrency: {adaptive: {maximum: 66}}}",
        "spec.concurrency.adaptive.maximum",
        "must not be more than `maxInFlight`",
    ),
    bad(
        "spec: {concurrency: {maxInFlight: null, adaptive: {minimum: 65, maximum: null}}}",
        "spec.concurrency.adaptive.maximum",
        "must not be more than `maxInFlight`",
    ),
    bad("spec: {endpoints: null}", "spec.endpoints", "Required value"),
    bad(
        "spec: {endpoints: []}",
        "spec.endpoints",
        "should have at least 1 items",
    ),
    bad(
        "spec: {endpoints: [{name: a}]}",
        "spec.endpoints[0].url",
        "Required value",
    ),
    bad(
        "spec: {endpoints: [{url: 'https://a.example'}]}",
        "spec.endpoints[0].name",
        "Required value",
    ),
    bad(
        "spec: {endpoints: [{name: A, url: 'https://a.example'}]}",
        "spec.endpoints[0].name",
        LABEL,
    ),
    bad(
        "spec: {endpoints: [{name: a-, url: 'https://a.example'}]}",
        "spec.endpoints[0].name",
        LABEL,
    ),
    bad(
        "spec: {endpoints: [{name: '', url: 'https://a.example'}]}",
        "spec.endpoints[0].name",
        "should be at least 1 chars long",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example'}, {name: a, url: 'https://b.example'}]}",
        "spec.endpoints[1]",
        "Duplicate value",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'api.example.com'}]}",
        "spec.endpoints[0].url",
        "must be an absolute URL such as 'https://api.example.com/v1', in ASCII",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: '/v1'}]}",
        "spec.endpoints[0].url",
        "must be an absolute URL such as 'https://api.example.com/v1', in ASCII",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'ftp://a.example'}]}",
        "spec.endpoints[0].url",
        "must begin with 'http://' or 'https://' and a host",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'unix:///run/a.sock'}]}",
        "spec.endpoints[0].url",
        "must begin with 'http://' or 'https://' and a host",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https:///v1'}]}",
        "spec.endpoints[0].url",
        "must begin with 'http://' or 'https://' and a host",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://u:p@a.example'}]}",
        "spec.endpoints[0].url",
        "must not contain a user name or password; use a Credential",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example?key=1'}]}",
        "spec.endpoints[0].url",
        "must not contain a query or fragment ('?' or '#')",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example/v1#top'}]}",
        "spec.endpoints[0].url",
        "must not contain a query or fragment ('?' or '#')",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a%2eexample/v1'}]}",
        "spec.endpoints[0].url",
        "must",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a b/v1'}]}",
        "spec.endpoints[0].url",
        "must be an absolute URL",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://m\u{fc}nchen.example'}]}",
        "spec.endpoints[0].url",
        "must be an absolute URL such as 'https://api.example.com/v1', in ASCII",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example:0'}]}",
        "spec.endpoints[0].url",
        "must have a port from 1 to 65535, if it has one",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example:99999'}]}",
        "spec.endpoints[0].url",
        "must",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example\\\\b'}]}",
        "spec.endpoints[0].url",
        "must",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example', weight: -1}]}",
        "spec.endpoints[0].weight",
        "should be greater than or equal to 0",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example', weight: 1001}]}",
        "spec.endpoints[0].weight",
        "should be less than or equal to 1000",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example', weight: '1'}]}",
        "spec.endpoints[0].weight",
        "must be of type integer",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example', weight: 0}]}",
        "spec.endpoints",
        "must have at least one endpoint whose `weight` is more than 0",
    ),
    bad(
        "spec: {endpoints: [{name: a, url: 'https://a.example', priority: 8}]}",
        "spec.endpoints[0].priority",
        "should be less than or equal to 7",
    ),
    bad(
        "spec: {credentialRefs: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]}",
        "spec.credentialRefs",
        "must have at most 4 items",
    ),
    bad(
        "spec: {credentialRefs: [{name: a}, {name: a}]}",
        "spec.credentialRefs[1]",
        "Duplicate value",
    ),
    bad(
        "spec: {credentialRefs: [{name: ../a}]}",
        "spec.credentialRefs[0].name",
        OBJECT,
    ),
    bad(
        "spec: {tls: {caRef: {kind: Pod}}}",
        "spec.tls.caRef.kind",
        "supported values: \"Secret\", \"ConfigMap\"",
    ),
    bad("spec: {tls: {caRef: {name: CA}}}", "spec.tls.caRef.name", OBJECT),
    bad(
        "spec: {tls: {caRef: {key: a/b}}}",
        "spec.tls.caRef.key",
        "must be a key of a Secret or ConfigMap",
    ),
    bad(
        "spec: {tls: {caRef: {key: null}}}",
        "spec.tls.caRef.key",
        "Required value",
    ),
    bad(
        "spec: {tls: {serverName: 'a.example:443'}}",
        "spec.tls.serverName",
        "must be a DNS name",
    ),
    bad(
        "spec: {tls: {serverName: 127.0.0.1}}",
        "spec.tls.serverName",
        "must be a DNS name, not an address",
    ),
    bad(
        "spec: {tls: {minVersion: '1.1'}}",
        "spec.tls.minVersion",
        "supported values: \"1.2\", \"1.3\"",
    ),
    bad(
        "spec: {timeouts: {connect: 0s}}",
        "spec.timeouts.connect",
        "must be from '1ms' to '5m'",
    ),
    bad("spec: {timeouts: {connect: 5s5}}", "spec.timeouts.connect", DURATION),
    bad("spec: {timeouts: {connect: 1.5s}}", "spec.timeouts.connect", DURATION),
    bad("spec: {timeouts: {connect: -1s}}", "spec.timeouts.connect", DURATION),
    bad(
        "spec: {timeouts: {connect: 10}}",
        "spec.timeouts.connect",
        "must be of type string",
    ),
    bad(
        "spec: {timeouts: {attempt: 2h, request: 3h}}",
        "spec.timeouts.attempt",
        "must be from '1ms' to '1h'",
    ),
    bad(
        "spec: {timeouts: {attempt: 21s}}",
        "spec.timeouts.attempt",
        "must not be longer than `request`",
    ),
    bad(
        "spec: {timeouts: {request: 25h}}",
        "spec.timeouts.request",
        "must be from '1ms' to '24h'",
    ),
    bad(
        "spec: {timeouts: {idle: 10ms}}",
        "spec.timeouts.idle",
        "must be from '1s' to '24h'",
    ),
    bad(
        "spec: {retries: {limit: -1}}",
        "spec.retries.limit",
        "should be greater than or equal to 0",
    ),
    bad(
        "spec: {retries: {limit: 21}}",
        "spec.retries.limit",
        "should be less than or equal to 20",
    ),
    bad(
        "spec: {retries: {backoff: {base: 0ms}}}",
        "spec.retries.backoff.base",
        "must be from '1ms' to '10m'",
    ),
    bad(
        "spec: {retries: {backoff: {base: 6s}}}",
        "spec.retries.backoff.base",
        "must not be longer than `max`",
    ),
    bad(
        "spec: {retries: {backoff: {max: 11m}}}",
        "spec.retries.backoff.max",
        "must be from '1ms' to '10m'",
    ),
    bad(
        "spec: {retries: {statuses: [99]}}",
        "spec.retries.statuses[0]",
        "should be greater than or equal to 100",
    ),
    bad(
        "spec: {retries: {statuses: [600]}}",
        "spec.retries.statuses[0]",
        "should be less than or equal to 599",
    ),
    bad(
        "spec: {retries: {statuses: [500, 500]}}",
        "spec.retries.statuses[1]",
        "Duplicate value",
    ),
    bad(
        "spec: {retries: {methods: Some}}",
        "spec.retries.methods",
        "supported values: \"Idempotent\", \"All\"",
    ),
    bad(
        "spec: {retries: {retryAfterMax: 2h}}",
        "spec.retries.retryAfterMax",
        "must be from '0s' to '1h'",
    ),
    bad(
        "spec: {retries: {budget: {percent: -1}}}",
        "spec.retries.budget.percent",
        "should be greater than or equal to 0",
    ),
    bad(
        "spec: {retries: {budget: {interval: 500ms}}}",
        "spec.retries.budget.interval",
        "must be from '1s' to '10m'",
    ),
    bad(
        "spec: {retries: {budget: {minimumPerSecond: 10001}}}",
        "spec.retries.budget.minimumPerSecond",
        "should be less than or equal to 10000",
    ),
    bad(
        "spec: {circuitBreaker: {consecutiveFailures: 0}}",
        "spec.circuitBreaker.consecutiveFailures",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {circuitBreaker: {failureRate: {percent: 101}}}",
        "spec.circuitBreaker.failureRate.percent",
        "should be less than or equal to 100",
    ),
    bad(
        "spec: {circuitBreaker: {failureRate: {window: 0s}}}",
        "spec.circuitBreaker.failureRate.window",
        "must be from '1s' to '1h'",
    ),
    bad(
        "spec: {circuitBreaker: {failureRate: {minimumRequests: 0}}}",
        "spec.circuitBreaker.failureRate.minimumRequests",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {circuitBreaker: {openFor: 0s}}",
        "spec.circuitBreaker.openFor",
        "must be from '100ms' to '1h'",
    ),
    bad(
        "spec: {circuitBreaker: {openFor: 7m}}",
        "spec.circuitBreaker.openFor",
        "must not be longer than `maxOpenFor`",
    ),
    bad(
        "spec: {circuitBreaker: {maxOpenFor: 25h}}",
        "spec.circuitBreaker.maxOpenFor",
        "must be from '100ms' to '24h'",
    ),
    bad(
        "spec: {circuitBreaker: {halfOpenRequests: 0}}",
        "spec.circuitBreaker.halfOpenRequests",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {circuitBreaker: {mode: Open}}",
        "spec.circuitBreaker.mode",
        "supported values: \"Automatic\", \"ForcedOpen\", \"ForcedClosed\"",
    ),
    bad(
        "spec: {retries: {idempotencyKey: Always}}",
        "spec.retries.idempotencyKey",
        "supported values: \"PassOn\", \"Add\"",
    ),
    bad(
        "spec: {rateLimit: {requests: 0}}",
        "spec.rateLimit.requests",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {rateLimit: {requests: null}}",
        "spec.rateLimit.requests",
        "Required value",
    ),
    bad(
        "spec: {rateLimit: {interval: 99ms}}",
        "spec.rateLimit.interval",
        "must be from '100ms' to '24h'",
    ),
    bad(
        "spec: {rateLimit: {burst: -1}}",
        "spec.rateLimit.burst",
        "should be greater than or equal to 0",
    ),
    bad(
        "spec: {rateLimit: {maxWait: 601s}}",
        "spec.rateLimit.maxWait",
        "must be from '0s' to '10m'",
    ),
    bad(
        "spec: {rateLimit: {requests: 1, burst: 1}, workers: {replicas: 3}}",
        "spec.rateLimit.requests",
        "must be, with `burst`, at least `workers.replicas`",
    ),
    bad(
        "spec: {concurrency: {maxInFlight: 0}}",
        "spec.concurrency.maxInFlight",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {concurrency: {maxPending: -1}}",
        "spec.concurrency.maxPending",
        "should be greater than or equal to 0",
    ),
    bad(
        "spec: {connections: {maxPerEndpoint: 0}}",
        "spec.connections.maxPerEndpoint",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {connections: {idleTimeout: 1ms}}",
        "spec.connections.idleTimeout",
        "must be from '1s' to '24h'",
    ),
    bad(
        "spec: {connections: {http2: Always}}",
        "spec.connections.http2",
        "supported values: \"Auto\", \"Never\"",
    ),
    bad(
        "spec: {loadBalancing: {policy: Random}}",
        "spec.loadBalancing.policy",
        "supported values: \"LeastLoaded\", \"RoundRobin\", \"ConsistentHash\"",
    ),
    bad(
        "spec: {loadBalancing: {policy: ConsistentHash}}",
        "spec.loadBalancing.hashOn",
        "must be set when `policy` is 'ConsistentHash'",
    ),
    bad(
        "spec: {loadBalancing: {policy: RoundRobin, hashOn: {header: x-user}}}",
        "spec.loadBalancing.hashOn",
        "must not be set unless `policy` is 'ConsistentHash'",
    ),
    bad(
        "spec: {loadBalancing: {policy: ConsistentHash, hashOn: {header: 'x user'}}}",
        "spec.loadBalancing.hashOn.header",
        "must be the name of a header",
    ),
    bad(
        "spec: {limits: {requestBody: 0}}",
        "spec.limits.requestBody",
        "must be of type string",
    ),
    bad(
        "spec: {limits: {requestBody: '0'}}",
        "spec.limits.requestBody",
        "must be from '1' to '1024Gi'",
    ),
    bad("spec: {limits: {requestBody: 10MB}}", "spec.limits.requestBody", SIZE),
    bad(
        "spec: {limits: {responseBody: 1025Gi}}",
        "spec.limits.responseBody",
        "must be from '1' to '1024Gi'",
    ),
    bad(
        "spec: {limits: {headers: 2Mi}}",
        "spec.limits.headers",
        "must be from '1Ki' to '1Mi'",
    ),
    bad(
        "spec: {healthCheck: {interval: 500ms, timeout: 100ms}}",
        "spec.healthCheck.interval",
        "must be from '1s' to '24h'",
    ),
    bad(
        "spec: {healthCheck: {timeout: 1ms}}",
        "spec.healthCheck.timeout",
        "must be from '10ms' to '5m'",
    ),
    bad(
        "spec: {healthCheck: {timeout: 33s}}",
        "spec.healthCheck.timeout",
        "must not be longer than `interval`",
    ),
    bad(
        "spec: {healthCheck: {unhealthyThreshold: 0}}",
        "spec.healthCheck.unhealthyThreshold",
        "should be greater than or equal to 1",
    ),
    bad(
        "spec: {healthCheck: {healthyThreshold: 101}}",
        "spec.healthCheck.healthyThreshold",
        "should be less than or equal to 100",
    ),
    bad(
        "spec: {healthCheck: {path: healthz}}",
        "spec.healthCheck.path",
        "must be a path that begins with '/'",
    ),
    bad(
        "spec: {healthCheck: {path: '/a?b'}}",
        "spec.healthCheck.path",
        "must be a path that begins with '/'",
    ),
    bad(
        "spec: {healthCheck: {path: \"/a\\r\\nHost: b\"}}",
        "spec.healthCheck.path",
        "must be a path that begins with '/'",
    ),
    bad(
        "spec: {healthCheck: {method: TRACE}}",
        "spec.healthCheck.method",
        "supported values: \"GET\", \"HEAD\"",
    ),
    bad(
        "spec: {healthCheck: {expect: {statuses: []}}}",
        "spec.healthCheck.expect.statuses",
        "should have at least 1 items",
    ),
    bad(
        "spec: {healthCheck: {expect: {statuses: ['2xx']}}}",
        "spec.healthCheck.expect.statuses[0]",
        "must be a status such as '204' or a range such as '200-299', from 100 to 599",
    ),
    bad(
        "spec: {healthCheck: {expect: {statuses: ['600']}}}",
        "spec.healthCheck.expect.statuses[0]",
        "must be a status such as '204' or a range such as '200-299', from 100 to 599",
    ),
    bad(
        "spec: {healthCheck: {expect: {statuses: ['299-200']}}}",
        "spec.healthCheck.expect.statuses[0]",
        "must be a range whose first status is not above its last",
    ),
    bad(
        "spec: {healthCheck: {expect: {expression: ''}}}",
        "spec.healthCheck.expect.expression",
        "should be at least 1 chars long",
    ),
    bad(
        "spec: {workers: {replicas: -1}}",
        "spec.workers.replicas",
        "should be greater than or equal to 0",
    ),
    bad(
        "spec: {workers: {replicas: 1001}}",
        "spec.workers.replicas",
        "should be less than or equal to 1000",
    ),
    bad(
        "spec: {workers: {resources: {requests: {cpu: lots}}}}",
        "spec.workers.resources.requests.cpu",
        "must be a quantity such as '100m'",
    ),
    bad(
        "spec: {workers: {resources: {requests: {cpu: '2'}}}}",
        "spec.workers.resources.requests.cpu",
        "must not be more than `limits.cpu`",
    ),
    bad(
        "spec: {workers: {resources: {requests: {memory: 1Gi}}}}",
        "spec.workers.resources.requests.memory",
        "must not be more than `limits.memory`",
    ),
    bad(
        "spec: {access: {namespaces: [Shop]}}",
        "spec.access.namespaces[0]",
        LABEL,
    ),
    bad(
        "spec: {access: {namespaces: [shop, shop]}}",
        "spec.access.namespaces[1]",
        "Duplicate value",
    ),
    bad("spec: {suspend: 'yes'}", "spec.suspend", "must be of type boolean"),
];

/// Changes to `credential.yaml`.
pub const CREDENTIALS: &[Bad] = &[
    bad("spec: {allowedHosts: null}", "spec.allowedHosts", "Required value"),
    bad(
        "spec: {allowedHosts: []}",
        "spec.allowedHosts",
        "should have at least 1 items",
    ),
    bad("spec: {allowedHosts: ['*']}", "spec.allowedHosts[0]", HOST),
    bad("spec: {allowedHosts: ['*example.com']}", "spec.allowedHosts[0]", HOST),
    bad(
        "spec: {allowedHosts: ['a.*.example.com']}",
        "spec.allowedHosts[0]",
        HOST,
    ),
    bad(
        "spec: {allowedHosts: ['https://a.example']}",
        "spec.allowedHosts[0]",
        HOST,
    ),
    bad("spec: {allowedHosts: ['a.example/v1']}", "spec.allowedHosts[0]", HOST),
    bad("spec: {allowedHosts: ['a.example:0']}", "spec.allowedHosts[0]", HOST),
    bad(
        "spec: {allowedHosts: ['a.example:https']}",
        "spec.allowedHosts[0]",
        HOST,
    ),
    bad("spec: {allowedHosts: ['2001:db8::1']}", "spec.allowedHosts[0]", HOST),
    bad("spec: {allowedHosts: ['a..example']}", "spec.allowedHosts[0]", HOST),
    bad(
        "spec: {allowedHosts: [a.example, a.example]}",
        "spec.allowedHosts[1]",
        "Duplicate value",
    ),
    bad("spec: {apiKey: null}", "spec", KIND),
    bad("spec: {bearer: {secretRef: {name: a, key: b}}}", "spec", KIND),
    bad("spec: {secretName: a}", "spec.secretName", ISSUED),
    bad("spec: {rotation: {interval: 1h}}", "spec.rotation", ISSUED),
    bad(
        "spec: {apiKey: {in: Body}}",
        "spec.apiKey.in",
        "supported values: \"Header\", \"Query\", \"Cookie\"",
    ),
    bad("spec: {apiKey: {name: 'X Key'}}", "spec.apiKey.name", "must"),
    bad("spec: {apiKey: {name: 'X:Key'}}", "spec.apiKey.name", TOKEN),
    bad(
        "spec: {apiKey: {name: \"X\\r\\nY\"}}",
        "spec.apiKey.name",
        "must be visible ASCII",
    ),
    bad(
        "spec: {apiKey: {name: Host}}",
        "spec.apiKey.name",
        "must not be a header that frames or routes the request",
    ),
    bad(
        "spec: {apiKey: {name: content-LENGTH}}",
        "spec.apiKey.name",
        "must not be a header that frames or routes the request",
    ),
    bad(
        "spec: {apiKey: {in: Query, name: null, prefix: null}}",
        "spec.apiKey.name",
        "must be set when `in` is 'Query' or 'Cookie'",
    ),
    bad(
        "spec: {apiKey: {in: Query, name: 'a=b', prefix: null}}",
        "spec.apiKey.name",
        "must be visible ASCII without '&'",
    ),
    bad(
        "spec: {apiKey: {in: Cookie, name: 'a;b', prefix: null}}",
        "spec.apiKey.name",
        TOKEN,
    ),
    bad(
        "spec: {apiKey: {in: Query}}",
        "spec.apiKey.prefix",
        "must be empty unless `in` is 'Header'",
    ),
    bad(
        "spec: {apiKey: {prefix: \"a\\n\"}}",
        "spec.apiKey.prefix",
        "must be ASCII without control characters",
    ),
    bad(
        "spec: {apiKey: {secretRef: null}}",
        "spec.apiKey.secretRef",
        "must be set unless `rotation.steps` makes the first value",
    ),
    bad(
        "spec: {apiKey: {secretRef: {name: A}}}",
        "spec.apiKey.secretRef.name",
        OBJECT,
    ),
    bad(
        "spec: {apiKey: {secretRef: {key: ''}}}",
        "spec.apiKey.secretRef.key",
        "should be at least 1 chars long",
    ),
    bad(
        "spec: {apiKey: null, basic: {secretRef: {name: a, usernameKey: 'a b'}}}",
        "spec.basic.secretRef.usernameKey",
        "must be a key of a Secret or ConfigMap",
    ),
    bad(
        "spec: {apiKey: null, bearer: {secretRef: {name: a, key: 'a/b'}}}",
        "spec.bearer.secretRef.key",
        "must be a key of a Secret or ConfigMap",
    ),
];

/// Changes that leave the manifest good.
pub const GOOD_INTEGRATIONS: &[&str] = &[
    "{}",
    "spec: {endpoints: [{name: '1', url: 'http://127.0.0.1:8080'}]}",
    "spec: {endpoints: [{name: a, url: 'HTTPS://API.example.com./v1/'}]}",
    "spec: {endpoints: [{name: a, url: 'https://[2001:db8::1]:8443/v1'}]}",
    "spec: {endpoints: [{name: a, url: 'https://my_api.example/@scope/%41;b=c'}]}",
    "spec: {endpoints: [{name: a, url: 'https://a.example', weight: 0}, {name: b, url: 'https://b.example'}]}",
    "spec: {timeouts: {attempt: 1m, request: null}}",
    "spec: {timeouts: {attempt: null, request: 1s}}",
    "spec: {retries: {limit: 0, statuses: [], backoff: {base: 5s}}}",
    "spec: {loadBalancing: {policy: ConsistentHash, hashOn: {header: X-User}}}",
    "spec: {workers: {replicas: 0}}",
    "spec: {healthCheck: {path: '/a/b;c=d/~e', expect: {statuses: ['204', '200-200']}}}",
    "spec: {protocol: WebSocket, retries: {hedge: null}, healthCheck: {method: GET, expect: {statuses: ['101']}}}",
    "spec: {protocol: WebSocket, retries: {hedge: null}, connections: null, healthCheck: null}",
    "spec: {retries: {hedge: {}}, concurrency: {adaptive: {}}}",
    "spec: {retries: {hedge: {after: P95}}, concurrency: {maxInFlight: 1, adaptive: {minimum: 1, maximum: 1}}}",
    "spec: {limits: {requestBody: '1', responseBody: 1024Gi, headers: 64k}}",
    "spec: {circuitBreaker: {mode: ForcedOpen, openFor: 100ms}}",
    "spec: {credentialRefs: [{name: a.b.c}, {name: b}]}",
    "spec: {protocol: null, credentialRefs: null, tls: null, timeouts: null, retries: null, circuitBreaker: null, \
     rateLimit: null, concurrency: null, connections: null, loadBalancing: null, limits: null, healthCheck: null, workers: null, \
     access: null, suspend: null}",
    "spec: {tls: {}, timeouts: {}, retries: {backoff: {}, budget: {}}, circuitBreaker: {failureRate: {}}, limits: {}, \
     healthCheck: {expect: {}}, workers: {resources: {requests: {}}}, access: {}}",
];

/// Changes that leave the manifest good.
pub const GOOD_CREDENTIALS: &[&str] = &[
    "{}",
    "spec: {allowedHosts: [localhost, 'API.example.com.', '*.a.example:8443', 10.0.0.1, '[::1]', '[::ffff:10.0.0.1]:1']}",
    "spec: {apiKey: {in: Query, name: 'filter[key]', prefix: null}}",
    "spec: {apiKey: {in: Cookie, name: session, prefix: ''}}",
    "spec: {apiKey: {in: null, name: null, prefix: null}}",
    "spec: {apiKey: {name: Authorization, prefix: 'ApiKey '}}",
    "spec: {apiKey: null, basic: {secretRef: {name: a}}}",
    "spec: {apiKey: null, basic: {secretRef: {name: a, usernameKey: u, passwordKey: p}}}",
    "spec: {apiKey: null, bearer: {secretRef: {name: a.b, key: token.jwt}}}",
];

/// `good` with `patch` applied, both YAML.
pub fn patched(good: &str, patch: &str) -> Value {
    let mut manifest: Value = serde_saphyr::from_str(good).unwrap();
    let patch: Value = serde_saphyr::from_str(patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
    merge(&mut manifest, patch);
    manifest
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}
