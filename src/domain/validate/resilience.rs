//! Timeouts, retries, breaker, concurrency, connections and limits.

use super::checks::{Checks, defaults_of_pair};
use super::defaults;
use crate::api::bounds;
use crate::api::duration::Duration;
use crate::api::integration::{
    Adaptive, BalancePolicy, CircuitBreaker, Concurrency, Connections, HashOn, Hedge, Http2, Limits, LoadBalancing,
    Protocol, RateLimit, Retries, Timeouts,
};
use crate::domain::grpc;
use crate::domain::plan::{
    AdaptivePlan, BreakerPlan, ConcurrencyPlan, ConnectionPlan, HedgePlan, LimitPlan, RateLimitPlan, RetryPlan,
    TimeoutPlan,
};

/// Checks `spec.timeouts`.
pub fn timeouts(checks: &mut Checks, spec: Option<&Timeouts>) -> TimeoutPlan {
    let Timeouts {
        connect,
        attempt,
        request,
        idle,
    } = spec.cloned().unwrap_or_default();
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

/// Checks `spec.retries`.
pub fn retries(checks: &mut Checks, spec: Option<&Retries>, protocol: Protocol) -> RetryPlan {
    let Retries {
        limit,
        backoff,
        statuses,
        methods,
        idempotency_key,
        hedge,
        retry_after_max,
        budget,
    } = spec.cloned().unwrap_or_default();
    if hedge.is_some() && protocol != Protocol::HTTP {
        checks.violated("spec.retries.hedge", bounds::HEDGE_READS.must);
    }
    let backoff = backoff.unwrap_or_default();
    let budget = budget.unwrap_or_default();
    let (base_default, max_default) = defaults_of_pair(
        (backoff.base, defaults::BACKOFF_BASE),
        (backoff.max, defaults::BACKOFF_MAX),
    );
    if protocol == Protocol::GRPC && statuses.is_some() {
        checks.violated("spec.retries.statuses", bounds::GRPC_STATUSES.must);
    }
    let statuses = match statuses {
        None if protocol == Protocol::GRPC => defaults::GRPC_RETRY_STATUSES.to_vec(),
        None => defaults::RETRY_STATUSES.to_vec(),
        Some(statuses) => {
            let field = |index| format!("spec.retries.statuses[{index}]");
            checks.count("spec.retries.statuses", statuses.len(), 0, 32);
            checks.unique(&statuses, field);
            let status = |(index, status): (usize, &i32)| checks.range(&field(index), Some(*status), bounds::STATUS, 0);
            let statuses: Vec<u32> = statuses.iter().enumerate().map(status).collect();
            statuses
                .into_iter()
                .filter_map(|status| u16::try_from(status).ok())
                .collect()
        }
    };
    let limit = checks.range("spec.retries.limit", limit, bounds::RETRIES, defaults::RETRIES);
    let plan = RetryPlan {
        limit: if protocol == Protocol::GRPC {
            limit.min(grpc::MOST_RETRIES)
        } else {
            limit
        },
        backoff_base: checks.span("spec.retries.backoff.base", backoff.base, bounds::BACKOFF, base_default),
        backoff_max: checks.span("spec.retries.backoff.max", backoff.max, bounds::BACKOFF, max_default),
        statuses,
        methods: methods.unwrap_or_default(),
        idempotency_key: idempotency_key.unwrap_or_default(),
        hedge: hedge.map(|hedge| self::hedge(checks, &hedge)),
        retry_after_max: checks.span(
            "spec.retries.retryAfterMax",
            retry_after_max,
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

fn hedge(checks: &mut Checks, Hedge { after }: &Hedge) -> HedgePlan {
    checks.text_if_set("spec.retries.hedge.after", after.as_ref(), bounds::HEDGE_AFTER);
    let after = after.as_ref().and_then(|after| after.parse::<Duration>().ok());
    after.map_or(HedgePlan::P95, |after| HedgePlan::After(after.0))
}

/// Checks `spec.circuitBreaker`.
pub fn breaker(checks: &mut Checks, spec: Option<&CircuitBreaker>) -> BreakerPlan {
    let CircuitBreaker {
        consecutive_failures,
        failure_rate,
        open_for,
        max_open_for,
        half_open_requests,
        mode,
    } = spec.cloned().unwrap_or_default();
    let rate = failure_rate.unwrap_or_default();
    let (open_default, max_default) =
        defaults_of_pair((open_for, defaults::OPEN_FOR), (max_open_for, defaults::MAX_OPEN_FOR));
    let plan = BreakerPlan {
        consecutive_failures: checks.range(
            "spec.circuitBreaker.consecutiveFailures",
            consecutive_failures,
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
        open_for: checks.span("spec.circuitBreaker.openFor", open_for, bounds::OPEN_FOR, open_default),
        max_open_for: checks.span(
            "spec.circuitBreaker.maxOpenFor",
            max_open_for,
            bounds::MAX_OPEN_FOR,
            max_default,
        ),
        half_open_requests: checks.range(
            "spec.circuitBreaker.halfOpenRequests",
            half_open_requests,
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

/// Checks `spec.rateLimit`, which so many workers are to keep.
pub fn rate_limit(checks: &mut Checks, spec: &RateLimit, replicas: i32) -> RateLimitPlan {
    let RateLimit {
        requests,
        interval,
        burst,
        max_wait,
    } = spec;
    let plan = RateLimitPlan {
        requests: checks.range("spec.rateLimit.requests", Some(*requests), bounds::RATE_REQUESTS, 1),
        interval: checks.span(
            "spec.rateLimit.interval",
            *interval,
            bounds::RATE_INTERVAL,
            defaults::RATE_INTERVAL,
        ),
        burst: checks.range("spec.rateLimit.burst", *burst, bounds::RATE_BURST, defaults::RATE_BURST),
        max_wait: checks.span(
            "spec.rateLimit.maxWait",
            *max_wait,
            bounds::RATE_MAX_WAIT,
            defaults::RATE_MAX_WAIT,
        ),
        workers: u32::try_from(replicas).unwrap_or_default(),
    };
    if plan.requests.saturating_add(plan.burst) < plan.workers {
        checks.violated("spec.rateLimit.requests", bounds::RATE_FOR_WORKERS.must);
    }
    plan
}

/// Checks `spec.concurrency`.
pub fn concurrency(checks: &mut Checks, spec: Option<&Concurrency>) -> ConcurrencyPlan {
    let Concurrency {
        max_in_flight,
        max_pending,
        adaptive,
    } = spec.cloned().unwrap_or_default();
    let mut plan = ConcurrencyPlan {
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
        adaptive: None,
    };
    if let Some(Adaptive { minimum, maximum }) = adaptive {
        let field = "spec.concurrency.adaptive";
        let most = checks.range(
            &format!("{field}.maximum"),
            maximum,
            bounds::MAX_IN_FLIGHT,
            plan.max_in_flight,
        );
        let least = checks.range(
            &format!("{field}.minimum"),
            minimum,
            bounds::MAX_IN_FLIGHT,
            defaults::ADAPTIVE_MINIMUM.min(most),
        );
        checks.across(
            "spec.concurrency",
            most <= plan.max_in_flight,
            bounds::MAXIMUM_WITHIN_IN_FLIGHT,
        );
        if maximum.is_some() {
            checks.across(field, least <= most, bounds::MINIMUM_WITHIN_MAXIMUM);
        } else {
            checks.across("spec.concurrency", least <= most, bounds::MAXIMUM_WITHIN_IN_FLIGHT);
        }
        plan.adaptive = Some(AdaptivePlan {
            minimum: least,
            maximum: most,
        });
    }
    plan
}

/// Checks `spec.connections`.
pub fn connections(checks: &mut Checks, spec: Option<&Connections>, protocol: Protocol) -> ConnectionPlan {
    let Connections {
        max_per_endpoint,
        idle_timeout,
        http2,
    } = spec.cloned().unwrap_or_default();
    if protocol == Protocol::GRPC && http2 == Some(Http2::Never) {
        checks.violated("spec.connections.http2", bounds::GRPC_HTTP2.must);
    }
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

/// Checks `spec.loadBalancing`: the policy, and the header that it hashes.
pub fn load_balancing(checks: &mut Checks, spec: Option<&LoadBalancing>) -> (BalancePolicy, Option<String>) {
    let LoadBalancing { policy, hash_on } = spec.cloned().unwrap_or_default();
    let policy = policy.unwrap_or_default();
    let header = hash_on.map(|HashOn { header }| header);
    let hashes = policy == BalancePolicy::ConsistentHash;
    checks.text_if_set("spec.loadBalancing.hashOn.header", header.as_ref(), bounds::HEADER_NAME);
    let object = "spec.loadBalancing";
    checks.across(object, !hashes || header.is_some(), bounds::HASH_ON_SOMETHING);
    checks.across(object, hashes || header.is_none(), bounds::HASH_ON_FOR_HASH);
    (policy, header)
}

/// Checks `spec.limits`.
pub fn limits(checks: &mut Checks, spec: Option<&Limits>) -> LimitPlan {
    let Limits {
        request_body,
        response_body,
        headers,
    } = spec.cloned().unwrap_or_default();
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
