//! Conditions: every type and reason that may appear in a status, with what it means.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of an object's state, shaped like `metav1.Condition`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Condition types.
pub mod kind {
    /// We did our part. Both kinds.
    pub const READY: &str = "Ready";
    /// kstatus: work is under way; present only while True.
    pub const RECONCILING: &str = "Reconciling";
    /// kstatus: only an edit helps; present only while True.
    pub const STALLED: &str = "Stalled";
    /// Integration: spec and references are usable.
    pub const ACCEPTED: &str = "Accepted";
    /// Integration: every referenced Credential is Ready, or there is none.
    pub const CREDENTIALS_READY: &str = "CredentialsReady";
    /// Integration: every ready worker runs the plan of this generation, and at least one is ready.
    pub const PROGRAMMED: &str = "Programmed";
    /// Integration: every endpoint is Healthy; Unknown without a report.
    pub const ENDPOINTS_HEALTHY: &str = "EndpointsHealthy";
    /// Integration: every breaker of every worker is Closed; Unknown without a report.
    pub const CIRCUIT_CLOSED: &str = "CircuitClosed";
    /// Credential: a rotation is under way.
    pub const ISSUING: &str = "Issuing";
    /// Credential: not past its renewal time.
    pub const FRESH: &str = "Fresh";
    /// Credential: every worker that uses it runs the current revision.
    pub const PROPAGATED: &str = "Propagated";
}
