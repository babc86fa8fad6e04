//! The ecosystem's own client and server, grpcio for Python, with a worker between them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tidegate::api::integration::{CircuitState, Protocol};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::tools;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/grpcio").join(name)
}

/// The Python that has the packages of the requirements; installs them first if need be.
async fn python() -> Result<PathBuf, String> {
    let requirements = source("requirements.txt");
    let version = std::fs::read_to_string(&requirements).unwrap();
    let place = tools::cache()?.join(format!("grpcio-{}", version.trim().replace("==", "-")));
    let python = place.join("bin/python");
    if !place.join("whole").exists() {
        tools::succeeds(Command::new("python3").arg("-m").arg("venv").arg("--clear").arg(&place)).await?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "-q", "--only-binary", ":all:", "-r"]);
        tools::succeeds(pip.arg(&requirements)).await?;
        std::fs::write(place.join("whole"), "").map_err(|error| error.to_string())?;
    }
    Ok(python)
}

#[tokio::test]
async fn grpcio_talks_to_grpcio_as_if_nobody_were_between() {
    let python = match python().await {
        Ok(python) => python,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut server = Command::new(&python)
        .arg(source("server.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port: u16 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
    let mut plan = plan(&[format!("http://127.0.0.1:{port}")]);
    plan.protocol = Protocol::GRPC;
    plan.retries.statuses = vec![502, 503];
    plan.breaker.failure_percent = 100;
    let worker = Dataplane::start([plan]);
    let client = Command::new(&python)
        .arg(source("client.py"))
        .arg(worker.address.to_string())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), client)
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let circuit = worker.endpoint(|_| true).await.circuit;
    assert_eq!(circuit.state, CircuitState::Closed);
}
