//! A credential in use: until when it may be sent, and what the provider says of it.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::plan::{CredentialPlan, Material};

/// A value is not sent any more from so long before its end on: providers round.
const LAST: SignedDuration = SignedDuration::from_secs(1);

/// How long callers wait, all together, for the revision that follows one that was answered 401.
const PATIENCE: Duration = Duration::from_secs(5);

/// From the beginning of one such wait to that of another for the same revision. A credential that is dead, and a provider
/// that answers 401 to some requests whatever the credential, must not slow down every call.
const REST: Duration = Duration::from_secs(60);

/// So many answers of 403 in a row, after others, are about the credential and not about what was asked for: a caller who
/// wants what it may not have must not have the credential called refused, over and over, while it works for all others.
const IN_A_ROW: u32 = 10;

/// Who sent the request that the provider answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// An application.
    Caller,
    /// We, about its health.
    Probe,
}

/// A credential of a plan.
#[derive(Debug)]
pub struct Credential {
    plan: CredentialPlan,
    /// From then on it is not sent any more.
    end: Option<Instant>,
    word: Arc<Word>,
}

/// What the provider says of one revision; shared by all plans that carry it.
#[derive(Debug, Default)]
struct Word {
    /// 401 or 403, if that was its last word; else 0.
    refusal: AtomicU16,
    /// Whether it was said to a caller.
    to_caller: AtomicBool,
    /// Whether a caller was ever answered anything else.
    worked: AtomicBool,
    /// How often 403 was said since then.
    forbidden: AtomicU32,
    /// When callers last began to wait for the next revision.
    waits: Mutex<Option<Instant>>,
}

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// On the clock that plans are written by.
    pub wall: Timestamp,
    /// On the one that only goes forward.
    pub instant: Instant,
}

impl Now {
    /// This moment.
    pub fn read() -> Self {
        Self {
            wall: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

impl Credential {
    /// A credential of a plan that is taken up `now`. This is the only look at the wall clock: if it is set later, the end
    /// stays where it was. `old` is the credential of that name before; what the provider said of the same revision holds.
    pub fn new(plan: CredentialPlan, old: Option<&Self>, now: Now) -> Self {
        let end = plan.not_after.and_then(|not_after| {
            let left = not_after.duration_since(now.wall).saturating_sub(LAST);
            // What does not fit into an instant is further away than this process will live.
            now.instant.checked_add(Duration::try_from(left).unwrap_or_default())
        });
        let word = old
            .filter(|old| old.plan.name == plan.name && old.plan.revision == plan.revision)
            .map_or_else(Arc::default, |old| old.word.clone());
        Self { plan, end, word }
    }

    /// What the plan says of it.
    pub fn plan(&self) -> &CredentialPlan {
        &self.plan
    }

    /// From then on it is not sent any more, where that is known.
    pub fn end(&self) -> Option<Instant> {
        self.end.filter(|_| !self.is_unsent())
    }

    /// Why nothing can be sent that needs it, if that is so.
    pub fn trouble(&self, now: Instant) -> Option<&'static str> {
        match &self.plan.material {
            None => Some("has no usable value"),
            Some(_) if self.end().is_some_and(|end| now >= end) => Some("has expired"),
            Some(_) => None,
        }
    }

    fn is_unsent(&self) -> bool {
        matches!(self.plan.material, Some(Material::Unsent { .. }))
    }

    /// Whether a request with `method` carries it to an endpoint that it is sent to. A TRACE request carries what the
    /// connection carries alone: see [`authenticate`](super::layer::authenticate::authenticate).
    pub fn travels(&self, method: &Method) -> bool {
        *method != Method::TRACE || self.is_certificate()
    }

    /// Whether it is shown by the connection and not by the request.
    pub fn is_certificate(&self) -> bool {
        matches!(self.plan.material, Some(Material::Certificate { .. }))
    }

    /// The provider's last word on this revision, if that was 401 or 403.
    pub fn refusal(&self) -> Option<u16> {
        Some(self.word.refusal.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// The provider answered a request that carried it. Says whether that changed anything.
    pub fn note_answer(&self, status: StatusCode, asker: Asker) -> bool {
        if !tells(status, asker, self.word.to_caller.load(Ordering::Relaxed)) {
            return false;
        }
        let refusal = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => status.as_u16(),
            _ => 0,
        };
        if self.word.is_about_the_request(refusal, asker) {
            return false;
        }
        let to_caller = refusal != 0 && asker == Asker::Caller;
        // Plain loads first: the common answer changes nothing, and a swap would move the cache line between cores.
        if self.word.to_caller.load(Ordering::Relaxed) != to_caller {
            self.word.to_caller.store(to_caller, Ordering::Relaxed);
        }
        if self.word.refusal.load(Ordering::Relaxed) == refusal {
            return false;
        }
        let mut waits = self.word.waits();
        let before = self.word.refusal.swap(refusal, Ordering::Relaxed);
        if status == StatusCode::UNAUTHORIZED && before != refusal {
            let now = Instant::now();
            *waits = waits.filter(|began| now < *began + REST).or(Some(now));
        }
        before != refusal
    }

    /// Until when it is worth waiting for the revision after this one, which was answered 401.
    pub fn patience(&self) -> Option<Instant> {
        self.word.waits().map(|began| began + PATIENCE)
    }

    /// The header that carries it, if a header does.
    pub fn header(&self) -> Option<HeaderName> {
        match &self.plan.material {
            Some(Material::Header { name, .. }) => HeaderName::from_bytes(name.as_bytes()).ok(),
            _ => None,
        }
    }
}

/// Whether an answer says anything of a credential, of which the last refusal was said to a caller or not.
///
/// Many a health check asks for no credential, so a probe that succeeds does not outweigh callers who are turned away: the
/// condition would say that all is well while every call fails. A server error says nothing of it either.
fn tells(status: StatusCode, asker: Asker, refused_to_caller: bool) -> bool {
    !status.is_server_error() && (asker == Asker::Caller || !refused_to_caller)
}

impl Word {
    /// Takes note of an answer, and says whether it is a 403 that is about what was asked for.
    fn is_about_the_request(&self, refusal: u16, asker: Asker) -> bool {
        if refusal == 0 {
            if asker == Asker::Caller {
                // Loads first, as above.
                if !self.worked.load(Ordering::Relaxed) {
                    self.worked.store(true, Ordering::Relaxed);
                }
                if self.forbidden.load(Ordering::Relaxed) != 0 {
                    self.forbidden.store(0, Ordering::Relaxed);
                }
            }
            return false;
        }
        let one_of_many = refusal == StatusCode::FORBIDDEN.as_u16()
            && self.worked.load(Ordering::Relaxed)
            && self.refusal.load(Ordering::Relaxed) == 0;
        one_of_many && self.forbidden.fetch_add(1, Ordering::Relaxed) + 1 < IN_A_ROW
    }

    fn waits(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::SecretValue;

    fn plan(revision: i64, not_after: Option<Timestamp>) -> CredentialPlan {
        CredentialPlan {
            name: "key".to_owned(),
            revision,
            allowed_hosts: Vec::new(),
            material: Some(Material::Header {
                name: "x-key".to_owned(),
                value: SecretValue::new("v"),
            }),
            not_after,
            renewable: true,
        }
    }

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millisecond).unwrap()
    }

    fn now() -> Now {
        Now {
            wall: at(0),
            instant: Instant::now(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn from_one_second_before_its_end_on_a_value_is_not_sent() {
        let start = now();
        for (end, last) in [(60_000, 59_000_u64), (1_500, 500), (1_001, 1)] {
            let credential = Credential::new(plan(1, Some(at(end))), None, start);
            let after = |millis| start.instant + Duration::from_millis(millis);
            assert_eq!(credential.trouble(after(last - 1)), None, "{end}");
            assert_eq!(credential.trouble(after(last)), Some("has expired"), "{end}");
            assert_eq!(credential.trouble(after(10 * last + 10)), Some("has expired"), "{end}");
        }
        for end in [1_000, 999, 0, -1, -1_000_000] {
            let credential = Credential::new(plan(1, Some(at(end))), None, start);
            assert_eq!(credential.trouble(start.instant), Some("has expired"), "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_not_known_or_out_of_reach_never_comes() {
        let start = now();
        for end in [None, Some(Timestamp::MAX)] {
            let credential = Credential::new(plan(1, end), None, start);
            assert_eq!(
                credential.trouble(start.instant + Duration::from_secs(1_000_000_000)),
                None
            );
        }
        let expired = Credential::new(plan(1, Some(Timestamp::MIN)), None, start);
        assert_eq!(expired.trouble(start.instant), Some("has expired"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_sent_may_expire() {
        let mut unsent = plan(1, Some(at(0)));
        unsent.material = Some(Material::Unsent {
            value: SecretValue::new("v"),
        });
        let credential = Credential::new(unsent, None, now());
        assert_eq!((credential.trouble(Instant::now()), credential.end()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_provider_said_holds_for_its_revision_alone() {
        let first = Credential::new(plan(1, None), None, now());
        assert!(first.note_answer(StatusCode::FORBIDDEN, Asker::Caller));
        assert!(!first.note_answer(StatusCode::FORBIDDEN, Asker::Caller));
        let same = Credential::new(plan(1, None), Some(&first), now());
        assert_eq!(same.refusal(), Some(403));
        assert!(same.note_answer(StatusCode::UNAUTHORIZED, Asker::Caller));
        assert_eq!(first.refusal(), Some(401), "both plans are about the same value");
        let next = Credential::new(plan(2, None), Some(&same), now());
        assert_eq!(next.refusal(), None);
        assert!(same.note_answer(StatusCode::NOT_FOUND, Asker::Caller));
        assert_eq!(first.refusal(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_clears_what_a_probe_found_and_no_more() {
        use Asker::{Caller, Probe};
        let credential = Credential::new(plan(1, None), None, now());
        for (asker, status, refusal) in [
            (Probe, 403, Some(403)),
            (Probe, 500, Some(403)),
            (Probe, 200, None),
            (Caller, 401, Some(401)),
            (Probe, 200, Some(401)),
            (Probe, 403, Some(401)),
            (Caller, 503, Some(401)),
            (Caller, 404, None),
            (Probe, 401, Some(401)),
            (Caller, 401, Some(401)),
            (Probe, 204, Some(401)),
            (Caller, 200, None),
        ] {
            credential.note_answer(StatusCode::from_u16(status).unwrap(), asker);
            assert_eq!(credential.refusal(), refusal, "{asker:?} {status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_403_among_other_answers_is_about_what_was_asked_for() {
        let credential = Credential::new(plan(1, None), None, now());
        let say = |status: u16| credential.note_answer(StatusCode::from_u16(status).unwrap(), Asker::Caller);
        assert!(say(403), "where nothing ever worked, the first one counts");
        assert!(say(200));
        for _ in 0..100 {
            for _ in 1..IN_A_ROW {
                assert!(!say(403));
                say(500);
            }
            assert_eq!(credential.refusal(), None);
            say(404);
        }
        for _ in 1..IN_A_ROW {
            say(403);
        }
        assert!(say(403), "nothing else for so long");
        assert_eq!(credential.refusal(), Some(403));
        assert!(say(200));
        assert!(say(401), "a 401 is about the credential");
        assert_eq!(credential.refusal(), Some(401));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_wait_for_five_seconds_in_a_minute_and_no_longer() {
        let credential = Credential::new(plan(1, None), None, now());
        let wait = || {
            credential
                .patience()
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
        };
        let refused = || credential.note_answer(StatusCode::UNAUTHORIZED, Asker::Caller);
        credential.note_answer(StatusCode::FORBIDDEN, Asker::Caller);
        assert_eq!(wait(), Duration::ZERO, "a 403 is not mended by another value");
        refused();
        assert_eq!(wait(), PATIENCE);
        tokio::time::advance(Duration::from_secs(3)).await;
        refused();
        assert_eq!(wait(), Duration::from_secs(2), "whoever comes later waits less");
        tokio::time::advance(Duration::from_secs(30)).await;
        credential.note_answer(StatusCode::OK, Asker::Caller);
        refused();
        assert_eq!(wait(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(30)).await;
        refused();
        assert_eq!(wait(), Duration::ZERO, "it was refused all the time");
        credential.note_answer(StatusCode::OK, Asker::Caller);
        refused();
        assert_eq!(wait(), PATIENCE, "it worked in between");
    }
}
