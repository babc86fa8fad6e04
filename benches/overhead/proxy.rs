//! The proxies that are compared, each set to do the same: keep connections open to both sides, add a key, write a line for
//! each request, and try again where that is safe.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Process, pause, program};

/// A proxy that takes requests.
pub struct Proxy {
    /// For the table.
    pub name: &'static str,
    /// Where it takes them.
    pub address: SocketAddr,
    /// What it costs.
    pub process: Process,
}

impl Proxy {
    /// Debian's nginx, with a worker process for each core.
    pub fn nginx(upstream: SocketAddr, directory: &Path) -> Result<Self, String> {
        let address = free_address()?;
        let place = directory.display();
        let configuration = format!(
            r#"
daemon off;
pid {place}/nginx.pid;
error_log {place}/nginx.log;
worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {place}/client; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    log_format line escape=json '{{"method":"$request_method","path":"$uri","status":"$status","time":"$request_time"}}';
    access_log /dev/null line;
    keepalive_requests 1000000;
    upstream provider {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-API-Key "bench-key";
            proxy_next_upstream error timeout http_502 http_503 http_504;
            proxy_next_upstream_tries 3;
        }}
    }}
}}
"#
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory).arg("-c").arg(&file);
        Self::start("nginx", address, &mut command)
    }

    /// The worker, from a plan on disk, as in a pod whose controller is away.
    pub fn tidegate(plan: &Path) -> Result<Self, String> {
        let address = free_address()?;
        let mut command = Command::new(program());
        command.arg("worker").arg(format!("--plans={}", plan.display()));
        command.arg(format!("--listen={address}"));
        command.arg(format!("--admin={}", free_address()?));
        command.arg(format!("--control={}", free_address()?));
        // The upstream is on this machine.
        command.arg("--allow-loopback").env("RUST_LOG", "info");
        Self::start("tidegate", address, &mut command)
    }

    fn start(name: &'static str, address: SocketAddr, command: &mut Command) -> Result<Self, String> {
        let mut process = Process::start(command).map_err(|error| format!("{name} does not start: {error}"))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if !process.runs() {
                return Err(format!("{name} ended; BENCH_OUTPUT=1 shows what it says"));
            }
            if Instant::now() > deadline {
                return Err(format!("{name} does not listen on {address}"));
            }
            pause(Duration::from_millis(10));
        }
        Ok(Self { name, address, process })
    }
}

/// An address of this machine that nobody listens on.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}
