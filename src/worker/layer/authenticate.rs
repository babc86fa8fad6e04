//! The innermost layer: puts the credentials in. Nothing above it ever sees one.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::domain::inject::{Unfit, inject};
use crate::domain::plan::{CredentialPlan, Material};

/// A credential of a plan, and whether the provider accepts it.
#[derive(Debug)]
pub struct Credential {
    plan: CredentialPlan,
    rejected: AtomicBool,
}

impl Credential {
    /// A credential that the provider has said nothing about, or what it said of the same revision: `rejected`.
    pub fn new(plan: CredentialPlan, rejected: bool) -> Self {
        Self {
            plan,
            rejected: AtomicBool::new(rejected),
        }
    }

    /// What the plan says of it.
    pub fn plan(&self) -> &CredentialPlan {
        &self.plan
    }

    /// The provider answered 401 or 403 to this revision, and nothing else since.
    pub fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    /// The provider answered a request that carried it. Says whether that changed anything.
    pub fn note_answer(&self, status: StatusCode) -> bool {
        let rejected = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // A plain load first: the common answer changes nothing, and a swap would move the cache line between cores.
        self.is_rejected() != rejected && self.rejected.swap(rejected, Ordering::Relaxed) != rejected
    }

    /// The header that carries it, if a header does.
    pub fn header(&self) -> Option<HeaderName> {
        match &self.plan.material {
            Some(Material::Header { name, .. }) => HeaderName::from_bytes(name.as_bytes()).ok(),
            _ => None,
        }
    }
}

/// Puts `credentials` into the head of a request.
///
/// A TRACE request gets none: it asks the provider to send back what it got, and a client must not send it anything that
/// the one who reads the answer is not to see (RFC 9110 9.3.8).
pub fn authenticate<'a>(
    method: &Method,
    target: &mut PathAndQuery,
    headers: &mut HeaderMap,
    credentials: impl IntoIterator<Item = &'a Credential>,
) -> Result<(), (String, Unfit)> {
    if *method == Method::TRACE {
        return Ok(());
    }
    for credential in credentials {
        if let Some(material) = &credential.plan.material {
            inject(material, target, headers).map_err(|unfit| (credential.plan.name.clone(), unfit))?;
        }
    }
    Ok(())
}
