//! What is told of a call: in the metrics, and in the log.

use tidegate::domain::key::Key;

use super::{call, ended, only, plan};
use crate::support::dataplane::Dataplane;
use crate::support::provider::{Provider, Reply, eventually};
use crate::worker_seen::Kept;

#[tokio::test]
async fn the_class_that_is_counted_is_that_of_the_status() {
    let provider = Provider::start(|_| async { ended(13) }).await;
    let mut plan = plan(provider.url(""));
    plan.integration = Key::new("shop", "grpc-counted");
    let worker = Dataplane::start([plan]);
    call(&worker, "grpc-counted", &[]).await;
    let counted = || {
        prometheus::gather().iter().any(|family| {
            family.name() == "tidegate_requests_total"
                && family.get_metric().iter().any(|metric| {
                    let has = |value: &str| metric.get_label().iter().any(|label| label.value() == value);
                    has("grpc-counted") && has("5xx") && has("answered")
                })
        })
    };
    eventually("the count", counted).await;
}

#[tokio::test]
async fn the_line_of_a_call_has_its_status_wherever_it_came_from() {
    let (kept, _heard) = Kept::listen();
    let provider = Provider::start(|seen| async move {
        match seen.header("x-say") {
            Some("trailers") => ended(9),
            Some("head") => only(7, &[("grpc-message", "canary")]),
            _ => Reply::Silence,
        }
    })
    .await;
    let worker = Dataplane::start_here([plan(provider.url(""))]);
    for (say, status, outcome) in [
        ("trailers", "FAILED_PRECONDITION", "answered"),
        ("head", "PERMISSION_DENIED", "answered"),
        ("nothing", "DEADLINE_EXCEEDED", "request-timeout"),
    ] {
        let before = kept.access().len();
        let patience = if say == "nothing" { "100m" } else { "30S" };
        call(&worker, "api", &[("x-say", say), ("grpc-timeout", patience)]).await;
        eventually("a line", || kept.access().len() > before).await;
        let line = kept.access().pop().unwrap();
        assert!(line.contains("status=200"), "{line}");
        assert!(line.contains(&format!("grpc_status=\"{status}\"")), "{line}");
        assert!(line.contains(&format!("outcome=\"{outcome}\"")), "{line}");
        assert!(!line.contains("canary"), "{line}");
    }
}
