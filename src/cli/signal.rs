//! Ctrl-C and SIGTERM: the first asks for a graceful stop, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGINT or SIGTERM cancels. To be called once, inside the runtime.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping; once more ends at once"),
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping; once more ends at once"),
        }
        asked.cancel();
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
        // 128 + SIGINT, what a shell expects of an interrupted program.
        std::process::exit(130);
    });
    Ok(stop)
}
