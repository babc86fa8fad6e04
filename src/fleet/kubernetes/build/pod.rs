//! The Pod of a worker. Nothing of it comes from the plan but the labels.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, PodDNSConfig, PodDNSConfigOption,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::integration::{ResourceAmounts, Resources};
use crate::api::{PORT_ADMIN, PORT_CONTROL, PORT_TRAFFIC};
use crate::fleet::Workload;
use crate::fleet::kubernetes::{Labels, Settings, names};

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

/// The Pod; passes Pod Security `restricted`. Nothing of it comes from the plan but the labels.
pub fn template(workload: &Workload, settings: &Settings) -> PodTemplateSpec {
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
        env: Some(environment(settings)),
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

fn environment(settings: &Settings) -> Vec<EnvVar> {
    let variable = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    let mut variables = vec![variable("RUST_LOG", &settings.log_level)];
    variables.extend(settings.spans.iter().map(|(name, value)| variable(name, value)));
    variables
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
