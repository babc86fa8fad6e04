//! An Integration, checked field by field in the order of its spec.

use url::Url;

use super::checks::Checks;
use super::{Accepted, CredentialFound, Problem, References, defaults, graphql, probe, resilience, trust, websocket};
use crate::api::ANNOTATION_RESET_CIRCUIT;
use crate::api::bounds;
use crate::api::integration::{Access, CredentialRef, Endpoint, Integration, IntegrationSpec, Resources, Workers};
use crate::domain::hosts::{HostPattern, allowed};
use crate::domain::key::Key;
use crate::domain::plan::{EndpointPlan, Material, TlsPlan};
use crate::domain::status;

/// Checks an Integration with what it refers to; see [`super::integration`].
pub fn check(object: &Integration, references: &References) -> Result<Accepted, Vec<Problem>> {
    let mut checks = Checks::default();
    let metadata = &object.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    if !is_service_name(name) {
        checks.violated(bounds::SERVICE_NAME.field, bounds::SERVICE_NAME.must);
    }
    // No `..`: whoever adds a field to the spec is asked here what becomes of it.
    let IntegrationSpec {
        protocol,
        endpoints,
        credential_refs,
        tls,
        timeouts,
        retries,
        circuit_breaker,
        rate_limit,
        concurrency,
        connections,
        load_balancing,
        limits,
        health_check,
        graphql,
        workers,
        access,
        suspend: _, // For the reconciler, which then leaves the workers alone.
    } = &object.spec;
    let protocol = protocol.unwrap_or_default();
    let ca_ref = tls.as_ref().and_then(|tls| tls.ca_ref.as_ref());

    // In the order of the spec, which is the order in which a person is told.
    let endpoints = check_endpoints(&mut checks, endpoints);
    check_credential_refs(&mut checks, credential_refs, references);
    let tls = trust::check(&mut checks, tls.as_ref());
    let timeouts = resilience::timeouts(&mut checks, timeouts.as_ref());
    let retries = resilience::retries(&mut checks, retries.as_ref(), protocol);
    let breaker = resilience::breaker(&mut checks, circuit_breaker.as_ref());
    let concurrency = resilience::concurrency(&mut checks, concurrency.as_ref());
    let connections = resilience::connections(&mut checks, connections.as_ref(), protocol);
    let (balance, hash_on) = resilience::load_balancing(&mut checks, load_balancing.as_ref());
    let limits = resilience::limits(&mut checks, limits.as_ref());
    let health_check = health_check
        .as_ref()
        .map(|spec| probe::check(&mut checks, spec, protocol));
    let health_check = websocket::check(&mut checks, &object.spec, health_check);
    let graphql = graphql::check(&mut checks, graphql.as_ref(), protocol);
    let replicas = check_workers(&mut checks, workers.as_ref());
    let rate_limit = rate_limit
        .as_ref()
        .map(|spec| resilience::rate_limit(&mut checks, spec, replicas));
    let access = check_access(&mut checks, access.as_ref());

    let mut problems: Vec<Problem> = checks.into_violations().into_iter().map(Problem::from).collect();
    problems.extend(hosts_not_allowed(&endpoints, references));
    let ca_pem = ca_ref.map(|ca_ref| trust::certificates(ca_ref, references.ca.as_ref()));
    let ca_pem = ca_pem.transpose().unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let annotation = |name| {
        metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(name))
    };
    Ok(Accepted {
        key: Key::new(metadata.namespace.as_deref().unwrap_or_default(), name),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        protocol,
        endpoints,
        credentials: references.credentials.clone(),
        tls: TlsPlan { ca_pem, ..tls },
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
        reset_circuit: annotation(ANNOTATION_RESET_CIRCUIT).map(|value| status::echo(value)),
        replicas,
        resources: workers.as_ref().and_then(|workers| workers.resources.clone()),
        access,
    })
}

/// RFC 1035, as the rule in the CRD has it.
fn is_service_name(name: &str) -> bool {
    bounds::LABEL.check(name).is_ok() && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn check_endpoints(checks: &mut Checks, specs: &[Endpoint]) -> Vec<EndpointPlan> {
    checks.count("spec.endpoints", specs.len(), 1, 16);
    let mut endpoints = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let field = |name: &str| format!("spec.endpoints[{index}].{name}");
        let Endpoint {
            name,
            url,
            weight,
            priority,
        } = spec;
        checks.text(&field("name"), name, bounds::LABEL);
        checks.text(&field("url"), url, bounds::ENDPOINT_URL);
        let weight = checks.range(&field("weight"), *weight, bounds::WEIGHT, defaults::WEIGHT);
        let priority = checks.range(&field("priority"), *priority, bounds::PRIORITY, defaults::PRIORITY);
        endpoints.push(EndpointPlan {
            name: name.clone(),
            // As the parser normalises it: what was checked is what is dialled.
            url: Url::parse(url).map_or_else(|_| url.clone(), String::from),
            weight,
            priority: u8::try_from(priority).unwrap_or_default(),
        });
    }
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    checks.unique(&names, |index| format!("spec.endpoints[{index}].name"));
    if !specs.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        checks.violated("spec.endpoints", bounds::SOME_WEIGHT.1);
    }
    endpoints
}

/// The references themselves, and that no two of them put their value in the same place.
fn check_credential_refs(checks: &mut Checks, refs: &[CredentialRef], references: &References) {
    checks.count("spec.credentialRefs", refs.len(), 0, 4);
    let field = |index| format!("spec.credentialRefs[{index}].name");
    for (index, credential) in refs.iter().enumerate() {
        checks.text(&field(index), &credential.name, bounds::OBJECT_NAME);
    }
    let names: Vec<&str> = refs.iter().map(|credential| credential.name.as_str()).collect();
    checks.unique(&names, field);

    let mut taken: Vec<(String, &str)> = Vec::new();
    for (index, reference) in references.credentials.iter().enumerate() {
        let Some(CredentialFound {
            material: Ok(material), ..
        }) = &reference.found
        else {
            continue;
        };
        let place = match material {
            Material::Header { name, .. } => format!("header '{name}'"),
            Material::Query { name, .. } => format!("query parameter '{name}'"),
            Material::Cookie { name, .. } => format!("cookie '{name}'"),
            // A connection has one.
            Material::Certificate { .. } => "client certificate".to_owned(),
            Material::Unsent { .. } => continue,
        };
        if let Some((_, other)) = taken
            .iter()
            .find(|(there, other)| *there == place && *other != reference.name)
        {
            checks.violated(
                field(index),
                format!("must not put its value where Credential `{other}` does, the {place}"),
            );
        }
        taken.push((place, &reference.name));
    }
}

/// Every endpoint whose host some referenced Credential does not allow.
fn hosts_not_allowed(endpoints: &[EndpointPlan], references: &References) -> Vec<Problem> {
    let mut problems = Vec::new();
    for reference in &references.credentials {
        let Some(found) = &reference.found else { continue };
        // A pattern that is none allows nothing; the Credential's own status says so.
        let patterns: Vec<HostPattern> = found
            .allowed_hosts
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let Ok(url) = Url::parse(&endpoint.url) else { continue };
            let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
                continue;
            };
            if !allowed(&patterns, host, port) {
                problems.push(Problem::HostNotAllowed {
                    index,
                    host: format!("{host}:{port}"),
                    credential: reference.name.clone(),
                });
            }
        }
    }
    problems
}

/// Checks the workers; what is left to know of them is how many.
fn check_workers(checks: &mut Checks, spec: Option<&Workers>) -> i32 {
    let Workers { replicas, resources } = spec.cloned().unwrap_or_default();
    let replicas = checks.range("spec.workers.replicas", replicas, bounds::REPLICAS, defaults::REPLICAS);
    let Resources { requests, limits } = resources.unwrap_or_default();
    let (requests, limits) = (requests.unwrap_or_default(), limits.unwrap_or_default());
    for (what, request, limit, within) in [
        ("cpu", requests.cpu, limits.cpu, bounds::CPU_WITHIN_LIMIT),
        ("memory", requests.memory, limits.memory, bounds::MEMORY_WITHIN_LIMIT),
    ] {
        let mut amount = |group: &str, text: Option<String>| {
            let text = text?;
            checks.text(&format!("spec.workers.resources.{group}.{what}"), &text, bounds::AMOUNT);
            bounds::amount(&text)
        };
        if let (Some(request), Some(limit)) = (amount("requests", request), amount("limits", limit))
            && request > limit
        {
            checks.violated(format!("spec.workers.resources{}", within.field), within.must);
        }
    }
    i32::try_from(replicas).unwrap_or_default()
}

/// Checks who may call: the namespaces.
fn check_access(checks: &mut Checks, spec: Option<&Access>) -> Vec<String> {
    let Access { namespaces } = spec.cloned().unwrap_or_default();
    let namespaces = namespaces.unwrap_or_default();
    let field = |index| format!("spec.access.namespaces[{index}]");
    checks.count("spec.access.namespaces", namespaces.len(), 0, 64);
    for (index, namespace) in namespaces.iter().enumerate() {
        checks.text(&field(index), namespace, bounds::LABEL);
    }
    checks.unique(&namespaces, field);
    namespaces
}
