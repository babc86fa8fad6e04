//! All that the provider issued, ended and was asked, with times since the beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use super::act::Said;

/// What kind of credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Class A.
    Secret,
    /// Class B.
    Key,
    /// Class C.
    Regenerated,
    /// Class D, a key that authorises its own replacement.
    SelfRotating,
    /// An access token.
    Access,
    /// A refresh token; it is no use in a request.
    Refresh,
}

/// A credential that was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    pub kind: Kind,
    pub value: String,
    pub id: String,
    /// The attempt that it was made for: `Idempotency-Key`, or `label`.
    pub label: Option<String>,
    pub born: Duration,
    /// It is not accepted before.
    pub visible: Duration,
    pub expires: Option<Duration>,
    /// When it was ended, and why.
    pub ended: Option<(Duration, &'static str)>,
    /// Tokens of one consent.
    pub family: Option<usize>,
    /// The refresh token that was spent for it.
    pub predecessor: Option<String>,
    /// Whether it was there before, so that nobody asked for it.
    pub seeded: bool,
}

/// A credential to be issued.
pub struct Draft {
    pub kind: Kind,
    /// Absent: made up.
    pub value: Option<String>,
    pub label: Option<String>,
    pub visible: Duration,
    pub expires: Option<Duration>,
    pub family: Option<usize>,
    pub predecessor: Option<String>,
}

/// The ledger.
#[derive(Default)]
pub struct Ledger {
    /// In the order of issue.
    pub issued: Vec<Issued>,
    /// Every call: route and time.
    pub calls: Vec<(String, Duration)>,
    /// Every use of a value: when, which, and whether it was accepted.
    pub uses: Vec<(Duration, String, bool)>,
    /// When refresh tokens were used a second time, each of which ended a family.
    pub replays: Vec<Duration>,
    /// The most refreshes of one family that were under way at once: I5.
    pub most_refreshes_in_flight: usize,
    /// Answers that are given again: by idempotency key or spent refresh token.
    pub(super) answered: BTreeMap<String, Said>,
    refreshing: BTreeMap<Option<usize>, usize>,
}

impl Ledger {
    pub(super) fn seed(&mut self, kind: Kind, value: &str, now: Duration) -> String {
        let family = (kind == Kind::Refresh).then_some(self.issued.len());
        let draft = Draft {
            kind,
            value: Some(value.to_owned()),
            label: None,
            visible: now,
            expires: None,
            family,
            predecessor: None,
        };
        let id = self.mint(draft, now).id;
        if let Some(seeded) = self.issued.last_mut() {
            seeded.seeded = true;
        }
        id
    }

    pub(super) fn mint(&mut self, draft: Draft, now: Duration) -> Issued {
        let Draft {
            kind,
            value,
            label,
            visible,
            expires,
            family,
            predecessor,
        } = draft;
        let number = self.issued.len();
        let issued = Issued {
            kind,
            value: value.unwrap_or_else(|| format!("issued-{number}")),
            id: format!("id-{number}"),
            label,
            born: now,
            visible,
            expires,
            ended: None,
            family,
            predecessor,
            seeded: false,
        };
        self.issued.push(issued.clone());
        issued
    }

    /// Ends every one of `which` that is not ended; how many there were.
    pub(super) fn end(&mut self, which: impl Fn(&Issued) -> bool, why: &'static str, now: Duration) -> usize {
        let unended = self.issued.iter_mut().filter(|it| it.ended.is_none() && which(it));
        unended.map(|it| it.ended = Some((now, why))).count()
    }

    pub(super) fn called(&mut self, route: &str, now: Duration) -> usize {
        self.calls.push((route.to_owned(), now));
        self.calls_of(route)
    }

    pub(super) fn used(&mut self, value: &str, now: Duration) -> bool {
        let accepted = self.accepts(value, now);
        self.uses.push((now, value.to_owned(), accepted));
        accepted
    }

    /// Counts refreshes of one family up or down.
    pub(super) fn refreshing(&mut self, token: Option<&str>, step: isize) {
        let Some(token) = token else { return };
        let family = self.refresh(token).and_then(|it| it.family);
        let count = self.refreshing.entry(family).or_default();
        *count = count.saturating_add_signed(step);
        self.most_refreshes_in_flight = self.most_refreshes_in_flight.max(*count);
    }

    pub(super) fn refresh(&self, value: &str) -> Option<&Issued> {
        self.issued
            .iter()
            .find(|it| it.kind == Kind::Refresh && it.value == value)
    }

    /// Neither ended nor expired.
    pub fn live(&self, now: Duration) -> impl Iterator<Item = &Issued> {
        let unexpired = move |it: &&Issued| it.expires.is_none_or(|expires| now < expires);
        self.issued.iter().filter(|it| it.ended.is_none()).filter(unexpired)
    }

    /// Whether a request with `value` is accepted: I1.
    pub fn accepts(&self, value: &str, now: Duration) -> bool {
        self.live(now)
            .any(|it| it.value == value && it.visible <= now && it.kind != Kind::Refresh)
    }

    /// Refresh tokens that were given for `value`: I5 wants one at most.
    pub fn successors<'a>(&'a self, value: &'a str) -> impl Iterator<Item = &'a Issued> {
        self.issued
            .iter()
            .filter(move |it| it.predecessor.as_deref() == Some(value))
    }

    /// How often `route` was called.
    pub fn calls_of(&self, route: &str) -> usize {
        self.calls.iter().filter(|(called, _)| called == route).count()
    }

    /// Credentials that somebody asked for; a refresh token that comes with an access token is not counted.
    pub fn mints(&self) -> impl Iterator<Item = &Issued> {
        self.issued.iter().filter(|it| !it.seeded && it.predecessor.is_none())
    }

    /// The most mints in any `period`: I6.
    pub fn most_mints_in(&self, period: Duration) -> usize {
        most_within(period, self.mints().map(|it| it.born))
    }

    /// The most calls in any second.
    pub fn peak_rate(&self) -> usize {
        most_within(Duration::from_secs(1), self.calls.iter().map(|(_, at)| *at))
    }

    /// The most credentials of `kind` that were live at once: I2.
    pub fn most_live(&self, kind: Kind) -> usize {
        let of_kind = || self.issued.iter().filter(move |it| it.kind == kind);
        let ends = |it: &Issued| it.ended.map(|(at, _)| at).into_iter().chain(it.expires).min();
        // The number only grows when one is born, and those that end at that time have ended.
        let at = |time: Duration| {
            of_kind()
                .filter(|it| it.born <= time && ends(it).is_none_or(|end| time < end))
                .count()
        };
        of_kind().map(|it| at(it.born)).max().unwrap_or_default()
    }

    /// Times at which `value` was used and refused.
    pub fn refusals(&self, value: &str) -> Vec<Duration> {
        let refused = self
            .uses
            .iter()
            .filter(|(_, used, accepted)| used == value && !accepted);
        refused.map(|(at, ..)| *at).collect()
    }
}

/// The most of `times`, which are in order, within any `period`, its end excluded.
fn most_within(period: Duration, times: impl Iterator<Item = Duration>) -> usize {
    let times: Vec<Duration> = times.collect();
    let from =
        |(index, first): (usize, &Duration)| times[index..].iter().take_while(|at| **at < *first + period).count();
    times.iter().enumerate().map(from).max().unwrap_or_default()
}
