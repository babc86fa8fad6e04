//! The metrics of the data plane (contract section 7).
//!
//! Every label is bounded: names of Integrations and endpoints, and closed lists. A series is looked up when a plan is
//! taken over, not when a request comes, and goes when its Integration goes.

use std::sync::{LazyLock, OnceLock};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core,
};

use crate::domain::graphql::Kind;
use crate::domain::graphql::answer::Verdict;
use crate::domain::key::Key;

/// Time to an answer: from a local cache to the longest request that is allowed by default.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The label values of one Integration, in the order `namespace`, `integration`.
type Labels<'a> = [&'a str; 2];

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let families = Families::new();
    families.register(prometheus::default_registry());
    families
});

struct Families {
    requests: IntCounterVec,
    duration: HistogramVec,
    attempts: IntCounterVec,
    retries: IntCounterVec,
    budget_exhausted: IntCounterVec,
    circuit: IntGaugeVec,
    transitions: IntCounterVec,
    healthy: IntGaugeVec,
    probe: HistogramVec,
    in_flight: IntGaugeVec,
    rate_limit_wait: HistogramVec,
    operations: IntCounterVec,
    pauses: IntCounterVec,
    concurrency_limit: IntGaugeVec,
}

/// The endpoint label of what never got as far as an endpoint.
pub const NO_ENDPOINT: &str = "";

/// Values of `code_class`, and of `code_class` where there was no status.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What became of a request: `outcome` of `tidegate_requests_total`.
pub const OUTCOMES: [&str; 16] = [
    "answered",
    "cut",
    "cancelled",
    "circuit-open",
    "no-endpoint",
    "credential-unavailable",
    "overloaded",
    "rate-limited",
    "request-timeout",
    "upstream-unreachable",
    "upstream-protocol",
    "response-too-large",
    "address-refused",
    "request-too-large",
    "invalid-request",
    "unknown-integration",
];

/// What became of an attempt: `outcome` of `tidegate_attempts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// An answer that is no failure.
    Success,
    /// An answer that counts as a failure.
    FailureStatus,
    /// No connection, or it broke.
    Error,
    /// Not answered in time.
    Timeout,
    /// Nobody waited for it any more, or the caller's side broke.
    Cancelled,
}

/// Why a request was sent again: `reason` of `tidegate_retries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryReason {
    /// A status in `retries.statuses`.
    Status,
    /// No connection.
    Connect,
    /// The connection broke.
    Reset,
    /// The attempt timed out.
    Timeout,
    /// The provider refused the credential, and there is a newer one.
    Credential,
    /// The first attempt was late; both were under way.
    Hedge,
}

/// Who asked for a pause: `from` of `tidegate_pauses_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedBy {
    /// An answer that this worker got.
    Provider,
    /// An answer that another worker got.
    Worker,
}

/// A state of a circuit, as `tidegate_circuit_state` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Traffic flows.
    Closed,
    /// Trials only.
    HalfOpen,
    /// No traffic.
    Open,
}

const ATTEMPTS: [&str; 5] = ["success", "failure-status", "error", "timeout", "cancelled"];
const REASONS: [&str; 6] = ["status", "connect", "reset", "timeout", "credential", "hedge"];
const PAUSED_BY: [&str; 2] = ["provider", "worker"];
const STATES: [&str; 3] = ["closed", "half_open", "open"];

impl Families {
    fn new() -> Self {
        const INTEGRATION: [&str; 2] = ["namespace", "integration"];
        let with = |more: &[&'static str]| [&INTEGRATION, more].concat();
        let endpoint = with(&["endpoint"]);
        Self {
            requests: vector(
                "tidegate_requests_total",
                "Requests of callers, by what became of them.",
                &with(&["endpoint", "code_class", "outcome"]),
                IntCounterVec::new,
            ),
            duration: histogram(
                "tidegate_request_duration_seconds",
                "Time from a request to the head of its answer, all attempts and waits included.",
                &INTEGRATION,
            ),
            attempts: vector(
                "tidegate_attempts_total",
                "Attempts at an endpoint, by what became of them.",
                &with(&["endpoint", "outcome"]),
                IntCounterVec::new,
            ),
            retries: vector(
                "tidegate_retries_total",
                "Requests that were sent again, by the reason.",
                &with(&["reason"]),
                IntCounterVec::new,
            ),
            budget_exhausted: vector(
                "tidegate_retry_budget_exhausted_total",
                "Retries that were not made because the budget was used up.",
                &INTEGRATION,
                IntCounterVec::new,
            ),
            circuit: vector(
                "tidegate_circuit_state",
                "1 for the state that the circuit of an endpoint is in, 0 for the others.",
                &with(&["endpoint", "state"]),
                IntGaugeVec::new,
            ),
            transitions: vector(
                "tidegate_circuit_transitions_total",
                "Changes of the state of a circuit, by the state it changed to.",
                &with(&["endpoint", "to"]),
                IntCounterVec::new,
            ),
            healthy: vector(
                "tidegate_endpoint_healthy",
                "1 while an endpoint is healthy, 0 while it is not; absent while that is not known.",
                &endpoint,
                IntGaugeVec::new,
            ),
            probe: histogram(
                "tidegate_probe_duration_seconds",
                "Time that an active probe took.",
                &endpoint,
            ),
            rate_limit_wait: histogram(
                "tidegate_rate_limit_wait_seconds",
                "Time that an attempt waited for its turn under the rate limit.",
                &INTEGRATION,
            ),
            operations: vector(
                "tidegate_graphql_operations_total",
                "Operations of GraphQL that were answered, by their kind and by the errors in the answers.",
                &with(&["operation", "errors"]),
                IntCounterVec::new,
            ),
            pauses: vector(
                "tidegate_pauses_total",
                "Pauses that a provider asked for, by who was asked.",
                &with(&["endpoint", "from"]),
                IntCounterVec::new,
            ),
            concurrency_limit: vector(
                "tidegate_concurrency_limit",
                "Requests that may be under way.",
                &INTEGRATION,
                IntGaugeVec::new,
            ),
            in_flight: vector(
                "tidegate_in_flight",
                "Requests under way.",
                &INTEGRATION,
                IntGaugeVec::new,
            ),
        }
    }

    fn register(&self, registry: &Registry) {
        let all: [Box<dyn core::Collector>; 14] = [
            Box::new(self.requests.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.attempts.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.budget_exhausted.clone()),
            Box::new(self.circuit.clone()),
            Box::new(self.transitions.clone()),
            Box::new(self.healthy.clone()),
            Box::new(self.probe.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.rate_limit_wait.clone()),
            Box::new(self.pauses.clone()),
            Box::new(self.operations.clone()),
            Box::new(self.concurrency_limit.clone()),
        ];
        for family in all {
            // The names are constants and registered once; were one taken, serving would matter more than counting.
            drop(registry.register(family));
        }
    }
}

fn vector<T>(name: &str, help: &str, labels: &[&str], new: impl Fn(Opts, &[&str]) -> prometheus::Result<T>) -> T {
    made(new(Opts::new(name, help), labels))
}

fn histogram(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    made(HistogramVec::new(
        HistogramOpts::new(name, help).buckets(SECONDS.to_vec()),
        labels,
    ))
}

#[expect(
    clippy::panic,
    reason = "names and labels are constants above; a wrong one fails every test"
)]
fn made<T>(result: prometheus::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("a metric's definition is wrong: {error}"))
}

/// The series of one Integration; they go when this is dropped.
#[derive(Debug)]
pub struct IntegrationMetrics {
    key: Key,
    /// Time to the head of an answer, in seconds.
    pub duration: Histogram,
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Requests that may be under way.
    pub concurrency_limit: IntGauge,
    /// Time that attempts waited under the rate limit, in seconds.
    pub rate_limit_wait: Histogram,
    /// Retries not made because the budget was used up.
    pub budget_exhausted: IntCounter,
    retries: [IntCounter; REASONS.len()],
    /// Made when they are first counted; most Integrations have none.
    operations: [[OnceLock<IntCounter>; Verdict::NAMES.len()]; Kind::NAMES.len()],
    /// Requests that never got as far as an endpoint.
    pub unplaced: RequestMetrics,
}

impl IntegrationMetrics {
    /// The series of `key`.
    pub fn new(key: &Key) -> Self {
        let labels: Labels<'_> = [&key.namespace, &key.name];
        Self {
            key: key.clone(),
            duration: FAMILIES.duration.with_label_values(&labels),
            in_flight: FAMILIES.in_flight.with_label_values(&labels),
            concurrency_limit: FAMILIES.concurrency_limit.with_label_values(&labels),
            rate_limit_wait: FAMILIES.rate_limit_wait.with_label_values(&labels),
            budget_exhausted: FAMILIES.budget_exhausted.with_label_values(&labels),
            retries: REASONS.map(|reason| FAMILIES.retries.with_label_values(&[labels[0], labels[1], reason])),
            operations: Default::default(),
            unplaced: RequestMetrics::new(key, NO_ENDPOINT),
        }
    }

    /// The Integration.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// An operation of GraphQL was answered.
    pub fn count_operation(&self, kind: Kind, errors: Verdict) {
        let counter = &self.operations[kind as usize][errors as usize];
        let labels = [&*self.key.namespace, &*self.key.name, kind.name(), errors.name()];
        counter
            .get_or_init(|| FAMILIES.operations.with_label_values(&labels))
            .inc();
    }

    /// A request is sent again.
    pub fn count_retry(&self, reason: RetryReason) {
        self.retries[reason as usize].inc();
    }
}

impl Drop for IntegrationMetrics {
    fn drop(&mut self) {
        let labels: Labels<'_> = [&self.key.namespace, &self.key.name];
        // A series that was never there cannot be removed, which is no error.
        drop(FAMILIES.duration.remove_label_values(&labels));
        drop(FAMILIES.in_flight.remove_label_values(&labels));
        drop(FAMILIES.concurrency_limit.remove_label_values(&labels));
        drop(FAMILIES.rate_limit_wait.remove_label_values(&labels));
        drop(FAMILIES.budget_exhausted.remove_label_values(&labels));
        for (kind, counters) in Kind::NAMES.into_iter().zip(&self.operations) {
            for (errors, counter) in Verdict::NAMES.into_iter().zip(counters) {
                if counter.get().is_some() {
                    drop(
                        FAMILIES
                            .operations
                            .remove_label_values(&[labels[0], labels[1], kind.1, errors.1]),
                    );
                }
            }
        }
        for reason in REASONS {
            drop(FAMILIES.retries.remove_label_values(&[labels[0], labels[1], reason]));
        }
    }
}

/// Counts requests by what became of them. A series is made when it is first counted, so that an endpoint does not show
/// a hundred zeros.
#[derive(Debug)]
pub struct RequestMetrics {
    key: Key,
    endpoint: String,
    counters: [[OnceLock<IntCounter>; OUTCOMES.len()]; CLASSES.len()],
}

impl RequestMetrics {
    fn new(key: &Key, endpoint: &str) -> Self {
        Self {
            key: key.clone(),
            endpoint: endpoint.to_owned(),
            counters: Default::default(),
        }
    }

    /// Requests for hosts that no Integration answers to.
    pub fn unrouted() -> &'static Self {
        static UNROUTED: LazyLock<RequestMetrics> =
            LazyLock::new(|| RequestMetrics::new(&Key::new("", ""), NO_ENDPOINT));
        &UNROUTED
    }

    /// Counts one request. `outcome` is one of [`OUTCOMES`]; what is not, is not counted.
    pub fn count(&self, status: Option<http::StatusCode>, outcome: &str) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        let Some(outcome) = OUTCOMES.iter().position(|known| *known == outcome) else {
            return;
        };
        let Some(class) = self.counters.get(class).zip(CLASSES.get(class)) else {
            return;
        };
        let (counters, class) = class;
        counters[outcome]
            .get_or_init(|| {
                FAMILIES.requests.with_label_values(&[
                    &*self.key.namespace,
                    &*self.key.name,
                    &*self.endpoint,
                    class,
                    OUTCOMES[outcome],
                ])
            })
            .inc();
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        for (counters, class) in self.counters.iter().zip(CLASSES) {
            for (counter, outcome) in counters.iter().zip(OUTCOMES) {
                if counter.get().is_some() {
                    let labels = [&*self.key.namespace, &*self.key.name, &*self.endpoint, class, outcome];
                    drop(FAMILIES.requests.remove_label_values(&labels));
                }
            }
        }
    }
}

/// The series of one endpoint; they go when this is dropped.
#[derive(Debug)]
pub struct EndpointMetrics {
    key: Key,
    endpoint: String,
    /// Requests by what became of them.
    pub requests: RequestMetrics,
    /// Time that probes took, in seconds.
    pub probe: Histogram,
    attempts: [IntCounter; ATTEMPTS.len()],
    circuit: [IntGauge; STATES.len()],
    transitions: [IntCounter; STATES.len()],
    pauses: [IntCounter; PAUSED_BY.len()],
}

impl EndpointMetrics {
    /// The series of the endpoint `endpoint` of `key`.
    pub fn new(key: &Key, endpoint: &str) -> Self {
        let labels = [&*key.namespace, &*key.name, endpoint];
        let with = |more: &'static str| [labels[0], labels[1], labels[2], more];
        Self {
            key: key.clone(),
            endpoint: endpoint.to_owned(),
            requests: RequestMetrics::new(key, endpoint),
            probe: FAMILIES.probe.with_label_values(&labels),
            attempts: ATTEMPTS.map(|outcome| FAMILIES.attempts.with_label_values(&with(outcome))),
            circuit: STATES.map(|state| FAMILIES.circuit.with_label_values(&with(state))),
            transitions: STATES.map(|state| FAMILIES.transitions.with_label_values(&with(state))),
            pauses: PAUSED_BY.map(|from| FAMILIES.pauses.with_label_values(&with(from))),
        }
    }

    /// An attempt is over.
    pub fn count_attempt(&self, outcome: AttemptOutcome) {
        self.attempts[outcome as usize].inc();
    }

    /// The endpoint's host asked for a pause.
    pub fn count_pause(&self, from: PausedBy) {
        self.pauses[from as usize].inc();
    }

    /// The circuit is in this state.
    pub fn show_circuit(&self, state: Circuit) {
        for (index, gauge) in self.circuit.iter().enumerate() {
            gauge.set(i64::from(index == state as usize));
        }
    }

    /// The circuit has changed to this state.
    pub fn count_transition(&self, to: Circuit) {
        self.transitions[to as usize].inc();
        self.show_circuit(to);
    }

    /// Whether the endpoint is healthy, if that is known.
    pub fn show_health(&self, healthy: Option<bool>) {
        let labels = [&*self.key.namespace, &*self.key.name, &*self.endpoint];
        match healthy {
            Some(healthy) => FAMILIES.healthy.with_label_values(&labels).set(i64::from(healthy)),
            None => drop(FAMILIES.healthy.remove_label_values(&labels)),
        }
    }
}

impl Drop for EndpointMetrics {
    fn drop(&mut self) {
        let labels = [&*self.key.namespace, &*self.key.name, &*self.endpoint];
        drop(FAMILIES.probe.remove_label_values(&labels));
        drop(FAMILIES.healthy.remove_label_values(&labels));
        for from in PAUSED_BY {
            drop(
                FAMILIES
                    .pauses
                    .remove_label_values(&[labels[0], labels[1], labels[2], from]),
            );
        }
        for outcome in ATTEMPTS {
            drop(
                FAMILIES
                    .attempts
                    .remove_label_values(&[labels[0], labels[1], labels[2], outcome]),
            );
        }
        for state in STATES {
            drop(
                FAMILIES
                    .circuit
                    .remove_label_values(&[labels[0], labels[1], labels[2], state]),
            );
            drop(
                FAMILIES
                    .transitions
                    .remove_label_values(&[labels[0], labels[1], labels[2], state]),
            );
        }
    }
}

static PLANS_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let family: IntCounterVec = vector(
        "tidegate_plans_refused_total",
        "Plans that were not taken over because they cannot be read or used, by the way they came.",
        &["from"],
        IntCounterVec::new,
    );
    drop(prometheus::default_registry().register(Box::new(family.clone())));
    family
});

/// A plan that came this way, `mount` or `push`, was not taken over because it cannot be read or used.
pub fn count_refused_plan(from: &'static str) {
    PLANS_REFUSED.with_label_values(&[from]).inc();
}

/// Shows the counters of refused plans from the start, so that the first refusal is an increase.
pub fn show_refused_plans() {
    for from in ["mount", "push"] {
        PLANS_REFUSED.with_label_values(&[from]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series_of(integration: &str) -> Vec<String> {
        let mut names = Vec::new();
        for family in prometheus::gather() {
            for metric in family.get_metric() {
                let labels: Vec<_> = metric
                    .get_label()
                    .iter()
                    .map(|label| label.value().to_owned())
                    .collect();
                if labels.iter().any(|value| value == integration) {
                    names.push(format!("{} {}", family.name(), labels.join(" ")));
                }
            }
        }
        names
    }

    #[test]
    fn the_series_of_an_integration_go_when_it_goes() {
        let key = Key::new("metrics", "comes-and-goes");
        let integration = IntegrationMetrics::new(&key);
        let endpoint = EndpointMetrics::new(&key, "primary");
        integration
            .unplaced
            .count(Some(http::StatusCode::NOT_FOUND), "unknown-integration");
        endpoint.requests.count(Some(http::StatusCode::OK), "answered");
        endpoint.requests.count(None, "cancelled");
        endpoint.count_transition(Circuit::Open);
        endpoint.show_health(Some(false));
        integration.count_retry(RetryReason::Timeout);
        assert!(series_of("comes-and-goes").len() > 10);
        drop((integration, endpoint));
        assert_eq!(series_of("comes-and-goes"), Vec::<String>::new());
    }

    #[test]
    fn exactly_one_state_of_a_circuit_is_1() {
        let endpoint = EndpointMetrics::new(&Key::new("metrics", "circuit"), "primary");
        for state in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
            endpoint.show_circuit(state);
            let values: Vec<_> = endpoint.circuit.iter().map(IntGauge::get).collect();
            assert_eq!(values.iter().sum::<i64>(), 1);
            assert_eq!(values[state as usize], 1);
        }
    }

    #[test]
    fn what_is_not_a_known_outcome_makes_no_series() {
        let requests = RequestMetrics::new(&Key::new("metrics", "unknown-outcome"), "primary");
        requests.count(Some(http::StatusCode::OK), "made up");
        assert_eq!(series_of("unknown-outcome"), Vec::<String>::new());
    }
}
