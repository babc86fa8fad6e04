//! `tidegate worker` as a process: what the kubelet starts, asks and stops.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tidegate::domain::plan::Plan;
use tidegate::fleet::authority::Authority;
use tidegate::fleet::kubernetes::link::{Answer, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::provider::{Provider, answer, eventually};
use crate::support::{loopback, sample};

const DEADLINE: Duration = Duration::from_secs(60);

struct Worker {
    address: IpAddr,
    child: Child,
}

/// Starts the program over `directory`.
fn start(directory: &Path, more: &[&str]) -> Worker {
    let address = loopback::address();
    let at = |port: u16| format!("{address}:{port}");
    let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("worker")
        .arg("--plans")
        .arg(directory)
        .args([
            "--listen",
            &at(8080),
            "--control",
            &at(9443),
            "--admin",
            &at(9090),
            "--allow-loopback",
        ])
        .args(more)
        .env("RUST_LOG", "debug")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    Worker { address, child }
}

impl Worker {
    async fn ready(&self) -> Result<(), String> {
        let answer = reqwest::get(format!("http://{}:9090/readyz", self.address)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let (ready, text) = (answer.status() == 200, answer.text().await.unwrap_or_default());
        if ready { Ok(()) } else { Err(text) }
    }

    /// Waits until `/readyz` is as wanted.
    async fn until_ready(&self, ready: bool) {
        until("readyz as wanted", async || self.ready().await.is_ok() == ready).await;
    }

    async fn link(&self, authority: &Authority) -> Link {
        let config = authority.client_config(Timestamp::now()).unwrap();
        let address = (self.address, 9443).into();
        Link::connect(address, &sample::plan().uid, config).await.unwrap()
    }

    async fn call(&self) -> TcpStream {
        let mut stream = TcpStream::connect((self.address, 8080)).await.unwrap();
        stream
            .write_all(b"GET /x HTTP/1.1\r\nhost: payments-api\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        stream
    }

    /// Everything it logged, once it has ended; it must have ended well.
    async fn end(mut self) -> String {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        timeout(DEADLINE, stderr.read_to_string(&mut log))
            .await
            .unwrap()
            .unwrap();
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "{status}: {log}");
        log
    }

    fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, holds)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within a minute"));
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

/// The sample plan for this provider.
fn plan(provider: &Provider) -> Plan {
    let mut plan = sample::plan();
    plan.endpoints[0].url = provider.url("");
    plan.credentials[0].allowed_hosts = vec!["127.0.0.1".into()];
    plan
}

/// A mounted directory with this plan in it.
fn mounted(authority: &Authority, plan: &Plan) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    sample::mount(directory.path(), plan, &sample::worker_tls(authority, &plan.uid));
    directory
}

#[tokio::test]
async fn worker_starts_serves_takes_a_plan_and_ends_without_losing_a_request() {
    // Answers as many requests as it has been allowed to.
    let allowed = Arc::new(Semaphore::new(1));
    let answers = Arc::clone(&allowed);
    let provider = Provider::start(move |seen| {
        let answers = Arc::clone(&answers);
        async move {
            answers.acquire().await.unwrap().forget();
            answer(200, seen.header("x-api-key").unwrap_or("no key").to_owned())
        }
    })
    .await;
    let authority = Authority::make(Timestamp::now()).unwrap();
    let directory = mounted(&authority, &plan(&provider));
    let worker = start(directory.path(), &["--linger", "1s"]);
    worker.until_ready(true).await;

    assert!(answer_of(worker.call().await).await.ends_with("canary-5d41402a"));

    let mut link = worker.link(&authority).await;
    assert_eq!(timeout(DEADLINE, link.next()).await.unwrap().unwrap().plan_revision, 7);
    let newer = Plan {
        revision: 8,
        ..plan(&provider)
    };
    assert_eq!(link.pusher().push(&newer).await.unwrap(), Answer::Runs);
    assert_eq!(timeout(DEADLINE, link.next()).await.unwrap().unwrap().plan_revision, 8);

    let under_way = worker.call().await;
    eventually("request 2", || provider.seen().len() == 2).await;
    worker.terminate();
    worker.until_ready(false).await;
    // Nobody has heard of it yet: what comes now is still served.
    let late = worker.call().await;
    eventually("request 3", || provider.seen().len() == 3).await;
    allowed.add_permits(2);
    for stream in [under_way, late] {
        assert!(answer_of(stream).await.starts_with("HTTP/1.1 200"));
    }
    let log = worker.end().await;
    assert!(log.contains("plan taken over"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn worker_without_a_plan_lives_and_becomes_ready_when_it_is_mounted() {
    let provider = Provider::start(|_| async { 200 }).await;
    let authority = Authority::make(Timestamp::now()).unwrap();
    let directory = mounted(&authority, &plan(&provider));
    let file = directory.path().join("plan.json");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{ canary-broken").unwrap();
    let worker = start(directory.path(), &[]);
    let live = format!("http://{}:9090/livez", worker.address);
    until("livez", async || {
        reqwest::get(&live).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    assert!(worker.ready().await.unwrap_err().contains("plan"));
    std::fs::write(&file, text).unwrap();
    worker.until_ready(true).await;
    worker.terminate();
    let log = worker.end().await;
    assert!(
        log.contains("the mounted plan is not a plan") && !log.contains("canary"),
        "{log}"
    );
}

#[tokio::test]
async fn port_in_use_is_told_with_its_flag() {
    let directory = tempfile::tempdir().unwrap();
    let address = loopback::address();
    for (port, flag) in [(8080, "--listen"), (9443, "--control"), (9090, "--admin")] {
        let _taken = std::net::TcpListener::bind((address, port)).unwrap();
        let at = |port: u16| format!("{address}:{port}");
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("worker")
            .arg("--plans")
            .arg(directory.path())
            .args(["--listen", &at(8080), "--control", &at(9443), "--admin", &at(9090)])
            .output();
        let output = timeout(DEADLINE, output).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(flag), "{text}");
    }
}
