//! What is sent again though it is no retry: with the next value of a credential, and because the provider has surely not
//! seen it.

use tidegate::api::integration::CircuitState;
use tidegate::domain::plan::CredentialPlan;

use super::{MESSAGE, call, ended, only, plan};
use crate::support::dataplane::{Dataplane, api_key, trusting};
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, frame};
use crate::support::provider::Provider;
use crate::worker_refused::{Say, answering};

#[tokio::test]
async fn a_call_that_is_unauthenticated_goes_on_with_the_next_value() {
    // A status behind a head came too late: the caller has the head by then.
    for (in_head, code, values) in [(true, 0, ["old", "new"].as_slice()), (false, 16, &["old"])] {
        let provider = Provider::start(move |seen| async move {
            match seen.header("x-api-key") {
                Some("new") => ended(0),
                _ if in_head => only(16, &[]),
                _ => ended(16),
            }
        })
        .await;
        let renewable = |revision, value| CredentialPlan {
            renewable: true,
            ..api_key(revision, value)
        };
        let mut first = plan(provider.url(""));
        first.credentials = vec![renewable(1, "old")];
        first.retries.limit = 0;
        let mut second = first.clone();
        (second.revision, second.credentials) = (2, vec![renewable(2, "new")]);
        let worker = Dataplane::start([first]);
        let renewed = async {
            worker
                .credential(|credential| credential.rejected_status == Some(401))
                .await;
            worker.adopt(second).await;
        };
        let (answered, ()) = tokio::join!(call(&worker, "api", &[]), renewed);
        assert_eq!(answered.code().0, code, "in the head: {in_head}");
        let seen = provider.seen();
        let seen: Vec<_> = seen.iter().map(|seen| seen.header("x-api-key").unwrap()).collect();
        assert_eq!(seen, values);
        assert!(provider.seen().iter().all(|seen| seen.body == MESSAGE));
        let attempts = values.len().to_string();
        assert_eq!(answered.header("tidegate-attempts"), Some(&*attempts));
    }
}

/// OK, in a head that is all there is (RFC 7541: `:status: 200`, `content-type` by its number, `grpc-status` by its name).
fn ok(stream: u32) -> Vec<u8> {
    let head = [
        b"\x88\x0f\x10\x10".as_slice(),
        b"application/grpc",
        b"\x00\x0b",
        b"grpc-status",
        b"\x010",
    ];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head.concat())
}

#[tokio::test]
async fn what_the_provider_has_refused_is_sent_again_and_what_it_may_have_seen_is_not() {
    for (say, code, arrivals) in [
        (Say::Reset(REFUSED_STREAM), 0, 2),
        (Say::GoAwayBefore, 0, 2),
        (Say::Reset(INTERNAL_ERROR), 14, 1),
        (Say::GoAwayAfter(NO_ERROR), 14, 1),
    ] {
        let (provider, arrived) = answering(say, ok).await;
        let mut plan = plan(provider.url(""));
        plan.tls = trusting(&provider).tls;
        plan.breaker.consecutive_failures = 1;
        let worker = Dataplane::start([plan]);
        let answered = call(&worker, "api", &[]).await;
        assert_eq!(answered.code(), (code, true), "{say:?}");
        assert_eq!(*arrived.lock().unwrap(), vec![MESSAGE; arrivals], "{say:?}");
        let closed = worker.endpoint(|_| true).await.circuit.state == CircuitState::Closed;
        assert_eq!(closed, code == 0, "{say:?}");
    }
}
