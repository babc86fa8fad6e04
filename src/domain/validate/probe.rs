//! Active probes.

use super::checks::{Checks, defaults_of_pair};
use super::defaults;
use crate::api::bounds;
use crate::api::integration::{HealthCheck, ProbeMethod, Protocol};
use crate::domain::expression;
use crate::domain::plan::ProbePlan;

/// Checks the probes.
pub fn check(checks: &mut Checks, spec: &HealthCheck, protocol: Protocol) -> ProbePlan {
    let HealthCheck {
        interval,
        timeout,
        unhealthy_threshold,
        healthy_threshold,
        service,
        path,
        method,
        use_credential,
        expect,
    } = spec;
    let statuses = expect.as_ref().and_then(|expect| expect.statuses.as_ref());
    if protocol == Protocol::GRPC && (path.is_some() || method.is_some() || statuses.is_some()) {
        checks.violated("spec.healthCheck", bounds::GRPC_PROBE.must);
    }
    if protocol != Protocol::GRPC && service.is_some() {
        checks.violated("spec.healthCheck.service", bounds::GRPC_SERVICE.must);
    }
    checks.text_if_set("spec.healthCheck.service", service.as_ref(), bounds::GRPC_SERVICE_NAME);
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
        service: service.clone().unwrap_or_default(),
    };
    if plan.timeout > plan.interval {
        checks.violated("spec.healthCheck.timeout", bounds::TIMEOUT_WITHIN_INTERVAL.must);
    }
    plan
}
