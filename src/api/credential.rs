//! `Credential`: how to authenticate at an outside API, and which hosts may see it.
//!
//! The doc comments below are what `kubectl explain` prints.

#![expect(
    clippy::duplicated_attributes,
    reason = "several columns have a type; each is of its own `printcolumn`"
)]

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;
use super::condition::Condition;
use super::integration::Handled;

pub mod certificate;
pub mod generated;
pub mod jwt;
pub mod oauth2;
pub mod rotation;

use certificate::Certificate;
use generated::Generated;
use jwt::Jwt;
use oauth2::OAuth2;
use rotation::Rotation;

/// How to authenticate: exactly one of `apiKey`, `basic`, `bearer`, `oauth2`, `jwt`, `certificate` and `generated`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Credential",
    namespaced,
    status = "CredentialStatus",
    shortname = "tgcred",
    category = "tidegate",
    derive = "PartialEq",
    doc = "How to authenticate at an outside API, and which hosts may see it. The value itself stays in its Secret.",
    selectable = ".status.rotation.step",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".status.notAfter"),
    printcolumn(name = "Renews", type_ = "date", json_path = ".status.renewalTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.rotation.step", priority = 1),
    printcolumn(
        name = "Last-Rotated",
        type_ = "date",
        json_path = ".status.lastRotationTime",
        priority = 1
    ),
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
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = bounds::ONE_KIND,
    validation = bounds::API_KEY_HAS_SOURCE,
    validation = bounds::BASIC_HAS_SOURCE,
    validation = bounds::BASIC_HAS_USER,
    validation = bounds::BEARER_HAS_SOURCE,
    validation = bounds::SECRET_NAME_IS_USED,
    validation = bounds::ROTATION_IS_USED,
    validation = bounds::STEPS_HAVE_A_KEY,
    validation = bounds::INTERVAL_IS_USED
)]
pub struct CredentialSpec {
    /// Hosts that this credential may be sent to, 1 to 32: `api.example.com`, `*.example.org` (one or more labels, not
    /// `example.org` itself), `127.0.0.1` or `[2001:db8::1]`, each with an optional port such as `:8443`; no port means
    /// any port. It is sent nowhere else; a client's secret of `oauth2` goes to the token endpoint, and nowhere else.
    #[schemars(length(min = 1, max = 32), transform = bounds::Each(bounds::HOST_PATTERN))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_hosts: Vec<String>,

    /// A key in a header, a query parameter or a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,

    /// User name and password (RFC 7617): `Authorization: Basic …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,

    /// A token (RFC 6750): `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Bearer>,

    /// Access tokens of an OAuth 2.0 authorization server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,

    /// JSON Web Tokens that we sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,

    /// A client certificate for mutual TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,

    /// A random value of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,

    /// Name of the Secret that we write what we issue into, and own; at most 253 characters. Only where a value is
    /// issued: with `oauth2`, `jwt`, `certificate.issue`, `generated` or `rotation.steps`. Defaults to the Credential's
    /// name with `-issued` at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub secret_name: Option<String>,

    /// When and how the value is replaced. Only where a value is issued; a value from a Secret is replaced by writing the
    /// Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,

    /// Hands off: while true, nothing is changed or rotated, and what is in use stays in use. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// A key in a header, a query parameter or a cookie.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = bounds::NAME_OUTSIDE_HEADERS,
    validation = bounds::NAME_IS_TOKEN,
    validation = bounds::NAME_IS_FREE,
    validation = bounds::PREFIX_IN_HEADERS
)]
pub struct ApiKey {
    /// Where the key goes: `Header`, `Query` or `Cookie`. What the caller sent there is replaced. Defaults to `Header`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub place: Option<KeyPlace>,

    /// Name of the header, query parameter or cookie, at most 256 characters. Defaults to `X-API-Key` for a header; must
    /// be set otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::KEY_NAME.schema())]
    pub name: Option<String>,

    /// What stands before the key in a header, such as `Token ` with its space; at most 64 characters. Defaults to
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::PREFIX.schema())]
    pub prefix: Option<String>,

    /// The Secret that holds the key: visible ASCII, spaces within, at most 16 KiB. One newline at its end is dropped.
    /// With `rotation.steps` it holds the first key, and may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// Where a key goes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum KeyPlace {
    /// A header of the request.
    #[default]
    Header,
    /// A parameter of the query.
    Query,
    /// A cookie.
    Cookie,
}

/// User name and password (RFC 7617).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The Secret that holds both, such as one of type `kubernetes.io/basic-auth`. With `rotation.steps` it holds the
    /// user name and the first password, and may be absent: then `extract.id` is the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<BasicSecretRef>,
}

/// User name and password in a Secret of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BasicSecretRef {
    /// Name of the Secret.
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub name: String,

    /// Key whose value is the user name, without ':' (RFC 7617, 2), at most 16 KiB. One newline at its end is dropped.
    /// Defaults to `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::DATA_KEY.schema())]
    pub username_key: Option<String>,

    /// Key whose value is the password, at most 16 KiB. One newline at its end is dropped. Defaults to `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::DATA_KEY.schema())]
    pub password_key: Option<String>,
}

/// A token (RFC 6750).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Bearer {
    /// The Secret that holds the token: letters, digits and - . _ ~ + / with '=' at the end (RFC 6750, 2.1), at most
    /// 16 KiB. One newline at its end is dropped. With `rotation.steps` it holds the first token, and may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// A value in a Secret of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub name: String,

    /// Key of the value.
    #[schemars(transform = bounds::DATA_KEY.schema())]
    pub key: String,
}

/// A Secret of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretNameRef {
    /// Name of the Secret.
    #[schemars(transform = bounds::OBJECT_NAME.schema())]
    pub name: String,
}

/// The most Integrations that [`CredentialStatus::consumers`] names.
pub const CONSUMERS_MAX: usize = 256;

/// What is known of a Credential. The controller alone writes it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Generation that the rest of the status speaks of; -1 until the controller has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,

    /// Which kind of credential the spec asks for.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<CredentialType>,

    /// Counts up with every new value; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub revision: Option<i64>,

    /// resourceVersion of the Secret that the current revision was read from; tells a change of value that happened
    /// while no controller ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub secret_version: Option<String>,

    /// The value before the current one, as long as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousValue>,

    /// Name of the Secret in which a new value waits until it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pending_secret_name: Option<String>,

    /// How the replacement of the value goes; absent where we replace nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,

    /// When the current value begins to be valid, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,

    /// When the current value ceases to be valid, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,

    /// When the current value is to be renewed; absent where nothing renews it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Timestamp>,

    /// When the value last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<Timestamp>,

    /// The Integrations that use this Credential, each with the revision that all its ready workers run; the first 256
    /// by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = CONSUMERS_MAX))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub consumers: Vec<Consumer>,

    /// The values of the `tidegate.dev/…` annotations that have been carried out, so that one can wait for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,

    /// `Ready` says that a usable value is published. Besides, there are `Issuing`, `Fresh` and `Propagated`, and
    /// `Reconciling` or `Stalled` while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Which kind of credential a spec asks for, for the column of `kubectl get`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum CredentialType {
    /// `spec.apiKey`.
    APIKey,
    /// `spec.basic`.
    Basic,
    /// `spec.bearer`.
    Bearer,
    /// `spec.oauth2`.
    OAuth2,
    /// `spec.jwt`.
    JWT,
    /// `spec.certificate`.
    Certificate,
    /// `spec.generated`.
    Generated,
}

impl CredentialSpec {
    /// The kind that is asked for; `None` if it is none or more than one.
    pub fn credential_type(&self) -> Option<CredentialType> {
        let kinds = [
            (self.api_key.is_some(), CredentialType::APIKey),
            (self.basic.is_some(), CredentialType::Basic),
            (self.bearer.is_some(), CredentialType::Bearer),
            (self.oauth2.is_some(), CredentialType::OAuth2),
            (self.jwt.is_some(), CredentialType::JWT),
            (self.certificate.is_some(), CredentialType::Certificate),
            (self.generated.is_some(), CredentialType::Generated),
        ];
        let mut asked = kinds.into_iter().filter(|(asked, _)| *asked);
        let (_, kind) = asked.next()?;
        asked.next().is_none().then_some(kind)
    }

    /// Whether we make the values ourselves or have the provider make them, and keep them in a Secret of our own.
    pub fn issues(&self) -> bool {
        let certificate = self.certificate.as_ref();
        self.oauth2.is_some()
            || self.jwt.is_some()
            || self.generated.is_some()
            || certificate.is_some_and(|certificate| certificate.issue.is_some())
            || self.steps().is_some()
    }

    /// How the provider's own keys are replaced, if they are.
    pub fn steps(&self) -> Option<&rotation::Steps> {
        self.rotation.as_ref()?.steps.as_ref()
    }
}

/// The value before the current one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreviousValue {
    /// Its revision.
    #[schemars(range(min = 0))]
    pub revision: i64,

    /// When it is taken away, where that is known: the overlap begins when every worker uses the current value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// How the replacement of a value goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// What is being done: `Idle`, `Stage`, `Act`, `Test`, `Publish`, `Confirm`, `Overlap`, `Retire`, `Clean`, `Abandon`
    /// or `Wait`.
    pub step: RotationStep,

    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,

    /// Identifies the attempt that is under way, at the provider as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub attempt: Option<String>,

    /// Failures in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::COUNT.schema())]
    pub failed_attempts: Option<i32>,

    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Timestamp>,

    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Timestamp>,
}

/// What is being done to replace a value.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[schemars(transform = bounds::undescribed)]
pub enum RotationStep {
    /// Nothing; the value is fresh.
    #[default]
    Idle,
    /// The intent is written down.
    Stage,
    /// The value is asked for or made.
    Act,
    /// The value is tried.
    Test,
    /// The value becomes the current one.
    Publish,
    /// Workers take it up.
    Confirm,
    /// The previous value stays valid for a while.
    Overlap,
    /// The previous value is taken away.
    Retire,
    /// What waited in the pending Secret is removed.
    Clean,
    /// An attempt is given up, and what it may have made is taken away.
    Abandon,
    /// Something failed, and it is not time to try again.
    Wait,
}

/// An Integration that uses this Credential, and the revision that every ready worker of it runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    /// Name of the Integration.
    #[schemars(length(max = 253))]
    pub name: String,

    /// The lowest revision in use by a ready worker.
    #[schemars(range(min = 0))]
    pub revision: i64,
}
