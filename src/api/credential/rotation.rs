//! When and how a value is replaced.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::Generated;
use crate::api::bounds;
use crate::api::duration::Duration;

/// When and how a value is replaced.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Percent of a value's lifetime after which it is renewed. Defaults to 66.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<i32>,

    /// How often a value that has no lifetime is replaced. Absent: only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,

    /// How long the previous value stays valid after every worker uses the new one. Defaults to `24h` for generated
    /// values and provider's keys, and to `0s` for tokens and certificates, which expire by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,

    /// When rotations that can wait may begin. Absent: at any time. A value that would expire before the next window is
    /// renewed outside of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,

    /// How a provider's own keys are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
}

/// A time in which rotations may begin.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it begins: five fields as in cron, such as `0 2 * * *`.
    pub schedule: String,

    /// How long it lasts.
    pub duration: Duration,

    /// Name of the time zone, such as `Europe/Berlin`. Defaults to `Etc/UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// How a provider's own keys are replaced: HTTP calls. URLs, header values and bodies are templates, in which
/// `{{ attempt.id }}`, `{{ value }}`, `{{ id }}`, `{{ previous.value }}` and `{{ previous.id }}` stand for what they name;
/// an unknown name is an error.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    /// Makes the new value.
    pub create: Create,

    /// Gives the provider a value that `create` generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<StepCall>,

    /// Tries the new value before anybody uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<StepCall>,

    /// Takes the previous value away once nobody uses it any more. An answer of 404 counts as done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<StepCall>,

    /// Lists what carries `{{ attempt.id }}`, so that an answer that was lost leaves no orphan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
}

/// Makes a new value: either `generate` (we choose) or `request` (the provider chooses).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    /// The value is random and ours; `set` gives it to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generated>,

    /// The call that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<StepRequest>,

    /// The Credential that authorises the call. Absent: the request carries only what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<CredentialNameRef>,

    /// Which answers mean success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<StepExpectation>,

    /// Where the answer has the value. Needed with `request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
}

/// A call to the provider.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepCall {
    /// The call.
    pub request: StepRequest,

    /// The Credential that authorises the call. Absent: the request carries only what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<CredentialNameRef>,

    /// Which answers mean success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<StepExpectation>,
}

/// A call that lists keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Find {
    /// The call.
    pub request: StepRequest,

    /// The Credential that authorises the call. Absent: the request carries only what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<CredentialNameRef>,

    /// Where the answer has the ids.
    pub extract: FindExtract,
}

/// An HTTP request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepRequest {
    /// Method. Defaults to `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<StepMethod>,

    /// URL, a template. Its host must be in `allowedHosts` of the Credential that authorises the call, or, without one,
    /// of this Credential.
    pub url: String,

    /// Headers; their values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// Body, a template. In a JSON body, what stands for a name is escaped as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Method of a call to the provider.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum StepMethod {
    /// GET.
    GET,
    /// POST.
    #[default]
    POST,
    /// PUT.
    PUT,
    /// PATCH.
    PATCH,
    /// DELETE.
    DELETE,
}

/// A Credential of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialNameRef {
    /// Its name; this Credential's own name means the value in use.
    pub name: String,
}

/// Which answers mean success.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepExpectation {
    /// Statuses or ranges of them, such as `200-299`. Defaults to `200-299`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
}

/// Where a JSON answer has what it made: jq filters.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Extract {
    /// The value, a string.
    pub value: String,

    /// What the provider calls it, a string or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,

    /// When it expires: RFC 3339, or seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Where a JSON answer has ids: a jq filter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FindExtract {
    /// The ids of what carries this attempt's id: strings or numbers, each an output, or one list of them.
    pub ids: String,
}
