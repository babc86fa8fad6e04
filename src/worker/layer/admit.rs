//! Concurrency: so many requests under way, so many waiting for a place, the rest shed at once.
//!
//! Shedding is an answer within microseconds; a queue that grows without bound is an answer after everybody has stopped
//! waiting for it. How many may be under way is what the plan says, or, within its bounds, what the provider's answers say
//! ([`crate::domain::adaptive`]).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::adaptive::Limit;
use crate::domain::plan::ConcurrencyPlan;
use crate::telemetry::worker_metrics::IntegrationMetrics;

/// The places of one Integration in this worker.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    size: Mutex<Size>,
    waiting: AtomicU32,
    limit: Mutex<Option<Limit>>,
}

#[derive(Debug)]
struct Size {
    /// Places that there are to be.
    wanted: u32,
    /// Places that are taken and are not to come back.
    excess: u32,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    admission: Arc<Admission>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut size = self.admission.size();
        if size.excess > 0 {
            size.excess -= 1;
            permit.forget();
        }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// Every place is taken, and every place to wait.
    Full,
    /// None became free in time.
    Late,
}

impl Admission {
    /// As many places as the plan says, or begins with.
    pub fn new(plan: &ConcurrencyPlan) -> Self {
        let limit = limit(plan);
        let wanted = limit.as_ref().map_or(plan.max_in_flight, Limit::get);
        Self {
            places: Arc::new(Semaphore::new(wanted as usize)),
            size: Mutex::new(Size { wanted, excess: 0 }),
            waiting: AtomicU32::new(0),
            limit: Mutex::new(limit),
        }
    }

    /// Another plan; places that are taken stay so, and count.
    pub fn resize(&self, plan: &ConcurrencyPlan) {
        let mut known = self.limit();
        match (&mut *known, plan.adaptive) {
            (Some(limit), Some(bounds)) => limit.adjust(bounds.minimum, bounds.maximum),
            (known, _) => *known = limit(plan),
        }
        let wanted = known.as_ref().map_or(plan.max_in_flight, Limit::get);
        drop(known);
        self.set(wanted);
    }

    /// How many may be under way.
    pub fn wanted(&self) -> u32 {
        self.size().wanted
    }

    /// The provider answered after this long; `None`: it said that it has too much to do, or nothing in time.
    pub fn note(&self, took: Option<Duration>, metrics: &IntegrationMetrics) {
        let mut known = self.limit();
        let Some(limit) = &mut *known else { return };
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        let under_way = {
            let size = self.size();
            (size.wanted + size.excess).saturating_sub(free)
        };
        let now = Instant::now().into_std();
        let before = limit.get();
        match took {
            Some(took) => limit.answered(took, under_way, now),
            None => limit.refused(now),
        }
        let wanted = limit.get();
        drop(known);
        if wanted != before {
            self.set(wanted);
            metrics.concurrency_limit.set(wanted.into());
        }
    }

    fn set(&self, wanted: u32) {
        let mut size = self.size();
        let old = std::mem::replace(&mut size.wanted, wanted);
        if wanted > old {
            // What was to go stays.
            let stays = size.excess.min(wanted - old);
            size.excess -= stays;
            self.places.add_permits((wanted - old - stays) as usize);
        } else {
            let gone = self.places.forget_permits((old - wanted) as usize);
            size.excess += old - wanted - u32::try_from(gone).unwrap_or(0);
        }
    }

    /// Waits for a place until `deadline`, with at most `max_pending` others.
    pub async fn enter(self: Arc<Self>, plan: &ConcurrencyPlan, deadline: Instant) -> Result<Place, NoPlace> {
        let permit = if let Ok(permit) = self.places.clone().try_acquire_owned() {
            Some(permit)
        } else {
            let _waiting = Waiting::begin(&self.waiting, plan.max_pending).ok_or(NoPlace::Full)?;
            match tokio::time::timeout_at(deadline, self.places.clone().acquire_owned()).await {
                // The semaphore is never closed.
                Ok(permit) => permit.ok(),
                Err(_) => return Err(NoPlace::Late),
            }
        };
        Ok(Place {
            permit,
            admission: self,
        })
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self) -> MutexGuard<'_, Option<Limit>> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limit(plan: &ConcurrencyPlan) -> Option<Limit> {
    let bounds = plan.adaptive?;
    let now = Instant::now().into_std();
    Some(Limit::new(bounds.minimum, bounds.maximum, rand::random(), now))
}

struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicU32, max: u32) -> Option<Self> {
        let guard = Self(waiting);
        // Dropping the guard takes it back if that was one too many.
        (waiting.fetch_add(1, Ordering::Relaxed) < max).then_some(guard)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plan(max_in_flight: u32, max_pending: u32) -> ConcurrencyPlan {
        ConcurrencyPlan {
            max_in_flight,
            max_pending,
            adaptive: None,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_places_and_the_queue_a_request_is_shed_at_once() {
        let plan = plan(2, 1);
        let admission = Arc::new(Admission::new(&plan));
        let _one = admission.clone().enter(&plan, soon()).await.unwrap();
        let two = admission.clone().enter(&plan, soon()).await.unwrap();
        let start = Instant::now();
        let (waited, shed) = tokio::join!(
            async {
                let waited = admission.clone().enter(&plan, soon()).await;
                waited.map(|_| ())
            },
            async {
                tokio::task::yield_now().await;
                let shed = admission.clone().enter(&plan, soon()).await.map(|_| ());
                assert_eq!(start.elapsed(), Duration::ZERO);
                drop(two);
                shed
            }
        );
        assert_eq!((waited, shed), (Ok(()), Err(NoPlace::Full)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_gives_its_place_in_the_queue_back() {
        let plan = plan(1, 1);
        let admission = Arc::new(Admission::new(&plan));
        let one = admission.clone().enter(&plan, soon()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(
                admission.clone().enter(&plan, soon()).await.map(|_| ()),
                Err(NoPlace::Late)
            );
        }
        drop(one);
        assert!(admission.clone().enter(&plan, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_changes_the_number_of_places_and_what_is_under_way_counts() {
        let admission = Arc::new(Admission::new(&plan(1, 0)));
        let _one = admission.clone().enter(&plan(1, 0), soon()).await.unwrap();
        admission.resize(&plan(2, 0));
        let two = admission.clone().enter(&plan(2, 0), soon()).await.unwrap();
        assert!(admission.clone().enter(&plan(2, 0), soon()).await.is_err());
        admission.resize(&plan(1, 0));
        drop(two);
        assert!(admission.clone().enter(&plan(1, 0), soon()).await.is_err());
    }
    #[tokio::test(start_paused = true)]
    async fn places_that_were_to_go_come_back_when_there_are_to_be_more_again() {
        let admission = Arc::new(Admission::new(&plan(3, 0)));
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(admission.clone().enter(&plan(3, 0), soon()).await.unwrap());
        }
        admission.resize(&plan(1, 0));
        admission.resize(&plan(4, 0));
        taken.push(admission.clone().enter(&plan(4, 0), soon()).await.unwrap());
        assert!(admission.clone().enter(&plan(4, 0), soon()).await.is_err());
        admission.resize(&plan(2, 0));
        drop(taken);
        for expected in [true, true, false] {
            let entered = admission.clone().enter(&plan(2, 0), soon()).await;
            assert_eq!(entered.is_ok(), expected);
            taken = entered.into_iter().collect();
            std::mem::forget(taken);
        }
    }
}
