//! What we know of an Integration.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds;
use crate::api::condition::Condition;

/// What is known of an Integration. The controller alone writes it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationStatus {
    /// Generation that the rest of the status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,

    /// URL under which applications in the cluster call this Integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub address: Option<String>,

    /// Worst circuit over all endpoints: `Open`, then `HalfOpen`, `Unknown`, `Closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitState>,

    /// How many endpoints are Healthy, of how many: `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub endpoints_healthy: Option<String>,

    /// Workers that exist, for `kubectl scale` and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::COUNT.schema())]
    pub replicas: Option<i32>,

    /// Workers that take traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::COUNT.schema())]
    pub ready_replicas: Option<i32>,

    /// Label selector of the workers, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,

    /// The newest plan that every ready worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub plan_revision: Option<i64>,

    /// For each Credential the revision that every ready worker uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub credentials: Vec<CredentialInUse>,

    /// Every endpoint, with its health and its circuit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub endpoints: Vec<EndpointStatus>,

    /// The values of the `tidegate.dev/…` annotations that have been carried out, so that one can wait for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,

    /// `Ready` says that we did our part, never that the provider is up: that is `EndpointsHealthy` and `CircuitClosed`.
    /// Besides, there are `Accepted`, `CredentialsReady` and `Programmed`, and `Reconciling` or `Stalled` while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The revision of a Credential that every ready worker uses.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialInUse {
    /// Name of the Credential.
    #[schemars(length(max = 253))]
    pub name: String,

    /// The lowest revision in use by a ready worker.
    #[schemars(range(min = 0))]
    pub revision: i64,
}

/// What is known of one endpoint, over all workers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Name of the endpoint.
    #[schemars(length(max = 63))]
    pub name: String,

    /// `Healthy`, `Unhealthy`, or `Unknown` without a report.
    pub health: Health,

    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<HealthReason>,

    /// More on the reason; never a body, a header or a credential.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub message: String,

    /// When `health` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,

    /// The circuit, over all workers.
    pub circuit: CircuitStatus,
}

/// What is known of one circuit, over all workers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CircuitStatus {
    /// Worst of the workers; `Unknown` where none reports.
    pub state: CircuitState,

    /// How many workers see it in which state.
    pub workers: CircuitCounts,

    /// When `state` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,

    /// While Open: when the next trial is let through, in the worker where that is soonest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_trial_time: Option<Timestamp>,

    /// While not Closed: what opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripped_by: Option<TrippedBy>,
}

/// How many workers see the circuit in each state.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CircuitCounts {
    /// Traffic flows.
    #[schemars(transform = bounds::COUNT.schema())]
    pub closed: i32,

    /// Trials are let through.
    #[schemars(transform = bounds::COUNT.schema())]
    pub half_open: i32,

    /// Nothing is let through.
    #[schemars(transform = bounds::COUNT.schema())]
    pub open: i32,

    /// No report.
    #[schemars(transform = bounds::COUNT.schema())]
    pub unknown: i32,
}

/// Health of an endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[schemars(transform = bounds::undescribed)]
pub enum Health {
    /// It answers as expected.
    Healthy,
    /// It does not.
    Unhealthy,
    /// Nobody has told yet.
    #[default]
    Unknown,
}

/// Why an endpoint is in the health it is in.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[schemars(transform = bounds::undescribed)]
pub enum HealthReason {
    /// The probe was answered as expected.
    ProbeSucceeded,
    /// The probe failed: not connected, reset, or not the protocol.
    ProbeFailed,
    /// The probe was not answered in time.
    ProbeTimeout,
    /// The probe was answered with a status that is not expected.
    UnexpectedStatus,
    /// The expression over the probe's answer is not true.
    ExpressionFalse,
    /// Requests succeed.
    TrafficSucceeded,
    /// Requests fail.
    TrafficFailed,
    /// The address policy refuses every address of the host.
    AddressRefused,
    /// The host's name has no address.
    NameNotResolved,
    /// No worker reports.
    NoReport,
}

/// State of a circuit; a greater one is worse.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[schemars(transform = bounds::undescribed)]
pub enum CircuitState {
    /// Traffic flows.
    Closed,
    /// Nobody has told yet.
    #[default]
    Unknown,
    /// Trials are let through.
    HalfOpen,
    /// Nothing is let through.
    Open,
}

/// What opened a circuit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[schemars(transform = bounds::undescribed)]
pub enum TrippedBy {
    /// Failures in a row.
    ConsecutiveFailures,
    /// The rate of failures.
    FailureRate,
    /// The user, by `circuitBreaker.mode`.
    Forced,
}

/// The values of the `tidegate.dev/…` request annotations that have been carried out, each cut after 256 characters.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// The last `tidegate.dev/rotate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub rotate: Option<String>,

    /// The last `tidegate.dev/reset-circuit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reset_circuit: Option<String>,

    /// The last `tidegate.dev/reconcile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reconcile: Option<String>,
}
