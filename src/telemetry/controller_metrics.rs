//! Metrics of the control plane, under the names that dashboards for controller-runtime and client-go know.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, register_gauge_vec,
    register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

use crate::domain::key::Key;

/// Results that dashboards tell apart; what fails is told in detail by `tidegate_reconcile_failures_total`.
const SUCCESS: &str = "success";
const ERROR: &str = "error";

static RECONCILES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "controller_runtime_reconcile_total",
        "Reconciles, by controller and result.",
        &["controller", "result"],
    )
});
static RECONCILE_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "controller_runtime_reconcile_errors_total",
        "Reconciles that failed, by controller.",
        &["controller"],
    )
});
static RECONCILE_PANICS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "controller_runtime_reconcile_panics_total",
        "Reconciles that panicked, by controller.",
        &["controller"],
    )
});
static RECONCILE_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tidegate_reconcile_failures_total",
        "Reconciles that failed, by controller and reason.",
        &["controller", "reason"],
    )
});
static RECONCILE_TIME: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "controller_runtime_reconcile_time_seconds",
        "Time of one reconcile, in seconds.",
    )
    .buckets(vec![
        0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ]);
    registered(register_histogram_vec!(options, &["controller"]))
});
static UNDER_WAY: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "controller_runtime_active_workers",
        "Reconciles under way, by controller.",
        &["controller"],
    )
});
static DEPTH: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "workqueue_depth",
        "Objects that are due and wait for a reconcile, by queue.",
        &["name"],
    )
});
static STATUS_WRITES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tidegate_status_writes_total",
        "Status writes, by kind of the object and result.",
        &["kind", "result"],
    )
});
static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "rest_client_requests_total",
        "Requests to the API server, by method, status code (`<error>` without an answer) and host.",
        &["code", "method", "host"],
    )
});
static LEADER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "leader_election_master_status",
        "1 while this process holds the lease, else 0, by lease.",
        &["name"],
    )
});
static ROTATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(register_int_counter_vec!(
        Opts::new(
            "tidegate_credential_rotations_total",
            "Values that were issued, and attempts that failed."
        ),
        &["namespace", "credential", "result"]
    ))
});
static NOT_AFTER: LazyLock<GaugeVec> = LazyLock::new(|| {
    registered(register_gauge_vec!(
        Opts::new(
            "tidegate_credential_not_after_timestamp_seconds",
            "When the credential expires, in Unix seconds."
        ),
        &["namespace", "credential"]
    ))
});
static RENEWAL: LazyLock<GaugeVec> = LazyLock::new(|| {
    registered(register_gauge_vec!(
        Opts::new(
            "tidegate_credential_renewal_timestamp_seconds",
            "When the credential is renewed, in Unix seconds."
        ),
        &["namespace", "credential"]
    ))
});

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(register_int_counter_vec!(name, help, labels))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(register_int_gauge_vec!(name, help, labels))
}

/// A family is defined once, in this file, so registering it can fail only through a wrong name, which the test of this
/// file would meet first.
fn registered<T>(family: prometheus::Result<T>) -> T {
    family.expect("metric families are well formed and defined once")
}

/// A reconcile ended. `result` is `success`, or the reason of the failure from a closed list.
pub fn reconciled(controller: &str, result: &str, took: Duration) {
    RECONCILE_TIME
        .with_label_values(&[controller])
        .observe(took.as_secs_f64());
    if result == SUCCESS {
        RECONCILES.with_label_values(&[controller, SUCCESS]).inc();
        return;
    }
    RECONCILES.with_label_values(&[controller, ERROR]).inc();
    RECONCILE_ERRORS.with_label_values(&[controller]).inc();
    RECONCILE_FAILURES.with_label_values(&[controller, result]).inc();
    if result == "Panic" {
        RECONCILE_PANICS.with_label_values(&[controller]).inc();
    }
}

/// So many objects are due and wait.
pub fn queue_depth(queue: &str, depth: usize) {
    DEPTH.with_label_values(&[queue]).set(whole(depth));
}

/// So many reconciles are under way.
pub fn under_way(controller: &str, runs: usize) {
    UNDER_WAY.with_label_values(&[controller]).set(whole(runs));
}

/// A status was written, or failed to be.
pub fn status_written(kind: &str, well: bool) {
    STATUS_WRITES
        .with_label_values(&[kind, if well { SUCCESS } else { ERROR }])
        .inc();
}

/// The API server answered with this status, or did not answer.
pub fn requested(code: Option<u16>, method: &str, host: &str) {
    let code = code.map_or("<error>".into(), |code| code.to_string());
    REQUESTS.with_label_values(&[code.as_str(), method, host]).inc();
}

/// Whether this process holds the lease.
pub fn leading(lease: &str, leads: bool) {
    LEADER.with_label_values(&[lease]).set(i64::from(leads));
}

/// When a credential expires and is renewed; `None` where it does not.
pub fn credential_times(credential: &Key, not_after: Option<Timestamp>, renewal: Option<Timestamp>) {
    let labels = [&*credential.namespace, &*credential.name];
    for (family, time) in [(&NOT_AFTER, not_after), (&RENEWAL, renewal)] {
        match time {
            Some(time) => family.with_label_values(&labels).set(time.as_duration().as_secs_f64()),
            // There may never have been one.
            None => drop(family.remove_label_values(&labels)),
        }
    }
}

/// How rotations end.
const RESULTS: [&str; 3] = ["success", "failure", "lost"];

/// A rotation came to an end: `success`, `failure` (it is tried again, or wants an edit) or `lost` (a person has to make
/// a new value).
pub fn rotated(credential: &Key, result: &'static str) {
    let labels = [&*credential.namespace, &*credential.name, result];
    ROTATIONS.with_label_values(&labels).inc();
}

/// The credential is gone, and so are its series.
pub fn credential_gone(credential: &Key) {
    credential_times(credential, None, None);
    for result in RESULTS {
        // There may never have been one.
        drop(ROTATIONS.remove_label_values(&[&*credential.namespace, &*credential.name, result]));
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_registers_and_a_failure_counts_under_its_reason() {
        reconciled("test", "Panic", Duration::from_millis(3));
        reconciled("test", "success", Duration::from_millis(3));
        queue_depth("test", 2);
        under_way("test", 1);
        status_written("Integration", true);
        requested(None, "GET", "127.0.0.1:1");
        leading("test", true);
        assert_eq!(RECONCILES.with_label_values(&["test", "error"]).get(), 1);
        assert_eq!(RECONCILES.with_label_values(&["test", "success"]).get(), 1);
        assert_eq!(RECONCILE_PANICS.with_label_values(&["test"]).get(), 1);
    }

    #[test]
    fn a_credential_that_does_not_expire_has_no_time() {
        let key = Key::new("shop", "payments-key");
        credential_times(&key, Some(Timestamp::UNIX_EPOCH), None);
        assert_eq!(
            NOT_AFTER.with_label_values(&["shop", "payments-key"]).get().to_bits(),
            0f64.to_bits()
        );
        credential_times(&key, None, None);
        let named = prometheus::gather()
            .into_iter()
            .filter(|family| family.name().contains("not_after"));
        assert_eq!(named.map(|family| family.get_metric().len()).sum::<usize>(), 0);
    }
}
