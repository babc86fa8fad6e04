//! What was accepted, compiled into the plan that workers run.

use ipnet::IpNet;

use super::plan::{CredentialPlan, FORMAT, Plan};
use super::validate::{Accepted, CredentialReference, References};

/// The plan for `accepted`.
///
/// `stored` is the plan that was programmed last, if any. Its revision is kept if nothing else differs, and is one
/// higher otherwise. A credential that is there but has no usable value now (its Secret is missing or broken) keeps the
/// last good value that `stored` has of it; one that is gone, or never had a value, has none. `denied` are the addresses
/// that the installation refuses besides those that every worker refuses by itself.
pub fn plan(accepted: &Accepted, denied: &[IpNet], stored: Option<&Plan>) -> Plan {
    // A plan for a namesake that was deleted is no predecessor.
    let stored = stored.filter(|stored| stored.uid == accepted.uid);
    // No `..`: whoever adds a field to what is accepted is asked here what becomes of it.
    let Accepted {
        key,
        uid,
        generation,
        protocol,
        endpoints,
        credentials,
        tls,
        timeouts,
        retries,
        breaker,
        rate_limit,
        concurrency,
        connections,
        balance,
        hash_on,
        limits,
        health_check,
        graphql,
        reset_circuit,
        replicas: _,  // These three are
        resources: _, // for the fleet, not
        access: _,    // for the workers.
    } = accepted;
    let plan = Plan {
        format: FORMAT,
        revision: 1,
        integration: key.clone(),
        uid: uid.clone(),
        generation: *generation,
        protocol: *protocol,
        endpoints: endpoints.clone(),
        credentials: credentials
            .iter()
            .map(|reference| {
                let before = stored.and_then(|stored| stored.credentials.iter().find(|it| it.name == reference.name));
                credential(reference, before)
            })
            .collect(),
        tls: tls.clone(),
        timeouts: timeouts.clone(),
        retries: retries.clone(),
        breaker: breaker.clone(),
        rate_limit: rate_limit.clone(),
        concurrency: concurrency.clone(),
        connections: connections.clone(),
        balance: *balance,
        hash_on: hash_on.clone(),
        limits: limits.clone(),
        health_check: health_check.clone(),
        graphql: graphql.clone(),
        denied: denied.to_vec(),
        reset_circuit: reset_circuit.clone(),
    };
    match stored {
        Some(stored) => succeed(stored, plan),
        None => plan,
    }
}

/// The stored plan with its credentials as they are now, for an Integration that is not acceptable as it stands.
///
/// The last good plan keeps serving, but a credential that was rotated, withdrawn or bound to fewer hosts since must
/// not wait for somebody to mend the Integration. One that the Integration does not name any more stays as it is.
pub fn refresh(stored: &Plan, references: &References) -> Plan {
    let credentials = stored
        .credentials
        .iter()
        .map(
            |before| match references.credentials.iter().find(|it| it.name == before.name) {
                Some(reference) => credential(reference, Some(before)),
                None => before.clone(),
            },
        )
        .collect();
    succeed(
        stored,
        Plan {
            credentials,
            ..stored.clone()
        },
    )
}

/// `next`, with the revision that it gets after `stored`.
fn succeed(stored: &Plan, mut next: Plan) -> Plan {
    next.revision = stored.revision;
    if next != *stored {
        next.revision += 1;
    }
    next
}

fn credential(reference: &CredentialReference, before: Option<&CredentialPlan>) -> CredentialPlan {
    let name = reference.name.clone();
    match &reference.found {
        None => CredentialPlan {
            name,
            revision: before.map_or(0, |before| before.revision),
            allowed_hosts: Vec::new(),
            material: None,
            not_after: None,
            renewable: false,
        },
        Some(found) => match (&found.material, before) {
            (Ok(material), _) => CredentialPlan {
                name,
                revision: found.revision,
                allowed_hosts: found.allowed_hosts.clone(),
                material: Some(material.clone()),
                not_after: found.not_after,
                renewable: found.renewable,
            },
            // The last good value keeps serving, but where it may go is as the Credential says now.
            (Err(_), before) => CredentialPlan {
                name,
                revision: before.map_or(found.revision, |before| before.revision),
                allowed_hosts: found.allowed_hosts.clone(),
                material: before.and_then(|before| before.material.clone()),
                not_after: before.and_then(|before| before.not_after),
                renewable: found.renewable,
            },
        },
    }
}

#[cfg(test)]
mod tests;
