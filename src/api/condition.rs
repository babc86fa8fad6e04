//! Conditions: every type and reason that may appear in a status, with what it means.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// One aspect of an object's state, shaped like `metav1.Condition`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,

    /// Whether it is so.
    pub status: ConditionStatus,

    /// Why, as one CamelCase word from a list that is part of the API.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    )]
    pub reason: String,

    /// Why, for a person; never a secret, a body or a header.
    #[schemars(length(max = 32768))]
    pub message: String,

    /// When `status` last changed.
    pub last_transition_time: Timestamp,

    /// Generation that the condition speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// Whether something is so.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum ConditionStatus {
    /// It is.
    True,
    /// It is not.
    False,
    /// We cannot tell.
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

/// Reasons of conditions.
pub mod reason {
    /// All is as it should be.
    pub const OK: &str = "OK";
    /// The spec is wrong.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// What the spec refers to does not exist or is unusable.
    pub const REF_NOT_FOUND: &str = "RefNotFound";
    /// A Credential does not allow the host of an endpoint.
    pub const HOST_NOT_ALLOWED: &str = "HostNotAllowed";
    /// An object of the name we need exists and is not ours.
    pub const ADDRESS_TAKEN: &str = "AddressTaken";
    /// A referenced Credential has no usable value.
    pub const CREDENTIAL_NOT_READY: &str = "CredentialNotReady";
    /// A referenced Credential does not exist.
    pub const CREDENTIAL_NOT_FOUND: &str = "CredentialNotFound";
    /// The provider answers 401 or 403 to a Credential.
    pub const CREDENTIAL_REJECTED: &str = "CredentialRejected";
    /// No worker is ready.
    pub const WORKERS_NOT_READY: &str = "WorkersNotReady";
    /// A ready worker does not run the plan yet.
    pub const PLAN_NOT_ADOPTED: &str = "PlanNotAdopted";
    /// Some endpoint is Unhealthy.
    pub const SOME_UNHEALTHY: &str = "SomeUnhealthy";
    /// Every endpoint is Unhealthy.
    pub const ALL_UNHEALTHY: &str = "AllUnhealthy";
    /// Some circuit is open.
    pub const CIRCUIT_OPEN: &str = "CircuitOpen";
    /// Some circuit is half open, none is open.
    pub const CIRCUIT_HALF_OPEN: &str = "CircuitHalfOpen";
    /// The user holds the circuit open.
    pub const FORCED: &str = "Forced";
    /// No worker reports.
    pub const NO_REPORT: &str = "NoReport";
    /// A Secret does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret has no such key.
    pub const KEY_MISSING: &str = "KeyMissing";
    /// A value could not be issued.
    pub const ISSUE_FAILED: &str = "IssueFailed";
    /// The value is not valid any more.
    pub const EXPIRED: &str = "Expired";
    /// A person has to authorise anew.
    pub const REAUTHORIZATION_REQUIRED: &str = "ReauthorizationRequired";
    /// No rotation is under way.
    pub const IDLE: &str = "Idle";
    /// The value should have been renewed.
    pub const RENEWAL_OVERDUE: &str = "RenewalOverdue";
    /// A worker still uses an older revision.
    pub const WAITING_FOR_WORKERS: &str = "WaitingForWorkers";
    /// Work is under way.
    pub const PROGRESSING: &str = "Progressing";
    /// Something failed that another try may mend.
    pub const PROGRESSING_WITH_RETRY: &str = "ProgressingWithRetry";
}
