//! A real API server, alone, that writes down what is asked of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::Value;
use tidegate::api::crds;

use crate::Outcome;

/// The server; it ends when this is dropped, since it reads from a pipe that is held here.
pub struct Server {
    /// An administrator's.
    pub kubeconfig: PathBuf,
    audit: PathBuf,
    process: Child,
}

impl Server {
    /// Starts it; builds it the first time.
    pub fn start(directory: &Path) -> Outcome<Self> {
        let audit = directory.join("audit.log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/apiserver");
        let mut process = Command::new(script)
            .env("TIDEGATE_AUDIT_LOG", &audit)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let kubeconfig = line
            .strip_prefix("READY ")
            .ok_or("tests/cluster/apiserver failed")?
            .trim()
            .into();
        Ok(Self {
            kubeconfig,
            audit,
            process,
        })
    }

    /// A client of its administrator, who is not held back.
    pub async fn client(&self) -> Outcome<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// How many lines the audit log has: a place to count on from.
    pub fn mark(&self) -> Outcome<usize> {
        Ok(std::fs::read_to_string(&self.audit)?.lines().count())
    }

    /// Writes since `mark`, besides those of leases and those of the server itself, as `verb resource`.
    pub fn writes(&self, mark: usize) -> Outcome<Vec<String>> {
        let text = std::fs::read_to_string(&self.audit)?;
        let entries = text
            .lines()
            .skip(mark)
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let writes = entries.filter(|entry| {
            let verb = entry["verb"].as_str().unwrap_or_default();
            let user = entry["user"]["username"].as_str().unwrap_or_default();
            ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
                && entry["objectRef"]["resource"] != "leases"
                && !user.starts_with("system:")
        });
        Ok(writes
            .map(|entry| format!("{} {}", entry["verb"], entry["objectRef"]["resource"]))
            .collect())
    }
}

/// Makes the definitions and these namespaces.
pub async fn install(client: &Client, namespaces: &[String]) -> Outcome {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in crds::all() {
        definitions.create(&PostParams::default(), &definition).await?;
        await_condition(
            definitions.clone(),
            &definition.name_any(),
            conditions::is_crd_established(),
        )
        .await?;
    }
    let api: Api<Namespace> = Api::all(client.clone());
    for name in namespaces {
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        api.create(&PostParams::default(), &namespace).await?;
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
