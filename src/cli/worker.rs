//! `tidegate worker`: one data-plane worker.
//!
//! Four parts meet here and nowhere else: the source of plans, the data plane, the control port, the admin port. On
//! SIGTERM the data plane drains first, while the others go on to tell of it; they stop last.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Failure, signal, spans};
use crate::api::duration;
use crate::net::policy::AddressPolicy;
use crate::telemetry::admin::{self, Readiness};
use crate::telemetry::log;
use crate::worker::control::{self, Control};
use crate::worker::source::Source;
use crate::worker::{Reports, Settings, Worker};

/// Flags of `tidegate worker`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory with the plan (plan.json) and the certificate of the control port (tls.crt, tls.key, ca.crt)
    #[arg(
        long,
        env = "TIDEGATE_PLANS",
        value_name = "DIR",
        default_value = "/etc/tidegate/plan"
    )]
    plans: PathBuf,
    /// Where traffic is taken; [::] is 0.0.0.0 where there is no IPv6
    #[arg(long, env = "TIDEGATE_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// Where the controller, and nobody else, pushes plans and follows reports
    #[arg(long, env = "TIDEGATE_CONTROL", value_name = "ADDRESS", default_value = "[::]:9443")]
    control: SocketAddr,
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "TIDEGATE_ADMIN", value_name = "ADDRESS", default_value = "[::]:9090")]
    admin: SocketAddr,
    /// How long requests under way may go on after SIGTERM
    #[arg(long, env = "TIDEGATE_DRAIN", value_name = "DURATION", default_value = "20s")]
    drain: duration::Duration,
    /// How long new connections are taken after SIGTERM, until everybody has heard that this worker goes
    #[arg(long, env = "TIDEGATE_LINGER", value_name = "DURATION", default_value = "0s")]
    linger: duration::Duration,
    /// Let endpoints be loopback addresses, which here is the worker itself
    #[arg(long, env = "TIDEGATE_ALLOW_LOOPBACK")]
    allow_loopback: bool,
    /// Networks that are not connected to, besides those that are always refused, separated by commas
    #[arg(long, env = "TIDEGATE_DENIED_CIDRS", value_name = "CIDR", value_delimiter = ',')]
    denied_cidrs: Vec<IpNet>,
}

/// Serves traffic until SIGTERM.
pub fn run(args: Args) -> Result<(), Failure> {
    log::start(log::format_for_stderr(), std::io::stderr)?;
    // This thread is for everything but traffic, which has lanes of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(4)
        .enable_all()
        .build()?;
    let done = runtime.block_on(serve(args));
    // What still runs has been asked to stop; blocking calls (name lookups) are not waited for.
    runtime.shutdown_background();
    done
}

async fn serve(args: Args) -> Result<(), Failure> {
    let Args {
        plans,
        listen,
        control,
        admin,
        drain,
        linger,
        allow_loopback,
        denied_cidrs,
    } = args;
    let asked_to_stop = signal::stop_on_signal()?;
    let spans = spans::start()?;
    let ended = CancellationToken::new();
    let _ends_all = ended.clone().drop_guard();

    let admin = admin::bind(usable(admin)).await?;
    let control = bind_control(usable(control)).await?;
    let worker = Worker::bind(Settings {
        listen: usable(listen),
        policy: AddressPolicy {
            allow_loopback,
            denied: denied_cidrs,
            api_server: api_server().into_iter().collect(),
        },
        drain: drain.0,
        localhost_names: false,
        connections: crate::worker::MAX_CONNECTIONS,
        // Two: a worker waits far more than it computes, and each thread costs memory for each worker there is.
        lanes: 2,
    })?;

    let source = Arc::new(Source::new(&plans));
    // Before the control port is served: what is mounted says whose worker this is.
    source.look().await;
    let (reports, known) = watch::channel(Reports::new());
    let readiness = Readiness::new();
    let port = Control {
        source: Arc::clone(&source),
        reports: known.clone(),
    };
    let to_serve = source.plans();
    let worker = worker.sharing(source.share()).heeding(source.pauses());
    let served_until = CancellationToken::new();
    tokio::spawn(admin::serve(
        admin,
        readiness.clone(),
        axum::Router::new(),
        ended.clone(),
    ));
    tokio::spawn(control::serve(control, plans, port, ended.clone()));
    tokio::spawn({
        let ended = ended.clone();
        async move { source.follow(ended).await }
    });
    tokio::spawn(stop_late(asked_to_stop.clone(), linger.0, served_until.clone()));
    tokio::spawn(tell_readiness(readiness, known, asked_to_stop));

    worker.run(to_serve, reports, served_until).await;
    spans::finish(spans).await;
    Ok(())
}

/// Lets `served_until` come `linger` after the stop was asked for.
async fn stop_late(asked_to_stop: CancellationToken, linger: Duration, served_until: CancellationToken) {
    asked_to_stop.cancelled().await;
    sleep(linger).await;
    served_until.cancel();
}

async fn bind_control(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!(
            "cannot listen on {address} for the controller: {error}; choose another address with --control"
        ))
    })
}

/// Ready means that a plan is served, which shows in its report, and that no stop was asked for.
async fn tell_readiness(readiness: Readiness, mut known: watch::Receiver<Reports>, stop: CancellationToken) {
    let (plan, drain) = (readiness.check("plan"), readiness.check("drain"));
    drain.pass();
    tokio::select! {
        served = known.wait_for(|reports| !reports.is_empty()) => if served.is_ok() {
            plan.pass();
        },
        () = stop.cancelled() => {}
    }
    stop.cancelled().await;
    drain.fail("asked to stop");
}

/// The API server's own address, which no endpoint may be.
fn api_server() -> Option<IpNet> {
    let address: IpAddr = std::env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok()?;
    Some(address.into())
}

/// `address`, or its IPv4 counterpart where it is every address and the system has no IPv6.
fn usable(address: SocketAddr) -> SocketAddr {
    let everywhere = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if everywhere && StdListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        return SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    }
    address
}
