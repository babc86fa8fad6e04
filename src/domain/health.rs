//! What a worker reports, and what the reports of all workers of an Integration come to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::api::integration::{CircuitState, Health, HealthReason, TrippedBy};

/// Hosts that asked to be left alone, with their port where it is not the scheme's own, and until when.
pub type Pauses = BTreeMap<String, Timestamp>;

/// Version of the shape below.
pub const FORMAT: u32 = 1;

/// What one worker says of one Integration: a whole picture, sent when anything in it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this shape.
    pub format: u32,
    /// The Integration it is about.
    pub integration: Key,
    /// UID of the Integration whose plan runs.
    pub uid: String,
    /// Revision of the plan that runs.
    pub plan_revision: u64,
    /// Generation that plan was compiled from.
    pub generation: i64,
    /// The credentials in use.
    pub credentials: Vec<CredentialReport>,
    /// The last reset token that was carried out.
    pub reset_circuit: Option<String>,
    /// The share of the rate limit that it was told last: one part of so many, 0 is none.
    #[serde(default)]
    pub share: Option<u32>,
    /// The pauses that this worker was asked for by answers that it got itself.
    #[serde(default, skip_serializing_if = "Pauses::is_empty")]
    pub paused_until: Pauses,
    /// Every endpoint of the plan, in its order.
    pub endpoints: Vec<EndpointReport>,
}

/// One credential in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialReport {
    /// Name of the Credential.
    pub name: String,
    /// The revision that new requests carry.
    pub revision: i64,
    /// 401 or 403, if the provider answered that to this revision, and nothing else since; a 403 after other answers counts
    /// from the tenth in a row on.
    #[serde(default)]
    pub rejected_status: Option<u16>,
}

/// One endpoint as this worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Name of the endpoint.
    pub name: String,
    /// Health by probe, or by traffic where there is no probe.
    pub health: Health,
    /// Why.
    pub reason: HealthReason,
    /// At most 256 characters; never a body, a header or a credential.
    pub message: String,
    /// When `health` last changed.
    pub since: Timestamp,
    /// The breaker.
    pub circuit: CircuitReport,
}

/// One breaker as this worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitReport {
    /// Closed, HalfOpen or Open; never Unknown.
    pub state: CircuitState,
    /// When `state` last changed.
    pub since: Timestamp,
    /// While Open: when the next trial is let through.
    pub next_trial: Option<Timestamp>,
    /// While not Closed: what opened it.
    pub tripped_by: Option<TrippedBy>,
}

/// Paths of the control connection (HTTP/2 over mutual TLS, worker port 9443).
pub mod control {
    /// `PUT`: a [`Plan`](super::super::plan::Plan) as JSON; 200 when taken over or already running, 409 when an equal
    /// or newer revision with other content runs, 422 when it cannot be used (the running plan stays).
    pub const PLAN: &str = "/v1/plan";
    /// `GET`: newline-delimited [`Report`](super::Report)s as JSON, the current ones at once, then each change.
    pub const REPORTS: &str = "/v1/reports";
    /// `PUT`: the share of the rate limit that the worker has from now on, a decimal number: one part of so many, 0 is
    /// none; 200 when it holds.
    pub const SHARE: &str = "/v1/share";
    /// `PUT`: every pause that a worker of the Integration was asked for ([`Pauses`](super::Pauses)) as JSON; 200 when it is
    /// heeded.
    pub const PAUSE: &str = "/v1/pause";
    /// Longest pauses in bytes: 16 endpoints, each with a host of 255 characters.
    pub const MAX_PAUSES: usize = 8 << 10;
    /// Longest plan in bytes: what a Secret can hold.
    pub const MAX_PLAN: usize = 1 << 20;
    /// Longest line of reports in bytes.
    pub const MAX_REPORT: usize = 256 << 10;
    /// DNS name in the controller's client certificate; a worker talks to nobody else.
    pub const CONTROLLER_NAME: &str = "controller.tidegate.dev";

    /// DNS name in the certificate of the workers of the Integration with this UID.
    pub fn worker_name(uid: &str) -> String {
        format!("{uid}.worker.tidegate.dev")
    }
}
