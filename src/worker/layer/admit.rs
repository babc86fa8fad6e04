//! Concurrency: so many requests under way, so many waiting for a place, the rest shed at once.
//!
//! Shedding is an answer within microseconds; a queue that grows without bound is an answer after everybody has stopped
//! waiting for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::plan::ConcurrencyPlan;

/// The places of one Integration in this worker.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    size: AtomicU32,
    waiting: AtomicU32,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
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
    /// `max_in_flight` places.
    pub fn new(plan: &ConcurrencyPlan) -> Self {
        Self {
            places: Arc::new(Semaphore::new(plan.max_in_flight as usize)),
            size: AtomicU32::new(plan.max_in_flight),
            waiting: AtomicU32::new(0),
        }
    }

    /// Changes the number of places; those that are taken stay so, and count.
    pub fn resize(&self, plan: &ConcurrencyPlan) {
        let (new, old) = (
            plan.max_in_flight,
            self.size.swap(plan.max_in_flight, Ordering::Relaxed),
        );
        if new > old {
            self.places.add_permits((new - old) as usize);
        } else if new < old {
            let places = self.places.clone();
            tokio::spawn(async move {
                if let Ok(taken) = places.acquire_many_owned(old - new).await {
                    taken.forget();
                }
            });
        }
    }

    /// Waits for a place until `deadline`, with at most `max_pending` others.
    pub async fn enter(&self, plan: &ConcurrencyPlan, deadline: Instant) -> Result<Place, NoPlace> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(Place { _permit: Some(permit) });
        }
        let _waiting = Waiting::begin(&self.waiting, plan.max_pending).ok_or(NoPlace::Full)?;
        match tokio::time::timeout_at(deadline, self.places.clone().acquire_owned()).await {
            // The semaphore is never closed.
            Ok(permit) => Ok(Place { _permit: permit.ok() }),
            Err(_) => Err(NoPlace::Late),
        }
    }
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
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_places_and_the_queue_a_request_is_shed_at_once() {
        let plan = plan(2, 1);
        let admission = Admission::new(&plan);
        let _one = admission.enter(&plan, soon()).await.unwrap();
        let two = admission.enter(&plan, soon()).await.unwrap();
        let start = Instant::now();
        let (waited, shed) = tokio::join!(
            async {
                let waited = admission.enter(&plan, soon()).await;
                waited.map(|_| ())
            },
            async {
                tokio::task::yield_now().await;
                let shed = admission.enter(&plan, soon()).await.map(|_| ());
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
        let admission = Admission::new(&plan);
        let one = admission.enter(&plan, soon()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(admission.enter(&plan, soon()).await.map(|_| ()), Err(NoPlace::Late));
        }
        drop(one);
        assert!(admission.enter(&plan, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_changes_the_number_of_places_and_what_is_under_way_counts() {
        let admission = Admission::new(&plan(1, 0));
        let _one = admission.enter(&plan(1, 0), soon()).await.unwrap();
        admission.resize(&plan(2, 0));
        let two = admission.enter(&plan(2, 0), soon()).await.unwrap();
        assert!(admission.enter(&plan(2, 0), soon()).await.is_err());
        admission.resize(&plan(1, 0));
        tokio::task::yield_now().await;
        drop(two);
        tokio::task::yield_now().await;
        assert!(admission.enter(&plan(1, 0), soon()).await.is_err());
    }
}
