//! What a spec asks for: how its value is replaced.

use std::time::Duration;

use jiff::Timestamp;

use super::window::{self, Opening};
use super::{Record, root};
use crate::api::credential::oauth2::Grant;
use crate::api::credential::rotation::Steps;
use crate::api::credential::{CredentialSpec, CredentialType};
use crate::domain::hash;

/// Percent of the lifetime after which a value is renewed, where the spec does not say.
const RENEW_AT: i32 = 66;
/// Renewals are early by up to this share of the time until then, in percent, by the Credential's UID: what was issued
/// together is not renewed together.
const SPREAD: u32 = 6;
/// How long a previous value stays valid, where the spec does not say and it does not expire by itself.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// What a provider can promise about a call whose answer is lost, which decides how to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What is issued costs nothing and expires by itself: tokens, certificates of a CA at hand. It is issued again.
    Free,
    /// We choose the value: the provider is given the same one again.
    Ours,
    /// The provider adds a value and shows it once. Another one is made; the lost one is found by its label, or named.
    Added,
    /// The provider replaces the value, and another credential authorises that. It is replaced again.
    Replaced,
    /// The provider replaces the value, and the old one authorises that. A lost answer is a lost value, except inside a
    /// grace period in which the old one may be used once more.
    Chained,
}

/// How a value is replaced.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question that is asked by its name"
)]
pub struct Policy {
    /// What of the spec decides over the value, as a hash: another one means another value.
    pub spec: String,
    /// All of the spec, as a hash: whoever edits anything has what was refused for good tried again.
    pub whole: String,
    /// What a lost answer means.
    pub class: Class,
    /// Percent of the lifetime after which it is renewed.
    pub renew_at: u32,
    /// How often it is replaced where it has no lifetime.
    pub interval: Option<Duration>,
    /// How long the previous value is kept once nobody uses it.
    pub overlap: Duration,
    /// When rotations that can wait may begin.
    pub windows: Vec<Opening>,
    /// There is a way to try a value before it is published.
    pub tests: bool,
    /// The previous value is to be taken away at the provider.
    pub revokes: bool,
    /// The provider goes by a new value as soon as there is one, and may refuse the one in use from then on.
    pub takes_effect: bool,
    /// The previous value is kept beside the current one.
    pub keeps_previous: bool,
    /// The first value is in a Secret that somebody else wrote: no value of ours is no reason to issue one.
    pub has_first: bool,
    /// Another source (a key, a CA) means another value.
    pub follows_sources: bool,
    /// A value that the provider refuses is replaced by itself.
    pub replaces_rejected: bool,
    /// From 0 to 999, by the Credential's UID.
    pub spread: u32,
}

impl Policy {
    /// The policy of a spec that issues something, for the Credential `name` with this UID. A window that cannot be read
    /// is as if it were not there: the spec is refused for it elsewhere.
    pub fn of(spec: &CredentialSpec, name: &str, uid: &str) -> Self {
        let kind = spec.credential_type();
        let steps = spec.steps();
        let class = class(spec, name);
        let rotation = spec.rotation.as_ref();
        let expires_by_itself = steps.is_none() && kind != Some(CredentialType::Generated);
        let overlap = rotation.and_then(|rotation| rotation.overlap);
        let overlap = overlap.map_or(if expires_by_itself { Duration::ZERO } else { OVERLAP }, |it| it.0);
        let revokes = steps.is_some_and(|steps| steps.revoke.is_some());
        let renew_at = rotation.and_then(|rotation| rotation.renew_at).unwrap_or(RENEW_AT);
        Self {
            spec: identity(spec),
            whole: whole(spec),
            class,
            renew_at: u32::try_from(renew_at.clamp(1, 99)).unwrap_or(66),
            interval: interval(spec),
            overlap,
            windows: rotation
                .into_iter()
                .flat_map(|rotation| &rotation.windows)
                .filter_map(|window| Opening::parse(window).ok())
                .collect(),
            tests: steps.is_some_and(|steps| steps.test.is_some()),
            revokes,
            takes_effect: match class {
                Class::Free | Class::Added => false,
                Class::Ours => steps.is_some(),
                Class::Replaced | Class::Chained => true,
            },
            keeps_previous: revokes || !overlap.is_zero(),
            has_first: has_first(spec),
            follows_sources: follows_sources(spec),
            // Where the value itself authorises its replacement, a refused one cannot be replaced.
            replaces_rejected: !(class == Class::Chained && steps.is_some()),
            spread: hash::spread(uid),
        }
    }

    /// What is made from `sources` is useless, or out of date, where they are `others` now.
    pub fn follows(&self, sources: &str, others: &str) -> bool {
        self.follows_sources && root(sources) != root(others)
    }

    /// When the value of `record` is to be renewed by itself; `None`: never.
    pub fn renewal(&self, record: &Record) -> Option<Timestamp> {
        let lifetime = record
            .not_after
            .and_then(|end| Duration::try_from(end.duration_since(record.issued)).ok());
        let by_lifetime = lifetime.and_then(|span| self.early(record.issued, span, self.renew_at));
        by_lifetime.into_iter().chain(self.interval_over(record.issued)).min()
    }

    /// When the interval of a value is over that is in use `since` then; `None`: it has none.
    pub fn interval_over(&self, since: Timestamp) -> Option<Timestamp> {
        self.early(since, self.interval?, 100)
    }

    /// So many percent of `span` after `since`, and earlier by the share of this Credential.
    fn early(&self, since: Timestamp, span: Duration, percent: u32) -> Option<Timestamp> {
        // In the ten-millionth, so that `renewAt: 1` is spread as well. A span of 10^7 years is 3 * 10^17 ms: it is
        // multiplied in 128 bits.
        let share = u128::from(percent) * u128::from(100_000 - SPREAD * self.spread);
        let millis = u64::try_from(span.as_millis() * share / 10_000_000).ok()?;
        since.checked_add(Duration::from_millis(millis)).ok()
    }

    /// When the previous value of `record` is taken away, as far as that is known.
    pub fn retirement(&self, record: &Record) -> Option<Timestamp> {
        let previous = record.previous.as_ref()?;
        let overlap = previous
            .confirmed
            .and_then(|confirmed| confirmed.checked_add(self.overlap).ok());
        overlap.into_iter().chain(previous.not_after).min()
    }

    /// How often issuing succeeds when all is well; the pace of what fails for good.
    pub fn period(&self, record: Option<&Record>) -> Duration {
        let life = record.and_then(|record| {
            let renewal = self.renewal(record)?;
            Duration::try_from(renewal.duration_since(record.issued)).ok()
        });
        life.or(self.interval).unwrap_or(OVERLAP)
    }

    /// When a rotation that can wait may begin, not before `now`.
    pub fn opens(&self, now: Timestamp) -> Timestamp {
        window::opens(&self.windows, now)
    }
}

/// An interval replaces what has no lifetime. Of `jwt` with `generate` it is the interval of the key, not of the token.
fn interval(spec: &CredentialSpec) -> Option<Duration> {
    let takes = spec.steps().is_some() || spec.generated.is_some();
    let interval = spec.rotation.as_ref()?.interval?;
    takes.then_some(interval.0)
}

fn has_first(spec: &CredentialSpec) -> bool {
    let api_key = spec.api_key.as_ref().is_some_and(|it| it.secret_ref.is_some());
    let basic = spec.basic.as_ref().is_some_and(|it| it.secret_ref.is_some());
    let bearer = spec.bearer.as_ref().is_some_and(|it| it.secret_ref.is_some());
    api_key || basic || bearer
}

/// A signing key or a CA that was exchanged makes what it signed useless; so does a new refresh token. A client's
/// secret that was exchanged leaves the tokens that it brought alone.
fn follows_sources(spec: &CredentialSpec) -> bool {
    let certificate = spec.certificate.as_ref();
    spec.jwt.is_some()
        || certificate.is_some_and(|certificate| certificate.issue.is_some())
        || spec.oauth2.as_ref().is_some_and(|it| it.grant == Grant::RefreshToken)
}

fn class(spec: &CredentialSpec, name: &str) -> Class {
    if let Some(steps) = spec.steps() {
        return class_of_steps(steps, name);
    }
    match &spec.oauth2 {
        Some(oauth2) if oauth2.grant == Grant::RefreshToken => Class::Chained,
        _ if spec.generated.is_some() => Class::Ours,
        _ => Class::Free,
    }
}

fn class_of_steps(steps: &Steps, name: &str) -> Class {
    if steps.create.generate.is_some() {
        return Class::Ours;
    }
    let authority = steps.create.credential_ref.as_ref();
    if steps.revoke.is_some() {
        Class::Added
    } else if authority.is_some_and(|authority| authority.name == name) {
        Class::Chained
    } else {
        Class::Replaced
    }
}

/// What of a spec decides over the value, as a hash. Where a value goes, who may see it and when it is replaced do not.
fn identity(spec: &CredentialSpec) -> String {
    let mut jwt = spec.jwt.clone();
    if let Some(jwt) = &mut jwt {
        (jwt.place, jwt.name, jwt.prefix) = (None, None, None);
    }
    let issue = spec
        .certificate
        .as_ref()
        .and_then(|certificate| certificate.issue.as_ref());
    let steps = spec.steps().map(|steps| (&steps.create, &steps.set));
    let deciding = serde_json::json!([spec.oauth2, jwt, issue, spec.generated, steps]);
    hash::hex(deciding.to_string().as_bytes())
}

/// All of a spec but whether it is suspended, as a hash.
fn whole(spec: &CredentialSpec) -> String {
    let spec = CredentialSpec {
        suspend: None,
        ..spec.clone()
    };
    // A spec was JSON before it was one.
    hash::hex(serde_json::to_string(&spec).unwrap_or_default().as_bytes())
}
