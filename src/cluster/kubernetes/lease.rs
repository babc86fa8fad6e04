//! One controller acts at a time: the lease that says which.
//!
//! Flow: whoever finds the lease free, or not renewed for its whole duration, takes it; the holder renews it every
//! [`RENEWAL`]. Every write carries the resourceVersion of what was read, so that of two who write one fails.
//!
//! Guarantees: times are measured on our own monotonic clock, from the moment a renewal was first seen, never by comparing
//! clocks of two machines. Who has not renewed for [`DEADLINE`], counted from before the last request that succeeded, has
//! lost it and must stop at once; others take it [`DURATION`] after that renewal at the earliest, so there is a gap of
//! their difference. Caveat: a lease is advice and no fence (client-go says so too). A process that was stopped and goes
//! on may still send what it was about to send, so every write of ours may be repeated by another.
//!
//! kube-lease-manager was read and not taken: it frees an expired lease without a precondition, so that it can free one
//! that was renewed meanwhile, and the holder, which renews without reading, notices only at its next renewal but one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::telemetry::controller_metrics;

/// A lease that was not renewed for this long may be taken.
const DURATION: Duration = Duration::from_secs(15);
/// Who has not renewed for this long has lost it.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two renewals.
const RENEWAL: Duration = Duration::from_secs(5);
/// Between two tries, of renewal after a failure and of taking.
const RETRY: Duration = Duration::from_secs(1);
/// For one call.
const CALL: Duration = Duration::from_secs(3);

/// The lease, for one who wants it.
pub struct Lease {
    api: Api<Object>,
    name: String,
    identity: String,
    seen: Option<Seen>,
}

/// A renewal of somebody else's, and since when we know of it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    holder: String,
    renewed: Option<MicroTime>,
    since: Instant,
}

/// The lease, held.
pub struct Held {
    lease: Lease,
    object: Object,
    /// Before this time it is ours.
    until: Instant,
}

/// A lease that was lost.
#[derive(Debug, thiserror::Error)]
#[error("the lease {name} was lost: {why}; another controller takes over")]
pub struct Lost {
    name: String,
    why: String,
}

/// What is to be done about a lease that is there.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Take it: it is free, ours, or expired.
    Take,
    /// Somebody holds it; look again.
    Wait(Seen),
}

/// What to do, given what was known before.
fn step(identity: &str, spec: &LeaseSpec, seen: Option<&Seen>, now: Instant) -> Step {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return Step::Take;
    }
    let renewed = spec.renew_time.clone();
    match seen.filter(|seen| seen.holder == holder && seen.renewed == renewed) {
        Some(seen) if now.duration_since(seen.since) >= duration(spec) => Step::Take,
        Some(seen) => Step::Wait(seen.clone()),
        None => Step::Wait(Seen {
            holder: holder.to_owned(),
            renewed,
            since: now,
        }),
    }
}

/// The holder's own word on how long it may be silent, within reason.
fn duration(spec: &LeaseSpec) -> Duration {
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, |seconds| Duration::from_secs(seconds.clamp(1, 3600)))
}

impl Lease {
    /// The lease of that name; `identity` is who we are, unique among all that want it.
    ///
    /// `client` has no retries of its own: a renewal that is sent again after its deadline would be taken for a new one.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        controller_metrics::leading(name, false);
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            seen: None,
        }
    }

    /// Waits until the lease is ours. May be dropped at any time.
    pub async fn acquire(mut self) -> Held {
        let mut failing = false;
        loop {
            let asked = Instant::now();
            match timeout(CALL, self.try_take()).await {
                Ok(Ok(Some(object))) => {
                    tracing::info!(lease = self.name, identity = self.identity, "this controller leads now");
                    controller_metrics::leading(&self.name, true);
                    return Held {
                        lease: self,
                        object,
                        until: asked + DEADLINE,
                    };
                }
                Ok(Ok(None)) => failing = false,
                Ok(Err(error)) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(lease = self.name, %error, "the lease cannot be taken; it is tried again");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(RETRY.mul_f64(0.75 + 0.5 * rand::random::<f64>())).await;
        }
    }

    async fn try_take(&mut self) -> Result<Option<Object>, kube::Error> {
        let Some(mut object) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            };
            let spec = Some(self.taken(None));
            return taken(
                self.api
                    .create(&PostParams::default(), &Object { metadata, spec })
                    .await,
            );
        };
        let spec = object.spec.clone().unwrap_or_default();
        match step(&self.identity, &spec, self.seen.as_ref(), Instant::now()) {
            Step::Take => {
                object.spec = Some(self.taken(Some(&spec)));
                // With the resourceVersion that was read: of two who take it at once, one fails.
                taken(self.api.replace(&self.name, &PostParams::default(), &object).await)
            }
            Step::Wait(seen) => {
                if self.seen.as_ref().map(|before| &before.holder) != Some(&seen.holder) {
                    tracing::info!(
                        lease = self.name,
                        holder = seen.holder,
                        "another controller leads; this one waits"
                    );
                }
                self.seen = Some(seen);
                Ok(None)
            }
        }
    }

    fn taken(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(before.map_or(0, |before| before.lease_transitions.unwrap_or(0).saturating_add(1))),
            ..LeaseSpec::default()
        }
    }
}

/// Somebody else was faster: no error, only not ours.
fn taken(written: Result<Object, kube::Error>) -> Result<Option<Object>, kube::Error> {
    match written {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

impl Held {
    /// Renews the lease for as long as this is polled; returns when it is lost.
    pub async fn keep(&mut self) -> Lost {
        let why = self.renew_until_lost().await;
        controller_metrics::leading(&self.lease.name, false);
        Lost {
            name: self.lease.name.clone(),
            why,
        }
    }

    async fn renew_until_lost(&mut self) -> String {
        let mut next = Instant::now() + RENEWAL;
        let mut failure = String::from("it could not be renewed in time");
        loop {
            // A process that was stopped finds its deadline in the past here, before it does anything else.
            let wake = next.min(self.until);
            sleep_until(wake).await;
            if Instant::now() >= self.until {
                return failure;
            }
            let asked = Instant::now();
            let limit = self.until.min(asked + CALL);
            next = Instant::now() + RETRY;
            match timeout_at(limit, self.renew()).await {
                Ok(Ok(())) => (self.until, next) = (asked + DEADLINE, asked + RENEWAL),
                Ok(Err(Renewal::Taken(holder))) => return format!("{holder} holds it"),
                Ok(Err(Renewal::Failed(error))) => failure = format!("it could not be renewed in time ({error})"),
                Err(_) => failure = "it could not be renewed in time (no answer)".into(),
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Renewal> {
        let mut object = self.object.clone();
        object.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        match self
            .lease
            .api
            .replace(&self.lease.name, &PostParams::default(), &object)
            .await
        {
            Ok(object) => {
                self.object = object;
                Ok(())
            }
            // Somebody wrote it: another holder, a person, or we ourselves, in a renewal whose answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let object = self.lease.api.get(&self.lease.name).await.map_err(Renewal::Failed)?;
                let holder = object
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.holder_identity.clone())
                    .unwrap_or_default();
                if holder != self.lease.identity {
                    return Err(Renewal::Taken(if holder.is_empty() { "nobody".into() } else { holder }));
                }
                self.object = object;
                Err(Renewal::Failed(kube::Error::Api(status)))
            }
            Err(error) => Err(Renewal::Failed(error)),
        }
    }

    /// Gives the lease back, so that another need not wait for it to expire. To be called when nothing is written any
    /// more.
    pub async fn release(self) {
        controller_metrics::leading(&self.lease.name, false);
        let mut object = self.object;
        if let Some(spec) = &mut object.spec {
            spec.holder_identity = None;
            spec.acquire_time = None;
            spec.renew_time = None;
            spec.lease_duration_seconds = None;
        }
        // With the resourceVersion of our last renewal: one that somebody has taken meanwhile stays theirs.
        let parameters = PostParams::default();
        let released = self.lease.api.replace(&self.lease.name, &parameters, &object);
        match timeout(CALL, released).await {
            Ok(Ok(_)) => tracing::info!(lease = self.lease.name, "the lease is given back"),
            Ok(Err(error)) => tracing::warn!(lease = self.lease.name, %error, "the lease could not be given back"),
            Err(_) => tracing::warn!(lease = self.lease.name, "the lease could not be given back in time"),
        }
    }
}

enum Renewal {
    Taken(String),
    Failed(kube::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_not_renewed_for_its_duration() {
        let now = Instant::now();
        let Step::Wait(seen) = step("me", &held_by("other", 100), None, now) else {
            panic!("taken at first sight")
        };
        let cases = [
            ("free", LeaseSpec::default(), None, 0, true),
            ("given back", held_by("", 100), None, 0, true),
            ("ours", held_by("me", 100), None, 0, true),
            (
                "held, first seen now, with a clock that is far behind",
                held_by("other", 1),
                None,
                0,
                false,
            ),
            (
                "not renewed for too short",
                held_by("other", 100),
                Some(&seen),
                14,
                false,
            ),
            (
                "not renewed for its duration",
                held_by("other", 100),
                Some(&seen),
                15,
                true,
            ),
            ("renewed meanwhile", held_by("other", 101), Some(&seen), 15, false),
            ("another one's", held_by("third", 100), Some(&seen), 15, false),
        ];
        for (case, spec, seen, seconds, take) in cases {
            let step = step("me", &spec, seen, now + Duration::from_secs(seconds));
            assert_eq!(step == Step::Take, take, "{case}");
        }
    }

    #[test]
    fn the_duration_that_is_written_counts_within_reason() {
        let of = |seconds| {
            duration(&LeaseSpec {
                lease_duration_seconds: seconds,
                ..LeaseSpec::default()
            })
        };
        assert_eq!(of(Some(40)), Duration::from_secs(40));
        assert_eq!(of(None), DURATION);
        assert_eq!(of(Some(-1)), DURATION);
        assert_eq!(of(Some(0)), Duration::from_secs(1));
        assert_eq!(of(Some(i32::MAX)), Duration::from_secs(3600));
    }

    #[test]
    fn who_loses_it_stops_well_before_another_takes_it() {
        assert!(RENEWAL + 3 * RETRY < DEADLINE);
        assert!(DEADLINE + CALL < DURATION);
    }
}
