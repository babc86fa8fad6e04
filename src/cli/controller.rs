//! `tidegate controller`: the control plane in a cluster.
//!
//! Order of a life: connect; wait until our resources are served; wait for the lease; lead; give the lease back. Whoever
//! loses the lease ends at once and unfinished, because another may lead already.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgAction;
use ipnet::IpNet;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

use super::{Failure, signal};
use crate::api::integration::Resources;
use crate::cluster::kubernetes::connect::Clients;
use crate::cluster::kubernetes::lease::{Held, Lease};
use crate::cluster::kubernetes::{Kubernetes, address, installed};
use crate::controller;
use crate::fleet::kubernetes::{self as workers, KubernetesFleet};
use crate::net::Dialer;
use crate::net::policy::AddressPolicy;
use crate::provider::exchange::Network;
use crate::telemetry::admin::{self, Readiness};
use crate::telemetry::log;
use crate::telemetry::spans::environment;

/// Name of the lease.
const LEASE: &str = "tidegate-controller";
/// A reconciler that has not turned for this long hangs. Longer than a reconcile may take.
const HANGS: Duration = Duration::from_secs(90);

/// Flags of `tidegate controller`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)]
#[expect(
    clippy::struct_field_names,
    reason = "a field is called what its flag is called on the command line"
)]
pub struct Args {
    /// Namespace that the controller runs in: its lease and its authority for worker connections are kept there
    #[arg(
        long,
        env = "TIDEGATE_NAMESPACE",
        value_name = "NAME",
        default_value = "tidegate-system"
    )]
    namespace: String,
    /// Kubeconfig to connect by; without it KUBECONFIG, ~/.kube/config or the Pod's own account
    #[arg(long, env = "TIDEGATE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "TIDEGATE_ADMIN", value_name = "ADDRESS", default_value = "[::]:9090")]
    admin: SocketAddr,
    /// What is logged, as in RUST_LOG, which wins
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    log_level: String,
    /// Image of the workers: this program's own
    #[arg(
        long,
        env = "TIDEGATE_WORKER_IMAGE",
        value_name = "IMAGE",
        default_value = "tidegate"
    )]
    worker_image: String,
    /// Always, IfNotPresent or Never
    #[arg(long, env = "TIDEGATE_WORKER_IMAGE_PULL_POLICY", value_name = "POLICY")]
    worker_image_pull_policy: Option<String>,
    /// What workers log
    #[arg(
        long,
        env = "TIDEGATE_WORKER_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info"
    )]
    worker_log_level: String,
    /// Compute resources of workers whose Integration names none, as JSON
    #[arg(long, env = "TIDEGATE_WORKER_RESOURCES", value_name = "JSON", value_parser = resources)]
    worker_resources: Option<Resources>,
    /// A further argument for workers; may be given more than once
    #[arg(
        long,
        env = "TIDEGATE_WORKER_EXTRA_ARGS",
        value_name = "ARG",
        allow_hyphen_values = true
    )]
    #[arg(action = ArgAction::Append)]
    worker_extra_args: Vec<String>,
    /// Let workers connect to loopback addresses
    #[arg(long, env = "TIDEGATE_ALLOW_LOOPBACK", value_name = "BOOL", default_value_t = false)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_loopback: bool,
    /// Networks that workers may not connect to, besides those that are always refused, separated by commas
    #[arg(long, env = "TIDEGATE_DENIED_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    denied_cidrs: Vec<IpNet>,
    /// Namespaces that may read the workers' metrics, separated by commas
    #[arg(long, env = "TIDEGATE_SCRAPE_NAMESPACES", value_name = "NAME", value_delimiter = ',')]
    scrape_namespaces: Vec<String>,
    /// Guard workers with a NetworkPolicy
    #[arg(long, env = "TIDEGATE_NETWORK_POLICY", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    network_policy: bool,
}

fn resources(json: &str) -> Result<Resources, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// Runs the control plane until SIGTERM, or until its lease is lost.
pub fn run(args: Args) -> Result<(), Failure> {
    log::start_at(&args.log_level, log::format_for_stderr(), std::io::stderr)?;
    super::block_on(serve(args))
}

async fn serve(args: Args) -> Result<(), Failure> {
    let stop = signal::stop_on_signal()?;
    check_spans()?;
    // Everything that is started here ends with this function.
    let ended = CancellationToken::new();
    let _ends_all = ended.clone().drop_guard();
    let admin = admin::bind(args.admin).await?;
    let readiness = Readiness::new();
    let api = readiness.check("api-server");
    tokio::spawn(admin::serve(
        admin,
        readiness.clone(),
        axum::Router::new(),
        ended.clone(),
    ));

    let config = config(args.kubeconfig.as_ref()).await?;
    let clients = Clients::new(config.clone())?;
    let lease = Lease::new(clients.leading.clone(), &args.namespace, LEASE, identity());
    let held = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        held = async {
            installed::wait(&clients.calling, |why| api.fail(why)).await;
            // One that only waits for the lease is as ready as it gets: a rollout must not wait for it to lead.
            api.pass();
            lease.acquire().await
        } => held,
    };
    lead(args, &config, clients, held, &readiness, stop).await
}

/// The workers are to get variables for spans that they can follow: here a mistake is told once, there each of them would
/// end with it.
fn check_spans() -> Result<(), Failure> {
    let collector = environment::read(|name| std::env::var(name).ok())?;
    let has_headers = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    if collector.is_some() && has_headers {
        tracing::warn!(
            "headers for the collector of spans are not handed on to workers, whose environment is no place for a key; \
             let a collector in the cluster add them"
        );
    }
    Ok(())
}

async fn lead(
    args: Args,
    config: &Config,
    clients: Clients,
    mut held: Held,
    readiness: &Readiness,
    stop: CancellationToken,
) -> Result<(), Failure> {
    // The watches and the links to workers go on while reconciles under way finish.
    let ended = CancellationToken::new();
    let _ends_all = ended.clone().drop_guard();
    let work = async {
        let fleet = Arc::new(KubernetesFleet::new(
            clients.calling.clone(),
            clients.watching.clone(),
            settings(&args),
        ));
        let pulses = [
            (controller::integration::NAME, readiness.pulse("integration", HANGS)),
            (controller::credential::NAME, readiness.pulse("credential", HANGS)),
        ];
        let denied = address::of_api_server(&clients.calling, config).await;
        // What workers may not dial, the controller does not dial on behalf of a tenant either.
        let policy = AddressPolicy {
            allow_loopback: args.allow_loopback,
            denied: args.denied_cidrs.clone(),
            ..AddressPolicy::default()
        };
        let policy = Arc::new(policy.with_api_server(&denied));
        let settings = controller::Settings {
            denied,
            exchange: Arc::new(Network::new(Dialer::new(policy))),
            beat: Arc::new(move |turned| {
                pulses
                    .iter()
                    .filter(|(name, _)| *name == turned)
                    .for_each(|(_, pulse)| pulse.beat());
            }),
            ..controller::Settings::default()
        };
        let cluster = Arc::new(Kubernetes::start(clients.calling, clients.watching, pod(), &ended));
        let following = fleet.clone();
        tokio::select! {
            done = controller::run(cluster, fleet, settings, stop) => done.map_err(Failure::from),
            followed = following.run(ended.clone()) => match followed {
                Ok(()) => Err(Failure::new("the workers are followed no more; the process must start again")),
                Err(error) => Err(error.into()),
            },
        }
    };
    tokio::select! {
        lost = held.keep() => return Err(lost.into()),
        done = work => done?,
    }
    held.release().await;
    Ok(())
}

async fn config(kubeconfig: Option<&PathBuf>) -> Result<Config, Failure> {
    let Some(path) = kubeconfig else {
        return Config::infer().await.map_err(|error| {
            Failure::new(format!(
                "no cluster to connect to: {error}; give a kubeconfig with --kubeconfig"
            ))
        });
    };
    let unusable = |error: kube::config::KubeconfigError| {
        Failure::new(format!("kubeconfig {} cannot be used: {error}", path.display()))
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(unusable)
}

fn settings(args: &Args) -> workers::Settings {
    let mut settings = workers::Settings::new(args.worker_image.clone(), args.namespace.clone());
    settings.image_pull_policy.clone_from(&args.worker_image_pull_policy);
    settings.scrape_namespaces.clone_from(&args.scrape_namespaces);
    settings.log_level.clone_from(&args.worker_log_level);
    settings.spans = environment::HANDED_ON
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    settings.extra_args.clone_from(&args.worker_extra_args);
    if let Some(resources) = &args.worker_resources {
        settings.resources = resources.clone();
    }
    settings.allow_loopback = args.allow_loopback;
    settings.denied.clone_from(&args.denied_cidrs);
    settings.network_policy = args.network_policy;
    settings
}

/// The Pod's name, or the machine's.
fn pod() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "tidegate".into())
}

/// Who we are to the lease: a Pod that starts again under its old name is another one.
fn identity() -> String {
    format!("{}_{:08x}", pod(), rand::random::<u32>())
}
