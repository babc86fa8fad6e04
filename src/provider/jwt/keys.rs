//! Our own signing keys and their succession.
//!
//! A verifier that has read `jwks.json` may keep it for a while. So a new key is published first and signs later, and
//! an old one stays until the last token that it signed has expired, and the overlap after it. The very first key signs
//! at once: nobody can have an older set.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::signing_key::SigningKey;
use crate::api::credential::jwt::JwtAlgorithm;
use crate::domain::secret::SecretValue;

#[cfg(test)]
mod tests;

/// Most keys at a time. The next one waits until one of them has gone.
pub const KEYS_MAX: usize = 8;

/// The keys, as the issued Secret holds them under `keys.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// The keys, in no order that matters.
    pub keys: Vec<Key>,
}

/// A key of our own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its thumbprint (RFC 7638).
    pub kid: String,
    /// What it signs with.
    pub algorithm: JwtAlgorithm,
    /// When it was made.
    pub created: Timestamp,
    /// From when it signs.
    pub signs_from: Timestamp,
    /// When it goes: the expiry of the last token that it signed, and the overlap. `None` while it has signed nothing.
    pub retires: Option<Timestamp>,
    /// Members of its public JWK; empty for a shared key.
    pub public: BTreeMap<String, String>,
    /// The key itself; absent once another has taken over, because it never signs again.
    pub private: Option<SecretValue>,
}

/// What is asked of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    /// What new keys sign with.
    pub algorithm: JwtAlgorithm,
    /// How long a key signs before it gets a successor.
    pub interval: Duration,
    /// How long a key is published before it signs.
    pub overlap: Duration,
    /// A person asked for another key.
    pub requested: bool,
}

/// What becomes of the keys now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// A key is to be made that signs from then.
    pub add: Option<Timestamp>,
    /// Who signs.
    pub signer: Signer,
    /// The ids of those that go.
    pub drop: Vec<String>,
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The key of this id.
    Known(String),
    /// The key that is added.
    Added,
}

/// What becomes of `keys` at `now`. Asked again with what came of it, it changes nothing.
///
/// The token is signed by the key whose time has come last. It gets a successor when its interval is over, when the
/// algorithm is another, or when a person asks for it, unless one waits already; the successor signs once it has been
/// published for the overlap.
pub fn advance(keys: &[Key], now: Timestamp, wanted: Succession) -> Advance {
    let usable = || keys.iter().filter(|key| key.private.is_some());
    let begun = usable()
        .filter(|key| key.signs_from <= now)
        .max_by(|one, other| one.signs_from.cmp(&other.signs_from));
    // None has begun if the clock was set back: then the first to begin signs, rather than nobody.
    let signer = begun.or_else(|| usable().min_by(|one, other| one.signs_from.cmp(&other.signs_from)));
    let Some(signer) = signer else {
        return Advance {
            add: Some(now),
            signer: Signer::Added,
            drop: gone(keys, now, &[]),
        };
    };
    let fits = |key: &&Key| key.algorithm == wanted.algorithm;
    let successor = usable()
        .filter(|key| key.signs_from > signer.signs_from)
        .filter(fits)
        .min_by(|one, other| one.signs_from.cmp(&other.signs_from));
    let due = wanted.requested || !fits(&signer) || later(signer.signs_from, wanted.interval) <= now;
    let next = (due && successor.is_none()).then(|| later(now, wanted.overlap));
    let takes_over = next.is_some_and(|at| at <= now);
    let kept: Vec<&str> = if takes_over {
        Vec::new()
    } else {
        let successor = successor.map(|key| &*key.kid);
        std::iter::once(&*signer.kid).chain(successor).collect()
    };
    let drop = gone(keys, now, &kept);
    if keys.len() - drop.len() >= KEYS_MAX {
        return Advance {
            add: None,
            signer: Signer::Known(signer.kid.clone()),
            drop,
        };
    }
    Advance {
        add: next,
        signer: if takes_over {
            Signer::Added
        } else {
            Signer::Known(signer.kid.clone())
        },
        drop,
    }
}

/// Those that nothing is verified with any more. One that has signed nothing and is not to sign goes at once.
fn gone(keys: &[Key], now: Timestamp, kept: &[&str]) -> Vec<String> {
    keys.iter()
        .filter(|key| !kept.contains(&&*key.kid) && key.retires.is_none_or(|retires| retires <= now))
        .map(|key| key.kid.clone())
        .collect()
}

/// `time` and `after` it, as far as time goes.
pub fn later(time: Timestamp, after: Duration) -> Timestamp {
    time.checked_add(after).unwrap_or(Timestamp::MAX)
}

impl Keys {
    /// The keys of `keys.json`; `None` if it is not what was written, whereupon one begins anew.
    pub fn read(text: &SecretValue) -> Option<Self> {
        let keys: Self = serde_json::from_str(text.expose()).ok()?;
        let whole = |key: &Key| match &key.private {
            None => true,
            Some(private) => {
                SigningKey::read(key.algorithm, private).is_ok_and(|read| read.thumbprint().as_ref() == Some(&key.kid))
            }
        };
        (keys.keys.len() <= KEYS_MAX && keys.keys.iter().all(whole)).then_some(keys)
    }

    /// The keys that were made with the value that was issued then were published at that time, which may be much later: one
    /// that waits does so from then on, since nobody could read it before.
    pub fn published(&mut self, issued: Timestamp, published: Option<Timestamp>) {
        // A value's time of issue is in whole seconds, and its keys are made after it.
        for key in self.keys.iter_mut().filter(|key| key.created >= issued) {
            let late = published.and_then(|at| Duration::try_from(at.duration_since(key.created)).ok());
            if let Some(late) = late.filter(|_| key.signs_from > key.created) {
                key.signs_from = later(key.signs_from, late);
            }
        }
    }

    /// The public keys as a JWK set (RFC 7517, 5), for those who verify. A shared key is not in it.
    pub fn public(&self) -> serde_json::Value {
        let jwk = |key: &Key| {
            let mut jwk: serde_json::Map<_, _> = key
                .public
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into()))
                .collect();
            jwk.insert("use".into(), "sig".into());
            jwk.insert("alg".into(), serde_json::json!(key.algorithm));
            jwk.insert("kid".into(), key.kid.clone().into());
            serde_json::Value::Object(jwk)
        };
        let public = self.keys.iter().filter(|key| !key.public.is_empty());
        serde_json::json!({ "keys": public.map(jwk).collect::<Vec<_>>() })
    }
}
