//! A real API server: one for the whole run, a namespace of its own for each test.
//!
//! ```ignore
//! let place = apiserver::namespace("what-is-tested").await; // CRDs are installed
//! let integrations: Api<Integration> = place.api();
//! ```
//!
//! The server is started by the first test that wants it and ends with the process, because it reads from a pipe that
//! only this process holds. The first run on a machine builds it, which takes minutes; `tests/cluster/build` says so on
//! standard error, which libtest does not capture from child processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource, ResourceExt};
use tidegate::api::crds;
use tokio::sync::OnceCell;

/// A namespace that one test has for itself.
pub struct Place {
    /// A cluster administrator's client. It belongs to the runtime of the test that made it.
    pub client: Client,
    /// Name of the namespace.
    pub namespace: String,
}

impl Place {
    /// The objects of one kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        kubectl(&[&["--namespace", &self.namespace], arguments].concat())
    }
}

impl Drop for Place {
    /// A failing test tells what it left behind.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in ["tidegate", "deployments,services,pods", "events"] {
                let found = self.kubectl(&["get", what, "--output", "yaml", "--ignore-not-found"]);
                println!(
                    "--- {what} in {}:\n{}",
                    self.namespace,
                    String::from_utf8_lossy(&found.stdout)
                );
            }
        }
    }
}

/// A fresh namespace on a server where both CRDs are established. `purpose` becomes part of its name.
pub async fn namespace(purpose: &str) -> Place {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    static COUNT: AtomicU32 = AtomicU32::new(1);

    let client = client().await;
    INSTALLED.get_or_init(|| install(client.clone())).await;
    let namespace = format!("{purpose}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let object = Namespace {
        metadata: ObjectMeta {
            name: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &object)
        .await
        .expect("a namespace");
    Place { client, namespace }
}

/// A server that one test has for itself, because it changes what all share: the CRDs are installed there too.
pub struct Alone {
    /// A namespace on it.
    pub place: Place,
    /// Ends with this.
    _server: Server,
}

/// Starts a server for one test.
pub async fn alone() -> Alone {
    // The shared one is built first, if it must be: two builds at once would only get in each other's way.
    kubeconfig().await;
    let server = tokio::task::spawn_blocking(start)
        .await
        .expect("no panic")
        .expect("a second server");
    let client = client_of(&server.kubeconfig).await;
    install(client.clone()).await;
    let namespace = "default".to_owned();
    let place = Place { client, namespace };
    Alone { place, _server: server }
}

/// A cluster administrator's client. It belongs to the runtime of the caller.
pub async fn client() -> Client {
    client_of(kubeconfig().await).await
}

async fn client_of(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig of the test server");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("its contents");
    Client::try_from(config).expect("a client for the test server")
}

/// Path of a cluster administrator's kubeconfig.
pub async fn kubeconfig() -> &'static Path {
    tokio::task::spawn_blocking(|| server().kubeconfig.as_path())
        .await
        .expect("the test server")
}

/// `kubectl` as a cluster administrator. The server must be up.
pub fn kubectl(arguments: &[&str]) -> Output {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let built = Command::new(script("build"))
            .arg("kubectl")
            .stderr(Stdio::inherit())
            .output();
        let built = built.expect("tests/cluster/build runs");
        assert!(built.status.success(), "tests/cluster/build kubectl failed");
        Path::new(String::from_utf8(built.stdout).expect("a path").trim()).join("kubectl")
    });
    Command::new(program)
        .args(["--kubeconfig".as_ref(), server().kubeconfig.as_os_str()])
        .args(arguments)
        .output()
        .expect("kubectl runs")
}

/// What `look` finds, once it finds something; panics with what it said last after `seconds`.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(seconds: u64, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) => assert!(tokio::time::Instant::now() < deadline, "not within {seconds} s: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Server {
    kubeconfig: PathBuf,
    /// Its standard input is the pipe that keeps it alive.
    _process: Child,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    match SERVER.get_or_init(start) {
        Ok(server) => server,
        Err(reason) => panic!("{reason}"),
    }
}

fn start() -> Result<Server, String> {
    let mut process = Command::new(script("apiserver"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("tests/cluster/apiserver does not start: {error}"))?;
    let mut line = String::new();
    let stdout = process.stdout.take().ok_or("tests/cluster/apiserver has no output")?;
    BufReader::new(stdout)
        .read_line(&mut line)
        .map_err(|error| format!("tests/cluster/apiserver: {error}"))?;
    let kubeconfig = line
        .strip_prefix("READY ")
        .ok_or("tests/cluster/apiserver failed; what it said is on standard error, above")?
        .trim()
        .into();
    Ok(Server {
        kubeconfig,
        _process: process,
    })
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(name)
}

async fn install(client: Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    for crd in crds::all() {
        let name = crd.name_any();
        definitions
            .create(&PostParams::default(), &crd)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .unwrap_or_else(|_| panic!("{name} is not established within 30 s"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
