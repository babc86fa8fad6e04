//! Workload in, objects out. Pure: the same workload comes to the same objects, byte for byte.
//!
//! The Pod template holds nothing of the plan, so that an edit or a rotation rolls no Pods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, PodDNSConfig, PodDNSConfigOption,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, Secret,
    SecretVolumeSource, SecurityContext, Service, ServiceAccount, ServicePort, ServiceSpec, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Labels, Settings, names};
use crate::api::integration::{ResourceAmounts, Resources};
use crate::api::{PORT_ADMIN, PORT_CONTROL, PORT_SERVICE, PORT_TRAFFIC};
use crate::domain::plan::Plan;
use crate::fleet::Workload;
use crate::fleet::authority::WorkerTls;

/// Key of the plan in the Secret, and name of its file in a worker.
pub const PLAN: &str = "plan.json";
/// Key of the worker's certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the worker's private key.
pub const PRIVATE_KEY: &str = "tls.key";
/// Key of the certificates by which a worker knows the controller.
pub const AUTHORITY: &str = "ca.crt";

/// Where a worker finds its plan and its certificate.
pub const PLAN_DIRECTORY: &str = "/etc/tidegate/plan";
/// How long a worker lets requests under way go on after SIGTERM, in seconds.
const DRAIN_SECONDS: i64 = 20;
/// How long it takes new connections after SIGTERM: until every node has heard that it is no endpoint any more.
const LINGER_SECONDS: i64 = 5;
/// Longer than both, so that the kubelet does not cut off what the drain waits for.
const GRACE_SECONDS: i64 = LINGER_SECONDS + DRAIN_SECONDS + 5;
/// User and group of the worker; the image has no other.
const USER: i64 = 65532;

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
            template: template(workload, settings),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The Pod; passes Pod Security `restricted`. Nothing of it comes from the plan but the labels.
fn template(workload: &Workload, settings: &Settings) -> PodTemplateSpec {
    let plan = &workload.plan;
    let name = names::worker(&plan.integration.name);
    let mut labels = names::labels(&plan.integration.name);
    labels.extend(names::selector(plan));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(name.clone()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                // Makes the mounted Secret readable for the worker's group.
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            // Providers' names are whole: with the usual five dots each would be tried in every search domain first.
            dns_config: Some(PodDNSConfig {
                options: Some(vec![PodDNSConfigOption {
                    name: Some("ndots".into()),
                    value: Some("2".into()),
                }]),
                ..PodDNSConfig::default()
            }),
            topology_spread_constraints: Some(vec![
                spread("kubernetes.io/hostname", names::selector(plan)),
                spread("topology.kubernetes.io/zone", names::selector(plan)),
            ]),
            containers: vec![container(workload, settings)],
            volumes: Some(vec![Volume {
                name: "plan".into(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(name),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }),
    }
}

/// Spreads the workers where that is possible; never keeps one from running.
fn spread(topology_key: &str, selector: Labels) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn container(workload: &Workload, settings: &Settings) -> Container {
    Container {
        name: "worker".into(),
        image: Some(settings.image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        args: Some(arguments(settings)),
        env: Some(vec![EnvVar {
            name: "RUST_LOG".into(),
            value: Some(settings.log_level.clone()),
            value_from: None,
        }]),
        ports: Some(vec![
            port("traffic", PORT_TRAFFIC),
            port("control", PORT_CONTROL),
            port("admin", PORT_ADMIN),
        ]),
        resources: Some(resources(workload.resources.as_ref().unwrap_or(&settings.resources))),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        // Slow to kill: a worker that is restarted forgets what it knew of the provider.
        liveness_probe: Some(probe("/livez", 10, 3)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "plan".into(),
            mount_path: PLAN_DIRECTORY.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

/// The worker's command line; all that is not said here is its default.
fn arguments(settings: &Settings) -> Vec<String> {
    let mut arguments = vec![
        "worker".to_owned(),
        format!("--plans={PLAN_DIRECTORY}"),
        format!("--linger={LINGER_SECONDS}s"),
        format!("--drain={DRAIN_SECONDS}s"),
    ];
    if settings.allow_loopback {
        arguments.push("--allow-loopback".into());
    }
    if !settings.denied.is_empty() {
        let networks: Vec<String> = settings.denied.iter().map(ToString::to_string).collect();
        arguments.push(format!("--denied-cidrs={}", networks.join(",")));
    }
    arguments.extend(settings.extra_args.iter().cloned());
    arguments
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: number.into(),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(PORT_ADMIN.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn resources(resources: &Resources) -> ResourceRequirements {
    let Resources { requests, limits } = resources;
    ResourceRequirements {
        requests: requests.as_ref().map(amounts),
        limits: limits.as_ref().map(amounts),
        claims: None,
    }
}

fn amounts(amounts: &ResourceAmounts) -> BTreeMap<String, Quantity> {
    let ResourceAmounts { cpu, memory } = amounts;
    [("cpu", cpu), ("memory", memory)]
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount.clone()?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::secret::SecretValue;
    use crate::fleet::sample;

    fn tls() -> WorkerTls {
        WorkerTls {
            certificate: "certificate".into(),
            key: SecretValue::new("key"),
            authority: "authority".into(),
        }
    }

    fn settings() -> Settings {
        Settings::new("registry.example/tidegate:1", "tidegate-system")
    }

    fn built(workload: &Workload, settings: &Settings) -> Objects {
        build(workload, &tls(), settings).unwrap()
    }

    fn pod(workload: &Workload, settings: &Settings) -> PodTemplateSpec {
        built(workload, settings).deployment.spec.unwrap().template
    }

    #[test]
    fn pod_is_within_pod_security_restricted() {
        // https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, field by field.
        let spec = pod(&sample::workload(), &settings()).spec.unwrap();
        assert_eq!((spec.host_network, spec.host_pid, spec.host_ipc), (None, None, None));
        assert_eq!((&spec.init_containers, &spec.ephemeral_containers), (&None, &None));
        let security = spec.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.run_as_user, Some(65532));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert_eq!((security.sysctls, security.se_linux_options), (None, None));
        for volume in spec.volumes.unwrap() {
            assert!(volume.secret.is_some() && volume.host_path.is_none());
        }
        assert_eq!(spec.containers.len(), 1);
        for container in spec.containers {
            let security = container.security_context.unwrap();
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            assert_eq!(security.privileged, None);
            let capabilities = security.capabilities.unwrap();
            assert_eq!((capabilities.drop, capabilities.add), (Some(vec!["ALL".into()]), None));
            assert!(container.ports.unwrap().iter().all(|port| port.host_port.is_none()));
        }
    }

    #[test]
    fn worker_gets_no_kubernetes_credentials() {
        let objects = built(&sample::workload(), &settings());
        assert_eq!(objects.service_account.automount_service_account_token, Some(false));
        let spec = objects.deployment.spec.unwrap().template.spec.unwrap();
        assert_eq!(spec.automount_service_account_token, Some(false));
        assert_eq!(spec.enable_service_links, Some(false));
    }

    #[test]
    fn grace_is_longer_than_linger_and_drain() {
        let spec = pod(&sample::workload(), &settings()).spec.unwrap();
        assert!(
            spec.containers[0]
                .args
                .as_ref()
                .unwrap()
                .contains(&"--drain=20s".to_owned())
        );
        assert!(spec.termination_grace_period_seconds.unwrap() > 5 + 20);
    }

    #[test]
    fn edit_of_the_plan_changes_the_secret_alone() {
        let workload = sample::workload();
        let edited = Workload {
            plan: Arc::new(Plan {
                revision: 8,
                generation: 4,
                endpoints: Vec::new(),
                credentials: Vec::new(),
                reset_circuit: Some("now".into()),
                ..sample::plan()
            }),
            ..workload.clone()
        };
        let (before, after) = (built(&workload, &settings()), built(&edited, &settings()));
        assert_ne!(before.secret, after.secret);
        let restored = Objects {
            secret: before.secret.clone(),
            ..after
        };
        assert_eq!(before, restored);
    }

    #[test]
    fn replicas_change_the_deployment_but_not_its_pods() {
        let workload = sample::workload();
        let scaled = Workload {
            replicas: 5,
            ..workload.clone()
        };
        assert_eq!(built(&scaled, &settings()).deployment.spec.unwrap().replicas, Some(5));
        assert_eq!(pod(&workload, &settings()), pod(&scaled, &settings()));
    }

    #[test]
    fn plan_is_read_back_from_the_secret() {
        let workload = sample::workload();
        let data = built(&workload, &settings()).secret.data.unwrap();
        let plan: Plan = serde_json::from_slice(&data[PLAN].0).unwrap();
        assert_eq!(plan, *workload.plan);
        assert_eq!(
            data.keys().collect::<Vec<_>>(),
            ["ca.crt", "plan.json", "tls.crt", "tls.key"]
        );
    }

    #[test]
    fn secret_value_is_in_the_secret_and_nowhere_else() {
        let objects = built(&sample::workload(), &settings());
        let canary = "canary-5d41402a";
        let bytes = &objects.secret.data.as_ref().unwrap()[PLAN].0;
        assert!(String::from_utf8_lossy(bytes).contains(canary));
        let Objects {
            service_account,
            secret: _,
            network_policy,
            service,
            disruption_budget,
            deployment,
        } = objects;
        let others = serde_json::json!([service_account, network_policy, service, disruption_budget, deployment]);
        assert!(!others.to_string().contains(canary));
    }

    #[test]
    fn every_object_belongs_to_the_integration() {
        let Objects {
            service_account,
            secret,
            network_policy,
            service,
            disruption_budget,
            deployment,
        } = built(&sample::workload(), &settings());
        for metadata in [
            service_account.metadata,
            secret.metadata,
            network_policy.unwrap().metadata,
            service.metadata,
            disruption_budget.metadata,
            deployment.metadata,
        ] {
            assert_eq!(metadata.namespace.as_deref(), Some("shop"));
            let [owner] = &metadata.owner_references.unwrap()[..] else {
                panic!("one owner");
            };
            assert_eq!((&*owner.kind, &*owner.name), ("Integration", "payments-api"));
            assert_eq!(owner.uid, sample::plan().uid);
            assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
            assert_eq!(metadata.labels.unwrap()["tidegate.dev/integration"], "payments-api");
        }
    }

    #[test]
    fn every_selector_finds_the_pods() {
        let objects = built(&sample::workload(), &settings());
        let pods = pod(&sample::workload(), &settings()).metadata.unwrap().labels.unwrap();
        let policy = objects.network_policy.unwrap().spec.unwrap().pod_selector.unwrap();
        let budget = objects.disruption_budget.spec.unwrap().selector.unwrap();
        let deployment = objects.deployment.spec.unwrap().selector;
        for selector in [
            objects.service.spec.unwrap().selector,
            policy.match_labels,
            budget.match_labels,
            deployment.match_labels,
        ] {
            let selector = selector.unwrap();
            assert!(!selector.is_empty());
            assert!(
                selector.iter().all(|(name, value)| pods.get(name) == Some(value)),
                "{selector:?}"
            );
        }
    }

    #[test]
    fn callers_are_the_own_namespace_and_those_that_are_named() {
        let workload = Workload {
            access: vec!["web".into(), "batch".into(), "web".into()],
            ..sample::workload()
        };
        let settings = Settings {
            scrape_namespaces: vec!["monitoring".into()],
            ..settings()
        };
        let policy = built(&workload, &settings).network_policy.unwrap().spec.unwrap();
        assert_eq!(policy.policy_types, Some(vec!["Ingress".into()]), "egress stays open");
        let rules: Vec<(Vec<IntOrString>, Vec<String>)> = policy
            .ingress
            .unwrap()
            .into_iter()
            .map(|rule| {
                let ports = rule.ports.unwrap().into_iter().filter_map(|port| port.port).collect();
                let [peer] = &rule.from.unwrap()[..] else {
                    panic!("one peer")
                };
                let [namespaces] = &peer.namespace_selector.clone().unwrap().match_expressions.unwrap()[..] else {
                    panic!("one expression");
                };
                assert_eq!(
                    (&*namespaces.key, &*namespaces.operator),
                    ("kubernetes.io/metadata.name", "In")
                );
                (ports, namespaces.values.clone().unwrap())
            })
            .collect();
        let strings = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            rules,
            [
                (vec![IntOrString::Int(8080)], strings(&["batch", "shop", "web"])),
                (vec![IntOrString::Int(9443)], strings(&["tidegate-system"])),
                (
                    vec![IntOrString::Int(9090)],
                    strings(&["monitoring", "tidegate-system"])
                ),
            ]
        );
    }

    #[test]
    fn network_policy_can_be_switched_off() {
        let settings = Settings {
            network_policy: false,
            ..settings()
        };
        assert_eq!(built(&sample::workload(), &settings).network_policy, None);
    }

    #[test]
    fn longest_name_of_an_integration_fits_everywhere() {
        let name = "a".repeat(63);
        let mut plan = sample::plan();
        plan.integration.name = name.as_str().into();
        let workload = Workload {
            plan: Arc::new(plan),
            ..sample::workload()
        };
        let objects = built(&workload, &settings());
        assert_eq!(
            objects.service.metadata.name,
            Some(name),
            "applications call it by this name"
        );
        let others = [
            &objects.deployment.metadata,
            &objects.secret.metadata,
            &objects.service_account.metadata,
        ];
        for metadata in others {
            assert!(metadata.name.as_ref().unwrap().len() <= 46);
            assert!(
                metadata
                    .labels
                    .as_ref()
                    .unwrap()
                    .values()
                    .all(|value| value.len() <= 63)
            );
        }
    }

    #[test]
    fn resources_of_the_integration_replace_the_default() {
        let workload = Workload {
            resources: Some(Resources {
                requests: Some(ResourceAmounts {
                    cpu: Some("1".into()),
                    memory: None,
                }),
                limits: None,
            }),
            ..sample::workload()
        };
        let resources = |workload| {
            pod(&workload, &settings()).spec.unwrap().containers[0]
                .resources
                .clone()
                .unwrap()
        };
        let default = resources(sample::workload());
        assert_eq!(default.limits.unwrap()["memory"], Quantity("256Mi".into()));
        let own = resources(workload);
        assert_eq!(
            own.requests.unwrap(),
            BTreeMap::from([("cpu".into(), Quantity("1".into()))])
        );
        assert_eq!(own.limits, None);
    }
}
