//! `Integration`: where an outside API is, how to behave towards it, and what we know of it.
//!
//! The doc comments below are what `kubectl explain` prints. A default that is named there is applied when the plan is
//! compiled (`domain::validate`), not by the API server, unless the schema says `default`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;
use super::duration::Duration;
use super::quantity::Bytes;

mod graphql;
mod health_check;
mod resilience;
mod status;
mod workers;

pub use graphql::*;
pub use health_check::*;
pub use resilience::*;
pub use status::*;
pub use workers::*;

/// What to connect to, and how to behave towards it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Integration",
    namespaced,
    status = "IntegrationStatus",
    shortname = "intg",
    category = "tidegate",
    derive = "PartialEq",
    doc = "A connection to an outside API: applications call it as a Service of this name, and Tidegate's workers \
           authenticate, retry, limit and break on the way.",
    scale(
        spec_replicas_path = ".spec.workers.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    selectable = ".spec.protocol",
    selectable = ".status.circuit",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(
        name = "Healthy",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="EndpointsHealthy")].status"#
    ),
    printcolumn(name = "Circuit", type_ = "string", json_path = ".status.circuit"),
    printcolumn(name = "Endpoints", type_ = "string", json_path = ".status.endpointsHealthy"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    validation = bounds::SERVICE_NAME,
    validation = bounds::RATE_FOR_WORKERS
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = bounds::GRAPHQL_ALONE,
    validation = bounds::GRPC_STATUSES,
    validation = bounds::GRPC_HTTP2,
    validation = bounds::GRPC_PROBE,
    validation = bounds::GRPC_SERVICE,
    validation = bounds::WEBSOCKET_PROBE,
    validation = bounds::WEBSOCKET_HTTP2,
    validation = bounds::HEDGE_READS
)]
pub struct IntegrationSpec {
    /// What is spoken to the provider. `HTTP` is HTTP/1.1 or HTTP/2, in cleartext or over TLS. `GraphQL` is the
    /// same with operations told apart, which go over GET and POST. `GRPC` is gRPC over HTTP/2, in cleartext by prior
    /// knowledge or over TLS. `WebSocket` is RFC 6455; endpoints keep their `http` or `https` URLs. Must not change once
    /// set. Defaults to `HTTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "HTTP"))]
    #[x_kube(validation = bounds::PROTOCOL_STAYS)]
    pub protocol: Option<Protocol>,

    /// Where the provider is: 1 to 16 endpoints, each with a name of its own.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = bounds::SOME_WEIGHT)]
    pub endpoints: Vec<Endpoint>,

    /// The Credentials to authenticate with, in this namespace: at most 4. Each is sent only to hosts that its
    /// `allowedHosts` allow, and every endpoint's host must be allowed by each. Without any, requests go out as the
    /// caller made them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub credential_refs: Vec<CredentialRef>,

    /// How to verify the provider's certificate. By default: against the public roots, for the endpoint's host, TLS 1.2
    /// or higher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// Bounds in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,

    /// When and how often a request is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,

    /// When to stop asking an endpoint that fails. On by default: each worker has one breaker for each endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,

    /// What all workers together promise to the provider: no `interval` sees more than `requests` and `burst`. Every
    /// attempt counts, retries and health checks too; one that has to wait longer than `maxWait` is answered with
    /// `rate-limited` (429).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,

    /// How many requests each worker has under way and waiting. Beyond both, requests are answered with `overloaded`
    /// (503) at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,

    /// Connections to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,

    /// How to choose among endpoints of the same priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,

    /// Bounds in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// What is particular to `protocol: GraphQL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphql: Option<GraphQl>,

    /// Active probes, made by each worker. Without this, health is passive: what traffic shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,

    /// The workers that serve this Integration: a Deployment of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // The scale subresource reads the number of replicas from the object, so it has to be there.
    #[schemars(extend("default" = {}))]
    pub workers: Option<Workers>,

    /// Who may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,

    /// Hands off: while true, nothing is changed or rotated, and what runs keeps running. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What is spoken to the provider.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2, in cleartext or over TLS.
    #[default]
    HTTP,
    /// HTTP whose requests are operations of GraphQL.
    GraphQL,
    /// gRPC over HTTP/2, in cleartext by prior knowledge or over TLS.
    GRPC,
    /// RFC 6455, opened by an HTTP/1.1 handshake.
    WebSocket,
}

/// One place where the provider answers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name of the endpoint, unique in this Integration: a DNS label of at most 63 characters. It appears in status,
    /// metrics and the `tidegate-endpoint` header of answers.
    #[schemars(transform = bounds::LABEL.schema())]
    pub name: String,

    /// Where it is: an `http` or `https` URL of at most 2048 characters, without user name, query or fragment. Its path
    /// is put before the caller's.
    #[schemars(transform = bounds::ENDPOINT_URL.schema())]
    pub url: String,

    /// Share of traffic among endpoints of the same priority, 0 to 1000; 0 gets none. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::WEIGHT.schema())]
    pub weight: Option<i32>,

    /// Rank, 0 to 7: traffic goes to the lowest that has an endpoint fit to serve. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PRIORITY.schema())]
    pub priority: Option<i32>,
}

/// A Credential in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRef {
    /// Name of the Credential.
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub name: String,
}

/// How to verify the provider's certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificates to trust instead of the public roots, in PEM. Without it: the public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,

    /// DNS name to ask for (SNI) and to verify, instead of the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::SERVER_NAME.schema())]
    pub server_name: Option<String>,

    /// Lowest version to accept: `1.2` or `1.3`. Defaults to `1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
}

/// Certificates in a Secret or ConfigMap of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// What holds the certificates: `Secret` or `ConfigMap`.
    pub kind: CaRefKind,

    /// Name of the Secret or ConfigMap.
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub name: String,

    /// Key whose value is one or more certificates in PEM, at most 256 KiB.
    #[schemars(transform = bounds::DATA_KEY.schema())]
    pub key: String,
}

/// What holds certificates.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum CaRefKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// A version of TLS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Bounds in time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::ATTEMPT_WITHIN_REQUEST)]
pub struct Timeouts {
    /// To connect, TLS handshake included, `1ms` to `5m`. Defaults to `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::CONNECT.schema())]
    pub connect: Option<Duration>,

    /// One attempt, until the head of its answer, `1ms` to `1h`. Defaults to `10s`, or to `request` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::ATTEMPT.schema())]
    pub attempt: Option<Duration>,

    /// The whole request, until the head of the answer: every attempt and every wait between them, `1ms` to `24h`.
    /// Defaults to `30s`, or to `attempt` if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::REQUEST.schema())]
    pub request: Option<Duration>,

    /// A connection, to either side, with nothing under way, and the longest pause inside a body, `1s` to `24h`.
    /// Defaults to `90s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::IDLE.schema())]
    pub idle: Option<Duration>,
}

/// Bounds in bytes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Body of a request, in bytes, `1` to `1024Gi`; a larger one is answered with `request-too-large` (413). Defaults
    /// to `10Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BODY.schema())]
    pub request_body: Option<Bytes>,

    /// Body of an answer, in bytes, `1` to `1024Gi`; a larger one is refused where its length is announced and cut where
    /// it is not. Defaults to `100Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::BODY.schema())]
    pub response_body: Option<Bytes>,

    /// All headers of a request or of an answer together, in bytes, `1Ki` to `1Mi`. Defaults to `64Ki`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::HEADERS.schema())]
    pub headers: Option<Bytes>,
}
