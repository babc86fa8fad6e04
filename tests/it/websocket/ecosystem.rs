//! npm's ws on both sides: what a library that somebody else wrote makes of us.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::integration::Health;
use tidegate::domain::plan::ProbePlan;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::peer::websocket;
use crate::support::dataplane::{Dataplane, api_key};
use crate::support::npm;

struct Node {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(packages: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new("node")
            .arg(source().join("peer.mjs"))
            .arg(packages)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// What it tells next.
    async fn told(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        let line = line.expect("it says nothing for a minute").unwrap().expect("it ended");
        serde_json::from_str(&line).unwrap()
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/websocket/npm")
}

#[tokio::test]
async fn a_client_and_a_server_of_npm_do_not_notice_what_is_between_them() {
    let packages = match npm::installed("ws", &source()).await {
        Ok(packages) => packages,
        Err(why) => {
            println!("skipped, for want of npm's ws: {why}");
            return;
        }
    };
    let mut server = Node::start(&packages, &["server"]);
    let port = server.told().await["port"].as_u64().unwrap();
    let mut plan = websocket(format!("http://127.0.0.1:{port}/v1"));
    plan.credentials = vec![api_key(1, "s3cret")];
    let worker = Dataplane::start([plan.clone()]);
    let mut client = Node::start(&packages, &["client", &format!("ws://{}", worker.address)]);
    for extensions in ["", "permessage-deflate"] {
        let told = json!({
            "protocol": "echo", "extensions": extensions, "joined": "fragmented", "pong": "there?",
            "code": 1000, "reason": "done",
        });
        assert_eq!(client.told().await, told);
        let closed = json!({"path": "/v1/echo", "code": 1000, "reason": "done"});
        assert_eq!(server.told().await, closed);
    }
    assert_eq!(client.told().await, json!({"code": 4001, "reason": "as you wish"}));
    assert_eq!(server.told().await["code"], 4001);
    // A probe finds it well, and leaves as it should.
    plan.health_check = Some(ProbePlan {
        interval: Duration::from_secs(3600),
        timeout: Duration::from_secs(10),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        path: "/probe".to_owned(),
        method: "GET".to_owned(),
        use_credential: true,
        statuses: vec![(101, 101)],
        expression: None,
        service: String::new(),
    });
    plan.revision = 2;
    worker.serve([plan]);
    assert_eq!(
        server.told().await,
        json!({"path": "/v1/probe", "code": 1000, "reason": ""})
    );
    worker.endpoint(|endpoint| endpoint.health == Health::Healthy).await;
}
