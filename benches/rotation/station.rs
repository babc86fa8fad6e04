//! One Credential, the Integration that uses it, and its workers: each a process, with a Pod that leads to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tidegate::api::ANNOTATION_ROTATE;
use tidegate::api::credential::Credential;
use tidegate::api::integration::Integration;
use tidegate::fleet::kubernetes::names;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::process::{Process, program};
use crate::provider::{Provider, WORKER};
use crate::{Outcome, PLACE, status};

/// Workers of each Integration.
pub const WORKERS: usize = 3;
/// Between two calls of a worker.
const BETWEEN: Duration = Duration::from_millis(5);
/// Longer than a rotation, or a start of workers, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two rotations, so that what the one before still had to do is done.
const REST: Duration = Duration::from_millis(500);

/// A type of Credential.
#[derive(Clone, Copy)]
pub enum Kind {
    Generated,
    Jwt,
    Chosen,
    Added,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Generated, Self::Jwt, Self::Chosen, Self::Added];

    pub fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Jwt => "jwt with a key of its own",
            Self::Chosen => "rotation.steps that set a value at the provider (class A)",
            Self::Added => "rotation.steps that make a key, try it and take the last one away (class B)",
        }
    }

    /// Whether workers send it.
    pub fn is_sent(self) -> bool {
        !matches!(self, Self::Generated)
    }

    fn spec(self, provider: SocketAddr) -> Value {
        let by = json!({"name": "admin"});
        let mut spec = match self {
            Self::Generated => json!({"generated": {}, "rotation": {"overlap": "0s"}}),
            Self::Jwt => json!({
                "jwt": {"algorithm": "ES256", "generate": {"overlap": "0s"}, "issuer": "bench", "lifetime": "1h"},
            }),
            Self::Chosen => {
                let create = json!({"generate": {"length": 24}});
                let set = json!({"request": request("PUT", provider, "secret", r#"{"value": "{{ value }}"}"#), "credentialRef": by});
                json!({"bearer": {}, "rotation": {"overlap": "0s", "steps": {"create": create, "set": set}}})
            }
            Self::Added => {
                let create = request("POST", provider, "keys", r#"{"label": "{{ attempt.id }}"}"#);
                json!({"bearer": {}, "rotation": {"overlap": "0s", "steps": {
                    "create": {"request": create, "credentialRef": by, "extract": {"value": ".key", "id": ".id"}},
                    "test": {"request": {"method": "GET", "url": format!("http://{provider}/me")}, "credentialRef": by},
                    "revoke": {
                        "request": {"method": "DELETE", "url": format!("http://{provider}/keys/{{{{ previous.id }}}}")},
                        "credentialRef": by,
                    },
                }}})
            }
        };
        spec["allowedHosts"] = json!([provider.ip().to_string()]);
        spec
    }
}

fn request(method: &str, provider: SocketAddr, path: &str, body: &str) -> Value {
    let headers = json!({"Content-Type": "application/json"});
    json!({"method": method, "url": format!("http://{provider}/{path}"), "headers": headers, "body": body})
}

/// What authorises the calls of `rotation.steps`.
pub async fn prepare(client: &Client, provider: SocketAddr) -> Outcome {
    let secret = json!({"metadata": {"name": "admin"}, "stringData": {"token": "bench-admin"}});
    create::<Secret>(client, secret).await?;
    let spec = json!({"allowedHosts": [provider.ip().to_string()], "bearer": {"secretRef": {"name": "admin", "key": "token"}}});
    create::<Credential>(client, object("Credential", "admin", spec)).await
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

async fn create<K>(client: &Client, manifest: Value) -> Outcome
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), PLACE);
    api.create(&PostParams::default(), &serde_json::from_value(manifest)?)
        .await?;
    Ok(())
}

/// The station.
pub struct Station {
    client: Client,
    provider: Provider,
    kind: Kind,
    name: String,
    workers: Vec<String>,
    told: watch::Receiver<Option<Credential>>,
    callers: Vec<JoinHandle<()>>,
    // They end with it.
    processes: Vec<Process>,
}

impl Station {
    /// Applies it, starts its workers, and waits until all of them use the first value.
    pub async fn open(
        client: &Client,
        provider: &Provider,
        kind: Kind,
        number: usize,
        directory: &Path,
    ) -> Outcome<Self> {
        let name = format!("api-{number}");
        let told = status::follow(client, &name);
        create::<Credential>(client, object("Credential", &name, kind.spec(provider.address))).await?;
        let spec = json!({
            "endpoints": [{"name": "primary", "url": format!("http://{}", provider.address)}],
            "credentialRefs": [{"name": name}],
            "retries": {"limit": 0},
            "workers": {"replicas": WORKERS},
        });
        create::<Integration>(client, object("Integration", &name, spec)).await?;
        let mut station = Self {
            client: client.clone(),
            provider: provider.clone(),
            kind,
            workers: (0..WORKERS).map(|worker| format!("{name}-{worker}")).collect(),
            told,
            callers: Vec::new(),
            processes: Vec::new(),
            name,
        };
        timeout(PATIENCE, station.start(number, directory)).await??;
        timeout(PATIENCE, status::propagated(&mut station.told, None))
            .await
            .map_err(|_| "the first value does not arrive; BENCH_OUTPUT=1 shows what the programs say")??;
        if kind.is_sent() {
            let nothing = crate::provider::Seen::new();
            timeout(PATIENCE, provider.all_changed(&station.workers, &nothing)).await??;
        }
        sleep(REST).await;
        Ok(station)
    }

    /// Starts what the Deployment asks for, as a node would.
    async fn start(&mut self, number: usize, directory: &Path) -> Outcome {
        let made_for_it = names::worker(&self.name);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), PLACE);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), PLACE);
        let (deployment, secret) = loop {
            let found = deployments
                .get_opt(&made_for_it)
                .await?
                .zip(secrets.get_opt(&made_for_it).await?);
            match found {
                Some(found) => break found,
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        let mounted = directory.join(&self.name);
        std::fs::create_dir(&mounted)?;
        for (key, value) in secret.data.unwrap_or_default() {
            std::fs::write(mounted.join(key), value.0)?;
        }
        let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), PLACE);
        for (index, worker) in self.workers.iter().enumerate() {
            // From 127.2.0.0 on, since others may listen on the first.
            let [high, low] = u16::try_from(number * WORKERS + index)?.to_be_bytes();
            let address = Ipv4Addr::new(127, 2, high, low);
            let at = |port: u16| SocketAddr::from((address, port)).to_string();
            let mut command = Command::new(program());
            command.arg("worker").arg("--plans").arg(&mounted);
            command.args(["--listen", &at(8080), "--control", &at(tidegate::api::PORT_CONTROL)]);
            command
                .args(["--admin", &at(9090), "--allow-loopback"])
                .env("RUST_LOG", "warn");
            self.processes.push(Process::start(&mut command)?);
            while TcpStream::connect((address, tidegate::api::PORT_CONTROL))
                .await
                .is_err()
            {
                sleep(Duration::from_millis(10)).await;
            }
            let pod = Pod {
                metadata: ObjectMeta {
                    name: Some(worker.clone()),
                    labels: template.metadata.clone().and_then(|metadata| metadata.labels),
                    ..ObjectMeta::default()
                },
                spec: template.spec.clone(),
                status: None,
            };
            pods.create(&PostParams::default(), &pod).await?;
            let running = json!({"status": {
                "phase": "Running",
                "podIP": address.to_string(),
                "podIPs": [{"ip": address.to_string()}],
                "conditions": [{"type": "Ready", "status": "True"}],
            }});
            pods.patch_status(worker, &PatchParams::default(), &Patch::Merge(running))
                .await?;
            if self.kind.is_sent() {
                let host = format!("{}.{PLACE}.svc", self.name);
                self.callers.push(tokio::spawn(call(at(8080), host, worker.clone())));
            }
        }
        Ok(())
    }

    /// Asks for a rotation: after which time every worker has sent the new value, and after which the status told so.
    pub async fn rotate(&mut self, round: usize) -> Outcome<(Duration, Duration)> {
        let before = self.provider.seen();
        let api: Api<Credential> = Api::namespaced(self.client.clone(), PLACE);
        let round = round.to_string();
        let asked = json!({"metadata": {"annotations": {ANNOTATION_ROTATE: round}}});
        let begin = Instant::now();
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(asked))
            .await?;
        let late = |_| format!("rotation {round} of {} does not arrive", self.name);
        let told = async {
            status::propagated(&mut self.told, Some(&round)).await?;
            Outcome::Ok(begin.elapsed())
        };
        let arrived = async {
            if !self.kind.is_sent() {
                return Ok(begin);
            }
            self.provider.all_changed(&self.workers, &before).await
        };
        let (arrived, told) = timeout(PATIENCE, async { tokio::try_join!(arrived, told) })
            .await
            .map_err(late)??;
        sleep(REST).await;
        Ok((arrived.saturating_duration_since(begin), told))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}

/// Calls one worker for ever.
async fn call(address: String, host: String, worker: String) {
    let client = reqwest::Client::new();
    loop {
        let call = client
            .get(format!("http://{address}/"))
            .header("host", &host)
            .header(WORKER, &worker);
        // It may not listen yet.
        if let Ok(answer) = call.send().await {
            let _ = answer.bytes().await;
        }
        sleep(BETWEEN).await;
    }
}
