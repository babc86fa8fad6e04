//! h2spec, the conformance test of HTTP/2, against the traffic port.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::support::dataplane::{Dataplane, plan};
use crate::support::provider::{Provider, answer};
use crate::support::tools;

const VERSION: &str = "v2.2.1+incompatible";
/// Cases of that version.
const CASES: usize = 145;

/// The program; builds it first if need be.
async fn h2spec() -> Result<PathBuf, String> {
    let place = tools::cache()?.join("parts").join(format!("h2spec-{VERSION}"));
    let program = place.join("h2spec");
    if !program.exists() {
        let mut go = Command::new("go");
        go.env("GOBIN", &place).arg("install");
        tools::succeeds(go.arg(format!("github.com/summerwind/h2spec/cmd/h2spec@{VERSION}"))).await?;
    }
    Ok(program)
}

#[tokio::test]
async fn the_traffic_port_passes_h2spec() {
    let program = match h2spec().await {
        Ok(program) => program,
        Err(why) => return println!("skipped: {why}"),
    };
    let provider = Provider::start(|_| async { answer(200, "hello") }).await;
    let mut plan = plan(&[provider.url("")]);
    // It asks the host that it connects to.
    plan.integration.name = "localhost".into();
    let worker = Dataplane::start([plan]);
    let mut run = Command::new(program);
    run.args(["-h", "localhost", "-p", &worker.address.port().to_string(), "-o", "5"]);
    let output = tokio::time::timeout(Duration::from_secs(300), run.kill_on_drop(true).output());
    let output = output.await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{CASES} tests, {CASES} passed, 0 skipped, 0 failed");
    assert!(told.contains(&all), "{told}");
}
