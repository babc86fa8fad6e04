//! Numbers, times and sizes.

use super::{Range, Sizes, Span};
use crate::api::duration::Duration;

const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn m(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const fn h(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

// Integration.
/// `endpoints[].weight`.
pub const WEIGHT: Range = Range::new(0, 1000);
/// `endpoints[].priority`.
pub const PRIORITY: Range = Range::new(0, 7);
/// `timeouts.connect`.
pub const CONNECT: Span = Span::new(ms(1), m(5));
/// `timeouts.attempt`.
pub const ATTEMPT: Span = Span::new(ms(1), h(1));
/// `timeouts.request`.
pub const REQUEST: Span = Span::new(ms(1), h(24));
/// `timeouts.idle`.
pub const IDLE: Span = Span::new(s(1), h(24));
/// `retries.limit`.
pub const RETRIES: Range = Range::new(0, 20);
/// `retries.backoff.base` and `.max`.
pub const BACKOFF: Span = Span::new(ms(1), m(10));
/// An HTTP status.
pub const STATUS: Range = Range::new(100, 599);
/// `retries.retryAfterMax`.
pub const RETRY_AFTER: Span = Span::new(s(0), h(1));
/// `graphql.maxDepth`.
pub const GRAPHQL_DEPTH: Range = Range::new(1, 1000);
/// `graphql.maxAliases`.
pub const GRAPHQL_ALIASES: Range = Range::new(0, 10_000);
/// `retries.budget.percent`.
pub const BUDGET_PERCENT: Range = Range::new(0, 1000);
/// `retries.budget.interval`.
pub const BUDGET_INTERVAL: Span = Span::new(s(1), m(10));
/// `retries.budget.minimumPerSecond`.
pub const BUDGET_MINIMUM: Range = Range::new(0, 10_000);
/// `circuitBreaker.consecutiveFailures`.
pub const CONSECUTIVE_FAILURES: Range = Range::new(1, 10_000);
/// `circuitBreaker.failureRate.percent`.
pub const FAILURE_PERCENT: Range = Range::new(1, 100);
/// `circuitBreaker.failureRate.window`.
pub const WINDOW: Span = Span::new(s(1), h(1));
/// `circuitBreaker.failureRate.minimumRequests`.
pub const MINIMUM_REQUESTS: Range = Range::new(1, 100_000);
/// `circuitBreaker.openFor`.
pub const OPEN_FOR: Span = Span::new(ms(100), h(1));
/// `circuitBreaker.maxOpenFor`.
pub const MAX_OPEN_FOR: Span = Span::new(ms(100), h(24));
/// `circuitBreaker.halfOpenRequests`.
pub const HALF_OPEN_REQUESTS: Range = Range::new(1, 100);
/// `rateLimit.requests`.
pub const RATE_REQUESTS: Range = Range::new(1, 1_000_000);
/// `rateLimit.interval`.
pub const RATE_INTERVAL: Span = Span::new(ms(100), h(24));
/// `rateLimit.burst`.
pub const RATE_BURST: Range = Range::new(0, 1_000_000);
/// `rateLimit.maxWait`.
pub const RATE_MAX_WAIT: Span = Span::new(s(0), m(10));
/// `concurrency.maxInFlight`.
pub const MAX_IN_FLIGHT: Range = Range::new(1, 100_000);
/// `concurrency.maxPending`.
pub const MAX_PENDING: Range = Range::new(0, 100_000);
/// `connections.maxPerEndpoint`.
pub const MAX_PER_ENDPOINT: Range = Range::new(1, 10_000);
/// `connections.idleTimeout`.
pub const IDLE_TIMEOUT: Span = Span::new(s(1), h(24));
/// `limits.requestBody` and `limits.responseBody`.
pub const BODY: Sizes = Sizes::new(1, 1024 * GI);
/// `limits.headers`.
pub const HEADERS: Sizes = Sizes::new(KI, MI);
/// `healthCheck.interval`.
pub const PROBE_INTERVAL: Span = Span::new(s(1), h(24));
/// `healthCheck.timeout`.
pub const PROBE_TIMEOUT: Span = Span::new(ms(10), m(5));
/// `healthCheck.unhealthyThreshold` and `.healthyThreshold`.
pub const THRESHOLD: Range = Range::new(1, 100);
/// `workers.replicas`.
pub const REPLICAS: Range = Range::new(0, 1000);

// Credential.
/// `jwt.lifetime`.
pub const TOKEN_LIFETIME: Span = Span::new(m(1), h(24));
/// `certificate.issue.lifetime`.
pub const CERTIFICATE_LIFETIME: Span = Span::new(h(1), h(8760));
/// `generated.length`.
pub const GENERATED_LENGTH: Range = Range::new(16, 512);
/// `rotation.renewAt`.
pub const RENEW_AT: Range = Range::new(1, 95);
/// `rotation.interval`.
pub const ROTATION_INTERVAL: Span = Span::new(m(1), h(17_520));
/// `rotation.overlap` and `jwt.generate.overlap`.
pub const OVERLAP: Span = Span::new(s(0), h(720));
/// `rotation.windows[].duration`.
pub const WINDOW_DURATION: Span = Span::new(m(1), h(24));

/// Numbers that we count up ourselves, in status: none is negative.
pub const COUNT: Range = Range::new(0, i32::MAX);
