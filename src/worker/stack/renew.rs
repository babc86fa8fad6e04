//! The credential layer: a call that was answered 401 waits for the next value of its credential, and goes on with it.
//!
//! The provider refused the credential before it acted on the request, so the request may be sent again whatever its
//! method. That the value is refused has been reported by then, and the controller answers with another one if the
//! credential is of a kind that it can renew. The call goes on in the stack that has it; the first answer is kept and
//! passed on if that comes to nothing.
//!
//! Waiting costs nothing but the place of the call. It is bounded three times: by the deadline of the call, of which a
//! tenth is left for the second attempt; for all callers of a revision together, by five seconds from the first 401 on; and
//! by the places that there are.

use std::sync::Arc;

use http::Method;
use tokio::time::Instant;

use super::Stack;
use super::reply::Reply;
use crate::telemetry::worker_metrics::RetryReason;
use crate::worker::credential::Credential;
use crate::worker::endpoint::Endpoint;
use crate::worker::layer::observe::Call;

/// This share of the time of a whole request is left for the attempt with the next value.
const LEFT: u32 = 10;

impl Stack {
    /// Whether a call may have to be sent again with another credential.
    pub(super) fn may_renew(&self) -> bool {
        self.credentials.iter().any(|credential| credential.plan().renewable)
    }

    /// The stack to go on in after `reply`, which is a 401, and the reply, put aside then. `None` if there is nothing to
    /// wait for, or it did not come in time.
    pub(super) async fn renew(
        &self,
        call: &Call,
        method: &Method,
        mut reply: Reply,
        deadline: Instant,
    ) -> (Reply, Option<Arc<Self>>) {
        let endpoint = reply.endpoint.clone();
        let patience = self.renewable(&endpoint, method).filter_map(Credential::patience).max();
        let started = Instant::now();
        let last = deadline.checked_sub(self.plan.timeouts.request / LEFT);
        let until = patience.map(|until| until.min(last.unwrap_or(started)));
        let in_use = self.next(&endpoint, method);
        if in_use.is_none() && until.is_none_or(|until| until <= started) {
            return (reply, None);
        }
        reply.put_aside().await;
        let next = match (in_use, until) {
            (None, Some(until)) => self.wait_for_next(&endpoint, method, until).await,
            (in_use, _) => in_use,
        };
        call.log_renewal(endpoint.name(), next.is_some(), started.elapsed());
        if next.is_some() {
            self.metrics.count_retry(RetryReason::Credential);
        }
        (reply, next)
    }

    fn renewable<'a>(&'a self, endpoint: &'a Endpoint, method: &'a Method) -> impl Iterator<Item = &'a Credential> {
        self.carried(endpoint, method)
            .filter(|credential| credential.plan().renewable)
    }

    async fn wait_for_next(&self, endpoint: &Endpoint, method: &Method, until: Instant) -> Option<Arc<Self>> {
        let mut running = self.bulletin.follow();
        loop {
            // From here on a change wakes us, so none between the look and the wait is missed.
            running.borrow_and_update();
            if let Some(next) = self.next(endpoint, method) {
                return Some(next);
            }
            if running.borrow().strong_count() == 0 {
                // The Integration is served no more.
                return None;
            }
            tokio::time::timeout_at(until, running.changed()).await.ok()?.ok()?;
        }
    }

    /// The stack that runs, if it has a newer value for a credential that a request to `endpoint` carried.
    fn next(&self, endpoint: &Endpoint, method: &Method) -> Option<Arc<Self>> {
        let running = self.bulletin.running()?;
        // A namesake is for other callers. And what the caller may not say in a trailer has been decided for the headers
        // that were injected then.
        if running.plan.uid != self.plan.uid || running.injected != self.injected {
            return None;
        }
        let now = Instant::now();
        let is_newer = |old: &Credential, new: &Credential| {
            new.plan().name == old.plan().name
                && new.plan().revision > old.plan().revision
                && new.trouble(now).is_none()
        };
        // With several, it is not known which of them the provider refuses; the first that is renewed is tried.
        let renewed = self
            .renewable(endpoint, method)
            .any(|old| running.credentials.iter().any(|new| is_newer(old, new)));
        renewed.then_some(running)
    }
}
