//! The node under test, and the ways to act on it and to wait for it.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tidegate::api::condition::ConditionStatus;
use tidegate::api::integration::Integration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::calls::Calls;
use crate::provider::Provider;

/// The namespace that the chart is installed in.
pub const SYSTEM: &str = "tidegate-system";
/// The namespace of the application.
pub const SHOP: &str = "shop";
/// The Integration that most claims are about.
pub const PAYMENTS: &str = "payments-api";

/// Longest wait for anything that takes pods, on a machine that has much else to do.
pub const LONG: Duration = Duration::from_secs(120);
/// Longest wait for what the product says is a matter of seconds.
pub const SHORT: Duration = Duration::from_secs(20);

/// Why a claim does not hold.
pub struct Failure(String);

/// What a claim comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

/// A claim's assertion.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure(otherwise())) }
}

/// What came of a call of our own.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// The slug of a problem of Tidegate's own; empty where the provider answered.
    pub error: String,
}

/// The node, and what the claims leave for those after them.
pub struct World {
    /// Administrator of the node's API server.
    pub client: Client,
    /// The image under test, as `repository:tag`.
    pub image: String,
    /// The image of the calling application.
    pub caller_image: String,
    /// The outside API.
    pub provider: Provider,
    /// Calls of the application, from the claim on that starts it.
    pub calls: Option<Calls>,
    /// Where the API server writes down what is asked of it.
    pub audit: PathBuf,
    directory: PathBuf,
    scripts: PathBuf,
    tools: PathBuf,
}

impl World {
    /// Takes what tests/cluster/test-node has prepared.
    pub async fn from_environment() -> Outcome<Self> {
        let variable = |name: &str| {
            std::env::var(name)
                .map_err(|_| Failure(format!("{name} is not set; tests/cluster/test-node starts this test")))
        };
        let directory = PathBuf::from(variable("TIDEGATE_NODE")?);
        let kubeconfig = Kubeconfig::read_from(directory.join("kubeconfig"))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let host = variable("TIDEGATE_NODE_HOST")?;
        // Pods find the provider by a name, as they would an outside API.
        tokio::fs::write(directory.join("hosts"), format!("{host} {}\n", Provider::NAME)).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            image: variable("TIDEGATE_NODE_IMAGE")?,
            caller_image: variable("TIDEGATE_NODE_CALLER")?,
            provider: Provider::start(&host).await?,
            calls: None,
            audit: PathBuf::from(variable("TIDEGATE_NODE_AUDIT")?),
            scripts: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cluster"),
            tools: PathBuf::from(variable("TIDEGATE_NODE_TOOLS")?),
            directory,
        })
    }

    pub fn integrations(&self) -> Api<Integration> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    pub fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The workers of an Integration that are not on their way out.
    pub async fn workers(&self, integration: &str) -> Outcome<Vec<Pod>> {
        let selector = ListParams::default().labels(&format!("tidegate.dev/integration={integration}"));
        let pods = self.pods(SHOP).list(&selector).await?;
        Ok(pods
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }

    pub async fn controllers(&self) -> Outcome<Vec<Pod>> {
        let selector = ListParams::default().labels("app.kubernetes.io/component=controller");
        Ok(self.pods(SYSTEM).list(&selector).await?.items)
    }

    /// `kubectl ARGUMENTS`: its output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Outcome<String> {
        self.command(self.tool("kubectl").args(arguments), "").await
    }

    /// `kubectl apply` of manifests.
    pub async fn apply(&self, manifests: &str) -> Outcome {
        self.command(self.tool("kubectl").args(["apply", "--filename", "-"]), manifests)
            .await?;
        Ok(())
    }

    /// `helm ARGUMENTS`: its output.
    pub async fn helm(&self, arguments: &[&str]) -> Outcome<String> {
        self.command(self.tool("helm").args(arguments), "").await
    }

    /// A call of our own, to whichever worker the Service chooses, over a connection of its own.
    pub async fn call(&self, integration: &str, path: &str) -> Outcome<Answer> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), SHOP);
        let address = services
            .get(integration)
            .await?
            .spec
            .and_then(|spec| spec.cluster_ip)
            .unwrap_or_default();
        let host = format!("{integration}.{SHOP}.svc");
        let client = reqwest::Client::builder().no_proxy().timeout(SHORT).build()?;
        let url = format!("http://{address}{path}");
        // The node's rules for a Service that has just been made follow a moment later; a call that found no way there
        // has reached nobody.
        let answer = until("the Service takes connections", SHORT, || async {
            match client.get(&url).header("host", &host).send().await {
                Err(error) if error.is_connect() => Ok(None),
                answer => Ok(Some(answer)),
            }
        })
        .await??;
        let error = answer
            .headers()
            .get("tidegate-error")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        Ok(Answer {
            status: answer.status().as_u16(),
            error: error.to_owned(),
        })
    }

    /// Ends a container's first process as the kernel would for want of memory: at once, and without its knowing.
    pub async fn kill(&self, pod: &Pod) -> Outcome {
        let status = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let id = status
            .and_then(|containers| {
                containers
                    .first()?
                    .container_id
                    .as_deref()?
                    .strip_prefix("containerd://")
            })
            .ok_or_else(|| Failure::new("the pod has no container yet"))?;
        let mut command = Command::new(self.scripts.join("in"));
        command
            .arg(&self.directory)
            .args(["ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id]);
        self.command(&mut command, "").await?;
        Ok(())
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        command.env("KUBECONFIG", self.directory.join("kubeconfig"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    async fn command(&self, command: &mut Command, input: &str) -> Outcome<String> {
        let shown = format!("{:?}", command.as_std());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure(format!("{shown}: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = tokio::time::timeout(LONG * 2, child.wait_with_output())
            .await
            .map_err(|_| Failure(format!("{shown} did not end")))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure(output.status.success(), || {
            format!("{shown} failed:\n{}{}", text(&output.stdout), text(&output.stderr))
        })?;
        Ok(text(&output.stdout))
    }

    /// Waits until the Integration is as `condition` wants it.
    pub async fn integration_until(
        &self,
        name: &str,
        patience: Duration,
        what: &str,
        condition: impl Fn(&Integration) -> bool,
    ) -> Outcome<Integration> {
        let stream = watcher::watch_object(self.integrations(), name).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut last = None;
        let reached = tokio::time::timeout(patience, async {
            while let Some(next) = stream.next().await {
                // A watch that breaks off starts anew by itself.
                if let Ok(Some(integration)) = next {
                    if condition(&integration) {
                        return Some(integration);
                    }
                    last = Some(integration);
                }
            }
            None
        });
        match reached.await {
            Ok(Some(integration)) => Ok(integration),
            _ => Err(Failure(format!(
                "{name}: not within {patience:?}: {what}; it is now:\n{}",
                serde_json::to_string_pretty(&last).unwrap_or_default()
            ))),
        }
    }
}

/// Whether a condition is True and speaks of the object as it is.
pub fn is_true(integration: &Integration, kind: &str) -> bool {
    integration
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .any(|condition| {
            condition.type_ == kind
                && condition.status == ConditionStatus::True
                && condition.observed_generation == integration.metadata.generation
        })
}

/// Whether a pod takes traffic.
pub fn is_ready(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Looks again and again until there is something to be seen.
pub async fn until<T, F>(what: &str, patience: Duration, mut look: impl FnMut() -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<Option<T>>>,
{
    let mut complaint = String::new();
    let seen = tokio::time::timeout(patience, async {
        loop {
            match look().await {
                Ok(Some(seen)) => return seen,
                Ok(None) => {}
                Err(failure) => complaint = format!(" ({failure})"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    seen.await
        .map_err(|_| Failure(format!("not within {patience:?}: {what}{complaint}")))
}

/// All lines of a container's log so far.
pub async fn log_of(pods: &Api<Pod>, name: &str, previous: bool) -> Outcome<String> {
    let parameters = kube::api::LogParams {
        previous,
        ..Default::default()
    };
    let lines = futures::AsyncBufReadExt::lines(pods.log_stream(name, &parameters).await?);
    let lines: Vec<String> = lines.try_collect().await?;
    Ok(lines.join("\n"))
}
