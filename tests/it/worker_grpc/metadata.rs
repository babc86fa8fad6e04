//! Metadata of more than `limits.headers`, from either side.

use tidegate::api::integration::CircuitState;
use tidegate::domain::key::Key;

use super::{call, ended, only, plan};
use crate::support::dataplane::Dataplane;
use crate::support::provider::Provider;

const LIMIT: u64 = 8 << 10;

#[tokio::test]
async fn of_a_caller_it_is_refused_before_anybody_is_asked() {
    let provider = Provider::start(|_| async { ended(0) }).await;
    let mut small = plan(provider.url(""));
    small.limits.headers = LIMIT;
    // What a connection may carry is what the most generous Integration allows.
    let mut large = plan(provider.url(""));
    large.integration = Key::new("shop", "large");
    let worker = Dataplane::start([small, large]);
    let value = "v".repeat(usize::try_from(LIMIT).unwrap());
    let more = [("x-meta", value.as_str())];
    assert_eq!(call(&worker, "large", &more).await.code().0, 0);
    let answered = call(&worker, "api", &more).await;
    assert_eq!(answered.code(), (8, true));
    assert_eq!(answered.header("tidegate-error"), Some("request-too-large"));
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn of_a_provider_it_is_refused_and_the_provider_is_not_blamed() {
    let provider = Provider::start(|_| async {
        let value = "v".repeat(usize::try_from(LIMIT).unwrap());
        only(0, &[("x-meta", &value)])
    })
    .await;
    let mut plan = plan(provider.url(""));
    plan.limits.headers = LIMIT;
    plan.breaker.consecutive_failures = 1;
    let worker = Dataplane::start([plan]);
    let answered = call(&worker, "api", &[]).await;
    assert_eq!(answered.code(), (14, true));
    assert_eq!(answered.header("tidegate-error"), Some("response-too-large"));
    assert_eq!(provider.seen().len(), 1, "it is not asked again");
    let circuit = worker.endpoint(|_| true).await.circuit;
    assert_eq!(circuit.state, CircuitState::Closed, "the bound is ours");
}
