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
    /// Percent of a value's lifetime after which it is renewed, 1 to 95. Defaults to 66.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::RENEW_AT.schema())]
    pub renew_at: Option<i32>,

    /// How often a value that has no lifetime of its own is replaced, `1m` to `17520h`: one of `generated` or of `steps`,
    /// or the key of `jwt.generate`. Absent: only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::ROTATION_INTERVAL.schema())]
    pub interval: Option<Duration>,

    /// How long the previous value stays valid after every worker uses the new one, `0s` to `720h`. Defaults to `24h` for
    /// generated values and provider's keys, and to `0s` for tokens and certificates, which expire by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::OVERLAP.schema())]
    pub overlap: Option<Duration>,

    /// When rotations that can wait may begin, at most 8 windows. Absent: at any time. A value that would expire before
    /// the next window is renewed outside of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub windows: Vec<Window>,

    /// How a provider's own keys are replaced. Only with `apiKey`, `basic` or `bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
}

/// A time in which rotations may begin.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it begins: five fields as in cron (minute, hour, day of month, month, day of week), such as `0 2 * * *`; at
    /// most 100 characters.
    #[schemars(transform = bounds::SCHEDULE.schema())]
    pub schedule: String,

    /// How long it lasts, `1m` to `24h`.
    #[schemars(transform = bounds::WINDOW_DURATION.schema())]
    pub duration: Duration,

    /// Name of the time zone, such as `Europe/Berlin`; at most 64 characters. Defaults to `Etc/UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::TIME_ZONE.schema())]
    pub time_zone: Option<String>,
}

/// How a provider's own keys are replaced: HTTP calls. URLs, header values and bodies are templates, in which
/// `{{ attempt.id }}`, `{{ value }}`, `{{ id }}`, `{{ previous.value }}` and `{{ previous.id }}` stand for what they name;
/// an unknown name is an error.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::SET_IS_USED, validation = bounds::FIND_IS_USED)]
pub struct Steps {
    /// Makes the new value: either `generate` (we choose, and `set` tells the provider) or `request` (the provider
    /// chooses).
    pub create: Create,

    /// Gives the provider the `{{ value }}` that `create.generate` made. Only with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<StepCall>,

    /// Tries the new `{{ value }}` before anybody uses it. Absent: it is not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<StepCall>,

    /// Takes the previous value (`{{ previous.id }}`, `{{ previous.value }}`) away once nobody uses it any more. An answer
    /// of 404 counts as done. Absent: it is left to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<StepCall>,

    /// Lists what carries `{{ attempt.id }}`, so that an answer that was lost leaves no orphan. Only with `create.request`
    /// and `revoke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
}

/// Makes a new value: either `generate` (we choose) or `request` (the provider chooses).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = bounds::ONE_ORIGIN,
    validation = bounds::EXTRACT_IS_USED,
    validation = bounds::AUTHORITY_IS_USED,
    validation = bounds::EXPECTATION_IS_USED
)]
pub struct Create {
    /// The value is random and ours; `set` gives it to the provider. Either this or `request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generated>,

    /// The call that makes it. Either this or `generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<StepRequest>,

    /// The Credential that authorises the call. Absent: the request carries only what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<CredentialNameRef>,

    /// Which answers mean success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<StepExpectation>,

    /// Where the answer has the value. Needed with `request`, and only then.
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
    /// Method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Defaults to `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<StepMethod>,

    /// URL, a template behind its host, at most 2048 characters; `https`, or `http` for localhost and Services of the
    /// cluster. Its host must be in `allowedHosts` of the Credential that authorises the call, or, without one, of this
    /// Credential.
    #[schemars(transform = bounds::STEP_URL.schema())]
    pub url: String,

    /// Headers, at most 32, with names of at most 128 characters and values of at most 4096, which are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = bounds::STEP_HEADERS.schema())]
    pub headers: BTreeMap<String, String>,

    /// Body, a template, at most 16384 characters. In a JSON body, what stands for a name is escaped as JSON. Defaults to
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::STEP_BODY.schema())]
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
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub name: String,
}

/// Which answers mean success.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepExpectation {
    /// Statuses such as `204` and inclusive ranges such as `200-299`, at most 16. Defaults to `200-299`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = bounds::Each(bounds::STATUS_RANGE))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Vec<String>,
}

/// Where a JSON answer has what it made: jq filters.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Extract {
    /// The value, a string: a jq filter of at most 1024 characters, such as `.key`.
    #[schemars(transform = bounds::FILTER.schema())]
    pub value: String,

    /// What the provider calls it, a string or a number: a jq filter of at most 1024 characters. Absent: it has no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::FILTER.schema())]
    pub id: Option<String>,

    /// When it expires, RFC 3339 or seconds since 1970: a jq filter of at most 1024 characters. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::FILTER.schema())]
    pub expires_at: Option<String>,
}

/// Where a JSON answer has ids: a jq filter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FindExtract {
    /// The ids of what carries this attempt's id, strings or numbers, each an output, or one list of them: a jq filter of
    /// at most 1024 characters.
    #[schemars(transform = bounds::FILTER.schema())]
    pub ids: String,
}
