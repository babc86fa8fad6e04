//! Who authorises a call: another Credential, or this one with a value of its own.

use crate::api::condition::reason;
use crate::domain::plan::Material;
use crate::domain::rotation::Minted;
use crate::domain::validate;
use crate::provider::template::Step;
use crate::provider::{IssueError, Order};

/// A Credential that authorises a call.
pub struct Authorised {
    /// What is injected.
    pub material: Material,
    /// Where it may go.
    pub allowed_hosts: Vec<String>,
}

/// The Credential called `name`; `own` is the value that this Credential's name means, if not the one in use.
pub fn authorised(order: &Order<'_>, step: Step, name: &str, own: Option<&Minted>) -> Result<Authorised, IssueError> {
    let field = step.field("credentialRef");
    if name == &*order.key.name {
        return Ok(Authorised {
            material: own_material(order, own)?,
            allowed_hosts: order.spec.allowed_hosts.clone(),
        });
    }
    let not_yet = |reason, what| IssueError::NotSent {
        reason,
        message: format!("`{field}`: {what}"),
    };
    let Some(Some(authority)) = order.sources.credentials.get(name) else {
        let what = format!("there is no Credential `{name}` in this namespace; create it or name another");
        return Err(not_yet(reason::CREDENTIAL_NOT_FOUND, what));
    };
    let Some(material) = authority.material.clone() else {
        let what = format!("Credential `{name}` has no value that can be used now; see its conditions");
        return Err(not_yet(reason::CREDENTIAL_NOT_READY, what));
    };
    Ok(Authorised {
        material,
        allowed_hosts: authority.allowed_hosts.clone(),
    })
}

/// A value of this Credential as it is injected: the one that is given, the one in use, or the first one.
fn own_material(order: &Order<'_>, own: Option<&Minted>) -> Result<Material, IssueError> {
    let values = own.map(|minted| &minted.values);
    let material = if let Some(values) = values.or(order.current.map(|current| current.values)) {
        validate::issued(order.spec, values)
    } else {
        let secret = validate::secret_name(order.spec).and_then(|name| order.sources.secrets.get(name));
        validate::credential(order.spec, secret.and_then(Option::as_ref))
    };
    material.map_err(|problem| {
        let (reason, message) = (problem.reason(), problem.to_string());
        if problem.stalls() {
            IssueError::Refused { reason, message }
        } else {
            IssueError::NotSent { reason, message }
        }
    })
}
