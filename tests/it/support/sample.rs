//! A plan, reports about it, and the certificates that go with it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tidegate::api::integration::{CircuitState, Health, HealthReason};
use tidegate::domain::health::{self, CircuitReport, EndpointReport, Report};
use tidegate::domain::plan::Plan;
use tidegate::fleet::authority::{Authority, WorkerTls};
use tidegate::fleet::{Workload, kubernetes};
use tidegate::worker::Reports;

/// A plan with one endpoint and one credential, whose value is a canary to search outputs for.
pub fn plan() -> Plan {
    serde_json::from_str(include_str!("plan.json")).unwrap()
}

/// Two workers for `plan`.
pub fn workload(plan: Plan) -> Workload {
    Workload {
        plan: Arc::new(plan),
        replicas: 2,
        resources: None,
        access: Vec::new(),
    }
}

/// What a worker that runs `plan` reports while the circuit of its endpoint is in this state.
pub fn report(plan: &Plan, state: CircuitState) -> Report {
    let since = Timestamp::UNIX_EPOCH;
    Report {
        format: health::FORMAT,
        integration: plan.integration.clone(),
        uid: plan.uid.clone(),
        plan_revision: plan.revision,
        generation: plan.generation,
        credentials: Vec::new(),
        reset_circuit: None,
        share: None,
        paused_until: std::collections::BTreeMap::new(),
        endpoints: vec![EndpointReport {
            name: "primary".into(),
            health: Health::Healthy,
            reason: HealthReason::TrafficSucceeded,
            message: String::new(),
            since,
            circuit: CircuitReport {
                state,
                since,
                next_trial: None,
                tripped_by: None,
            },
        }],
    }
}

/// The reports of a worker that has this one to make.
pub fn reports(report: Report) -> Reports {
    [(report.integration.clone(), Arc::new(report))].into()
}

/// The TLS material of the workers of the Integration `uid`.
pub fn worker_tls(authority: &Authority, uid: &str) -> WorkerTls {
    authority.worker_tls(uid, None, Timestamp::now()).unwrap()
}

/// Fills `directory` as the kubelet mounts the Secret of a worker.
pub fn mount(directory: &Path, plan: &Plan, tls: &WorkerTls) {
    use kubernetes::build;
    let write = |name: &str, content: &[u8]| std::fs::write(directory.join(name), content).unwrap();
    write(build::PLAN, &serde_json::to_vec(plan).unwrap());
    write(build::CERTIFICATE, tls.certificate.as_bytes());
    write(build::PRIVATE_KEY, tls.key.expose().as_bytes());
    write(build::AUTHORITY, tls.authority.as_bytes());
}
