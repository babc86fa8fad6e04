//! The Helm chart: what it renders, what it refuses, and what it grants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

mod rights;
mod server;

/// Values that differ from the defaults in every way that changes what is rendered.
const VALUE_SETS: &[&[&str]] = &[
    &[],
    &["crds.keep=false"],
    &["crds.enabled=false"],
    &["image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
    &["image.tag=1.2.3", "image.pullPolicy=Always"],
    &["controller.replicas=3", "controller.logLevel=info\\,tidegate=debug"],
    &["controller.extraArgs={--log-level=trace,--admin=127.0.0.1:9090}"],
    &[
        "worker.extraArgs={--drain=5s,--log-level=warn}",
        "worker.logLevel=error",
    ],
    &["controller.resources=null", "worker.resources=null"],
    &["egress.allowLoopback=true", "egress.deniedCIDRs={10.0.0.0/8,fd00::/8}"],
    &["networkPolicy.enabled=false", "metrics.service.enabled=false"],
    TRACING,
];

const TRACING: &[&str] = &[
    "tracing.endpoint=http://otel-collector.monitoring:4318",
    "tracing.sampler=parentbased_traceidratio",
    "tracing.samplerArg=0.1",
];

/// What only a cluster with the Prometheus Operator has.
const MONITORS: &[&str] = &[
    "metrics.serviceMonitor.enabled=true",
    "metrics.serviceMonitor.interval=15s",
    "metrics.serviceMonitor.labels.release=prometheus",
    "metrics.podMonitor.enabled=true",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs Helm, which is built the first time.
fn helm(arguments: &[&str]) -> Output {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let program = HELM.get_or_init(|| {
        let output = Command::new(root().join("tests/cluster/build"))
            .arg("helm")
            .stderr(std::process::Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "tests/cluster/build helm failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()).join("helm")
    });
    Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap()
}

/// What the chart renders with these values, as text.
fn render(values: &[&str]) -> Result<String, String> {
    render_into("tidegate-system", values)
}

/// The same for an installation in this namespace.
fn render_into(namespace: &str, values: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", "tidegate", "charts/tidegate", "--namespace", namespace];
    arguments.extend(["--kube-version", "1.36.0"]);
    for value in values {
        arguments.extend(["--set", value]);
    }
    let output = helm(&arguments);
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// The same as objects.
fn objects(values: &[&str]) -> Vec<Value> {
    parse(&render(values).unwrap())
}

fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple::<Value>(text)
        .unwrap()
        .into_iter()
        .filter(|object| !object.is_null())
        .collect()
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name} is rendered"));
    assert!(found.next().is_none(), "{kind} {name} is rendered twice");
    object
}

fn controller_arguments(objects: &[Value]) -> Vec<String> {
    let container = &one(objects, "Deployment", "tidegate")["spec"]["template"]["spec"]["containers"][0];
    serde_json::from_value(container["args"].clone()).unwrap()
}

#[test]
fn lint_has_nothing_to_say() {
    for values in VALUE_SETS.iter().chain([&MONITORS]) {
        let mut arguments = vec!["lint", "--strict", "charts/tidegate", "--kube-version", "1.36.0"];
        for value in *values {
            arguments.extend(["--set", value]);
        }
        let output = helm(&arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{values:?}: {said}");
        assert!(
            !said.contains("[WARNING]") && !said.contains("[ERROR]"),
            "{values:?}: {said}"
        );
    }
}

#[test]
fn the_same_values_render_the_same_text() {
    for values in VALUE_SETS {
        assert_eq!(render(values), render(values));
    }
    for entry in std::fs::read_dir(root().join("charts/tidegate/templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["lookup", "randAlpha", "genCA", "genSelfSigned", "uuidv4", " now"] {
            assert!(
                !text.contains(&format!("{{{{ {word}")) && !text.contains(&format!("({word} ")),
                "{path:?}: {word}"
            );
        }
    }
}

#[test]
fn a_name_that_is_not_a_value_is_refused_at_every_level() {
    for value in [
        "imagee.tag=1",
        "image.tagg=1",
        "crds.install=true",
        "controller.replica=2",
        "controller.resources.request.cpu=1",
        "worker.replicas=2",
        "worker.resources.limits.nvidia=1",
        "egress.allowedCIDRs={10.0.0.0/8}",
        "networkPolicy.enable=false",
        "metrics.enabled=true",
        "metrics.serviceMonitor.scheme=https",
        "metrics.podMonitor.label.a=b",
    ] {
        let refusal = render(&[value]).expect_err(value);
        assert!(refusal.contains("additional properties"), "{value}: {refusal}");
    }
    // What Helm itself hands to a chart that another one depends on is not a mistake.
    render(&["global.imageRegistry=registry.example.com"]).unwrap();
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    for value in [
        "image.pullPolicy=Sometimes",
        "image.digest=sha256:123",
        "image.tag=a tag",
        "controller.replicas=-1",
        "controller.extraArgs={run}",
        "egress.deniedCIDRs={10.0.0.1}",
        "networkPolicy.enabled=maybe",
        "metrics.serviceMonitor.interval=often",
    ] {
        assert!(render(&[value]).is_err(), "{value} is rendered");
    }
    let refusal = render(&["metrics.serviceMonitor.enabled=true", "metrics.service.enabled=false"]).unwrap_err();
    assert!(refusal.contains("needs metrics.service.enabled"), "{refusal}");
}

#[test]
fn every_object_carries_the_labels_that_tell_whose_it_is() {
    let values = [VALUE_SETS[0], MONITORS].concat();
    for object in objects(&values) {
        let labels = &object["metadata"]["labels"];
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        assert_eq!(labels["app.kubernetes.io/name"], "tidegate", "{name}");
        assert_eq!(labels["app.kubernetes.io/instance"], "tidegate", "{name}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{name}");
        assert!(
            labels["helm.sh/chart"].as_str().unwrap().starts_with("tidegate-"),
            "{name}"
        );
    }
}

#[test]
fn the_definitions_in_the_chart_are_those_of_the_repository() {
    let read = |directory: &str| -> BTreeMap<_, _> {
        std::fs::read_dir(root().join(directory))
            .unwrap_or_else(|error| panic!("{directory}: {error}"))
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (
                    path.file_name().unwrap().to_owned(),
                    std::fs::read_to_string(path).unwrap(),
                )
            })
            .collect()
    };
    let (source, copy) = (read("crds"), read("charts/tidegate/files/crds"));
    assert!(!source.is_empty());
    assert!(
        source == copy,
        "they differ; run: cp crds/*.yaml charts/tidegate/files/crds/"
    );

    // And what is rendered differs from them in labels and annotations alone.
    let rendered = objects(&[]);
    for text in source.values() {
        let definition: Value = serde_saphyr::from_str(text).unwrap();
        let found = one(
            &rendered,
            "CustomResourceDefinition",
            definition["metadata"]["name"].as_str().unwrap(),
        );
        assert_eq!(found["spec"], definition["spec"]);
    }
}

#[test]
fn definitions_are_kept_unless_values_say_otherwise() {
    let policies = |values: &[&str]| -> Vec<Value> {
        let definitions = objects(values)
            .into_iter()
            .filter(|object| object["kind"] == "CustomResourceDefinition");
        definitions
            .map(|object| object["metadata"]["annotations"]["helm.sh/resource-policy"].clone())
            .collect()
    };
    assert_eq!(policies(&[]), ["keep", "keep"]);
    assert_eq!(policies(&["crds.keep=false"]), [Value::Null, Value::Null]);
    assert!(policies(&["crds.enabled=false"]).is_empty());
}

#[test]
fn values_become_the_flags_they_stand_for() {
    let with = |values: &[&str], wanted: &str| {
        let arguments = controller_arguments(&objects(values));
        assert!(
            arguments.iter().any(|argument| argument == wanted),
            "{values:?}: {wanted} is not in {arguments:?}"
        );
    };
    with(&[], "--namespace=tidegate-system");
    with(
        &["image.repository=r.example/t", "image.tag=v7"],
        "--worker-image=r.example/t:v7",
    );
    with(
        VALUE_SETS[3],
        &format!(
            "--worker-image=tidegate@{}",
            VALUE_SETS[3][0].split_once('=').unwrap().1
        ),
    );
    with(&["image.pullPolicy=Never"], "--worker-image-pull-policy=Never");
    with(&["controller.logLevel=debug"], "--log-level=debug");
    with(&["worker.logLevel=debug"], "--worker-log-level=debug");
    with(
        &["worker.resources.limits.memory=1Gi", "worker.resources.requests=null"],
        r#"--worker-resources={"limits":{"memory":"1Gi"}}"#,
    );
    with(&["worker.extraArgs={--drain=5s}"], "--worker-extra-args=--drain=5s");
    with(&["egress.allowLoopback=true"], "--allow-loopback=true");
    with(
        &["egress.deniedCIDRs={10.0.0.0/8,fd00::/8}"],
        "--denied-cidrs=10.0.0.0/8,fd00::/8",
    );
    with(&["metrics.scrapeNamespaces={a,b}"], "--scrape-namespaces=a,b");
    with(&["networkPolicy.enabled=false"], "--network-policy=false");
    // They come last, so that they win.
    let arguments = controller_arguments(&objects(&["controller.extraArgs={--log-level=trace}"]));
    assert_eq!(arguments.last().unwrap(), "--log-level=trace");
}

#[test]
fn the_controller_has_one_heap_as_in_the_benchmark() {
    let objects = objects(&[]);
    let container = &one(&objects, "Deployment", "tidegate")["spec"]["template"]["spec"]["containers"][0];
    let env = serde_json::json!([{"name": "MALLOC_ARENA_MAX", "value": "1"}]);
    assert_eq!(container["env"], env);
}

#[test]
fn what_is_said_of_spans_is_in_the_controllers_environment_from_where_workers_get_it() {
    let objects = objects(TRACING);
    let container = &one(&objects, "Deployment", "tidegate")["spec"]["template"]["spec"]["containers"][0];
    let env = serde_json::json!([
        {"name": "MALLOC_ARENA_MAX", "value": "1"},
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://otel-collector.monitoring:4318"},
        {"name": "OTEL_TRACES_SAMPLER", "value": "parentbased_traceidratio"},
        {"name": "OTEL_TRACES_SAMPLER_ARG", "value": "0.1"},
    ]);
    assert_eq!(container["env"], env);
}

#[test]
fn the_controller_takes_every_flag_that_the_chart_gives_it() {
    for values in VALUE_SETS
        .iter()
        .filter(|values| !values.iter().any(|value| value.starts_with("worker.extraArgs")))
    {
        // `--help` in the end: the line is read, and nothing is started.
        let arguments = controller_arguments(&objects(values));
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(&arguments)
            .arg("--help")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        let help = String::from_utf8(output.stdout).unwrap();
        for argument in arguments.iter().skip(1) {
            let flag = argument.split('=').next().unwrap();
            assert!(help.contains(flag), "`tidegate controller` does not know {flag}");
        }
    }
}

#[test]
fn the_documentation_names_every_value_with_its_default() {
    let values: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(root().join("charts/tidegate/values.yaml")).unwrap()).unwrap();
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    let documented: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| {
            let (name, rest) = line.split_once("` |")?;
            Some((
                name.to_owned(),
                rest.split('|').next()?.trim().trim_matches('`').to_owned(),
            ))
        })
        .filter(|(name, _)| name.contains('.'))
        .collect();
    let mut wanted = BTreeMap::new();
    leaves("", &values, &mut wanted);
    assert_eq!(
        wanted.keys().collect::<BTreeSet<_>>(),
        documented.keys().collect::<BTreeSet<_>>(),
        "docs/install.md has a row for each value in values.yaml"
    );
    for (name, default) in wanted {
        // Empty ones and objects are told of in words.
        if let Some(default) = default {
            assert_eq!(documented[&name], default, "{name}");
        }
    }
}

/// The values by their dotted names, and their defaults where those are a plain value.
fn leaves(prefix: &str, value: &Value, found: &mut BTreeMap<String, Option<String>>) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !prefix.ends_with("resources") => {
            for (name, value) in fields {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                leaves(&name, value, found);
            }
        }
        Value::String(text) if !text.is_empty() => {
            found.insert(prefix.to_owned(), Some(text.clone()));
        }
        Value::Bool(_) | Value::Number(_) => {
            found.insert(prefix.to_owned(), Some(value.to_string()));
        }
        _ => {
            found.insert(prefix.to_owned(), None);
        }
    }
}
