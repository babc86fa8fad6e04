//! A panic inside a call, which is a bug somewhere: it costs that call and nothing else.
//!
//! Nothing in the product panics on demand. What a call logs passes through the subscriber, though, and TLS logs on its
//! way to the provider, in the middle of the attempt; so a subscriber that panics makes the call panic there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request};
use http_body_util::Empty;
use tidegate::api::integration::CircuitState;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::support::dataplane::{Dataplane, problem, trusting};
use crate::support::provider::{Provider, answer};

/// Panics once for each time it is armed, when TLS has something to say.
struct Panicking {
    armed: Arc<AtomicBool>,
}

impl<S: Subscriber> Layer<S> for Panicking {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Records of the crate `log`, which rustls uses, come as events of this target.
        assert!(
            event.metadata().target() != "log" || !self.armed.swap(false, Ordering::SeqCst),
            "planted by a test"
        );
    }
}

#[tokio::test]
async fn a_panic_during_the_one_trial_gives_its_permit_and_its_place_back() {
    let armed = Arc::new(AtomicBool::new(false));
    let layer = Panicking { armed: armed.clone() };
    // For this thread only, on which everything of this test runs.
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let provider = Provider::start_tls(false, move |_| {
        let status = if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            500
        } else {
            200
        };
        let mut response = answer(status, "");
        // So that every attempt opens a connection, and TLS has something to say.
        response
            .headers_mut()
            .insert("connection", HeaderValue::from_static("close"));
        async move { response }
    })
    .await;
    let mut plan = trusting(&provider);
    plan.retries.limit = 0;
    plan.breaker.consecutive_failures = 1;
    plan.breaker.open_for = Duration::from_millis(20);
    plan.breaker.max_open_for = Duration::from_millis(40);
    plan.concurrency.max_in_flight = 1;
    plan.concurrency.max_pending = 0;
    plan.connections.max_per_endpoint = 1;
    let worker = Dataplane::start_here([plan]);
    for _ in 0..3 {
        calls.store(0, Ordering::SeqCst);
        assert_eq!(worker.get("/").await.status(), 500);
        worker.until_trial().await;
        armed.store(true, Ordering::SeqCst);
        let trial = worker.send(Request::get("/").body(Empty::new()).unwrap()).await;
        assert!(trial.is_err(), "the connection of the call that panicked ends");
        assert!(!armed.load(Ordering::SeqCst), "it did panic");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "before the provider saw the trial");
        let recovered = async {
            loop {
                let response = worker.get("/").await;
                if response.status() == 200 {
                    return;
                }
                // Neither the place nor the connection is missing.
                assert_eq!(problem(&response), Some("circuit-open"));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), recovered).await;
        assert!(in_time.is_ok(), "the circuit sticks: {:#?}", worker.reports());
        let closed = |state| state == CircuitState::Closed;
        worker.endpoint(|endpoint| closed(endpoint.circuit.state)).await;
    }
}
