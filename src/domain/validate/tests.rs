use std::time::Duration;

use serde_json::json;

use super::*;
use crate::api::integration::{BreakerMode, HealthCheck, Http2, IdempotencyKey, RetryMethods, TlsVersion};
use crate::domain::plan::{AdaptivePlan, HedgePlan};

mod certificate;
mod credential;
mod issued;

fn object(spec: serde_json::Value) -> Integration {
    serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Integration",
        "metadata": {"name": "payments-api", "namespace": "shop", "uid": "u-1", "generation": 5},
        "spec": spec,
    }))
    .unwrap()
}

fn minimal() -> Integration {
    object(json!({"endpoints": [{"name": "primary", "url": "https://api.example.com/v1"}]}))
}

fn with_credentials(names: &[&str]) -> Integration {
    let refs: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    object(json!({
        "endpoints": [
            {"name": "a", "url": "https://api.example.com/v1"},
            {"name": "b", "url": "http://127.0.0.1:8080"},
        ],
        "credentialRefs": refs,
    }))
}

fn bearer(value: &str) -> Material {
    Material::Header {
        name: "authorization".into(),
        value: SecretValue::new(format!("Bearer {value}")),
    }
}

fn reference(name: &str, hosts: &[&str], material: Result<Material, CredentialProblem>) -> CredentialReference {
    CredentialReference {
        name: name.into(),
        found: Some(CredentialFound {
            not_after: None,
            renewable: false,
            allowed_hosts: hosts.iter().map(ToString::to_string).collect(),
            revision: 7,
            material,
        }),
    }
}

fn problems(object: &Integration, references: &References) -> Vec<String> {
    integration(object, references)
        .err()
        .unwrap_or_default()
        .iter()
        .map(|problem| format!("{} {} {problem}", problem.reason(), problem.stalls()))
        .collect()
}

#[test]
fn what_is_not_set_has_the_defaults_of_the_contract() {
    let seconds = Duration::from_secs;
    let accepted = integration(&minimal(), &References::default()).unwrap();
    let expected = Accepted {
        key: Key::new("shop", "payments-api"),
        uid: "u-1".into(),
        generation: 5,
        protocol: Protocol::HTTP,
        endpoints: vec![EndpointPlan {
            name: "primary".into(),
            url: "https://api.example.com/v1".into(),
            weight: 1,
            priority: 0,
        }],
        credentials: vec![],
        tls: TlsPlan::default(),
        timeouts: TimeoutPlan {
            connect: seconds(5),
            attempt: seconds(10),
            request: seconds(30),
            idle: seconds(90),
        },
        retries: RetryPlan {
            limit: 3,
            backoff_base: Duration::from_millis(200),
            backoff_max: seconds(10),
            statuses: vec![408, 429, 500, 502, 503, 504],
            methods: RetryMethods::Idempotent,
            idempotency_key: IdempotencyKey::PassOn,
            hedge: None,
            retry_after_max: seconds(60),
            budget_percent: 20,
            budget_interval: seconds(10),
            budget_minimum_per_second: 1,
        },
        breaker: BreakerPlan {
            consecutive_failures: 5,
            failure_percent: 50,
            window: seconds(30),
            minimum_requests: 20,
            open_for: seconds(30),
            max_open_for: seconds(300),
            half_open_requests: 1,
            mode: BreakerMode::Automatic,
        },
        rate_limit: None,
        concurrency: ConcurrencyPlan {
            max_in_flight: 64,
            max_pending: 256,
            adaptive: None,
        },
        connections: ConnectionPlan {
            max_per_endpoint: 64,
            idle_timeout: seconds(90),
            http2: Http2::Auto,
        },
        balance: BalancePolicy::LeastLoaded,
        hash_on: None,
        limits: LimitPlan {
            request_body: 10 << 20,
            response_body: 100 << 20,
            headers: 64 << 10,
        },
        health_check: None,
        graphql: None,
        reset_circuit: None,
        replicas: 2,
        resources: None,
        access: vec![],
    };
    assert_eq!(accepted, expected);
}

/// What `kubectl explain` calls the default is the default.
#[test]
fn every_default_is_told_in_the_description_of_its_field() {
    let crd = serde_json::to_value(crate::api::crds::all()).unwrap();
    let told = |index: usize, path: &str| {
        let mut schema = &crd[index]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for name in path.split('.') {
            schema = match name.strip_suffix("[]") {
                Some(list) => &schema["properties"][list]["items"],
                None => &schema["properties"][name],
            };
        }
        let description = schema["description"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} has no description"));
        // `90s` and `1m30s` are the same.
        let same = |part: &str| {
            part.parse()
                .map_or(part.to_owned(), |time: crate::api::duration::Duration| time.to_string())
        };
        description.split('`').map(same).collect::<Vec<_>>().join("`")
    };
    let time = |time: crate::api::duration::Duration| format!("`{time}`");
    let size = |size: u64| format!("`{}`", crate::api::quantity::Bytes(size));
    for (path, default) in [
        ("endpoints[].weight", defaults::WEIGHT.to_string()),
        ("endpoints[].priority", defaults::PRIORITY.to_string()),
        ("timeouts.connect", time(defaults::CONNECT)),
        ("timeouts.attempt", time(defaults::ATTEMPT)),
        ("timeouts.request", time(defaults::REQUEST)),
        ("timeouts.idle", time(defaults::IDLE)),
        ("retries.limit", defaults::RETRIES.to_string()),
        ("retries.backoff.base", time(defaults::BACKOFF_BASE)),
        ("retries.backoff.max", time(defaults::BACKOFF_MAX)),
        ("retries.statuses", "408, 429, 500, 502, 503 and 504".to_owned()),
        ("retries.methods", "`Idempotent`".to_owned()),
        ("retries.retryAfterMax", time(defaults::RETRY_AFTER_MAX)),
        ("retries.budget.percent", defaults::BUDGET_PERCENT.to_string()),
        ("retries.budget.interval", time(defaults::BUDGET_INTERVAL)),
        ("retries.budget.minimumPerSecond", defaults::BUDGET_MINIMUM.to_string()),
        (
            "circuitBreaker.consecutiveFailures",
            defaults::CONSECUTIVE_FAILURES.to_string(),
        ),
        (
            "circuitBreaker.failureRate.percent",
            defaults::FAILURE_PERCENT.to_string(),
        ),
        ("circuitBreaker.failureRate.window", time(defaults::WINDOW)),
        (
            "circuitBreaker.failureRate.minimumRequests",
            defaults::MINIMUM_REQUESTS.to_string(),
        ),
        ("circuitBreaker.openFor", time(defaults::OPEN_FOR)),
        ("circuitBreaker.maxOpenFor", time(defaults::MAX_OPEN_FOR)),
        (
            "circuitBreaker.halfOpenRequests",
            defaults::HALF_OPEN_REQUESTS.to_string(),
        ),
        ("circuitBreaker.mode", "`Automatic`".to_owned()),
        ("concurrency.maxInFlight", defaults::MAX_IN_FLIGHT.to_string()),
        ("concurrency.maxPending", defaults::MAX_PENDING.to_string()),
        ("connections.maxPerEndpoint", defaults::MAX_PER_ENDPOINT.to_string()),
        ("connections.idleTimeout", time(defaults::IDLE_TIMEOUT)),
        ("connections.http2", "`Auto`".to_owned()),
        ("loadBalancing.policy", "`LeastLoaded`".to_owned()),
        ("limits.requestBody", size(defaults::REQUEST_BODY)),
        ("limits.responseBody", size(defaults::RESPONSE_BODY)),
        ("limits.headers", size(defaults::HEADERS)),
        ("healthCheck.interval", time(defaults::PROBE_INTERVAL)),
        ("healthCheck.timeout", time(defaults::PROBE_TIMEOUT)),
        (
            "healthCheck.unhealthyThreshold",
            defaults::UNHEALTHY_THRESHOLD.to_string(),
        ),
        ("healthCheck.healthyThreshold", defaults::HEALTHY_THRESHOLD.to_string()),
        ("healthCheck.path", format!("`{}`", defaults::PROBE_PATH)),
        ("healthCheck.method", "`GET`".to_owned()),
        ("healthCheck.useCredential", defaults::USE_CREDENTIAL.to_string()),
        ("healthCheck.expect.statuses", "`200-299`".to_owned()),
        ("workers.replicas", defaults::REPLICAS.to_string()),
    ] {
        let description = told(0, path);
        let default = format!("Defaults to {default}");
        let end = description.find(&default).map(|at| &description[at + default.len()..]);
        assert!(
            end.is_some_and(|end| end.starts_with(['.', ','])),
            "{path}: `{default}` is not in: {description}"
        );
    }
    for (path, default) in [
        ("apiKey.name", defaults::KEY_NAME),
        ("basic.secretRef.usernameKey", defaults::USERNAME_KEY),
        ("basic.secretRef.passwordKey", defaults::PASSWORD_KEY),
    ] {
        let default = format!("Defaults to `{default}`");
        assert!(told(1, path).contains(&default), "{path}: {default}");
    }
}

#[test]
fn a_health_check_with_nothing_set_has_the_defaults_of_the_contract() {
    let mut object = minimal();
    object.spec.health_check = Some(HealthCheck::default());
    let accepted = integration(&object, &References::default()).unwrap();
    assert_eq!(
        accepted.health_check,
        Some(ProbePlan {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            unhealthy_threshold: 3,
            healthy_threshold: 1,
            path: "/".into(),
            method: "GET".into(),
            use_credential: true,
            statuses: vec![(200, 299)],
            expression: None,
            service: String::new(),
        })
    );
}

#[test]
fn a_default_gives_way_to_the_other_half_of_its_pair() {
    let timeouts = |timeouts: serde_json::Value| {
        let spec = json!({"endpoints": [{"name": "a", "url": "https://a.example"}], "timeouts": timeouts});
        let plan = integration(&object(spec), &References::default()).unwrap().timeouts;
        (plan.attempt.as_secs(), plan.request.as_secs())
    };
    assert_eq!(timeouts(json!({"request": "5s"})), (5, 5));
    assert_eq!(timeouts(json!({"request": "60s"})), (10, 60));
    assert_eq!(timeouts(json!({"attempt": "60s"})), (60, 60));
    assert_eq!(timeouts(json!({"attempt": "5s"})), (5, 30));
    assert_eq!(timeouts(json!({"attempt": "5s", "request": "7s"})), (5, 7));
}

/// Every field of the plan comes from its own field of the spec: each has a value that no other has.
#[test]
fn what_is_set_arrives_where_it_belongs() {
    let mut object: Integration =
        serde_saphyr::from_str(include_str!("../../../tests/it/crd/integration.yaml")).unwrap();
    object.metadata.annotations = Some([("tidegate.dev/reset-circuit".to_owned(), "once".to_owned())].into());
    let references = References {
        credentials: vec![reference("payments-key", &["*.example.com"], Ok(bearer("t")))],
        ca: Some([("ca.crt".to_owned(), Some(SecretValue::new(ca_pem())))].into()),
    };
    let accepted = integration(&object, &references).unwrap();
    let Accepted {
        endpoints,
        credentials,
        tls,
        timeouts,
        retries,
        breaker,
        rate_limit,
        concurrency,
        connections,
        balance,
        limits,
        health_check,
        reset_circuit,
        replicas,
        resources,
        access,
        ..
    } = accepted;
    let text = format!(
        "{endpoints:?} {timeouts:?} {retries:?} {breaker:?} {rate_limit:?} {concurrency:?} {connections:?} {balance:?} {limits:?} \
         {health_check:?} {replicas} {access:?}"
    );
    let expected = r#"[EndpointPlan { name: "primary", url: "https://api.example.com/v1", weight: 80, priority: 0 }, EndpointPlan { name: "secondary", url: "https://backup.example.com:8443/", weight: 20, priority: 1 }] TimeoutPlan { connect: 1s, attempt: 2s, request: 20s, idle: 90s } RetryPlan { limit: 4, backoff_base: 100ms, backoff_max: 5s, statuses: [429, 503], methods: All, idempotency_key: Add, hedge: Some(After(150ms)), retry_after_max: 30s, budget_percent: 25, budget_interval: 15s, budget_minimum_per_second: 2 } BreakerPlan { consecutive_failures: 6, failure_percent: 40, window: 40s, minimum_requests: 21, open_for: 31s, max_open_for: 360s, half_open_requests: 2, mode: ForcedClosed } Some(RateLimitPlan { requests: 100, interval: 2s, burst: 21, max_wait: 1.5s, workers: 3 }) ConcurrencyPlan { max_in_flight: 65, max_pending: 257, adaptive: Some(AdaptivePlan { minimum: 5, maximum: 60 }) } ConnectionPlan { max_per_endpoint: 66, idle_timeout: 91s, http2: Never } RoundRobin LimitPlan { request_body: 11534336, response_body: 105906176, headers: 66560 } Some(ProbePlan { interval: 32s, timeout: 11s, unhealthy_threshold: 5, healthy_threshold: 2, path: "/healthz", method: "HEAD", use_credential: false, statuses: [(200, 299), (304, 304)], expression: Some("status < 300"), service: "" }) 3 ["shop", "billing"]"#;
    assert_eq!(text, expected);
    assert_eq!(tls.server_name.as_deref(), Some("api.example.com"));
    assert_eq!(tls.min_version, Some(TlsVersion::V1_3));
    assert_eq!(tls.ca_pem, Some(ca_pem()));
    assert_eq!(credentials, references.credentials);
    assert_eq!(reset_circuit.as_deref(), Some("once"));
    assert_eq!(resources, object.spec.workers.unwrap().resources);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let object = object(json!({
        "endpoints": [{"name": "A", "url": "ftp://a.example", "weight": -5}],
        "retries": {"limit": 99},
        "access": {"namespaces": ["x", "x"]},
    }));
    let fields: Vec<String> = integration(&object, &References::default())
        .unwrap_err()
        .into_iter()
        .map(|problem| match problem {
            Problem::InvalidSpec(violation) => violation.field,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        fields,
        [
            "spec.endpoints[0].name",
            "spec.endpoints[0].url",
            "spec.endpoints[0].weight",
            "spec.endpoints",
            "spec.retries.limit",
            "spec.access.namespaces[1]"
        ]
    );
}

#[test]
fn an_expression_that_does_not_compile_is_refused() {
    let mut object = minimal();
    object.spec.health_check = serde_json::from_value(json!({"expect": {"expression": "status =="}})).unwrap();
    let found = problems(&object, &References::default());
    assert!(
        found[0].starts_with("InvalidSpec true `spec.healthCheck.expect.expression` must be CEL: "),
        "{found:?}"
    );
}

#[test]
fn every_credential_must_allow_every_endpoint() {
    let object = with_credentials(&["wide", "narrow"]);
    let references = References {
        credentials: vec![
            reference("wide", &["*.example.com", "127.0.0.1"], Ok(bearer("t"))),
            reference(
                "narrow",
                &["api.example.com:8443", "127.0.0.1:8080"],
                Err(CredentialProblem::SecretNotFound {
                    field: "spec.bearer.secretRef",
                    secret: "s".into(),
                }),
            ),
        ],
        ca: None,
    };
    assert_eq!(
        problems(&object, &references),
        [
            "HostNotAllowed true `spec.endpoints[0].url`: Credential `narrow` does not allow `api.example.com:443`; add \
          it to its `spec.allowedHosts` or take the Credential off `spec.credentialRefs`"
        ]
    );
}

#[test]
fn two_credentials_cannot_go_to_the_same_place() {
    let object = with_credentials(&["one", "two"]);
    let hosts = ["api.example.com", "127.0.0.1"];
    let references = References {
        credentials: vec![
            reference("one", &hosts, Ok(bearer("a"))),
            reference("two", &hosts, Ok(bearer("b"))),
        ],
        ca: None,
    };
    assert_eq!(
        problems(&object, &references),
        [
            "InvalidSpec true `spec.credentialRefs[1].name` must not put its value where Credential `one` does, the header \
          'authorization'"
        ]
    );
}

#[test]
fn a_credential_without_a_value_is_accepted_and_told_apart() {
    let object = with_credentials(&["gone", "empty", "broken", "fine"]);
    let hosts = ["api.example.com", "127.0.0.1"];
    let missing = CredentialProblem::SecretNotFound {
        field: "spec.bearer.secretRef",
        secret: "token".into(),
    };
    let keyless = CredentialProblem::KeyMissing {
        field: "spec.apiKey.secretRef",
        secret: "token".into(),
        key: "key".into(),
    };
    let references = References {
        credentials: vec![
            CredentialReference {
                name: "gone".into(),
                found: None,
            },
            reference("empty", &hosts, Err(missing)),
            reference("broken", &hosts, Err(keyless)),
            reference("fine", &hosts, Ok(bearer("t"))),
        ],
        ca: None,
    };
    integration(&object, &references).unwrap();
    let unready: Vec<_> = references
        .unready()
        .into_iter()
        .map(|it| format!("{} {} {}", it.reason, it.stalls, it.message))
        .collect();
    assert_eq!(
        unready,
        [
            "CredentialNotFound false there is no Credential `gone` in this namespace; create it or name another",
            "CredentialNotReady false Credential `empty`: `spec.bearer.secretRef`: there is no Secret `token` in this \
             namespace that may be named here; create it or name another",
            "CredentialNotReady true Credential `broken`: `spec.apiKey.secretRef`: Secret `token` has no key `key`; add it \
             or name another",
        ]
    );
}

#[test]
fn a_ca_reference_must_lead_to_certificates() {
    let mut object = minimal();
    object.spec.tls =
        serde_json::from_value(json!({"caRef": {"kind": "Secret", "name": "ca", "key": "ca.crt"}})).unwrap();
    let data = |value: Option<&str>| References {
        ca: Some([("ca.crt".to_owned(), value.map(SecretValue::new))].into()),
        ..References::default()
    };
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let large = ca_pem().repeat(1000);
    for (references, expected) in [
        (
            References::default(),
            "RefNotFound false `spec.tls.caRef`: there is no Secret `ca` in this namespace that may be named here; create it or name another",
        ),
        (
            References {
                ca: Some(Values::new()),
                ..References::default()
            },
            "RefNotFound true `spec.tls.caRef`: key `ca.crt` of Secret `ca` must exist; add it or name another",
        ),
        (data(None), "must be text: certificates in PEM"),
        (
            data(Some("")),
            "must be one or more certificates in PEM, and nothing else",
        ),
        (
            data(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
            "must be one or more",
        ),
        (
            data(Some(&key)),
            "must be one or more certificates in PEM, and nothing else",
        ),
        (
            data(Some(&(ca_pem() + &key))),
            "must be one or more certificates in PEM, and nothing else",
        ),
        (data(Some(&large)), "must be at most 256 KiB of certificates in PEM"),
    ] {
        let found = problems(&object, &references);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
    let two = ca_pem() + &ca_pem();
    assert_eq!(integration(&object, &data(Some(&two))).unwrap().tls.ca_pem, Some(two));
}

fn ca_pem() -> String {
    // One certificate for all: each is made with a fresh key.
    static PEM: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem()
    });
    PEM.clone()
}

#[test]
fn what_is_late_and_what_adapts_have_defaults_that_fit_each_other() {
    let planned = |spec: serde_json::Value| {
        let mut all = json!({"endpoints": [{"name": "primary", "url": "https://api.example.com/v1"}]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        integration(&object(all), &References::default()).unwrap()
    };
    for (hedge, expected) in [
        (json!({}), HedgePlan::P95),
        (json!({"after": "P95"}), HedgePlan::P95),
        (
            json!({"after": "1s500ms"}),
            HedgePlan::After(Duration::from_millis(1500)),
        ),
    ] {
        assert_eq!(
            planned(json!({"retries": {"hedge": hedge}})).retries.hedge,
            Some(expected)
        );
    }
    for (concurrency, minimum, maximum) in [
        (json!({"adaptive": {}}), 4, 64),
        (json!({"maxInFlight": 3, "adaptive": {}}), 3, 3),
        (json!({"adaptive": {"maximum": 2}}), 2, 2),
        (json!({"maxInFlight": 200, "adaptive": {"minimum": 100}}), 100, 200),
    ] {
        let plan = planned(json!({"concurrency": concurrency})).concurrency;
        assert_eq!(plan.adaptive, Some(AdaptivePlan { minimum, maximum }));
    }
}
