//! A workload to test with.

use std::sync::Arc;

use super::Workload;
use crate::domain::health::{self, Report};
use crate::domain::plan::Plan;

/// A plan with one endpoint and one credential, whose value is a canary to search outputs for.
pub fn plan() -> Plan {
    serde_json::from_str(include_str!("../../tests/it/support/plan.json")).unwrap()
}

/// Two workers for [`plan`].
pub fn workload() -> Workload {
    Workload {
        plan: Arc::new(plan()),
        replicas: 2,
        resources: None,
        access: Vec::new(),
    }
}

/// What a worker that has just taken `plan` over reports.
pub fn report(plan: &Plan) -> Report {
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
        endpoints: Vec::new(),
    }
}
