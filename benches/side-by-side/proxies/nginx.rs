//! nginx: passive checks and `proxy_next_upstream` are what it has of breaking and trying again.

use std::net::SocketAddr;
use std::path::Path;

use crate::upstream::{TLS_NAME, Upstream};

/// With a worker process for each of two cores.
pub fn configuration(address: SocketAddr, upstream: &Upstream, place: &Path) -> String {
    let (here, provider) = (place.display(), upstream.address);
    let (scheme, tls) = match &upstream.authority {
        None => ("http", String::new()),
        Some(authority) => (
            "https",
            format!(
                "proxy_ssl_verify on; proxy_ssl_server_name on; proxy_ssl_name {TLS_NAME}; proxy_ssl_trusted_certificate {};",
                authority.file.display()
            ),
        ),
    };
    format!(
        r#"
daemon off;
pid {here}/nginx.pid;
error_log {here}/nginx.log;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {here}/client; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    log_format line escape=json '{{"id":"$request_id","method":"$request_method","path":"$uri","status":"$status","time":"$request_time","upstream":"$upstream_addr","bytes":"$body_bytes_sent"}}';
    access_log /dev/null line;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    upstream provider {{
        server {provider} max_fails=10 fail_timeout=10s;
        keepalive 128; keepalive_requests 100000000;
    }}
    server {{
        listen {address};
        location = /metrics {{ stub_status; }}
        location / {{
            proxy_pass {scheme}://provider;
            {tls}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-API-Key "bench-key";
            proxy_connect_timeout 5s; proxy_read_timeout 15s;
            proxy_next_upstream error timeout http_502 http_503 http_504;
            proxy_next_upstream_tries 3; proxy_next_upstream_timeout 30s;
        }}
    }}
}}
"#
    )
}
