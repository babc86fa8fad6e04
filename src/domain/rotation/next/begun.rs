//! The step that an attempt is at.

use std::time::Duration;

use jiff::Timestamp;

use super::due::{doubled, is_pressed, soonest};
use super::{
    Abandoned, GRACE, Next, Observed, POISONED, SKEW, Step, Waiting, after, alone, ends, midway, refusal_pace,
};
use crate::domain::rotation::attempt::{Attempt, Failed, Phase};
use crate::domain::rotation::cap;
use crate::domain::rotation::policy::{Class, Policy};

/// Longest wait after calls of which none was heard of again.
const UNHEARD_MAX: Duration = Duration::from_secs(3600);

/// An attempt, and what of the observation concerns it.
#[expect(clippy::struct_excessive_bools, reason = "four findings, each asked for by name")]
struct Begun<'a> {
    policy: &'a Policy,
    observed: &'a Observed<'a>,
    attempt: &'a Attempt,
    /// What it is made from is something else since it was sent, and that makes another value of it.
    other_sources: bool,
    /// The same for the spec.
    other_spec: bool,
    /// Only an edit helps.
    permanent: bool,
    /// A call was begun, and how it ended was not written down: another process may be at it.
    unheard: bool,
}

/// An attempt that was begun.
pub(super) fn begun(policy: &Policy, observed: &Observed<'_>) -> Option<Next> {
    let attempt = observed.attempt?;
    let unheard = attempt.phase == Phase::Intent
        && attempt.sends > 0
        && attempt
            .sent
            .is_some_and(|sent| attempt.failed.as_ref().is_none_or(|failed| failed.last < sent));
    // A failure from before a call that nobody heard of says nothing of that call.
    let permanent = !unheard && attempt.failed.as_ref().is_some_and(|failed| failed.permanent);
    // What was sent was made from the old ones, and a permanent failure may be mended by the new ones; but a refresh token
    // that is used up by nothing but another refresh token.
    let used_up = policy.class == Class::Chained && policy.follows_sources;
    let mends = permanent && !used_up && attempt.sources != observed.sources;
    let other_sources = attempt.sends > 0 && (policy.follows(&attempt.sources, observed.sources) || mends);
    let begun = Begun {
        policy,
        observed,
        attempt,
        other_sources,
        other_spec: attempt.spec != policy.spec,
        permanent,
        unheard,
    };
    Some(begun.next())
}

impl Begun<'_> {
    fn next(&self) -> Next {
        let record = self.observed.record;
        if record.is_some_and(|record| record.revision >= self.attempt.revision) {
            return self.at_once(Step::Clean);
        }
        if self.attempt.abandoning > 0 {
            return self.abandon_on();
        }
        // Before anything else, an edit included: what a call that is still under way does to the provider would come
        // after what we do now.
        if let Some(until) = self.quiet() {
            return self.wait(Waiting::Call, until);
        }
        if let Some(outdated) = self.outdated() {
            return outdated;
        }
        if let Some(expired) = self.expired() {
            return expired;
        }
        if self.is_lost() {
            return self.lost();
        }
        if let Some(failed) = &self.attempt.failed
            && let Some(until) = self.retry(failed)
        {
            let waiting = if failed.permanent {
                Waiting::Edit
            } else {
                Waiting::Backoff
            };
            return self.wait(waiting, until);
        }
        match self.attempt.phase {
            Phase::Intent => self.act(),
            Phase::Minted if self.policy.tests => self.test(),
            Phase::Minted | Phase::Tested => self.at_once(Step::Publish),
        }
    }

    /// What is given up stays given up, an edit that takes the last one back notwithstanding: what it made may be void
    /// although we were told that it could not be taken away.
    fn abandon_on(&self) -> Next {
        let failed = self
            .attempt
            .failed
            .as_ref()
            .filter(|failed| !self.is_future(failed.last));
        match failed.filter(|failed| self.observed.now < failed.next) {
            Some(failed) => self.wait(Waiting::Backoff, failed.next),
            None => self.at_once(Step::Abandon(Abandoned::Outdated)),
        }
    }

    /// Until when a call that an earlier process made may be under way, and it matters.
    fn quiet(&self) -> Option<Timestamp> {
        let sent = self.attempt.sent.filter(|_| self.unheard)?;
        let edited = self.other_spec || self.attempt.sources != self.observed.sources;
        let alone = alone(self.policy.class);
        let quiet = match self.policy.class {
            Class::Free => Duration::ZERO,
            // The same value twice is the same as once; another one before the first has arrived is not.
            Class::Ours if !edited => Duration::ZERO,
            // What a call that is under way adds is found by nobody who looks for it now.
            Class::Ours | Class::Added | Class::Replaced | Class::Chained => alone,
        };
        // Whoever asks again and again and never gets so far as to write down how it ended must not do so at full speed: a
        // provider's answer that ends our process, or that cannot be saved, is one that a new one would bring again.
        let again = match self.attempt.sends {
            _ if edited => Duration::ZERO,
            0..=2 => Duration::ZERO,
            sends => alone.saturating_mul(1 << (sends - 3).min(16)).min(UNHEARD_MAX),
        };
        let until = after(sent, quiet.max(again));
        (self.observed.now < until && !self.is_future(sent)).then_some(until)
    }

    /// The spec or a source is another one since.
    fn outdated(&self) -> Option<Next> {
        let abandon = Some(self.at_once(Step::Abandon(Abandoned::Outdated)));
        let chained = self.policy.class == Class::Chained;
        // Whoever asks for a value after it was refused for good asks for another try; here it takes another attempt.
        let pressed =
            self.permanent && self.attempt.sends > 0 && self.attempt.minted.is_none() && self.is_newly_pressed();
        if pressed && !chained {
            return abandon;
        }
        if !self.other_spec && !self.other_sources {
            return None;
        }
        if self.attempt.minted.is_some() {
            let ready = self.attempt.phase == Phase::Tested || !self.policy.tests;
            return match self.policy.takes_effect {
                // The provider goes by the new value already. To throw it away would leave everybody with one that may be
                // void, and where the value authorises the next one, with nothing at all. So it is put in use, and
                // replaced right after.
                true if ready => Some(self.at_once(Step::Publish)),
                true if chained => None,
                _ => abandon,
            };
        }
        // Another spec does not bring the old value back: first it is to be known what became of it. Not so where a person
        // was told, and edits.
        let unknown = chained && self.attempt.sends > 0 && !self.permanent && !self.other_sources;
        if unknown { None } else { abandon }
    }

    /// The value ended before it was in use.
    fn expired(&self) -> Option<Next> {
        let end = self.attempt.minted.as_ref()?.not_after?;
        if self.observed.now < ends(end) {
            return None;
        }
        // What came with it, and authorises the next one, did not expire; what authorised this one is used up.
        if self.policy.class == Class::Chained {
            return Some(self.at_once(Step::Publish));
        }
        Some(self.give_up(Abandoned::Expired))
    }

    /// Gives the attempt up, ever later where others before it were: what is wrong is not the candidate.
    fn give_up(&self, why: Abandoned) -> Next {
        let created = self.attempt.created;
        let until = after(created, doubled(self.attempt.candidate_number));
        if self.observed.now < until && !self.is_future(created) {
            return self.wait(Waiting::Backoff, until);
        }
        self.at_once(Step::Abandon(why))
    }

    /// A value that replaces itself was used, and what came of it was not saved.
    fn is_lost(&self) -> bool {
        self.policy.class == Class::Chained && self.attempt.phase == Phase::Intent && self.attempt.sends > 0
    }

    /// Once more, as long as the provider may allow it; then never again.
    fn lost(&self) -> Next {
        let now = self.observed.now;
        let told = self
            .attempt
            .failed
            .as_ref()
            .filter(|failed| failed.permanent && failed.next == Timestamp::MAX);
        if told.is_some() && !self.unheard {
            return self.wait(Waiting::Edit, Timestamp::MAX);
        }
        let sent = self.attempt.sent.filter(|sent| !self.is_future(*sent));
        let Some(sent) = sent.filter(|sent| self.attempt.sends == 1 && now <= after(*sent, GRACE)) else {
            // At once: whoever is to authorise anew should hear of it while the old value still works.
            return self.at_once(Step::Lose);
        };
        // The backoff must not outlast the grace period.
        let until = self
            .attempt
            .failed
            .as_ref()
            .map(|failed| failed.next.min(after(sent, alone(self.policy.class))));
        match until.filter(|until| now < *until && !self.unheard) {
            Some(until) => self.wait(Waiting::Backoff, until),
            None => self.at_once(Step::Act),
        }
    }

    /// When it is tried again, if not now.
    fn retry(&self, failed: &Failed) -> Option<Timestamp> {
        let now = self.observed.now;
        let intent = self.attempt.phase == Phase::Intent;
        // What is asked now is made from other sources, or was asked for by a person since. A value that is made already is
        // tried no sooner for that.
        let excused = intent && (self.attempt.sources != self.observed.sources || self.is_pressed());
        if self.unheard
            || excused
            || self.is_edited(failed)
            || self.is_future(failed.last) && failed.next < Timestamp::MAX
        {
            return None;
        }
        let until = match self.attempt.phase {
            _ if !failed.permanent || failed.next == Timestamp::MAX => failed.next,
            Phase::Minted if self.is_poisoned() => return None,
            // The refusals of a candidate are counted within minutes: the value in use does not live for ever.
            Phase::Minted => after(failed.last, doubled(failed.times.saturating_sub(1))),
            // Nor is it left to expire without another try, at half of the time that is left.
            _ => self.half_left(failed).map_or(failed.next, |half| half.min(failed.next)),
        };
        (now < until).then_some(until)
    }

    /// In the middle of what was left of the value in use after the refusal, unless that was next to nothing: once, and
    /// before the first try at its usual pace, which is left out for it. A provider that refuses is not asked more often
    /// than one that gives.
    fn half_left(&self, failed: &Failed) -> Option<Timestamp> {
        let record = self.observed.record?;
        let last = failed.last;
        let pace = refusal_pace(self.policy, Some(record));
        let first = last < after(self.policy.renewal(record)?, pace) && failed.next <= after(last, pace);
        Some(midway(last, ends(record.not_after?))).filter(|middle| first && *middle >= after(last, cap::COST))
    }

    /// The spec is another one since this was refused: anything in it may be what helps. Not so a new authorisation, which
    /// is in no spec.
    fn is_edited(&self, failed: &Failed) -> bool {
        let other = failed.whole.as_ref().is_some_and(|whole| *whole != self.policy.whole);
        failed.permanent && failed.next < Timestamp::MAX && other
    }

    fn act(&self) -> Next {
        let allowed = cap::allowed_again(self.policy, self.observed.record, self.attempt);
        let first = self.attempt.candidate_number == 0 || self.attempt.sends > 0;
        if !first && self.observed.now < allowed && !self.is_future(self.attempt.created) {
            return self.wait(Waiting::Cap, allowed);
        }
        self.at_once(Step::Act)
    }

    fn test(&self) -> Next {
        if self.is_poisoned() {
            self.give_up(Abandoned::Poisoned)
        } else {
            self.at_once(Step::Test)
        }
    }

    /// The test refused it often enough. Where the value itself authorises the next one there is no other candidate: it is
    /// tried for ever, and ever later.
    fn is_poisoned(&self) -> bool {
        let refusals = self.attempt.failed.as_ref().filter(|failed| failed.permanent);
        let poisoned = refusals.is_some_and(|failed| failed.times >= POISONED && !self.is_edited(failed));
        poisoned && self.policy.class != Class::Chained
    }

    /// A person asks for a value, and this attempt has not asked the provider since. A call whose answer was lost does not
    /// answer them, and its pace is not theirs to set.
    fn is_pressed(&self) -> bool {
        self.is_newly_pressed() && self.attempt.sends == 0
    }

    fn is_newly_pressed(&self) -> bool {
        is_pressed(self.observed) && self.attempt.requested.as_deref() != self.observed.rotate
    }

    fn is_future(&self, at: Timestamp) -> bool {
        at > after(self.observed.now, SKEW)
    }

    fn at_once(&self, step: Step) -> Next {
        Next::at_once(step, Some(self.attempt.reason))
    }

    /// Waits, but not beyond the end of a value that is made.
    fn wait(&self, waiting: Waiting, until: Timestamp) -> Next {
        let end = self
            .attempt
            .minted
            .as_ref()
            .and_then(|minted| minted.not_after)
            .map(ends);
        let until = Some(until).filter(|until| *until < Timestamp::MAX);
        let end = end.filter(|end| *end > self.observed.now);
        Next::wait(waiting, Some(self.attempt.reason), soonest(until, end))
    }
}
