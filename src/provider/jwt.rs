//! Tokens that we sign ourselves (RFC 7519): with a key that the user has, or with one of our own.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::jws::SignError;
use super::{IssueError, Named, Order, lookup};
use crate::api::credential::SecretKeyRef;
use crate::api::credential::jwt::{Jwt, JwtAlgorithm, JwtGenerate};
use crate::domain::rotation::{Minted, Reason};
use crate::domain::secret::SecretValue;
use keys::{Advance, Key, Keys, Signer, Succession, advance, later};
use signing_key::SigningKey;

pub mod keys;
pub mod signing_key;

#[cfg(test)]
mod tests;

/// Key of the issued Secret that holds the token.
pub const TOKEN: &str = "token";
/// Key of the issued Secret that holds our own keys; secret.
pub const KEYS: &str = "keys.json";
/// Key of the issued Secret that holds the public halves of our own keys, for those who verify.
pub const JWKS: &str = "jwks.json";

const LIFETIME: Duration = Duration::from_secs(600);
const INTERVAL: Duration = Duration::from_secs(720 * 3600);
const OVERLAP: Duration = Duration::from_secs(3600);
/// Longest token, in bytes: longer ones fit no header.
const TOKEN_MAX: usize = 16 << 10;

/// What the spec refers to.
pub fn named(spec: &Jwt) -> Named {
    Named {
        secrets: spec.key_ref.iter().map(|key| key.name.clone()).collect(),
        ..Named::default()
    }
}

/// Signs a token, and lets our own keys succeed each other. `fill` fills a buffer with random bytes, from a source that is
/// fit for keys. It computes for as long as an RSA key takes to make, so it belongs on a thread that may block.
pub fn issue(order: &Order<'_>, fill: &mut dyn FnMut(&mut [u8])) -> Result<Minted, IssueError> {
    let Some(spec) = &order.spec.jwt else {
        return Err(lookup::refused("`spec.jwt` must be set".to_owned()));
    };
    match (&spec.key_ref, &spec.generate) {
        (Some(key_ref), None) => with_key_of_user(order, spec, key_ref),
        (None, Some(generate)) => with_key_of_ours(order, spec, generate, fill),
        _ => Err(lookup::refused(
            "`spec.jwt` must have exactly one of `keyRef` and `generate`".to_owned(),
        )),
    }
}

fn with_key_of_user(order: &Order<'_>, spec: &Jwt, key_ref: &SecretKeyRef) -> Result<Minted, IssueError> {
    let source = lookup::Source::secret("spec.jwt.keyRef", &key_ref.name, &key_ref.key);
    let key = SigningKey::read(spec.algorithm, source.read(order.sources)?).map_err(|unfit| source.unusable(unfit))?;
    mint(order, spec, &key, spec.key_id.as_deref()).map(|(minted, _)| minted)
}

fn with_key_of_ours(
    order: &Order<'_>,
    spec: &Jwt,
    generate: &JwtGenerate,
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<Minted, IssueError> {
    if spec.key_id.is_some() {
        return Err(lookup::refused(
            "`spec.jwt.keyID` must be absent with `generate`: our keys succeed each other, and each is known by its own \
             thumbprint"
                .to_owned(),
        ));
    }
    let rotation = order.spec.rotation.as_ref();
    let overlap = generate.overlap.map_or(OVERLAP, |overlap| overlap.0);
    let wanted = Succession {
        algorithm: spec.algorithm,
        interval: rotation
            .and_then(|rotation| rotation.interval)
            .map_or(INTERVAL, |interval| interval.0),
        overlap,
        requested: order.attempt.reason == Reason::Requested,
    };
    let stored = order.current.and_then(|current| current.values.get(KEYS));
    let mut keys = stored.and_then(Keys::read).unwrap_or_default();
    if let Some(record) = order.current.map(|current| current.record) {
        keys.published(record.issued, record.published);
    }
    let Advance { add, signer, drop } = advance(&keys.keys, order.now, wanted);
    keys.keys.retain(|key| !drop.contains(&key.kid));
    let mut signs = match signer {
        Signer::Known(kid) => Some(kid),
        Signer::Added => None,
    };
    if let Some(signs_from) = add {
        let key = new_key(spec.algorithm, order.now, signs_from, fill)?;
        signs.get_or_insert_with(|| key.kid.clone());
        keys.keys.push(key);
    }
    let broken = || lookup::failed("our own signing key could not be read back");
    let signer = keys.keys.iter_mut().find(|key| Some(&key.kid) == signs.as_ref());
    let signer = signer.ok_or_else(broken)?;
    let private = signer.private.as_ref().ok_or_else(broken)?;
    let key = SigningKey::read(signer.algorithm, private).map_err(|_| broken())?;
    let (mut minted, expires) = mint(order, spec, &key, Some(&signer.kid))?;
    signer.retires = signer.retires.max(Some(later(expires, overlap)));
    let signs_from = signer.signs_from;
    for key in &mut keys.keys {
        if key.signs_from < signs_from {
            key.private = None;
        }
    }
    let text = |value: serde_json::Result<String>| value.map(SecretValue::new).map_err(|_| broken());
    minted
        .values
        .insert(KEYS.to_owned(), text(serde_json::to_string(&keys))?);
    minted
        .values
        .insert(JWKS.to_owned(), text(serde_json::to_string_pretty(&keys.public()))?);
    Ok(minted)
}

fn new_key(
    algorithm: JwtAlgorithm,
    now: Timestamp,
    signs_from: Timestamp,
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<Key, IssueError> {
    let failed = || lookup::failed("a signing key could not be made; it is tried again");
    let private = SigningKey::make(algorithm, fill).map_err(|_| failed())?;
    let key = SigningKey::read(algorithm, &private).map_err(|_| failed())?;
    Ok(Key {
        kid: key.thumbprint().ok_or_else(failed)?,
        algorithm,
        created: now,
        signs_from,
        retires: None,
        public: key.public().unwrap_or_default(),
        private: Some(private),
    })
}

/// A token and what is known of it, and when it expires.
fn mint(order: &Order<'_>, spec: &Jwt, key: &SigningKey, kid: Option<&str>) -> Result<(Minted, Timestamp), IssueError> {
    // Times in a token are whole seconds; what is written down is what the token says.
    let lifetime = spec.lifetime.map_or(LIFETIME, |lifetime| lifetime.0).as_secs().max(1);
    let issued = Timestamp::from_second(order.now.as_second()).unwrap_or(order.now);
    let expires = later(issued, Duration::from_secs(lifetime));
    let claims = claims(spec, &order.attempt.id, issued, expires);
    let token = signed(key, kid, &claims).map_err(|_| lookup::failed("a token could not be signed"))?;
    if token.expose().len() > TOKEN_MAX {
        return Err(lookup::refused(
            "`spec.jwt.claims` must be smaller: the token would be longer than 16 KiB".to_owned(),
        ));
    }
    let minted = Minted {
        values: BTreeMap::from([(TOKEN.to_owned(), token)]),
        id: None,
        issued,
        not_before: Some(issued),
        not_after: Some(expires),
    };
    Ok((minted, expires))
}

/// The claims: those of the spec, and over them ours. There is no `nbf` unless the spec has one: it would say what `iat`
/// says, and a verifier whose clock is behind ours would refuse the token for it.
fn claims(spec: &Jwt, id: &str, issued: Timestamp, expires: Timestamp) -> Map<String, Value> {
    let mut claims: Map<String, Value> = spec.claims.clone().into_iter().collect();
    for (name, value) in [("iss", &spec.issuer), ("sub", &spec.subject), ("aud", &spec.audience)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    claims.insert("iat".to_owned(), json!(issued.as_second()));
    claims.insert("exp".to_owned(), json!(expires.as_second()));
    claims.insert("jti".to_owned(), json!(id));
    claims
}

/// A JWS in compact form (RFC 7515, 3.1) of `claims`.
pub fn signed(key: &SigningKey, kid: Option<&str>, claims: &Map<String, Value>) -> Result<SecretValue, SignError> {
    let mut header = Map::from_iter([
        ("alg".to_owned(), json!(key.algorithm())),
        ("typ".to_owned(), json!("JWT")),
    ]);
    if let Some(kid) = kid {
        header.insert("kid".to_owned(), json!(kid));
    }
    key.pair().token(&header, claims)
}
