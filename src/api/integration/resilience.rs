//! Retries, breaker, concurrency, connections and balancing.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds;
use crate::api::duration::Duration;

/// When and how often a request is tried again. Connect failures, resets and attempts that time out are, besides
/// `statuses`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Retries after the first attempt, 0 to 20; 0 switches them off. With `protocol: GRPC` 4 are made at most. Defaults to
    /// 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RETRIES.schema())]
    pub limit: Option<i32>,

    /// The wait before a retry: exponential, with full jitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,

    /// Statuses that are tried again, 100 to 599, at most 32 of them; an empty list is none. Not with
    /// `protocol: GRPC`. Defaults to 408, 429, 500, 502, 503 and 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), transform = bounds::Each(bounds::STATUS))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Option<Vec<i32>>,

    /// Which requests may be sent again. `Idempotent`: GET, HEAD, OPTIONS, TRACE, PUT and DELETE, and any with an
    /// `Idempotency-Key` header. `All`: every request. With `protocol: GraphQL`, `Idempotent` is queries, however they come,
    /// and not mutations. With `protocol: GRPC`, `Idempotent` is what surely did not reach the application, and `All` is
    /// what was answered UNAVAILABLE at once besides. Defaults to `Idempotent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<RetryMethods>,

    /// What becomes of a POST or PATCH without an `Idempotency-Key` header. `PassOn`: it is sent as it is. `Add`: it gets
    /// one, a random UUID that is the same in every attempt, and counts as idempotent; for providers that know such keys.
    /// Queries of GraphQL get none. Defaults to `PassOn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<IdempotencyKey>,

    /// A second attempt beside the first, for a GET or HEAD without a body that is late: the first good answer counts, and
    /// the other attempt is given up. It counts for `limit` and `budget`. Without it: none. Only with `protocol: HTTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,

    /// `Retry-After` and `RateLimit` headers are obeyed up to this, `0s` to `1h`: by the request that got them, whose answer
    /// is passed on where they ask for more, and by all others of every worker to the same host. Defaults to `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RETRY_AFTER.schema())]
    pub retry_after_max: Option<Duration>,

    /// How many retries there may be for the requests there are, in each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<RetryBudget>,
}

/// When an attempt is late.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Hedge {
    /// `P95`: after longer than 95 of 100 answers of the last half minute took, once there were 50. Or a fixed time, `1ms`
    /// to `10m`. Defaults to `P95`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::HEDGE_AFTER.schema())]
    pub after: Option<String>,
}

/// The wait before a retry: a random part of `base`, doubled with each retry up to `max`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::BASE_WITHIN_MAX)]
pub struct Backoff {
    /// Bound of the first wait, `1ms` to `10m`. Defaults to `200ms`, or to `max` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BACKOFF.schema())]
    pub base: Option<Duration>,

    /// Bound of every wait, `1ms` to `10m`. Defaults to `10s`, or to `base` if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BACKOFF.schema())]
    pub max: Option<Duration>,
}

/// Which requests may be sent again.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum RetryMethods {
    /// Those that may be repeated without harm.
    #[default]
    Idempotent,
    /// Every request.
    All,
}

/// What becomes of a POST or PATCH without an `Idempotency-Key`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum IdempotencyKey {
    /// It is sent as it is.
    #[default]
    PassOn,
    /// It gets one.
    Add,
}

/// Retries as a share of requests, so that a provider in trouble is not asked several times as much.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Retries for each 100 requests of the last `interval`, 0 to 1000 percent. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BUDGET_PERCENT.schema())]
    pub percent: Option<i32>,

    /// How far back requests count, `1s` to `10m`. Defaults to `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BUDGET_INTERVAL.schema())]
    pub interval: Option<Duration>,

    /// Retries per second that are allowed in any case, 0 to 10000. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BUDGET_MINIMUM.schema())]
    pub minimum_per_second: Option<i32>,
}

/// When to stop asking an endpoint. Connect failures, resets, timeouts and 5xx count as failures; 4xx never do.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::OPEN_WITHIN_MAX)]
pub struct CircuitBreaker {
    /// Failures in a row that open the circuit, 1 to 10000. Defaults to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::CONSECUTIVE_FAILURES.schema())]
    pub consecutive_failures: Option<i32>,

    /// Rate of failures that opens the circuit too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<FailureRate>,

    /// How long the circuit stays open before a trial, `100ms` to `1h`, with jitter; doubles with each reopening up to
    /// `maxOpenFor`. Defaults to `30s`, or to `maxOpenFor` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::OPEN_FOR.schema())]
    pub open_for: Option<Duration>,

    /// Longest that it stays open before a trial, `100ms` to `24h`. Defaults to `5m`, or to `openFor` if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MAX_OPEN_FOR.schema())]
    pub max_open_for: Option<Duration>,

    /// Trials let through while the circuit is half open, 1 to 100; all must succeed for it to close. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::HALF_OPEN_REQUESTS.schema())]
    pub half_open_requests: Option<i32>,

    /// `Automatic`, or what you decide: `ForcedOpen` lets nothing through, `ForcedClosed` lets everything through.
    /// Defaults to `Automatic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BreakerMode>,
}

/// A rate of failures.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailureRate {
    /// Failures for each 100 requests that open the circuit, 1 to 100 percent. Defaults to 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::FAILURE_PERCENT.schema())]
    pub percent: Option<i32>,

    /// How far back requests count, `1s` to `1h`. Defaults to `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::WINDOW.schema())]
    pub window: Option<Duration>,

    /// Requests there must have been in the window before the rate means anything, 1 to 100000. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MINIMUM_REQUESTS.schema())]
    pub minimum_requests: Option<i32>,
}

/// Who decides about the circuit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum BreakerMode {
    /// What requests come to.
    #[default]
    Automatic,
    /// Nothing is let through.
    ForcedOpen,
    /// Everything is let through.
    ForcedClosed,
}

/// What all workers together promise to the provider.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Attempts in each `interval`, over all workers, 1 to 1000000; with `burst`, at least as many as there are workers.
    #[schemars(transform = bounds::RATE_REQUESTS.schema())]
    pub requests: i32,

    /// The time that `requests` is for, `100ms` to `24h`. Defaults to `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RATE_INTERVAL.schema())]
    pub interval: Option<Duration>,

    /// So many attempts more in one interval, after a quiet time, 0 to 1000000. Below the number of workers, the rate is
    /// a little less than `requests`. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RATE_BURST.schema())]
    pub burst: Option<i32>,

    /// How long an attempt waits for its turn, or for a provider that asked to be left alone, `0s` to `10m`, within
    /// `timeouts.request`. Defaults to `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RATE_MAX_WAIT.schema())]
    pub max_wait: Option<Duration>,
}

/// How many requests each worker has under way and waiting.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::MAXIMUM_WITHIN_IN_FLIGHT)]
pub struct Concurrency {
    /// Requests under way in one worker, 1 to 100000. Defaults to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MAX_IN_FLIGHT.schema())]
    pub max_in_flight: Option<i32>,

    /// Requests that wait for a place in one worker, 0 to 100000. Defaults to 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MAX_PENDING.schema())]
    pub max_pending: Option<i32>,

    /// Each worker finds out by itself how many requests the provider answers without a queue, and has no more under way.
    /// Without it, that is `maxInFlight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
}

/// Within which bounds the number of requests under way follows the provider's answers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::MINIMUM_WITHIN_MAXIMUM)]
pub struct Adaptive {
    /// Requests that may be under way in any case, 1 to 100000. Defaults to 4, or to `maximum` if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MAX_IN_FLIGHT.schema())]
    pub minimum: Option<i32>,

    /// Most requests that may be under way, 1 to 100000, not more than `maxInFlight`. Defaults to `maxInFlight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MAX_IN_FLIGHT.schema())]
    pub maximum: Option<i32>,
}

/// Connections to the provider.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Connections of one worker to one endpoint, 1 to 10000. Defaults to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::MAX_PER_ENDPOINT.schema())]
    pub max_per_endpoint: Option<i32>,

    /// A connection that carries nothing for this long is closed, `1s` to `24h`. Defaults to `90s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::IDLE_TIMEOUT.schema())]
    pub idle_timeout: Option<Duration>,

    /// `Auto`: HTTP/2 over TLS where the provider offers it. `Never`: HTTP/1.1. Defaults to `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2: Option<Http2>,
}

/// Whether HTTP/2 is spoken to the provider.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum Http2 {
    /// Offer HTTP/2 by ALPN and use it where the provider accepts.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Never,
}

/// How to choose among endpoints of the same priority.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::HASH_ON_SOMETHING, validation = bounds::HASH_ON_FOR_HASH)]
pub struct LoadBalancing {
    /// `LeastLoaded`: of two random endpoints the one that answers sooner (peak EWMA). `RoundRobin`: in turn.
    /// `ConsistentHash`: requests with the same value of `hashOn` go to the same endpoint, as long as it is fit and has
    /// no more than 1.25 times its share of the requests under way. Weights hold under all. Defaults to `LeastLoaded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<BalancePolicy>,

    /// What `ConsistentHash` looks at; required with it, and only with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
}

/// What requests are told apart by.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HashOn {
    /// Name of a header of the caller's request, 1 to 256 characters. A request without it, or with an empty value, is
    /// balanced as under `LeastLoaded`.
    #[schemars(transform = bounds::HEADER_NAME.schema())]
    pub header: String,
}

/// How to choose among endpoints.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum BalancePolicy {
    /// Power of two choices by peak EWMA.
    #[default]
    LeastLoaded,
    /// In turn.
    RoundRobin,
    /// By the value of a header.
    ConsistentHash,
}
