//! The plan of the worker under measurement: the defaults of the contract, with an API key to inject.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate::api::integration::{BalancePolicy, BreakerMode, Http2, Protocol, RetryMethods};
use tidegate::domain::key::Key;
use tidegate::domain::plan::{
    BreakerPlan, ConcurrencyPlan, ConnectionPlan, CredentialPlan, EndpointPlan, FORMAT, LimitPlan, Material, Plan,
    RetryPlan, TimeoutPlan, TlsPlan,
};
use tidegate::domain::secret::SecretValue;

/// Writes what a worker mounts into `directory/plan`.
pub fn write(upstream: SocketAddr, directory: &Path) -> Result<PathBuf, String> {
    let place = directory.join("plan");
    let put = |name: &str, content: String| {
        std::fs::write(place.join(name), content).map_err(|error| format!("{}/{name}: {error}", place.display()))
    };
    std::fs::create_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    put(
        "plan.json",
        serde_json::to_string(&plan(upstream)).map_err(|error| error.to_string())?,
    )?;
    Ok(place)
}

fn plan(upstream: SocketAddr) -> Plan {
    let seconds = Duration::from_secs;
    Plan {
        format: FORMAT,
        revision: 1,
        integration: Key::new("bench", "upstream"),
        uid: "00000000-0000-0000-0000-000000000001".into(),
        generation: 1,
        protocol: Protocol::HTTP,
        endpoints: vec![EndpointPlan {
            name: "primary".into(),
            url: format!("http://{upstream}"),
            weight: 1,
            priority: 0,
        }],
        credentials: vec![CredentialPlan {
            not_after: None,
            renewable: false,
            name: "key".into(),
            revision: 1,
            allowed_hosts: vec!["127.0.0.1".into()],
            material: Some(Material::Header {
                name: "x-api-key".into(),
                value: SecretValue::new("bench-key"),
            }),
        }],
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
        concurrency: ConcurrencyPlan {
            max_in_flight: 64,
            max_pending: 256,
        },
        connections: ConnectionPlan {
            max_per_endpoint: 64,
            idle_timeout: seconds(90),
            http2: Http2::Auto,
        },
        balance: BalancePolicy::LeastLoaded,
        limits: LimitPlan {
            request_body: 10 << 20,
            response_body: 100 << 20,
            headers: 64 << 10,
        },
        health_check: None,
        denied: Vec::new(),
        reset_circuit: None,
    }
}
