//! HAProxy: `retry-on` and `observe layer7` are what it has of trying again and breaking.

use std::net::SocketAddr;

use super::free_address;
use crate::upstream::{TLS_NAME, Upstream};

/// With two threads.
pub fn configuration(address: SocketAddr, upstream: &Upstream) -> Result<String, String> {
    let (metrics, provider) = (free_address()?, upstream.address);
    let tls = upstream.authority.as_ref().map_or_else(String::new, |authority| {
        format!(
            "ssl verify required sni str({TLS_NAME}) verifyhost {TLS_NAME} ca-file {}",
            authority.file.display()
        )
    });
    Ok(format!(
        r"
global
    nbthread 2
    maxconn 4096
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout client 60s
    timeout http-keep-alive 600s
    timeout connect 5s
    timeout server 15s
    timeout queue 5s
    retries 2
    retry-on conn-failure empty-response response-timeout 502 503 504
    http-reuse safe
frontend metrics
    bind {metrics}
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend callers
    bind {address}
    default_backend provider
backend provider
    option httpchk GET /
    http-request set-header X-API-Key bench-key
    server primary {provider} {tls} check inter 10s observe layer7 error-limit 10 on-error mark-down pool-max-conn 128 maxconn 1024
"
    ))
}
