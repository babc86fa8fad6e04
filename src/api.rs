//! What users write and read: the resources, and every name that is part of the public contract.

pub mod bounds;
pub mod condition;
pub mod crds;
pub mod credential;
pub mod duration;
pub mod integration;
pub mod quantity;

/// API group of both resources.
pub const GROUP: &str = "tidegate.dev";
/// API version of both resources.
pub const VERSION: &str = "v1alpha1";

/// Label that names the Integration an object of ours belongs to.
pub const LABEL_INTEGRATION: &str = "tidegate.dev/integration";
/// Label that names the Credential an object of ours belongs to.
pub const LABEL_CREDENTIAL: &str = "tidegate.dev/credential";

/// Annotation by which a user asks for one rotation; any new value asks once.
pub const ANNOTATION_ROTATE: &str = "tidegate.dev/rotate";
/// Annotation by which a user asks to close every circuit; any new value asks once.
pub const ANNOTATION_RESET_CIRCUIT: &str = "tidegate.dev/reset-circuit";
/// Annotation by which a user asks for a reconcile; any new value asks once.
pub const ANNOTATION_RECONCILE: &str = "tidegate.dev/reconcile";

/// Finalizer of a Credential that has something to revoke at a provider.
pub const FINALIZER_REVOKE: &str = "tidegate.dev/revoke";
/// `type` of a Secret that holds what we issue.
pub const SECRET_ISSUED: &str = "tidegate.dev/credential";
/// `type` of a Secret in which a new value waits until it is published.
pub const SECRET_PENDING: &str = "tidegate.dev/pending";

/// Field manager of everything the Integration reconciler applies.
pub const MANAGER_INTEGRATION: &str = "tidegate-integration";
/// Field manager of everything the Credential reconciler applies.
pub const MANAGER_CREDENTIAL: &str = "tidegate-credential";

/// Port on which a worker takes traffic.
pub const PORT_TRAFFIC: u16 = 8080;
/// Port on which a worker takes plans and gives reports, to the controller alone (mutual TLS).
pub const PORT_CONTROL: u16 = 9443;
/// Port of `/metrics`, `/livez` and `/readyz`, of workers and controller alike.
pub const PORT_ADMIN: u16 = 9090;
/// Port of the Service that applications call.
pub const PORT_SERVICE: u16 = 80;

/// Prefix of problem type URIs (RFC 9457); the slug follows.
pub const PROBLEM_PREFIX: &str = "https://tidegate.dev/problems/";
