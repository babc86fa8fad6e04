//! Packages of npm: installed once for each lock file, in the cache beside the parts of the control plane, and never in
//! the repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long an installation may take.
const INSTALLING: Duration = Duration::from_secs(240);

/// The directory that has the packages of the lock file in `source`; installs them first if need be. `name` is what the
/// directory begins with. Where there is no Node.js with npm, or nothing to install from: why.
pub async fn installed(name: &str, source: &Path) -> Result<PathBuf, String> {
    let lock = std::fs::read(source.join("package-lock.json")).unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &lock);
    let hash = u64::from_be_bytes(hash.as_ref()[..8].try_into().unwrap());
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("TIDEGATE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/tidegate")))
        .ok_or("neither TIDEGATE_CACHE nor HOME is set")?;
    let place = cache.join(format!("{name}-{hash:016x}"));
    succeeds(Command::new("node").arg("--version")).await?;
    if place.is_dir() {
        return Ok(place);
    }
    std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    // Elsewhere first: what is half done never stands where whole things are looked for.
    let fresh = tempfile::tempdir_in(&cache).map_err(|error| error.to_string())?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), fresh.path().join(name)).map_err(|error| error.to_string())?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    succeeds(npm.current_dir(fresh.path())).await?;
    // Somebody else may have been faster; theirs is as good.
    let renamed = std::fs::rename(fresh.path(), &place);
    if place.is_dir() {
        return Ok(place);
    }
    renamed.map(|()| place).map_err(|error| error.to_string())
}

async fn succeeds(command: &mut Command) -> Result<(), String> {
    let name = command.as_std().get_program().display().to_string();
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(INSTALLING, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name} took too long")),
    }
}
