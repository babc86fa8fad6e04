//! The application: a pod that calls through the Service all the time, and what it got.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use crate::world::{Failure, Outcome, SHOP, World, is_ready, until};

/// The calls of a pod, oldest first: `200 -`, `503 circuit-open`, `lost <why>`.
pub struct Calls {
    lines: Arc<Mutex<Vec<String>>>,
}

/// What came of the calls of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answered with 200.
    pub good: usize,
    /// Answered otherwise.
    pub bad: usize,
    /// Not answered.
    pub lost: usize,
}

impl Calls {
    /// Starts a pod that calls `url` ten times a second.
    pub async fn start(world: &World, name: &str, url: &str) -> Outcome<Self> {
        world
            .apply(&format!(
                r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {SHOP}}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: caller
    image: {image}
    imagePullPolicy: Never
    args: ["{url}", "100"]
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"#,
                image = world.caller_image
            ))
            .await?;
        let pods = world.pods(SHOP);
        until("the calling pod is ready", crate::world::LONG, || async {
            Ok(pods.get_opt(name).await?.filter(is_ready))
        })
        .await?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(follow(pods, name.to_owned(), lines.clone()));
        Ok(Self { lines })
    }

    /// How many calls there were so far: a place to count on from.
    pub fn mark(&self) -> usize {
        self.lock().len()
    }

    /// What came of the calls since `mark`.
    pub fn since(&self, mark: usize) -> Tally {
        let mut tally = Tally::default();
        for line in &self.lock()[mark..] {
            match line.split(' ').next() {
                Some("200") => tally.good += 1,
                Some("lost") => tally.lost += 1,
                _ => tally.bad += 1,
            }
        }
        tally
    }

    /// The different outcomes since `mark`.
    pub fn kinds(&self, mark: usize) -> std::collections::BTreeSet<String> {
        self.lock()[mark..].iter().cloned().collect()
    }

    /// Waits for `count` good calls from now on.
    pub async fn good(&self, count: usize, patience: Duration) -> Outcome {
        let mark = self.mark();
        until(&format!("{count} calls are answered with 200"), patience, || async {
            Ok((self.since(mark).good >= count).then_some(()))
        })
        .await
        .map_err(|failure| Failure::new(format!("{failure}; the calls since then: {:?}", self.kinds(mark))))
    }

    /// Waits for a call with this outcome from now on.
    pub async fn outcome(&self, outcome: &str, patience: Duration) -> Outcome {
        let mark = self.mark();
        until(&format!("a call ends with `{outcome}`"), patience, || async {
            Ok(self.kinds(mark).contains(outcome).then_some(()))
        })
        .await
        .map_err(|failure| Failure::new(format!("{failure}; the calls since then: {:?}", self.kinds(mark))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the pod's log, line by line, until it ends.
async fn follow(pods: Api<Pod>, name: String, lines: Arc<Mutex<Vec<String>>>) {
    let parameters = LogParams {
        follow: true,
        ..Default::default()
    };
    if let Ok(log) = pods.log_stream(&name, &parameters).await {
        let mut log = log.lines();
        while let Ok(Some(line)) = log.try_next().await {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}
