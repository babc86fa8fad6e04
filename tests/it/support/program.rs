//! `tidegate run` as a user runs it: the real program in a process of its own, on ports that it chooses.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

/// How long anything may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A program that runs. It is killed when this is dropped.
pub struct Program {
    child: Child,
    /// Where it takes traffic.
    pub listen: SocketAddr,
    /// Where it serves the admin endpoints.
    pub admin: SocketAddr,
    output: [Arc<Mutex<String>>; 2],
    directory: PathBuf,
    /// Removed with this, where nobody else holds it.
    _held: Option<TempDir>,
}

/// The program with these arguments, ready to start.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("TIDEGATE_") || text.starts_with("OTEL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end: exit code, standard output and standard error.
pub async fn ended(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = tokio::time::timeout(DEADLINE, command(arguments).kill_on_drop(true).output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

impl Program {
    /// The quickstart.
    pub async fn quickstart() -> Self {
        Self::start(TempDir::new().unwrap(), &[], "info", &[]).await
    }

    /// With these manifests in a directory that `-f` names, at this log level.
    pub async fn with_files(files: &[(&str, &str)], level: &str) -> Self {
        Self::with_environment(files, level, &[]).await
    }

    /// The same, with more variables in its environment.
    pub async fn with_environment(files: &[(&str, &str)], level: &str, environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let path = directory.path().to_str().unwrap().to_owned();
        Self::start(directory, &["-f", &path], level, environment).await
    }

    /// With the manifests of `directory`, and what it issues kept in `state`. Both outlive it.
    pub async fn keeping(directory: &Path, state: &Path, level: &str) -> Self {
        let (files, state) = (directory.to_str().unwrap(), state.to_str().unwrap());
        Self::spawn(directory.to_owned(), None, &["-f", files, "--state", state], level, &[]).await
    }

    async fn start(directory: TempDir, arguments: &[&str], level: &str, environment: &[(&str, &str)]) -> Self {
        Self::spawn(
            directory.path().to_owned(),
            Some(directory),
            arguments,
            level,
            environment,
        )
        .await
    }

    async fn spawn(
        directory: PathBuf,
        held: Option<TempDir>,
        arguments: &[&str],
        level: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let all = [&["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], arguments].concat();
        let mut child = command(&all)
            .env("RUST_LOG", level)
            .envs(environment.iter().copied())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = [Arc::<Mutex<String>>::default(), Arc::default()];
        collect(child.stdout.take().unwrap(), output[0].clone());
        collect(child.stderr.take().unwrap(), output[1].clone());
        let unset = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Self {
            child,
            listen: unset,
            admin: unset,
            output,
            directory,
            _held: held,
        };
        let port = |text: &str, before: &str, after: &str| {
            let rest = &text[text.find(before)? + before.len()..];
            rest[..rest.find(after)?].parse::<u16>().ok()
        };
        let ports = program
            .until("it says where it listens", async |program: &Self| {
                let said = program.stdout();
                Some((
                    port(&said, ".localhost:", "/")?,
                    port(&said, "127.0.0.1:", "/api/v1/integrations")
                        .or_else(|| port(&said, "status      http://127.0.0.1:", "/api"))?,
                ))
            })
            .await;
        program.listen.set_port(ports.0);
        program.admin.set_port(ports.1);
        program
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.output[0].lock().unwrap().clone()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.output[1].lock().unwrap().clone()
    }

    /// The directory of the manifests.
    pub fn directory(&self) -> PathBuf {
        let said = self.stdout();
        let quickstart = said
            .split_once("manifests   ")
            .and_then(|(_, rest)| rest.split_once("  (edits"));
        quickstart.map_or_else(|| self.directory.clone(), |(path, _)| path.into())
    }

    /// The base URL of the sample provider.
    pub fn provider(&self) -> String {
        let said = self.stdout();
        let (_, rest) = said.split_once("provider    ").unwrap();
        rest.lines().next().unwrap().to_owned()
    }

    /// Writes a manifest as a careful editor does: beside it, then over it.
    pub fn edit(&self, name: &str, text: &str) {
        replace(&self.directory().join(name), text);
    }

    /// Calls an Integration: status, headers and body.
    pub async fn call(&self, host: &str, path: &str) -> (u16, http::HeaderMap, String) {
        let url = format!("http://{}{path}", self.listen);
        let response = reqwest::Client::new()
            .get(url)
            .header("host", host)
            .send()
            .await
            .unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    }

    /// An admin endpoint: status and body.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The objects that the API shows, `integrations` or `credentials`.
    pub async fn objects(&self, plural: &str) -> Vec<Value> {
        let (_, text) = self.admin(&format!("/api/v1/{plural}")).await;
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until `look` finds something; what it found.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> T {
        self.until_within(DEADLINE, what, look).await
    }

    /// The same, and it may take so long.
    pub async fn until_within<T>(&self, patience: Duration, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look(self).await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "not so in time: {what}\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout(),
                self.stderr()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it is ready to take calls for all its Integrations.
    pub async fn ready(&self) {
        self.ready_within(DEADLINE).await;
    }

    /// The same, and it may take so long.
    pub async fn ready_within(&self, patience: Duration) {
        self.until_within(patience, "every Integration is Ready", async |program: &Self| {
            let objects = program.objects("integrations").await;
            let ready =
                |object: &Value| condition(object, "Ready").is_some_and(|condition| condition["status"] == "True");
            (!objects.is_empty() && objects.iter().all(ready)).then_some(())
        })
        .await;
    }

    /// Memory that it holds, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Ends it as a crash does (SIGKILL); all it wrote, standard output before standard error.
    pub async fn kill(mut self) -> String {
        self.child.kill().await.unwrap();
        self.stdout() + &self.stderr()
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        assert!(sent.success());
        timeout_at(Instant::now() + DEADLINE, self.child.wait())
            .await
            .unwrap()
            .unwrap()
    }
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Replaces a file in one step.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}
