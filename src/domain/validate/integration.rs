//! An Integration, checked field by field in the order of its spec.

use url::Url;

use super::checks::{Checks, defaults_of_pair};
use super::{Accepted, CredentialFound, Problem, References, Values, defaults};
use crate::api::ANNOTATION_RESET_CIRCUIT;
use crate::api::bounds;
use crate::api::integration::{
    CaRef, CircuitBreaker, Concurrency, Connections, Endpoint, HealthCheck, Integration, IntegrationSpec, Limits,
    ProbeMethod, Resources, Retries, Timeouts, Tls, Workers,
};
use crate::domain::expression;
use crate::domain::hosts::{HostPattern, allowed};
use crate::domain::key::Key;
use crate::domain::plan::{
    BreakerPlan, ConcurrencyPlan, ConnectionPlan, EndpointPlan, LimitPlan, Material, ProbePlan, RetryPlan, TimeoutPlan,
    TlsPlan,
};
use crate::domain::status;

/// Most bytes of a `caRef` value that are looked at (cert-manager CVE-2024-12401: a large PEM took most of a second).
const CA_MAX: usize = 256 << 10;

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
        endpoints: endpoint_specs,
        credential_refs,
        tls: tls_spec,
        timeouts: timeouts_spec,
        retries: retries_spec,
        circuit_breaker,
        concurrency: concurrency_spec,
        connections: connections_spec,
        load_balancing,
        limits: limits_spec,
        health_check: health_check_spec,
        workers: workers_spec,
        access,
        suspend: _, // The reconciler stops before it comes here.
    } = &object.spec;

    let endpoints = endpoints(&mut checks, endpoint_specs);
    check_credential_refs(&mut checks, object, references);
    let tls = tls(&mut checks, tls_spec.as_ref());
    let timeouts = timeouts(&mut checks, timeouts_spec.as_ref().unwrap_or(&Timeouts::default()));
    let retries = retries(&mut checks, retries_spec.as_ref().unwrap_or(&Retries::default()));
    let breaker = breaker(
        &mut checks,
        circuit_breaker.as_ref().unwrap_or(&CircuitBreaker::default()),
    );
    let concurrency = concurrency(
        &mut checks,
        concurrency_spec.as_ref().unwrap_or(&Concurrency::default()),
    );
    let connections = connections(
        &mut checks,
        connections_spec.as_ref().unwrap_or(&Connections::default()),
    );
    let limits = limits(&mut checks, limits_spec.as_ref().unwrap_or(&Limits::default()));
    let health_check = health_check_spec.as_ref().map(|spec| probe(&mut checks, spec));
    let replicas = workers(&mut checks, workers_spec.as_ref().unwrap_or(&Workers::default()));
    let namespaces = access
        .as_ref()
        .and_then(|access| access.namespaces.clone())
        .unwrap_or_default();
    checks.count("spec.access.namespaces", namespaces.len(), 0, 64);
    let namespace_field = |index| format!("spec.access.namespaces[{index}]");
    for (index, namespace) in namespaces.iter().enumerate() {
        checks.text(&namespace_field(index), namespace, bounds::LABEL);
    }
    checks.unique(&namespaces, namespace_field);

    let mut problems: Vec<Problem> = checks.into_violations().into_iter().map(Problem::from).collect();
    problems.extend(hosts_not_allowed(&endpoints, credential_refs.len(), references));
    let ca_pem = match tls_spec.as_ref().and_then(|tls| tls.ca_ref.as_ref()) {
        Some(ca_ref) => ca(ca_ref, references.ca.as_ref())
            .map_err(|problem| problems.push(problem))
            .ok(),
        None => None,
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Accepted {
        key: Key::new(metadata.namespace.as_deref().unwrap_or_default(), name),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        protocol: protocol.unwrap_or_default(),
        endpoints,
        credentials: references.credentials.clone(),
        tls: TlsPlan { ca_pem, ..tls },
        timeouts,
        retries,
        breaker,
        concurrency,
        connections,
        balance: load_balancing.as_ref().and_then(|it| it.policy).unwrap_or_default(),
        limits,
        health_check,
        reset_circuit: metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(ANNOTATION_RESET_CIRCUIT))
            .map(|value| status::echo(value)),
        replicas,
        resources: workers_spec.as_ref().and_then(|workers| workers.resources.clone()),
        access: namespaces,
    })
}

/// RFC 1035, as the rule in the CRD has it.
fn is_service_name(name: &str) -> bool {
    bounds::LABEL.check(name).is_ok() && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn endpoints(checks: &mut Checks, specs: &[Endpoint]) -> Vec<EndpointPlan> {
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
fn check_credential_refs(checks: &mut Checks, object: &Integration, references: &References) {
    let refs = &object.spec.credential_refs;
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

/// Everything but the certificates, which come with the references.
fn tls(checks: &mut Checks, spec: Option<&Tls>) -> TlsPlan {
    let Some(Tls {
        ca_ref,
        server_name,
        min_version,
    }) = spec
    else {
        return TlsPlan::default();
    };
    if let Some(CaRef { kind: _, name, key }) = ca_ref {
        checks.text("spec.tls.caRef.name", name, bounds::OBJECT_NAME);
        checks.text("spec.tls.caRef.key", key, bounds::DATA_KEY);
    }
    if let Some(name) = server_name {
        checks.text("spec.tls.serverName", name, bounds::SERVER_NAME);
    }
    TlsPlan {
        ca_pem: None,
        server_name: server_name.clone(),
        min_version: *min_version,
    }
}

/// The certificates that `caRef` names.
fn ca(CaRef { kind, name, key }: &CaRef, values: Option<&Values>) -> Result<String, Problem> {
    let kind = *kind;
    let Some(values) = values else {
        return Err(Problem::RefNotFound {
            kind,
            name: name.clone(),
        });
    };
    let unusable = |must: &str| Problem::RefUnusable {
        kind,
        name: name.clone(),
        key: key.clone(),
        must: must.to_owned(),
    };
    let pem = match values.get(key) {
        None => return Err(unusable("must exist; add it or name another")),
        Some(None) => return Err(unusable("must be text: certificates in PEM")),
        Some(Some(pem)) => pem.expose(),
    };
    if pem.len() > CA_MAX {
        return Err(unusable("must be at most 256 KiB of certificates in PEM"));
    }
    if !is_certificates(pem) {
        return Err(unusable("must be one or more certificates in PEM, and nothing else"));
    }
    Ok(pem.to_owned())
}

/// Whether `pem` is at least one X.509 certificate and no block of another kind (a private key has no business here).
fn is_certificates(pem: &str) -> bool {
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).peekable();
    blocks.peek().is_some()
        && blocks.all(|block| block.is_ok_and(|block| block.label == "CERTIFICATE" && block.parse_x509().is_ok()))
}

fn timeouts(checks: &mut Checks, spec: &Timeouts) -> TimeoutPlan {
    let Timeouts {
        connect,
        attempt,
        request,
        idle,
    } = *spec;
    let (attempt_default, request_default) =
        defaults_of_pair((attempt, defaults::ATTEMPT), (request, defaults::REQUEST));
    let plan = TimeoutPlan {
        connect: checks.span("spec.timeouts.connect", connect, bounds::CONNECT, defaults::CONNECT),
        attempt: checks.span("spec.timeouts.attempt", attempt, bounds::ATTEMPT, attempt_default),
        request: checks.span("spec.timeouts.request", request, bounds::REQUEST, request_default),
        idle: checks.span("spec.timeouts.idle", idle, bounds::IDLE, defaults::IDLE),
    };
    if plan.attempt > plan.request {
        checks.violated("spec.timeouts.attempt", bounds::ATTEMPT_WITHIN_REQUEST.must);
    }
    plan
}

fn retries(checks: &mut Checks, spec: &Retries) -> RetryPlan {
    let Retries {
        limit,
        backoff,
        statuses,
        methods,
        retry_after_max,
        budget,
    } = spec;
    let backoff = backoff.clone().unwrap_or_default();
    let budget = budget.clone().unwrap_or_default();
    let (base_default, max_default) = defaults_of_pair(
        (backoff.base, defaults::BACKOFF_BASE),
        (backoff.max, defaults::BACKOFF_MAX),
    );
    let statuses = match statuses {
        None => defaults::RETRY_STATUSES.to_vec(),
        Some(statuses) => {
            let field = |index| format!("spec.retries.statuses[{index}]");
            checks.count("spec.retries.statuses", statuses.len(), 0, 32);
            checks.unique(statuses, field);
            let status = |(index, status): (usize, &i32)| checks.range(&field(index), Some(*status), bounds::STATUS, 0);
            let statuses: Vec<u32> = statuses.iter().enumerate().map(status).collect();
            statuses
                .into_iter()
                .filter_map(|status| u16::try_from(status).ok())
                .collect()
        }
    };
    let plan = RetryPlan {
        limit: checks.range("spec.retries.limit", *limit, bounds::RETRIES, defaults::RETRIES),
        backoff_base: checks.span("spec.retries.backoff.base", backoff.base, bounds::BACKOFF, base_default),
        backoff_max: checks.span("spec.retries.backoff.max", backoff.max, bounds::BACKOFF, max_default),
        statuses,
        methods: methods.unwrap_or_default(),
        retry_after_max: checks.span(
            "spec.retries.retryAfterMax",
            *retry_after_max,
            bounds::RETRY_AFTER,
            defaults::RETRY_AFTER_MAX,
        ),
        budget_percent: checks.range(
            "spec.retries.budget.percent",
            budget.percent,
            bounds::BUDGET_PERCENT,
            defaults::BUDGET_PERCENT,
        ),
        budget_interval: checks.span(
            "spec.retries.budget.interval",
            budget.interval,
            bounds::BUDGET_INTERVAL,
            defaults::BUDGET_INTERVAL,
        ),
        budget_minimum_per_second: checks.range(
            "spec.retries.budget.minimumPerSecond",
            budget.minimum_per_second,
            bounds::BUDGET_MINIMUM,
            defaults::BUDGET_MINIMUM,
        ),
    };
    if plan.backoff_base > plan.backoff_max {
        checks.violated("spec.retries.backoff.base", bounds::BASE_WITHIN_MAX.must);
    }
    plan
}

fn breaker(checks: &mut Checks, spec: &CircuitBreaker) -> BreakerPlan {
    let CircuitBreaker {
        consecutive_failures,
        failure_rate,
        open_for,
        max_open_for,
        half_open_requests,
        mode,
    } = spec;
    let rate = failure_rate.clone().unwrap_or_default();
    let (open_default, max_default) =
        defaults_of_pair((*open_for, defaults::OPEN_FOR), (*max_open_for, defaults::MAX_OPEN_FOR));
    let plan = BreakerPlan {
        consecutive_failures: checks.range(
            "spec.circuitBreaker.consecutiveFailures",
            *consecutive_failures,
            bounds::CONSECUTIVE_FAILURES,
            defaults::CONSECUTIVE_FAILURES,
        ),
        failure_percent: checks.range(
            "spec.circuitBreaker.failureRate.percent",
            rate.percent,
            bounds::FAILURE_PERCENT,
            defaults::FAILURE_PERCENT,
        ),
        window: checks.span(
            "spec.circuitBreaker.failureRate.window",
            rate.window,
            bounds::WINDOW,
            defaults::WINDOW,
        ),
        minimum_requests: checks.range(
            "spec.circuitBreaker.failureRate.minimumRequests",
            rate.minimum_requests,
            bounds::MINIMUM_REQUESTS,
            defaults::MINIMUM_REQUESTS,
        ),
        open_for: checks.span("spec.circuitBreaker.openFor", *open_for, bounds::OPEN_FOR, open_default),
        max_open_for: checks.span(
            "spec.circuitBreaker.maxOpenFor",
            *max_open_for,
            bounds::MAX_OPEN_FOR,
            max_default,
        ),
        half_open_requests: checks.range(
            "spec.circuitBreaker.halfOpenRequests",
            *half_open_requests,
            bounds::HALF_OPEN_REQUESTS,
            defaults::HALF_OPEN_REQUESTS,
        ),
        mode: mode.unwrap_or_default(),
    };
    if plan.open_for > plan.max_open_for {
        checks.violated("spec.circuitBreaker.openFor", bounds::OPEN_WITHIN_MAX.must);
    }
    plan
}

fn concurrency(checks: &mut Checks, spec: &Concurrency) -> ConcurrencyPlan {
    let Concurrency {
        max_in_flight,
        max_pending,
    } = *spec;
    ConcurrencyPlan {
        max_in_flight: checks.range(
            "spec.concurrency.maxInFlight",
            max_in_flight,
            bounds::MAX_IN_FLIGHT,
            defaults::MAX_IN_FLIGHT,
        ),
        max_pending: checks.range(
            "spec.concurrency.maxPending",
            max_pending,
            bounds::MAX_PENDING,
            defaults::MAX_PENDING,
        ),
    }
}

fn connections(checks: &mut Checks, spec: &Connections) -> ConnectionPlan {
    let Connections {
        max_per_endpoint,
        idle_timeout,
        http2,
    } = *spec;
    ConnectionPlan {
        max_per_endpoint: checks.range(
            "spec.connections.maxPerEndpoint",
            max_per_endpoint,
            bounds::MAX_PER_ENDPOINT,
            defaults::MAX_PER_ENDPOINT,
        ),
        idle_timeout: checks.span(
            "spec.connections.idleTimeout",
            idle_timeout,
            bounds::IDLE_TIMEOUT,
            defaults::IDLE_TIMEOUT,
        ),
        http2: http2.unwrap_or_default(),
    }
}

fn limits(checks: &mut Checks, spec: &Limits) -> LimitPlan {
    let Limits {
        request_body,
        response_body,
        headers,
    } = *spec;
    LimitPlan {
        request_body: checks.size(
            "spec.limits.requestBody",
            request_body,
            bounds::BODY,
            defaults::REQUEST_BODY,
        ),
        response_body: checks.size(
            "spec.limits.responseBody",
            response_body,
            bounds::BODY,
            defaults::RESPONSE_BODY,
        ),
        headers: checks.size("spec.limits.headers", headers, bounds::HEADERS, defaults::HEADERS),
    }
}

fn probe(checks: &mut Checks, spec: &HealthCheck) -> ProbePlan {
    let HealthCheck {
        interval,
        timeout,
        unhealthy_threshold,
        healthy_threshold,
        path,
        method,
        use_credential,
        expect,
    } = spec;
    let (timeout_default, interval_default) = defaults_of_pair(
        (*timeout, defaults::PROBE_TIMEOUT),
        (*interval, defaults::PROBE_INTERVAL),
    );
    let path = path.clone().unwrap_or_else(|| defaults::PROBE_PATH.to_owned());
    checks.text("spec.healthCheck.path", &path, bounds::PATH);
    let expect = expect.clone().unwrap_or_default();
    let statuses = match &expect.statuses {
        None => vec![defaults::PROBE_STATUSES],
        Some(statuses) => {
            let field = |index| format!("spec.healthCheck.expect.statuses[{index}]");
            checks.count("spec.healthCheck.expect.statuses", statuses.len(), 1, 16);
            checks.unique(statuses, field);
            for (index, text) in statuses.iter().enumerate() {
                checks.text(&field(index), text, bounds::STATUS_RANGE);
            }
            statuses.iter().filter_map(|text| bounds::status_range(text)).collect()
        }
    };
    if let Some(text) = &expect.expression {
        let field = "spec.healthCheck.expect.expression";
        match bounds::EXPRESSION.check(text) {
            Err(must) => checks.violated(field, must),
            Ok(()) => {
                if let Err(invalid) = expression::compile(text) {
                    checks.violated(field, invalid.to_string());
                }
            }
        }
    }
    let plan = ProbePlan {
        interval: checks.span(
            "spec.healthCheck.interval",
            *interval,
            bounds::PROBE_INTERVAL,
            interval_default,
        ),
        timeout: checks.span(
            "spec.healthCheck.timeout",
            *timeout,
            bounds::PROBE_TIMEOUT,
            timeout_default,
        ),
        unhealthy_threshold: checks.range(
            "spec.healthCheck.unhealthyThreshold",
            *unhealthy_threshold,
            bounds::THRESHOLD,
            defaults::UNHEALTHY_THRESHOLD,
        ),
        healthy_threshold: checks.range(
            "spec.healthCheck.healthyThreshold",
            *healthy_threshold,
            bounds::THRESHOLD,
            defaults::HEALTHY_THRESHOLD,
        ),
        path,
        method: match method.unwrap_or_default() {
            ProbeMethod::GET => "GET",
            ProbeMethod::HEAD => "HEAD",
            ProbeMethod::OPTIONS => "OPTIONS",
            ProbeMethod::POST => "POST",
        }
        .to_owned(),
        use_credential: use_credential.unwrap_or(defaults::USE_CREDENTIAL),
        statuses,
        expression: expect.expression,
    };
    if plan.timeout > plan.interval {
        checks.violated("spec.healthCheck.timeout", bounds::TIMEOUT_WITHIN_INTERVAL.must);
    }
    plan
}

/// Checks the workers; what is left to know of them is how many.
fn workers(checks: &mut Checks, spec: &Workers) -> i32 {
    let Workers { replicas, resources } = spec;
    let replicas = checks.range("spec.workers.replicas", *replicas, bounds::REPLICAS, defaults::REPLICAS);
    let Resources { requests, limits } = resources.clone().unwrap_or_default();
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

/// Every endpoint whose host some referenced Credential does not allow.
fn hosts_not_allowed(endpoints: &[EndpointPlan], limit: usize, references: &References) -> Vec<Problem> {
    let mut problems = Vec::new();
    for reference in references.credentials.iter().take(limit) {
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
