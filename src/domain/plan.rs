//! The plan: all that a worker needs to serve one Integration, with every default applied.
//!
//! It is compiled by the controller, kept in a Secret that the worker mounts, and pushed to running workers. The higher
//! revision wins. Times are whole milliseconds, sizes are bytes, ratios are integer percent.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::secret::SecretValue;
use crate::api::integration::{
    BalancePolicy, BreakerMode, ErrorsAreFailures, Http2, IdempotencyKey, Protocol, RetryMethods, TlsVersion,
};

/// Version of the shape below. A worker refuses a plan of a higher format than it knows and keeps the one it has.
pub const FORMAT: u32 = 1;

/// All that a worker needs to serve one Integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of this shape, [`FORMAT`] when written by this code.
    pub format: u32,
    /// Counts up with every change of anything below; the first is 1.
    pub revision: u64,
    /// The Integration this plan was compiled from.
    pub integration: Key,
    /// Its UID: an Integration deleted and made anew under the same name is another one.
    pub uid: String,
    /// Its generation; the worker reports it back, which is how `Programmed` is known.
    pub generation: i64,
    /// What is spoken to the provider.
    pub protocol: Protocol,
    /// Where the provider is; at least one.
    pub endpoints: Vec<EndpointPlan>,
    /// What to inject; at most four.
    pub credentials: Vec<CredentialPlan>,
    /// How to verify the provider.
    pub tls: TlsPlan,
    /// Bounds in time.
    pub timeouts: TimeoutPlan,
    /// When and how often to try again.
    pub retries: RetryPlan,
    /// When to stop asking an endpoint.
    pub breaker: BreakerPlan,
    /// Our promise to the provider, if any.
    #[serde(default)]
    pub rate_limit: Option<RateLimitPlan>,
    /// Requests under way and waiting.
    pub concurrency: ConcurrencyPlan,
    /// Connections to the provider.
    pub connections: ConnectionPlan,
    /// How to choose among endpoints.
    pub balance: BalancePolicy,
    /// The header that `ConsistentHash` looks at. Absent in plans of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<String>,
    /// Bounds in bytes.
    pub limits: LimitPlan,
    /// Active probes; absent: passive health only.
    pub health_check: Option<ProbePlan>,
    /// Bounds on operations; present if and only if GraphQL is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphql: Option<GraphQlPlan>,
    /// Addresses that may not be dialled besides what the worker refuses by itself: the API server's own.
    pub denied: Vec<IpNet>,
    /// The last value of the `tidegate.dev/reset-circuit` annotation; a worker that sees a new one closes its breakers.
    pub reset_circuit: Option<String>,
}

/// What is particular to GraphQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphQlPlan {
    /// Which answers with errors in them count as failures.
    pub errors_are_failures: ErrorsAreFailures,
    /// Fields within fields that an operation may have.
    pub max_depth: u32,
    /// Aliases that a request may have.
    pub max_aliases: u32,
}

/// One place where the provider answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPlan {
    /// Name, unique in the plan.
    pub name: String,
    /// `http` or `https` URL without userinfo, query or fragment; its path is prepended to the caller's.
    pub url: String,
    /// Share of traffic among endpoints of the same priority, 0 to 1000; 0 gets none.
    pub weight: u32,
    /// 0 to 7; the lowest with an endpoint fit to serve is used.
    pub priority: u8,
}

/// One credential to inject, and where it may go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPlan {
    /// Name of the Credential.
    pub name: String,
    /// Its revision; the worker reports the one it uses.
    pub revision: i64,
    /// Host patterns: `host`, `*.suffix`, each with an optional `:port`.
    pub allowed_hosts: Vec<String>,
    /// What to inject and where; `None`: the Credential has no usable value (`credential-unavailable`).
    pub material: Option<Material>,
    /// When the value ceases to be valid, where that is known; it is not sent in the last second before.
    pub not_after: Option<Timestamp>,
    /// Whether the controller answers a 401 with another value: then a request that got one waits for it, once.
    #[serde(default)]
    pub renewable: bool,
}

/// The secret itself and its place in a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Material {
    /// `name: <prefix><value>`; the prefix is part of `value`.
    Header {
        /// Header name, lower case.
        name: String,
        /// Whole header value.
        value: SecretValue,
    },
    /// `?name=value`: replaces every parameter of that name.
    Query {
        /// Parameter name, not encoded.
        name: String,
        /// Parameter value, not encoded.
        value: SecretValue,
    },
    /// `Cookie: name=value`: replaces every cookie of that name.
    Cookie {
        /// Cookie name.
        name: String,
        /// Cookie value.
        value: SecretValue,
    },
    /// A client certificate, for mutual TLS.
    Certificate {
        /// The chain in PEM, the leaf first.
        chain: String,
        /// The key in PEM (PKCS#8).
        key: SecretValue,
    },
    /// A value that no request carries, such as the key that signs webhooks.
    Unsent {
        /// The value, so that another one is another plan.
        value: SecretValue,
    },
}

/// How to verify the provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsPlan {
    /// PEM certificates to trust instead of the public roots.
    pub ca_pem: Option<String>,
    /// Name to ask for and to verify instead of the endpoint's host.
    pub server_name: Option<String>,
    /// Lowest version to accept; absent: 1.2.
    pub min_version: Option<TlsVersion>,
}

/// Bounds in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutPlan {
    /// TCP and TLS handshake together.
    #[serde(with = "milliseconds")]
    pub connect: Duration,
    /// One attempt, until the head of its answer.
    #[serde(with = "milliseconds")]
    pub attempt: Duration,
    /// The whole request: every attempt and every wait between them, until the head of the answer.
    #[serde(with = "milliseconds")]
    pub request: Duration,
    /// A connection, to either side, with nothing under way; also the longest pause inside a body.
    #[serde(with = "milliseconds")]
    pub idle: Duration,
}

/// When and how often to try again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPlan {
    /// Retries, not attempts; 0 switches off.
    pub limit: u32,
    /// First step of the exponential, full-jitter backoff.
    #[serde(with = "milliseconds")]
    pub backoff_base: Duration,
    /// Largest step.
    #[serde(with = "milliseconds")]
    pub backoff_max: Duration,
    /// Statuses that are tried again.
    pub statuses: Vec<u16>,
    /// Which requests may be sent again.
    pub methods: RetryMethods,
    /// What becomes of a POST or PATCH without an `Idempotency-Key`.
    #[serde(default)]
    pub idempotency_key: IdempotencyKey,
    /// When a read is asked for a second time beside the first; absent: never.
    #[serde(default)]
    pub hedge: Option<HedgePlan>,
    /// `Retry-After` up to this is obeyed; beyond it the answer is passed on.
    #[serde(with = "milliseconds")]
    pub retry_after_max: Duration,
    /// Retries as a share of requests.
    pub budget_percent: u32,
    /// Over this window.
    #[serde(with = "milliseconds")]
    pub budget_interval: Duration,
    /// Retries per second that are always allowed.
    pub budget_minimum_per_second: u32,
}

/// When an attempt is late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HedgePlan {
    /// After longer than 95 of 100 recent answers took.
    P95,
    /// After this long.
    After(#[serde(with = "milliseconds")] Duration),
}

/// When to stop asking an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerPlan {
    /// Failures in a row that open the circuit.
    pub consecutive_failures: u32,
    /// Failure rate that opens it, in percent.
    pub failure_percent: u32,
    /// Over this window.
    #[serde(with = "milliseconds")]
    pub window: Duration,
    /// With at least this many requests in it.
    pub minimum_requests: u32,
    /// First time to stay open; doubles with each reopening.
    #[serde(with = "milliseconds")]
    pub open_for: Duration,
    /// Longest time to stay open.
    #[serde(with = "milliseconds")]
    pub max_open_for: Duration,
    /// Trials let through while half open; all must succeed.
    pub half_open_requests: u32,
    /// Automatic, or forced by the user.
    pub mode: BreakerMode,
}

/// Our promise to the provider: how much all workers ask of it together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitPlan {
    /// Attempts in each `interval`.
    pub requests: u32,
    /// See `requests`.
    #[serde(with = "milliseconds")]
    pub interval: Duration,
    /// So many more in an interval, after a quiet time.
    pub burst: u32,
    /// How long an attempt waits for its turn.
    #[serde(with = "milliseconds")]
    pub max_wait: Duration,
    /// How many workers there are to be; no share is larger than one part of so many.
    pub workers: u32,
}

/// Requests under way and waiting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyPlan {
    /// Requests under way in one worker.
    pub max_in_flight: u32,
    /// Requests that wait for a place; beyond both: shed at once.
    pub max_pending: u32,
    /// Within which bounds the worker finds out by itself how many may be under way; absent: `max_in_flight`.
    #[serde(default)]
    pub adaptive: Option<AdaptivePlan>,
}

/// Bounds of the requests under way where the provider's answers say how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdaptivePlan {
    /// So many are let through in any case.
    pub minimum: u32,
    /// No more are let through.
    pub maximum: u32,
}

/// Connections to the provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionPlan {
    /// Connections of one worker to one endpoint.
    pub max_per_endpoint: u32,
    /// A pooled connection unused for this long is closed.
    #[serde(with = "milliseconds")]
    pub idle_timeout: Duration,
    /// Whether HTTP/2 may be used.
    pub http2: Http2,
}

/// Bounds in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitPlan {
    /// Request body.
    pub request_body: u64,
    /// Response body.
    pub response_body: u64,
    /// All headers of a request or of an answer.
    pub headers: u64,
}

/// Active probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbePlan {
    /// Between the start of one probe and the next, with jitter.
    #[serde(with = "milliseconds")]
    pub interval: Duration,
    /// For the whole probe.
    #[serde(with = "milliseconds")]
    pub timeout: Duration,
    /// Failures in a row that make an endpoint Unhealthy.
    pub unhealthy_threshold: u32,
    /// Successes in a row that make it Healthy again.
    pub healthy_threshold: u32,
    /// Appended to the endpoint's path.
    pub path: String,
    /// HTTP method.
    pub method: String,
    /// Whether the probe carries the credential.
    pub use_credential: bool,
    /// Statuses that count as healthy, as inclusive ranges.
    pub statuses: Vec<(u16, u16)>,
    /// CEL over `status`, `headers`, `body`, `certificate`; must be true.
    pub expression: Option<String>,
    /// With gRPC: the service to ask about instead of `path` with `method`; empty for the server as a whole.
    #[serde(default)]
    pub service: String,
}

mod milliseconds {
    //! A `Duration` as a whole number of milliseconds.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
