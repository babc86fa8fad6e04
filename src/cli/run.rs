//! `tidegate run`: Serve Integrations from manifest files.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Failure, signal, spans};
use crate::cluster::files::{self, Follower, Store};
use crate::standalone::quickstart::Quickstart;
use crate::standalone::{self, Settings, provider};
use crate::telemetry::{admin, log};

mod guide;
mod screen;
mod show;

use screen::Screen;

/// Flags of `tidegate run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads Integration, Credential, Secret and ConfigMap manifests and serves them in this process: \
    no cluster, no root, no network needed. An edit is live at once; what is wrong is told with file, line and field.\n\
    An Integration `tides` in namespace `demo` is called at http://tides.demo.localhost:<port of --listen>.\n\n\
    Without -f it runs the quickstart: an Integration, its Credential and a sample provider, and prints what to try."
)]
pub struct Args {
    /// Manifests to serve: a YAML or JSON file, or a directory of them; may be given more than once
    #[arg(short, long = "file", env = "TIDEGATE_FILE", value_name = "FILE|DIR")]
    files: Vec<PathBuf>,

    /// Where to take traffic; port 0 chooses a free one
    #[arg(
        long,
        env = "TIDEGATE_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,

    /// Where to serve /metrics, /livez, /readyz, /api/v1/integrations and /api/v1/credentials
    #[arg(
        long,
        env = "TIDEGATE_ADMIN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9090"
    )]
    admin: SocketAddr,

    /// Directory that keeps what is issued; without one it is forgotten at the end
    #[arg(long, env = "TIDEGATE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Serves Integrations from manifest files until Ctrl-C or SIGTERM.
pub fn run(args: Args) -> Result<(), Failure> {
    let screen = Screen::new();
    log::start(log::format_for_stderr(), screen.clone())?;
    super::block_on(serve(args, screen))
}

async fn serve(args: Args, screen: Screen) -> Result<(), Failure> {
    let stop = signal::stop_on_signal()?;
    let spans = spans::start()?;
    // Ports first: one that is in use is told before anything else is said.
    let worker = standalone::listen(args.listen)?;
    let listen = worker.address()?;
    let admin = admin::bind(args.admin).await?;
    let admin_address = admin.local_addr()?;

    let store = match args.state {
        Some(directory) => Store::with_state(directory)?,
        None => Store::new(),
    };
    let mut quickstart = None;
    let (paths, guide) = if args.files.is_empty() {
        let (written, guide) = start_quickstart(listen, admin_address, stop.clone()).await?;
        let paths = vec![written.directory().to_owned()];
        quickstart = Some(written);
        (paths, guide)
    } else {
        let guide = guide::files(listen, admin_address);
        (args.files, guide)
    };
    let (follower, problems) = Follower::load(paths, store.clone(), Timestamp::now())?;
    screen.say(&guide);
    files::tell(&problems, &[]);
    if !store.keeps_issued() && store.credentials().iter().any(|credential| credential.spec.issues()) {
        tracing::warn!("what is issued is forgotten at the end of this process; keep it with --state DIR");
    }
    if store.integrations().is_empty() {
        tracing::warn!("there is no good Integration in the files yet; edits are followed");
    }

    let showing = tokio::spawn(show::show(screen.clone(), store.clone(), stop.clone()));
    let port = listen.port();
    let done = standalone::run(Settings { port, worker, admin }, store, follower, stop.clone()).await;
    stop.cancel();
    let _ = showing.await;
    spans::finish(spans).await;
    drop(quickstart);
    Ok(done?)
}

async fn start_quickstart(
    listen: SocketAddr,
    admin: SocketAddr,
    stop: CancellationToken,
) -> Result<(Quickstart, String), Failure> {
    let listener = provider::bind().await?;
    let address = listener.local_addr()?;
    let quickstart = Quickstart::write(address)?;
    tokio::spawn(async move {
        if let Err(error) = provider::serve(listener, stop).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the sample provider ended");
        }
    });
    let guide = guide::quickstart(listen, admin, address, quickstart.directory());
    Ok((quickstart, guide))
}
