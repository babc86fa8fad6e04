//! What each step does, as the protocol has it.

use super::*;
use crate::domain::rotation::next::{pay, pay_again, refused_until};

impl World {
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Idle | Step::Wait(_) => {}
            Step::Stage(reason) => self.stage(*reason),
            Step::Act => self.act(),
            Step::Test => self.test(),
            Step::Publish => self.publish(),
            Step::Clean => self.attempt = None,
            Step::Confirm => {
                let now = self.now;
                assert!(self.adopts <= now);
                self.previous().confirmed = Some(now);
            }
            Step::Retire => self.retire(),
            Step::Abandon(why) => self.abandon(*why),
            Step::Lose => {
                self.fail(true, Some(Timestamp::MAX));
                self.told = true;
            }
        }
    }

    fn previous(&mut self) -> &mut Previous {
        self.record.as_mut().unwrap().previous.as_mut().unwrap()
    }

    fn fresh(&self, reason: Reason, candidate_number: u32, paid_until: Timestamp) -> Attempt {
        let revision = self.record.as_ref().map_or(0, |record| record.revision) + 1;
        Attempt {
            revision,
            id: format!("{revision}-{candidate_number}-{}-{}", self.policy.spec, self.made),
            candidate_number,
            spec: self.policy.spec.clone(),
            sources: self.sources(),
            reason,
            requested: self.rotate.clone().filter(|_| reason == Reason::Requested),
            created: self.now,
            paid_until,
            ..attempt()
        }
    }

    fn stage(&mut self, reason: Reason) {
        assert!(self.attempt.is_none());
        // A third value comes only where the value in use would be lost otherwise.
        if self.policy.revokes && !self.stepped && self.record.as_ref().is_some_and(|it| it.previous.is_some()) {
            assert!(self.is_needed(reason), "{reason:?} {:?} at {}", self.record, self.now);
        }
        let paid_until = pay(&self.policy, self.record.as_ref(), self.now);
        self.attempt = Some(self.fresh(reason, 0, paid_until));
        self.reasons.push(reason);
    }

    fn is_needed(&self, reason: Reason) -> bool {
        let record = self.record.as_ref().unwrap();
        let useless = matches!(reason, Reason::Missing | Reason::Rejected | Reason::Expired)
            && self.now >= record.issued + SignedDuration::from_mins(10);
        let ended = record
            .previous
            .as_ref()
            .unwrap()
            .not_after
            .is_some_and(|end| end <= self.now);
        let critical = record.not_after.is_some_and(|end| {
            let left = end.duration_since(self.now);
            left < end.duration_since(record.issued) * 2 / 10
        });
        useless || ended || critical
    }

    fn fate(&mut self) -> Fate {
        if self.calm {
            Fate::Succeeds
        } else {
            self.random.one(&TROUBLE)
        }
    }

    fn act(&mut self) {
        let fate = self.fate();
        let (now, sources, rotate) = (self.now, self.sources(), self.rotate.clone());
        let chained = self.policy.class == Class::Chained;
        let attempt = self.attempt.as_mut().unwrap();
        let (before, id) = (attempt.sent, attempt.id.clone());
        let unanswered = attempt.sends > 0;
        attempt.sends += 1;
        attempt.sent = Some(now);
        attempt.sources.clone_from(&sources);
        if attempt.sends == 1 {
            attempt.requested = rotate.or(attempt.requested.take());
        }
        // An answer that was lost may have left a value behind: it is found by its label.
        if unanswered && self.policy.class == Class::Added {
            self.live.retain(|_, made_for| *made_for != id);
        }
        if matches!(fate, Fate::NotSent | Fate::Later | Fate::Refused) {
            let attempt = self.attempt.as_mut().unwrap();
            attempt.sends -= 1;
            attempt.sent = if attempt.sends > 0 { before } else { attempt.sent };
            return self.fail(fate == Fate::Refused, None);
        }
        if chained {
            let authority = match self
                .record
                .as_ref()
                .filter(|record| root(&record.sources) == root(&sources))
            {
                Some(record) => format!("{sources} {}", record.id.as_deref().unwrap_or("none")),
                None => format!("{sources} first"),
            };
            self.uses.entry(authority).or_default().push(now);
        }
        let acted = !matches!(fate, Fate::LostBefore | Fate::DiesBefore);
        if acted {
            self.made += 1;
            match self.policy.class {
                Class::Added => {}
                Class::Free | Class::Ours | Class::Replaced | Class::Chained => self.live.clear(),
            }
            self.live.insert(self.made, id);
        }
        match fate {
            Fate::LostBefore | Fate::LostAfter => {
                // Half of them after the longest time, the others at once.
                if self.random.below(2) == 0 {
                    self.now += SignedDuration::from_secs(30);
                }
                self.fail(false, None);
            }
            Fate::DiesBefore | Fate::DiesAfter => {}
            _ => self.save(),
        }
    }

    fn save(&mut self) {
        let (now, made) = (self.now, self.made);
        let lifetime = self.lifetime;
        let attempt = self.attempt.as_mut().unwrap();
        attempt.phase = Phase::Minted;
        attempt.failed = None;
        attempt.minted = Some(Minted {
            values: BTreeMap::new(),
            id: Some(made.to_string()),
            issued: now,
            not_before: None,
            not_after: (lifetime > 0).then(|| now + SignedDuration::from_secs(lifetime)),
        });
    }

    fn test(&mut self) {
        match self.fate() {
            Fate::Succeeds => {
                let attempt = self.attempt.as_mut().unwrap();
                attempt.phase = Phase::Tested;
                attempt.failed = None;
            }
            Fate::Refused | Fate::Later => self.fail(true, None),
            Fate::DiesBefore | Fate::DiesAfter => self.now += SignedDuration::from_secs(1),
            _ => self.fail(false, None),
        }
    }

    /// Writes a failure down as the controller does.
    fn fail(&mut self, permanent: bool, never: Option<Timestamp>) {
        let attempt = self.attempt.as_ref().unwrap();
        let times = attempt.failed.as_ref().map_or(0, |failed| failed.times) + 1;
        let intent = attempt.phase == Phase::Intent;
        let replay = intent && self.policy.class == Class::Chained && attempt.sends > 0;
        let owed = attempt.failed.as_ref().and_then(|failed| failed.owed);
        let until = refused_until(&self.policy, self.record.as_ref(), owed, self.now);
        let next = match permanent {
            _ if replay && times <= 2 => self.now + SignedDuration::from_secs(2),
            true if intent => until,
            _ => self.now + self.wait(times),
        };
        let refused_replay = (permanent && replay).then_some(Timestamp::MAX);
        self.told |= refused_replay.is_some();
        let next = never.or(refused_replay).unwrap_or(next);
        let (now, spec) = (self.now, self.policy.spec.clone());
        let attempt = self.attempt.as_mut().unwrap();
        // What was edited before a person was told is no reason to ask again.
        if next == Timestamp::MAX {
            attempt.spec = spec;
        }
        let last = now.max(attempt.sent.unwrap_or(now));
        attempt.failed = Some(Failed {
            times,
            owed: if permanent && intent { Some(until) } else { owed },
            ..failed(last, next, permanent)
        });
    }

    fn publish(&mut self) {
        let attempt = self.attempt.clone().unwrap();
        let minted = attempt.minted.clone().unwrap();
        if self.policy.tests && !self.stepped {
            let expired = minted
                .not_after
                .is_some_and(|end| end <= self.now + SignedDuration::from_secs(1));
            assert!(
                attempt.phase == Phase::Tested || expired,
                "not tried before it is in use"
            );
        }
        let before = self.record.take();
        // The previous value whose place is taken is left behind.
        let left = before.as_ref().and_then(|record| record.previous.as_ref());
        self.left.extend(
            left.and_then(|left| left.id.as_ref())
                .map(|id| id.parse::<u32>().unwrap()),
        );
        let previous = before
            .as_ref()
            .filter(|_| self.policy.keeps_previous)
            .map(|record| Previous {
                revision: record.revision,
                id: record.id.clone(),
                not_after: record.not_after,
                ..previous_value()
            });
        let rejections = match attempt.reason {
            Reason::Rejected => before.as_ref().map_or(0, |record| record.rejections) + 1,
            _ => 0,
        };
        self.record = Some(Record {
            revision: attempt.revision,
            attempt: attempt.id.clone(),
            spec: attempt.spec.clone(),
            sources: attempt.sources.clone(),
            id: minted.id.clone(),
            issued: minted.issued,
            not_after: minted.not_after,
            requested: attempt.requested.or(before.and_then(|record| record.requested)),
            rejections,
            paid_until: attempt.paid_until,
            previous,
            ..record()
        });
        self.last = Some(self.now);
        self.paid.push(attempt.created);
        self.refused = None;
        let slow = self.slow();
        self.adopts = self.now + slow;
    }

    fn retire(&mut self) {
        let ended = self.previous().not_after.is_some_and(|end| end <= self.now);
        if self.policy.revokes && self.fate() != Fate::Succeeds {
            let failures = self.previous().failures + 1;
            let next = self.now + self.wait(failures);
            (self.previous().failures, self.previous().next_attempt) = (failures, Some(next));
            return;
        }
        let confirmed = self.previous().confirmed.is_some() || self.adopts <= self.now;
        assert!(confirmed || ended, "retired while workers use it");
        let previous = self.record.as_mut().unwrap().previous.take().unwrap();
        if self.policy.revokes {
            self.live.remove(&previous.id.unwrap().parse().unwrap());
        }
    }

    fn abandon(&mut self, why: Abandoned) {
        let mut attempt = self.attempt.take().unwrap();
        let throws_away = self.policy.class == Class::Chained && attempt.minted.is_some();
        assert!(!throws_away, "the one value that authorises the next: {attempt:?}");
        if self.policy.revokes {
            let fate = self.fate();
            let answered = fate == Fate::Succeeds;
            if answered || fate == Fate::LostAfter {
                self.live.retain(|_, made_for| *made_for != attempt.id);
            }
            if !answered && attempt.abandoning < 5 {
                attempt.abandoning += 1;
                let wait = self.wait(attempt.abandoning + 2);
                attempt.failed = Some(failed(self.now, self.now + wait, false));
                self.attempt = Some(attempt);
                return;
            }
            // It is given up, and named.
            let orphans = self.live.iter().filter(|(_, made_for)| **made_for == attempt.id);
            self.left.extend(orphans.map(|(id, _)| *id));
        }
        // Another candidate, in the same place: the account goes on.
        let paid = pay_again(&self.policy, self.record.as_ref(), &attempt, self.now);
        self.paid.push(attempt.created);
        let reason = if why == Abandoned::Outdated && self.record.is_some() {
            Reason::SpecChanged
        } else {
            attempt.reason
        };
        let another = self.fresh(reason, attempt.candidate_number + 1, paid);
        self.attempt = Some(Attempt {
            revision: attempt.revision,
            requested: attempt.requested,
            ..another
        });
    }
}
