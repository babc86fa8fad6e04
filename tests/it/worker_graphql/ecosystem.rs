//! graphql-yoga, graphql-request and graphql-sse of npm: what programs that somebody else wrote make of us.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::integration::{CircuitState, ErrorsAreFailures};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::graphql;
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/worker_graphql/npm")
}

#[tokio::test]
async fn clients_and_a_server_of_npm_lose_no_query_and_double_no_mutation() {
    let packages = match npm::installed("graphql", &source()).await {
        Ok(packages) => packages,
        Err(why) => {
            println!("skipped, for want of npm's graphql-yoga: {why}");
            return;
        }
    };
    let mut server = Node::start(&packages, &["server"]);
    let port = server.told().await["port"].as_u64().unwrap();
    let mut plan = graphql(format!("http://127.0.0.1:{port}"));
    // Node says the host that it connects to.
    plan.integration.name = "localhost".into();
    let key = plan.integration.clone();
    plan.credentials = vec![api_key(1, "s3cret")];
    let bounds = plan.graphql.as_mut().unwrap();
    (bounds.errors_are_failures, bounds.max_depth) = (ErrorsAreFailures::Always, 4);
    let worker = Dataplane::start([plan]);
    let mut client = Node::start(
        &packages,
        &["client", &format!("http://localhost:{}", worker.address.port())],
    );
    for told in [
        json!({"data": {"hello": "hello, there"}, "attempts": "2"}),
        json!({
            "status": 502, "problem": "upstream-unreachable",
            "detail": "the connection broke before the answer",
        }),
        json!({"count": 1}),
        json!({"add": 3}),
        json!({"hello": "hello, you"}),
        json!({"hello": "hello, GET"}),
        json!([{"hello": "hello, you"}, {"me": {"friend": {"name": "me's friend"}}}]),
        json!(["PERSISTED_QUERY_NOT_FOUND", {"me": {"name": "me"}}, {"me": {"name": "me"}}]),
        json!([1, 2, 3]),
        json!({
            "status": 400, "problem": "invalid-request",
            "detail": "the operation `Deep` is 5 fields deep, and `graphql.maxDepth` is 4",
        }),
    ] {
        assert_eq!(client.told().await, told);
    }
    let report = &worker.reports()[&key];
    assert_eq!(report.endpoints[0].circuit.state, CircuitState::Closed);
}
