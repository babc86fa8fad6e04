//! `tidegate run`: the real program, called, broken, mended, edited and stopped as a user does it.

use std::time::Duration;

use serde_json::Value;

use crate::support::program::{Program, condition, ended};
use crate::support::provider::{Provider, Seen};

/// An Integration `name` of namespace `shop` with a Credential of that name, whose key goes where `place` says.
fn integration(name: &str, url: &str, place: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {{name: {name}, namespace: shop}}
spec:
  endpoints: [{{name: primary, url: '{url}'}}]
  credentialRefs: [{{name: {name}}}]
---
apiVersion: tidegate.dev/v1alpha1
kind: Credential
metadata: {{name: {name}, namespace: shop}}
spec:
  allowedHosts: [127.0.0.1]
  apiKey: {{in: {place}, name: x-key, secretRef: {{name: {name}, key: key}}}}
"
    )
}

fn secret(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\nstringData: {{key: {value}}}\n")
}

async fn circuit_is(program: &Program, state: &str) {
    program
        .until(&format!("the circuit is {state}"), async |program: &Program| {
            let objects = program.objects("integrations").await;
            (objects[0]["status"]["circuit"] == state).then_some(())
        })
        .await;
}

#[tokio::test]
async fn the_quickstart_opens_and_closes_a_circuit() {
    let program = Program::quickstart().await;
    program.ready().await;
    let (status, headers, body) = program.call("tides.demo.localhost", "/v1/tides").await;
    assert_eq!(
        (status, headers["tidegate-endpoint"].to_str().unwrap()),
        (200, "primary"),
        "{body}"
    );
    assert!(body.contains("number 1"), "the provider saw our key: {body}");
    circuit_is(&program, "Closed").await;
    let objects = program.objects("integrations").await;
    let address = format!("http://tides.demo.localhost:{}", program.listen.port());
    assert_eq!(objects[0]["status"]["address"], address);

    let control = async |what: &str| {
        let url = format!("{}/control/{what}", program.provider());
        assert!(
            reqwest::Client::new()
                .post(url)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    };
    control("break").await;
    let problem = program
        .until("a call is refused", async |program: &Program| {
            let (status, headers, body) = program.call("tides.demo.localhost", "/v1/tides").await;
            (status == 503).then_some((headers, body))
        })
        .await;
    assert_eq!(problem.0["tidegate-error"], "circuit-open");
    assert_eq!(problem.0["content-type"], "application/problem+json");
    let retry_after: u64 = problem.0["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&retry_after));
    let document: Value = serde_json::from_str(&problem.1).unwrap();
    assert_eq!(document["type"], "https://tidegate.dev/problems/circuit-open");
    circuit_is(&program, "Open").await;
    let objects = program.objects("integrations").await;
    assert_eq!(condition(&objects[0], "CircuitClosed").unwrap()["status"], "False");
    assert_eq!(
        condition(&objects[0], "Ready").unwrap()["status"],
        "True",
        "we did our part"
    );

    control("mend").await;
    program
        .until("a trial succeeds", async |program: &Program| {
            (program.call("tides.demo.localhost", "/v1/tides").await.0 == 200).then_some(())
        })
        .await;
    circuit_is(&program, "Closed").await;
    assert!(
        program.stdout().contains("CIRCUIT=Open"),
        "the change is printed:\n{}",
        program.stdout()
    );
}

#[tokio::test]
async fn an_edited_secret_is_live_without_a_restart() {
    let program = Program::quickstart().await;
    program.ready().await;
    let file = program.directory().join("secret.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    program.edit("secret.yaml", &text.replace("sample-key-1", "sample-key-2"));
    program
        .until("the provider sees the new key", async |program: &Program| {
            let (status, _, body) = program.call("tides.demo", "/v1/tides").await;
            assert_eq!(status, 200, "no call fails meanwhile: {body}");
            body.contains("number 2").then_some(())
        })
        .await;
    let revision = async |program: &Program| {
        let objects = program.objects("credentials").await;
        (objects[0]["status"]["revision"] == 2).then_some(())
    };
    program.until("the revision is counted", revision).await;
}

#[tokio::test]
async fn a_bad_object_is_told_by_file_line_and_field_and_stops_no_other() {
    let seen = Provider::start(async |_| (200, "good")).await;
    let good = integration("good", &seen.url(""), "Header") + "---\n" + &secret("good", "value");
    let bad = integration("bad", "http://127.0.0.1:1", "Header").replace("endpoints:", "endpoint:");
    let files = [
        ("good.yaml", good.as_str()),
        ("bad.yaml", bad.as_str()),
        ("worse.yaml", "kind: [\n"),
    ];
    let program = Program::with_files(&files, "info").await;
    program.ready().await;
    assert_eq!(program.call("good.shop", "/").await.2, "good");
    let told = program.stderr();
    for wanted in [
        "bad.yaml:5: Integration shop/bad: spec.endpoint: no such field; did you mean `endpoints`?",
        "bad.yaml:5: Integration shop/bad: spec.endpoints: must be given",
        "worse.yaml:",
    ] {
        assert!(told.contains(wanted), "{told}\n  has no\n{wanted}");
    }
    // What was good and becomes bad stays as it was.
    program.edit(
        "good.yaml",
        &good.replace("kind: Secret", "kind: Sekret").replace("primary", "'?'"),
    );
    let wanted = "good.yaml:5: Integration shop/good: spec.endpoints[0].name: must ";
    program
        .until("the edit is refused", async |program: &Program| {
            program.stderr().contains(wanted).then_some(())
        })
        .await;
    assert_eq!(program.call("good.shop", "/").await.2, "good");
}

#[tokio::test]
async fn what_only_the_reconcile_sees_is_told_with_its_file_too() {
    // The Credential allows 127.0.0.1 alone.
    let all = integration("far", "http://192.0.2.1", "Header") + "---\n" + &secret("far", "value");
    let program = Program::with_files(&[("far.yaml", &all)], "info").await;
    program
        .until("the host is refused", async |program: &Program| {
            let told = program.stderr();
            let line = told.lines().find(|line| line.contains("HostNotAllowed"))?;
            line.contains("far.yaml:1").then_some(())
        })
        .await;
}

#[tokio::test]
async fn an_integration_that_is_taken_out_of_the_files_is_served_no_more() {
    let seen = Provider::start(async |_| (200, "good")).await;
    let all = integration("a", &seen.url(""), "Header") + "---\n" + &secret("a", "value");
    let program = Program::with_files(&[("a.yaml", &all)], "info").await;
    program.ready().await;
    assert_eq!(program.call("a.shop", "/").await.0, 200);
    std::fs::remove_file(program.directory().join("a.yaml")).unwrap();
    program
        .until("nobody answers to the name", async |program: &Program| {
            let (status, headers, _) = program.call("a.shop", "/").await;
            (status == 404 && headers["tidegate-error"] == "unknown-integration").then_some(())
        })
        .await;
    assert!(program.objects("integrations").await.is_empty());
}

#[tokio::test]
async fn sigterm_ends_it_cleanly() {
    let mut program = Program::quickstart().await;
    program.ready().await;
    let directory = program.directory();
    assert!(directory.is_dir());
    let status = program.stop().await;
    assert_eq!(status.code(), Some(0), "{}", program.stderr());
    assert!(!directory.exists(), "its files are removed");
}

#[tokio::test]
async fn a_port_in_use_or_a_path_that_is_not_there_is_told_with_the_flag() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, flag) in [
        (["run", "--listen", &taken, "--admin", "127.0.0.1:0"], "--listen"),
        (["run", "--admin", &taken, "--listen", "127.0.0.1:0"], "--admin"),
        (
            [
                "run",
                "--admin=127.0.0.1:0",
                "--listen=127.0.0.1:0",
                "-f",
                "/nonexistent",
            ],
            "-f",
        ),
    ] {
        let (code, _, stderr) = ended(&arguments).await;
        assert_eq!(code, Some(1));
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("tidegate: ") && last.contains(flag), "{stderr}");
    }
    assert_eq!(ended(&["run", "--lisen"]).await.0, Some(2));
}

#[tokio::test]
async fn ready_and_live_and_metrics_are_served() {
    let program = Program::quickstart().await;
    program.ready().await;
    program
        .until("/readyz", async |program: &Program| {
            (program.admin("/readyz").await.0 == 200).then_some(())
        })
        .await;
    assert_eq!(program.admin("/livez").await.0, 200);
    program.call("tides.demo", "/v1/tides").await;
    let (status, metrics) = program.admin("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("tidegate_requests_total{"), "{metrics}");
}

#[tokio::test]
async fn no_secret_is_in_any_output_at_any_log_level() {
    const CANARY: &str = "canary-5u1nZfQ";
    let seen = Provider::start(async |_| (401, "no")).await;
    let url = seen.url("");
    // In a header, in the query, in a cookie; and in every wrong place that one can think of.
    let mut good = String::new();
    for (name, place) in [("a", "Header"), ("b", "Query"), ("c", "Cookie")] {
        good += &[integration(name, &url, place), secret(name, CANARY), String::new()].join("---\n");
    }
    let wrong = [
        secret("d", CANARY).replace("stringData", "data"),
        secret("e", CANARY)
            .replace("{key: ", &format!("{{{CANARY}: ["))
            .replace("}\n", "]}\n"),
        integration("f", &url, CANARY),
        integration("g", &format!("http://{CANARY}:x"), "Header"),
        integration("h", &format!("http://user:{CANARY}@127.0.0.1"), "Header"),
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: i}}\nstringData: {{key: \"{CANARY}\\q\"}}\n"),
        secret("j", &format!("\"\\x01{CANARY}\"")) + "---\n" + &integration("j", &url, "Header"),
    ];
    let names: Vec<_> = (0..wrong.len()).map(|index| format!("wrong-{index}.yaml")).collect();
    let mut files = vec![("good.yaml", good.as_str())];
    files.extend(names.iter().map(String::as_str).zip(wrong.iter().map(String::as_str)));
    let mut program = Program::with_files(&files, "trace").await;
    program
        .until("the good ones answer", async |program: &Program| {
            let mut all = true;
            for name in ["a", "b", "c"] {
                all &= program.call(&format!("{name}.shop"), "/").await.0 == 401;
            }
            all.then_some(())
        })
        .await;
    let sent = seen.seen();
    let carried = |request: &Seen| format!("{:?} {:?}", request.uri, request.headers).contains(CANARY);
    assert!(
        sent.iter().filter(|request| carried(request)).count() >= 3,
        "the provider saw the key each time"
    );
    let mut all = String::new();
    for path in [
        "/metrics",
        "/livez",
        "/readyz",
        "/api/v1/integrations",
        "/api/v1/credentials",
    ] {
        all += &program.admin(path).await.1;
    }
    for name in ["d", "g", "h", "j"] {
        let (_, headers, body) = program.call(&format!("{name}.shop"), "/").await;
        all += &[format!("{headers:?}"), body].concat();
    }
    let status = tokio::time::timeout(Duration::from_secs(60), program.stop())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
    all += &program.stdout();
    all += &program.stderr();
    let at = all
        .find(CANARY)
        .map(|at| all[at.saturating_sub(300)..].chars().take(600).collect::<String>());
    assert_eq!(at, None);
}
