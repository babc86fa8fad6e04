//! The identity provider: `tests/it/oidc/server.mjs`, which is oidc-provider, in a process of its own.
//!
//! Its packages are installed once for each lock file, in the cache beside the parts of the control plane, and never in
//! the repository. Where there is no Node.js with npm, or nothing to install from, the tests that want it say so and are
//! over.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rcgen::KeyPair;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::OnceCell;

use super::*;
use crate::net::tls::{authority, issue};
use crate::support::npm;

/// It ends when this is dropped.
pub struct Issuer {
    _child: Child,
    _input: ChildStdin,
    /// What it calls itself.
    pub url: String,
    /// PEM certificates to trust where it speaks TLS.
    pub ca_pem: String,
}

impl Issuer {
    /// A provider that knows these clients; `None`, and said so, where there cannot be one.
    pub async fn with(clients: &[Value]) -> Option<Self> {
        let packages = match packages().await {
            Ok(packages) => packages,
            Err(why) => {
                println!("skipped, for want of an identity provider: {why}");
                return None;
            }
        };
        let authority = authority("identity");
        let (certificate, key) = issue(&authority, |_| {}, &["127.0.0.1"]);
        let mut child = Command::new("node")
            .arg(source("server.mjs"))
            .arg(packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let config = json!({ "clients": clients, "tls": { "cert": certificate.pem(), "key": key.serialize_pem() } });
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("{config}\n").as_bytes()).await.unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, output.next_line()).await;
        let line = line.expect("the identity provider does not start").unwrap().unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        Some(Self {
            _child: child,
            _input: input,
            url: told["issuer"].as_str().unwrap().to_owned(),
            ca_pem: authority.pem(),
        })
    }

    /// What it knows of an access token; null if it is none.
    pub async fn known(&self, token: &SecretValue) -> Value {
        self.control(&format!("token?value={}", token.expose())).await
    }

    /// A first refresh token for this client, and the grant it stands for.
    pub async fn consented(&self, client: &str) -> (String, String) {
        let given = self.control(&format!("refresh?client={client}")).await;
        let text = |name: &str| given[name].as_str().unwrap_or_else(|| panic!("{given}")).to_owned();
        (text("token"), text("grant"))
    }

    /// Whether a grant still stands.
    pub async fn stands(&self, grant: &str) -> bool {
        self.control(&format!("grant?id={grant}")).await["there"]
            .as_bool()
            .unwrap()
    }

    async fn control(&self, what: &str) -> Value {
        let url = format!("{}/control/{what}", self.url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

/// The public half, in PEM, as a client registers it.
pub fn public(key: &KeyPair) -> String {
    key.public_key_pem()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oidc").join(name)
}

/// The directory that has the packages of the lock file; installs them first if need be.
async fn packages() -> Result<PathBuf, String> {
    static INSTALLED: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
    let install = || async { npm::installed("oidc", &source("")).await };
    INSTALLED.get_or_init(install).await.clone()
}
