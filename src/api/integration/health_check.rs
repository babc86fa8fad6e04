//! Active probes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds;
use crate::api::duration::Duration;

/// Active probes, made by each worker to each endpoint. They take the path of the traffic: same network, name
/// resolution, TLS and credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::TIMEOUT_WITHIN_INTERVAL)]
pub struct HealthCheck {
    /// From the start of one probe to the start of the next, `1s` to `24h`, with jitter. Defaults to `30s`, or to
    /// `timeout` if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PROBE_INTERVAL.schema())]
    pub interval: Option<Duration>,

    /// For the whole probe, `10ms` to `5m`. Defaults to `10s`, or to `interval` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PROBE_TIMEOUT.schema())]
    pub timeout: Option<Duration>,

    /// Failures in a row that make an endpoint Unhealthy, 1 to 100. Defaults to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::THRESHOLD.schema())]
    pub unhealthy_threshold: Option<i32>,

    /// Successes in a row that make it Healthy again, 1 to 100. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::THRESHOLD.schema())]
    pub healthy_threshold: Option<i32>,

    /// With `protocol: GRPC`: the service that grpc.health.v1 is asked about, at most 256 characters; it must be
    /// SERVING. Without it: the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::GRPC_SERVICE_NAME.schema())]
    pub service: Option<String>,

    /// Path to ask for, put behind the endpoint's own; at most 1024 characters. Not with `protocol: GRPC`. Defaults to
    /// `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PATH.schema())]
    pub path: Option<String>,

    /// Method of the probe. Not with `protocol: GRPC`. Defaults to `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<ProbeMethod>,

    /// Whether the probe carries the credential. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_credential: Option<bool>,

    /// What a healthy answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
}

/// Method of a probe.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum ProbeMethod {
    /// GET.
    #[default]
    GET,
    /// HEAD: no body.
    HEAD,
    /// OPTIONS.
    OPTIONS,
    /// POST, with an empty body.
    POST,
}

/// What a healthy answer is: its status is one of `statuses` and `expression` is true.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// Statuses such as `204` and inclusive ranges such as `200-299`, at most 16. Not with `protocol: GRPC`. Defaults to
    /// `200-299`, with `protocol: WebSocket` to `101`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), transform = bounds::Each(bounds::STATUS_RANGE))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Option<Vec<String>>,

    /// CEL over `status`, `headers`, `body` and `certificate`, such as `body.status == 'ok'`; at most 1024 characters.
    /// Without it, the status decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::EXPRESSION.schema())]
    pub expression: Option<String>,
}
