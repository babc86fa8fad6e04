//! Another try: whether, and after how long.
//!
//! Every retry has to pass all of this: the way the last attempt ended allows it for such a request, the limit is not
//! reached, the body can be sent again, the wait (backoff, or what the provider asks for) ends before the deadline, and
//! the budget of the Integration has one left. The budget is asked last, because asking takes one out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::time::Instant;

use crate::domain::budget::Budget;
use crate::domain::classify::{self, Ending, Fault};
use crate::domain::grpc::Pushback;
use crate::domain::latency::Latencies;
use crate::domain::plan::{HedgePlan, RetryPlan};
use crate::domain::{backoff, retry_after};
use crate::telemetry::worker_metrics::{IntegrationMetrics, RetryReason};

/// The retries of one Integration.
#[derive(Debug)]
pub struct Retries {
    plan: RetryPlan,
    budget: Mutex<Budget>,
    /// How long answers take, where that is asked.
    latencies: Option<Arc<Mutex<Latencies>>>,
}

/// The request that may be sent again.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// It may arrive twice.
    pub repeatable: bool,
    /// What the answer to a call of gRPC says about another try.
    pub pushback: Option<Pushback>,
    /// Its body can be sent again.
    pub body: bool,
    /// There is another endpoint.
    pub elsewhere: bool,
    /// Attempts so far.
    pub attempts: u32,
    /// When everything must be over.
    pub deadline: Instant,
}

impl Retries {
    /// Retries as the plan says, with a full budget.
    pub fn new(plan: &RetryPlan) -> Self {
        Self {
            plan: plan.clone(),
            budget: Mutex::new(budget(plan)),
            latencies: (plan.hedge == Some(HedgePlan::P95)).then(latencies),
        }
    }

    /// Retries as another plan says; what was spent of the budget stays spent, if the budget is the same.
    #[must_use]
    pub fn following(&self, plan: &RetryPlan) -> Self {
        let old = &self.plan;
        let same = old.budget_percent == plan.budget_percent
            && old.budget_interval == plan.budget_interval
            && old.budget_minimum_per_second == plan.budget_minimum_per_second;
        let budget = if same { self.lock().clone() } else { budget(plan) };
        let known = || self.latencies.clone().unwrap_or_else(latencies);
        Self {
            plan: plan.clone(),
            budget: Mutex::new(budget),
            latencies: (plan.hedge == Some(HedgePlan::P95)).then(known),
        }
    }

    /// Whether such a request may have to be sent again after some of its body was read, which is kept then: where the
    /// provider may see it twice, or where the provider may say that it has seen nothing of it (`refusable`: HTTP/2).
    pub fn may_repeat(&self, repeatable: bool, refusable: bool) -> bool {
        self.plan.limit > 0 && (refusable || repeatable)
    }

    /// A request begins.
    pub fn note_request(&self) {
        self.lock().deposit(now().into_std());
    }

    /// How long to wait before another try; `None`: what there is is passed on. `headers` are the answer's.
    pub fn again(
        &self,
        ending: Ending,
        headers: Option<&HeaderMap>,
        repeat: Repeat,
        metrics: &IntegrationMetrics,
    ) -> Option<Duration> {
        // A refused address is refused the next time too, but another endpoint has another.
        let elsewhere = ending == Ending::Failed(Fault::AddressRefused) && repeat.elsewhere;
        if !(classify::is_retryable(ending, repeat.repeatable, &self.plan) || elsewhere)
            || repeat.attempts > self.plan.limit
            || !repeat.body
        {
            return None;
        }
        let backoff = backoff::delay(
            repeat.attempts,
            self.plan.backoff_base,
            self.plan.backoff_max,
            rand::random(),
        );
        let (asked, least) = match repeat.pushback {
            Some(Pushback::Stop) => return None,
            // It takes the place of the backoff (gRFC A6).
            Some(Pushback::After(wait)) => (Some(wait), Duration::ZERO),
            None => (
                headers.and_then(|headers| retry_after::wait(headers, SystemTime::now())),
                backoff,
            ),
        };
        let wait = match asked {
            Some(asked) if asked > self.plan.retry_after_max => return None,
            Some(asked) => asked.max(least),
            None => backoff,
        };
        if now() + wait >= repeat.deadline {
            return None;
        }
        if !self.lock().withdraw(now().into_std()) {
            metrics.budget_exhausted.inc();
            return None;
        }
        metrics.count_retry(reason(ending));
        Some(wait)
    }

    /// After how long an attempt is late, so that another is made beside it; `None` if none is.
    pub fn hedge_after(&self) -> Option<Duration> {
        match self.plan.hedge.filter(|_| self.plan.limit > 0)? {
            HedgePlan::After(after) => Some(after),
            HedgePlan::P95 => {
                let mut latencies = self.latencies.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
                latencies.quantile(95, now().into_std())
            }
        }
    }

    /// Whether the budget has another attempt for one that is late; takes it out.
    pub fn allow_hedge(&self, metrics: &IntegrationMetrics) -> bool {
        let allowed = self.lock().withdraw(now().into_std());
        if allowed {
            metrics.count_retry(RetryReason::Hedge);
        } else {
            metrics.budget_exhausted.inc();
        }
        allowed
    }

    /// An answer took so long.
    pub fn note_latency(&self, took: Duration) {
        if let Some(latencies) = &self.latencies {
            let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.note(took, now().into_std());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn budget(plan: &RetryPlan) -> Budget {
    Budget::new(
        plan.budget_percent,
        plan.budget_interval,
        plan.budget_minimum_per_second,
        now().into_std(),
    )
}

fn latencies() -> Arc<Mutex<Latencies>> {
    Arc::new(Mutex::new(Latencies::new(now().into_std())))
}

fn now() -> Instant {
    Instant::now()
}

fn reason(ending: Ending) -> RetryReason {
    match ending {
        Ending::Answered(_) => RetryReason::Status,
        Ending::Failed(Fault::Timeout) => RetryReason::Timeout,
        Ending::Failed(Fault::Connect | Fault::AddressRefused) => RetryReason::Connect,
        Ending::Failed(Fault::Reset | Fault::Protocol) => RetryReason::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::integration::{IdempotencyKey, RetryMethods};
    use crate::domain::key::Key;
    use http::StatusCode;

    fn plan() -> RetryPlan {
        RetryPlan {
            limit: 2,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            statuses: vec![503],
            methods: RetryMethods::Idempotent,
            idempotency_key: IdempotencyKey::PassOn,
            hedge: None,
            retry_after_max: Duration::from_secs(5),
            budget_percent: 0,
            budget_interval: Duration::from_secs(10),
            budget_minimum_per_second: 1,
        }
    }

    fn repeat(attempts: u32) -> Repeat {
        Repeat {
            repeatable: true,
            pushback: None,
            body: true,
            elsewhere: false,
            attempts,
            deadline: Instant::now() + Duration::from_secs(30),
        }
    }

    fn again(retries: &Retries, retry_after: Option<&str>, repeat: Repeat) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
        }
        let ending = Ending::Answered(StatusCode::SERVICE_UNAVAILABLE);
        let metrics = IntegrationMetrics::new(&Key::new("unit", "retries"));
        retries.again(ending, Some(&headers), repeat, &metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_counts_retries() {
        let retries = Retries::new(&plan());
        assert!(again(&retries, None, repeat(1)).is_some());
        assert!(again(&retries, None, repeat(2)).is_some());
        assert!(again(&retries, None, repeat(3)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_provider_asks_for_is_obeyed_up_to_the_bound_and_the_deadline() {
        let retries = Retries::new(&plan());
        assert_eq!(again(&retries, Some("5"), repeat(1)), Some(Duration::from_secs(5)));
        assert_eq!(again(&retries, Some("6"), repeat(1)), None);
        let soon = Repeat {
            deadline: Instant::now() + Duration::from_secs(5),
            ..repeat(1)
        };
        assert_eq!(again(&retries, Some("5"), soon), None);
        assert!(again(&retries, Some("0"), repeat(1)).unwrap() <= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pushback_takes_the_place_of_the_backoff_and_may_forbid() {
        let retries = Retries::new(&RetryPlan {
            methods: RetryMethods::All,
            ..plan()
        });
        let again = |pushback| {
            let ending = Ending::Answered(StatusCode::SERVICE_UNAVAILABLE);
            let metrics = IntegrationMetrics::new(&Key::new("unit", "pushback"));
            retries.again(ending, None, Repeat { pushback, ..repeat(1) }, &metrics)
        };
        let after = |millis| Some(Pushback::After(Duration::from_millis(millis)));
        assert_eq!(again(after(1500)), Some(Duration::from_millis(1500)));
        assert_eq!(again(after(0)), Some(Duration::ZERO));
        assert_eq!(again(after(5001)), None, "more than is obeyed");
        assert_eq!(again(Some(Pushback::Stop)), None);
        assert!(again(None).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_gone_and_a_budget_that_is_spent_end_it() {
        let retries = Retries::new(&plan());
        assert_eq!(
            again(
                &retries,
                None,
                Repeat {
                    body: false,
                    ..repeat(1)
                }
            ),
            None
        );
        for _ in 0..10 {
            assert!(again(&retries, None, repeat(1)).is_some());
        }
        assert_eq!(
            again(&retries, None, repeat(1)),
            None,
            "one a second over ten seconds is spent"
        );
        assert_eq!(
            again(&retries.following(&plan()), None, repeat(1)),
            None,
            "and stays spent after an edit"
        );
    }
}
