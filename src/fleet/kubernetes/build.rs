//! Workload in, objects out. Pure: the same workload comes to the same objects, byte for byte.
//!
//! The Pod template holds nothing of the plan, so that an edit or a rotation rolls no Pods.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Settings, names};
use crate::api::{PORT_ADMIN, PORT_CONTROL, PORT_SERVICE, PORT_TRAFFIC};
use crate::domain::plan::Plan;
use crate::fleet::Workload;
use crate::fleet::authority::WorkerTls;

mod pod;
#[cfg(test)]
mod tests;

/// Key of the plan in the Secret, and name of its file in a worker.
pub const PLAN: &str = "plan.json";
/// Key of the worker's certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the worker's private key.
pub const PRIVATE_KEY: &str = "tls.key";
/// Key of the certificates by which a worker knows the controller.
pub const AUTHORITY: &str = "ca.crt";

/// Everything that is made for one Integration.
#[derive(Clone, PartialEq)]
pub struct Objects {
    /// Without a token: a worker has no Kubernetes credentials.
    pub service_account: ServiceAccount,
    /// The plan, and the worker's certificate.
    pub secret: Secret,
    /// Who may connect; absent where the installation does without.
    pub network_policy: Option<NetworkPolicy>,
    /// What applications call.
    pub service: Service,
    /// At most one worker at a time leaves by eviction.
    pub disruption_budget: PodDisruptionBudget,
    /// The workers.
    pub deployment: Deployment,
}

/// Without the data of the Secret, which k8s-openapi would print.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service_account,
            secret,
            network_policy,
            service,
            disruption_budget,
            deployment,
        } = self;
        f.debug_struct("Objects")
            .field("service_account", service_account)
            .field("secret", &secret.metadata)
            .field("network_policy", network_policy)
            .field("service", service)
            .field("disruption_budget", disruption_budget)
            .field("deployment", deployment)
            .finish()
    }
}

/// The objects that `workload` comes to. Fails only where a plan cannot be written as JSON, which would be a bug.
pub fn build(workload: &Workload, tls: &WorkerTls, settings: &Settings) -> Result<Objects, serde_json::Error> {
    let plan = &workload.plan;
    Ok(Objects {
        service_account: service_account(plan),
        secret: secret(plan, tls)?,
        network_policy: settings
            .network_policy
            .then(|| network_policy(plan, &workload.access, settings)),
        service: service(plan),
        disruption_budget: disruption_budget(plan),
        deployment: deployment(workload, settings),
    })
}

/// Metadata under the name that all but the Service share.
fn metadata(plan: &Plan) -> ObjectMeta {
    names::metadata(plan, names::worker(&plan.integration.name))
}

fn service_account(plan: &Plan) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(plan),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn secret(plan: &Plan, tls: &WorkerTls) -> Result<Secret, serde_json::Error> {
    let WorkerTls {
        certificate,
        key,
        authority,
    } = tls;
    let data = [
        (PLAN, serde_json::to_vec(plan)?),
        (CERTIFICATE, certificate.clone().into_bytes()),
        (PRIVATE_KEY, key.expose().as_bytes().to_vec()),
        (AUTHORITY, authority.clone().into_bytes()),
    ];
    Ok(Secret {
        metadata: metadata(plan),
        data: Some(data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes))).into()),
        type_: Some("Opaque".into()),
        ..Secret::default()
    })
}

/// Guards what comes in. What goes out is not restricted here: providers are named by host, a NetworkPolicy knows
/// addresses only, and the worker checks each address itself when it dials.
fn network_policy(plan: &Plan, access: &[String], settings: &Settings) -> NetworkPolicy {
    let rule = |ports: &[u16], namespaces: Vec<String>| NetworkPolicyIngressRule {
        ports: Some(ports.iter().map(|port| policy_port(*port)).collect()),
        from: Some(vec![from_namespaces(namespaces)]),
    };
    let own = plan.integration.namespace.to_string();
    let controller = settings.namespace.clone();
    NetworkPolicy {
        metadata: metadata(plan),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::selector(plan)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(vec![
                rule(&[PORT_TRAFFIC], with(own, access)),
                rule(&[PORT_CONTROL], vec![controller.clone()]),
                rule(&[PORT_ADMIN], with(controller, &settings.scrape_namespaces)),
            ]),
            egress: None,
        }),
    }
}

/// A sorted list without repetition, so that the order in which a user names namespaces is no change.
fn with(first: String, others: &[String]) -> Vec<String> {
    let all: BTreeSet<String> = others.iter().cloned().chain([first]).collect();
    all.into_iter().collect()
}

fn policy_port(port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".into()),
        end_port: None,
    }
}

/// Every Pod of these namespaces. The label is set by the API server on each namespace and cannot be changed.
fn from_namespaces(namespaces: Vec<String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "kubernetes.io/metadata.name".into(),
                operator: "In".into(),
                values: Some(namespaces),
            }]),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    }
}

/// Named exactly like the Integration: its name is the address that applications call.
fn service(plan: &Plan) -> Service {
    Service {
        metadata: names::metadata(plan, plan.integration.name.to_string()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(names::selector(plan)),
            ports: Some(vec![ServicePort {
                name: Some("http".into()),
                port: PORT_SERVICE.into(),
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::Int(PORT_TRAFFIC.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// `maxUnavailable: 1` for every number of replicas: with several it keeps a drained node from taking them all at once,
/// and with one it does not block the drain for ever as `minAvailable: 1` would. One shape for all means that scaling
/// makes and deletes nothing.
fn disruption_budget(plan: &Plan) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(plan),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(plan)),
                ..LabelSelector::default()
            }),
            // A worker that is not ready serves nobody; it must not hold up the drain of its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

fn deployment(workload: &Workload, settings: &Settings) -> Deployment {
    let plan = &workload.plan;
    let selector = LabelSelector {
        match_labels: Some(names::selector(plan)),
        ..LabelSelector::default()
    };
    Deployment {
        metadata: metadata(plan),
        spec: Some(DeploymentSpec {
            replicas: Some(workload.replicas),
            selector,
            revision_history_limit: Some(2),
            // The new worker takes traffic before an old one goes, also where there is only one.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::Int(1)),
                }),
            }),
            template: pod::template(workload, settings),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}
