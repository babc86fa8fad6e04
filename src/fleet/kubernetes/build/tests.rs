use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::*;
use crate::api::integration::{ResourceAmounts, Resources};
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
fn workers_are_told_what_to_log_and_where_spans_go() {
    let mut settings = settings();
    settings.spans = vec![("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://collector:4318".into())];
    let spec = pod(&sample::workload(), &settings).spec.unwrap();
    let variables = spec.containers[0].env.clone().unwrap();
    let said: Vec<_> = variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        said,
        [
            ("RUST_LOG", "info"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
        ]
    );
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
