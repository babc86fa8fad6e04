//! What the proxies stand in front of: an nginx of its own that answers at once with 1 KiB.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::connections;
use crate::process::{Process, pause};
use crate::proxies::free_address;

/// How long an answer's body is.
pub const BODY: usize = 1024;

/// What the upstream's certificate says. A name, because nginx verifies nothing else.
pub const TLS_NAME: &str = "upstream.bench";

/// How the upstream is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 in cleartext.
    Http,
    /// HTTP/1.1 over TLS, verified.
    Tls,
}

impl Protocol {
    /// As `BENCH_ONLY` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
        }
    }

    /// For the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Http => "HTTP/1.1",
            Self::Tls => "HTTP/1.1, TLS to the upstream",
        }
    }
}

/// A running upstream.
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    /// Its authority, where TLS is spoken.
    pub authority: Option<Authority>,
    _process: Process,
}

/// Whom the proxies trust.
pub struct Authority {
    /// In PEM.
    pub pem: String,
    /// The same in a file.
    pub file: PathBuf,
}

impl Upstream {
    /// Starts it, with one worker process.
    pub fn start(protocol: Protocol, directory: &Path) -> Result<Self, String> {
        let (address, plain) = (free_address()?, free_address()?);
        let place = directory.join("upstream");
        let put = |name: &str, text: &str| {
            let file = place.join(name);
            std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok::<_, String>(file)
        };
        std::fs::create_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        let (mut authority, mut listen) = (None, format!("listen {address};"));
        if protocol == Protocol::Tls {
            let made = rcgen::generate_simple_self_signed([TLS_NAME.to_owned()]);
            let made = made.map_err(|error| format!("no certificate: {error}"))?;
            let pem = made.cert.pem();
            let (file, key) = (
                put("tls.crt", &pem)?,
                put("tls.key", &made.signing_key.serialize_pem())?,
            );
            listen = format!(
                "listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};",
                file.display(),
                key.display()
            );
            authority = Some(Authority { pem, file });
        }
        let (here, body) = (place.display(), "x".repeat(BODY));
        let configuration = put(
            "nginx.conf",
            &format!(
                r#"
daemon off;
pid {here}/nginx.pid;
error_log {here}/nginx.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {here}/client; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    server {{
        listen {plain}; {listen}
        location / {{ return 200 "{body}"; }}
    }}
}}
"#
            ),
        )?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&place).arg("-c").arg(configuration);
        let process = Process::start(&mut command)
            .map_err(|error| format!("the upstream, nginx (Debian's nginx-light), does not start: {error}"))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !connections::answers(plain) {
            if Instant::now() > deadline {
                return Err("the upstream does not answer; BENCH_OUTPUT=1 shows what it says".into());
            }
            pause(Duration::from_millis(10));
        }
        Ok(Self {
            address,
            authority,
            _process: process,
        })
    }

    /// Where the load finds it without a proxy between them, in cleartext.
    pub fn direct(&self) -> Option<SocketAddr> {
        self.authority.is_none().then_some(self.address)
    }
}
