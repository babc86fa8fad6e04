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
async fn the_traffic_port_passes_h2spec_but_for_the_preface_that_http1_answers() {
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
    // A port that speaks HTTP/1.1 too answers what is no preface of HTTP/2 with a 400 of HTTP/1.1 before it closes the
    // connection, and h2spec wants the end alone.
    let all_but_one = format!("{CASES} tests, {} passed, 0 skipped, 1 failed", CASES - 1);
    assert!(told.contains(&all_but_one), "{told}");
    let failed = told.split("Failures:").nth(1).unwrap();
    assert!(failed.contains("2: Sends invalid connection preface"), "{told}");
}
