//! A spec and what it refers to, checked: what can be used, with every default applied, or the reasons why not.
//!
//! Everything that the CRD's schema and rules check is checked again, in the same words, because an object may have been
//! stored under an older CRD or come from a file.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::key::Key;
use super::plan::{
    BreakerPlan, ConcurrencyPlan, ConnectionPlan, EndpointPlan, GraphQlPlan, LimitPlan, Material, ProbePlan,
    RateLimitPlan, RetryPlan, TimeoutPlan, TlsPlan,
};
use super::secret::SecretValue;
use crate::api::condition::reason;
use crate::api::credential::CredentialSpec;
use crate::api::integration::{BalancePolicy, CaRefKind, Integration, Protocol, Resources};

mod checks;
mod credential;
mod defaults;
mod graphql;
mod integration;
mod probe;
mod resilience;
mod trust;
mod websocket;

/// Data of a Secret or ConfigMap; `None` where the bytes are not UTF-8.
pub type Values = BTreeMap<String, Option<SecretValue>>;

/// What an Integration refers to, as it was read just now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct References {
    /// For each of `spec.credentialRefs`, in its order, what is known of it.
    pub credentials: Vec<CredentialReference>,
    /// The data of the Secret or ConfigMap that `spec.tls.caRef` names; `None` if there is no such object (or no
    /// `caRef`).
    pub ca: Option<Values>,
}

/// A referenced Credential.
#[derive(Clone, Debug, PartialEq)]
pub struct CredentialReference {
    /// Name of the Credential.
    pub name: String,
    /// What was read; `None` if there is no such Credential, or it is being deleted.
    pub found: Option<CredentialFound>,
}

/// A Credential that exists, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct CredentialFound {
    /// Its `spec.allowedHosts`.
    pub allowed_hosts: Vec<String>,
    /// Its revision, which workers report back.
    pub revision: i64,
    /// What [`credential`] made of it and its Secret.
    pub material: Result<Material, CredentialProblem>,
    /// When the value ceases to be valid, where that is known.
    pub not_after: Option<Timestamp>,
    /// Whether a value that the provider refuses is replaced by itself.
    pub renewable: bool,
}

/// An Integration that can be used: typed, bounded, with every default applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Its namespace and name.
    pub key: Key,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// What is spoken to the provider.
    pub protocol: Protocol,
    /// Where the provider is; at least one, at least one of them with weight.
    pub endpoints: Vec<EndpointPlan>,
    /// What it refers to, in the order of `spec.credentialRefs`.
    pub credentials: Vec<CredentialReference>,
    /// How to verify the provider.
    pub tls: TlsPlan,
    /// Bounds in time.
    pub timeouts: TimeoutPlan,
    /// When and how often to try again.
    pub retries: RetryPlan,
    /// When to stop asking an endpoint.
    pub breaker: BreakerPlan,
    /// Our promise to the provider, if any.
    pub rate_limit: Option<RateLimitPlan>,
    /// Requests under way and waiting.
    pub concurrency: ConcurrencyPlan,
    /// Connections to the provider.
    pub connections: ConnectionPlan,
    /// How to choose among endpoints.
    pub balance: BalancePolicy,
    /// The header that `ConsistentHash` looks at.
    pub hash_on: Option<String>,
    /// Bounds in bytes.
    pub limits: LimitPlan,
    /// Active probes, if any.
    pub health_check: Option<ProbePlan>,
    /// Bounds on operations; present if and only if GraphQL is spoken.
    pub graphql: Option<GraphQlPlan>,
    /// The value of the `tidegate.dev/reset-circuit` annotation, if any.
    pub reset_circuit: Option<String>,
    /// How many workers.
    pub replicas: i32,
    /// Compute resources of each; absent: the installation's default.
    pub resources: Option<Resources>,
    /// Namespaces that may call, besides the Integration's own.
    pub access: Vec<String>,
}

/// A field whose value is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {must}")]
pub struct Violation {
    /// Path of the field, such as `spec.endpoints[0].url`.
    pub field: String,
    /// What is allowed, as a phrase that begins with `must`. Never a secret.
    pub must: String,
}

/// Why an Integration cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The spec itself is wrong.
    #[error(transparent)]
    InvalidSpec(#[from] Violation),
    /// `spec.tls.caRef` names a Secret or ConfigMap that does not exist.
    #[error("`spec.tls.caRef`: {}", absent(*.kind, .name))]
    RefNotFound {
        /// What is missing.
        kind: CaRefKind,
        /// Its name.
        name: String,
    },
    /// The Secret or ConfigMap is there, but the key is not, or holds no certificates.
    #[error("`spec.tls.caRef`: key `{key}` of {kind:?} `{name}` {must}")]
    RefUnusable {
        /// What is referred to.
        kind: CaRefKind,
        /// Its name.
        name: String,
        /// The key in it.
        key: String,
        /// What is expected there.
        must: String,
    },
    /// A Credential does not allow the host of an endpoint.
    #[error(
        "`spec.endpoints[{index}].url`: Credential `{credential}` does not allow `{host}`; add it to its \
         `spec.allowedHosts` or take the Credential off `spec.credentialRefs`"
    )]
    HostNotAllowed {
        /// Place of the endpoint in `spec.endpoints`.
        index: usize,
        /// Host and port of the endpoint.
        host: String,
        /// Name of the Credential.
        credential: String,
    },
}

impl Problem {
    /// Reason of `Accepted=False`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidSpec(_) => reason::INVALID_SPEC,
            Self::RefNotFound { .. } | Self::RefUnusable { .. } => reason::REF_NOT_FOUND,
            Self::HostNotAllowed { .. } => reason::HOST_NOT_ALLOWED,
        }
    }

    /// Whether only an edit can mend it. What does not exist yet may be on its way.
    pub fn stalls(&self) -> bool {
        !matches!(self, Self::RefNotFound { .. })
    }
}

/// What is said of an object that is referred to and not there. It is also what is said of a Secret that may not be named,
/// so that nobody learns by naming one whether it exists.
pub fn absent(kind: CaRefKind, name: &str) -> String {
    match kind {
        CaRefKind::Secret => {
            format!("there is no Secret `{name}` in this namespace that may be named here; create it or name another")
        }
        CaRefKind::ConfigMap => format!("there is no ConfigMap `{name}` in this namespace; create it or name another"),
    }
}

/// Why a Credential has no usable value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialProblem {
    /// The spec is wrong, or the value in the Secret is not one that can be sent.
    #[error(transparent)]
    InvalidSpec(#[from] Violation),
    /// The Secret does not exist, or may not be named.
    #[error("`{field}`: {}", absent(CaRefKind::Secret, .secret))]
    SecretNotFound {
        /// The field that names it.
        field: &'static str,
        /// Its name.
        secret: String,
    },
    /// The Secret has no such key.
    #[error("`{field}`: Secret `{secret}` has no key `{key}`; add it or name another")]
    KeyMissing {
        /// The field that names it.
        field: &'static str,
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// A value could not be issued, or what was issued cannot be used.
    #[error("{message}")]
    IssueFailed {
        /// What failed and what can be done; never a value, a header or a body.
        message: String,
        /// Only an edit helps, of the spec or of what the value is made from.
        permanent: bool,
    },
    /// The value is not valid any more, and there is no other.
    #[error("{message}")]
    Expired {
        /// Which, since when, and what can be done.
        message: String,
    },
    /// The provider wants a person to authorise anew.
    #[error("{message}")]
    ReauthorizationRequired {
        /// Why, and what to do.
        message: String,
    },
    /// We issue the value, and the first one is on its way.
    #[error("{FIRST_VALUE_IS_ON_ITS_WAY}")]
    NotIssued,
}

/// What [`CredentialProblem::NotIssued`] says.
pub const FIRST_VALUE_IS_ON_ITS_WAY: &str = "the first value is on its way";

impl CredentialProblem {
    /// Reason of `Ready=False`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidSpec(_) => reason::INVALID_SPEC,
            Self::SecretNotFound { .. } => reason::SECRET_NOT_FOUND,
            Self::KeyMissing { .. } => reason::KEY_MISSING,
            Self::IssueFailed { .. } => reason::ISSUE_FAILED,
            Self::Expired { .. } => reason::EXPIRED,
            Self::ReauthorizationRequired { .. } => reason::REAUTHORIZATION_REQUIRED,
            Self::NotIssued => reason::PROGRESSING,
        }
    }

    /// Whether only an edit can mend it. What does not exist yet may be on its way, and so may be a fresh value.
    pub fn stalls(&self) -> bool {
        match self {
            Self::InvalidSpec(_) | Self::KeyMissing { .. } | Self::ReauthorizationRequired { .. } => true,
            Self::SecretNotFound { .. } | Self::Expired { .. } | Self::NotIssued => false,
            Self::IssueFailed { permanent, .. } => *permanent,
        }
    }
}

/// A referenced Credential that has no usable value, in the words of `CredentialsReady=False`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// `CredentialNotFound` or `CredentialNotReady`.
    pub reason: &'static str,
    /// Which Credential and why.
    pub message: String,
    /// Whether only an edit can mend it.
    pub stalls: bool,
}

impl References {
    /// Every referenced Credential that has no usable value.
    pub fn unready(&self) -> Vec<Unready> {
        let unready = |reference: &CredentialReference| {
            let name = &reference.name;
            match &reference.found {
                None => Some(Unready {
                    reason: reason::CREDENTIAL_NOT_FOUND,
                    message: format!("there is no Credential `{name}` in this namespace; create it or name another"),
                    stalls: false,
                }),
                Some(CredentialFound {
                    material: Err(problem), ..
                }) => Some(Unready {
                    reason: reason::CREDENTIAL_NOT_READY,
                    message: format!("Credential `{name}`: {problem}"),
                    stalls: problem.stalls(),
                }),
                Some(_) => None,
            }
        };
        self.credentials.iter().filter_map(unready).collect()
    }
}

/// Checks an Integration with what it refers to. All problems are found, those of the spec first.
///
/// A Credential that is missing or not ready is no problem here: the Integration is acceptable, its workers answer
/// `credential-unavailable`, and [`References::unready`] says why.
pub fn integration(object: &Integration, references: &References) -> Result<Accepted, Vec<Problem>> {
    integration::check(object, references)
}

/// What is wrong with the spec of a Credential, whatever its Secret holds.
pub fn credential_spec(spec: &CredentialSpec) -> Vec<Violation> {
    credential::violations(spec)
}

/// Name of the Secret that a Credential's value comes from; `None` if the spec names none.
pub fn secret_name(spec: &CredentialSpec) -> Option<&str> {
    let api_key = spec.api_key.as_ref().and_then(|it| Some(&it.secret_ref.as_ref()?.name));
    let basic = spec.basic.as_ref().and_then(|it| Some(&it.secret_ref.as_ref()?.name));
    let bearer = spec.bearer.as_ref().and_then(|it| Some(&it.secret_ref.as_ref()?.name));
    let certificate = spec.certificate.as_ref();
    let certificate = certificate.and_then(|it| Some(&it.secret_ref.as_ref()?.name));
    api_key.or(basic).or(bearer).or(certificate).map(String::as_str)
}

/// The value of a Credential that comes from a referenced Secret, ready to be injected. Of a Credential that refers to
/// none, this says that nothing has been issued yet; [`issued`] reads what has.
///
/// `secret` is the data of the Secret that [`secret_name`] names, `None` if it does not exist. One trailing newline
/// (`\n` or `\r\n`) of a value is dropped, because editors and `echo` leave one; any other control character is
/// refused. A certificate (`tls.crt`, `tls.key`) must be a chain in PEM that begins with the one that the key belongs
/// to. A problem names Secret and key, never a value.
pub fn credential(spec: &CredentialSpec, secret: Option<&Values>) -> Result<Material, CredentialProblem> {
    credential::material(spec, secret)
}

/// The value of a Credential that we issue, ready to be injected.
///
/// `values` are the keys of the issued Secret: `token` of `oauth2` and `jwt`; `tls.crt` and `tls.key` of
/// `certificate.issue`; `value` of `generated` and of keys that `rotation.steps` make, with the `username` beside it of
/// `basic`. A problem names the key, never a value.
pub fn issued(spec: &CredentialSpec, values: &BTreeMap<String, SecretValue>) -> Result<Material, CredentialProblem> {
    credential::issued(spec, values)
}

/// When the first certificate of a chain in PEM begins and ceases to be valid; `None` if there is none.
pub fn certificate_times(chain: &str) -> Option<(Timestamp, Timestamp)> {
    credential::times(chain)
}

#[cfg(test)]
mod tests;
