//! Programs of others that tests use: where they are kept, and how they are run.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long an installation may take.
const INSTALLING: Duration = Duration::from_secs(300);

/// The directory that everything is kept in, as `tests/cluster` has it.
pub fn cache() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    variable("TIDEGATE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/tidegate")))
        .ok_or_else(|| "neither TIDEGATE_CACHE nor HOME is set".to_owned())
}

/// Runs `command` to its end, and says why it did not succeed.
pub async fn succeeds(command: &mut Command) -> Result<(), String> {
    let name = command.as_std().get_program().display().to_string();
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(INSTALLING, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name} took too long")),
    }
}
