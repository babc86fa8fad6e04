//! What the provider does with one request.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Settings;
use super::ledger::{Draft, Issued, Kind, Ledger};

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub body: String,
}

impl Said {
    pub fn empty(status: u16) -> Self {
        Self::json(status, json!({}))
    }

    fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            retry_after: None,
            body: body.to_string(),
        }
    }

    /// RFC 6749, 5.2.
    fn error(status: u16, error: &str) -> Self {
        Self::json(status, json!({ "error": error }))
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    url::form_urlencoded::parse(text.as_bytes()).into_owned()
}

/// The value of `name` if it is there once.
fn once(mut pairs: impl Iterator<Item = (String, String)>, name: &str) -> Option<String> {
    let mut of_name = pairs.by_ref().filter(|(key, _)| key == name).map(|(_, value)| value);
    let first = of_name.next()?;
    of_name.next().is_none().then_some(first)
}

impl Asked {
    /// Method and first segment.
    pub fn route(&self) -> String {
        format!("{} /{}", self.method, self.segments().next().unwrap_or_default())
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').skip(1)
    }

    fn header(&self, name: &str) -> Option<String> {
        once(self.headers.iter().cloned(), name)
    }

    /// A field of a JSON body that says that it is JSON.
    fn field(&self, name: &str) -> Option<String> {
        let says = self.header("content-type")?;
        let body: Value = serde_json::from_str(&self.body)
            .ok()
            .filter(|_| says == "application/json")?;
        body.get(name)?.as_str().map(str::to_owned)
    }

    fn form(&self, name: &str) -> Option<String> {
        let says = self.header("content-type")?;
        once(
            pairs(&self.body).filter(|_| says == "application/x-www-form-urlencoded"),
            name,
        )
    }

    fn basic(&self) -> Option<(String, String)> {
        let line = self.header("authorization")?;
        let decoded = STANDARD.decode(line.strip_prefix("Basic ")?).ok()?;
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// The one value that the request carries.
    fn presented(&self) -> Option<String> {
        let bearer = || self.header("authorization")?.strip_prefix("Bearer ").map(str::to_owned);
        let ways = [
            bearer(),
            self.basic().map(|(_, password)| password),
            self.header("x-api-key"),
            once(pairs(&self.query), "api_key"),
        ];
        let mut given = ways.into_iter().flatten();
        let first = given.next()?;
        given.next().is_none().then_some(first)
    }

    /// The refresh token that the request spends.
    pub fn refresh_token(&self) -> Option<String> {
        let refreshes = self.route() == "POST /token" && self.form("grant_type")? == "refresh_token";
        self.form("refresh_token").filter(|_| refreshes)
    }

    /// The attempt that it is for.
    fn label(&self) -> Option<String> {
        self.header("idempotency-key").or_else(|| self.field("label"))
    }
}

/// Acts.
pub fn act(settings: &Settings, ledger: &mut Ledger, asked: &Asked, now: Duration) -> Said {
    let admin = asked.presented().as_ref() == Some(&settings.admin);
    let segments: Vec<&str> = asked.segments().collect();
    match (&*asked.method, &segments[..]) {
        ("PUT", ["secret"]) => set_secret(settings, ledger, asked, admin, now),
        ("DELETE", ["secret"]) if admin => {
            let value = asked.field("value");
            match ledger.end(
                |it| it.kind == Kind::Secret && Some(&it.value) == value.as_ref(),
                "deleted",
                now,
            ) {
                0 => Said::empty(404),
                _ => Said::empty(204),
            }
        }
        ("GET", ["whoami"]) => match asked.presented() {
            Some(value) if ledger.used(&value, now) => Said::empty(200),
            _ => Said::empty(401),
        },
        ("POST", ["rotate"]) => rotate(settings, ledger, asked, now),
        ("POST", ["token"]) => token(settings, ledger, asked, now),
        ("POST" | "GET", ["keys" | "regenerate"]) | ("DELETE", ["keys", _]) if !admin => Said::empty(401),
        ("POST", ["keys"]) => add_key(settings, ledger, asked, now),
        ("GET", ["keys"]) if settings.lists => {
            let label = once(pairs(&asked.query), "label");
            let wanted = |it: &&Issued| it.kind == Kind::Key && (label.is_none() || it.label == label);
            let keys = ledger.live(now).filter(wanted);
            let keys: Vec<Value> = keys.map(|it| json!({ "id": it.id, "label": it.label })).collect();
            Said::json(200, json!({ "keys": keys }))
        }
        ("DELETE", ["keys", id]) => match ledger.end(|it| it.kind == Kind::Key && it.id == *id, "deleted", now) {
            0 => Said::empty(404),
            _ => Said::empty(204),
        },
        ("POST", ["regenerate"]) => {
            ledger.end(|it| it.kind == Kind::Regenerated, "replaced", now);
            shown(
                settings,
                200,
                ledger.mint(draft(settings, Kind::Regenerated, asked, now), now),
            )
        }
        _ => Said::empty(404),
    }
}

fn draft(settings: &Settings, kind: Kind, asked: &Asked, now: Duration) -> Draft {
    Draft {
        kind,
        value: None,
        label: asked.label(),
        visible: now + settings.visible_after,
        expires: settings.key_lifetime.map(|lifetime| now + lifetime),
        family: None,
        predecessor: None,
    }
}

/// A new key, the one time that it is shown.
fn shown(settings: &Settings, status: u16, issued: Issued) -> Said {
    let expires_at = issued.expires.map(|expires| {
        let true_time = settings.epoch + SignedDuration::try_from(expires).unwrap();
        (true_time + settings.ahead).to_string()
    });
    let body = json!({ "id": issued.id, "key": issued.value, "label": issued.label, "expires_at": expires_at });
    Said::json(status, body)
}

fn set_secret(settings: &Settings, ledger: &mut Ledger, asked: &Asked, admin: bool, now: Duration) -> Said {
    let live = |ledger: &Ledger| -> Vec<String> {
        let secrets = ledger.live(now).filter(|it| it.kind == Kind::Secret);
        secrets.map(|it| it.value.clone()).collect()
    };
    if !admin && !asked.presented().is_some_and(|value| live(ledger).contains(&value)) {
        return Said::empty(401);
    }
    let Some(value) = asked
        .field("value")
        .filter(|value| value.len() >= settings.least_length)
    else {
        return Said::empty(422);
    };
    if live(ledger).last() == Some(&value) {
        return Said::empty(200);
    }
    ledger.end(|it| it.kind == Kind::Secret && it.value == value, "set again", now);
    let mut draft = draft(settings, Kind::Secret, asked, now);
    draft.value = Some(value);
    ledger.mint(draft, now);
    let live = live(ledger);
    let over = &live[..live.len().saturating_sub(settings.live_secrets)];
    ledger.end(
        |it| it.kind == Kind::Secret && over.contains(&it.value),
        "overwritten",
        now,
    );
    Said::empty(200)
}

fn add_key(settings: &Settings, ledger: &mut Ledger, asked: &Asked, now: Duration) -> Said {
    let key = asked.header("idempotency-key").filter(|_| settings.idempotency);
    if let Some(said) = key.as_ref().and_then(|key| ledger.answered.get(key)) {
        return said.clone();
    }
    if ledger.live(now).filter(|it| it.kind == Kind::Key).count() >= settings.quota {
        return Said::error(409, "quota");
    }
    let said = shown(settings, 201, ledger.mint(draft(settings, Kind::Key, asked, now), now));
    if let Some(key) = key {
        ledger.answered.insert(key, said.clone());
    }
    said
}

fn rotate(settings: &Settings, ledger: &mut Ledger, asked: &Asked, now: Duration) -> Said {
    let presented = asked.presented();
    let itself = |it: &Issued| it.kind == Kind::SelfRotating && Some(&it.value) == presented.as_ref();
    if !ledger.live(now).any(itself) {
        return Said::empty(401);
    }
    ledger.end(itself, "rotated", now);
    shown(
        settings,
        200,
        ledger.mint(draft(settings, Kind::SelfRotating, asked, now), now),
    )
}

fn token(settings: &Settings, ledger: &mut Ledger, asked: &Asked, now: Duration) -> Said {
    // RFC 6749, 2.3.1: id and secret are form-encoded inside of Basic.
    let decoded = |text: &str| {
        pairs(&format!("a={text}"))
            .next()
            .map(|(_, value)| value)
            .unwrap_or_default()
    };
    let basic = asked.basic().map(|(id, secret)| (decoded(&id), decoded(&secret)));
    let posted = asked.form("client_id").zip(asked.form("client_secret"));
    // RFC 6749, 2.3: not more than one way.
    if basic.is_some() == posted.is_some() || basic.or(posted).as_ref() != Some(&settings.client) {
        return Said::error(401, "invalid_client");
    }
    match asked.form("grant_type").as_deref() {
        Some("client_credentials") => tokens(settings, ledger, asked, now, None),
        Some("refresh_token") => refresh(settings, ledger, asked, now),
        _ => Said::error(400, "unsupported_grant_type"),
    }
}

/// RFC 9700, 4.14.2: a refresh token is spent once, and a second time means that somebody else has it.
fn refresh(settings: &Settings, ledger: &mut Ledger, asked: &Asked, now: Duration) -> Said {
    let spent = asked
        .form("refresh_token")
        .and_then(|value| ledger.refresh(&value).cloned());
    let Some(spent) = spent else {
        return Said::error(400, "invalid_grant");
    };
    match spent.ended {
        None => {
            ledger.end(|it| it.value == spent.value, "rotated", now);
            tokens(settings, ledger, asked, now, Some(&spent))
        }
        Some((at, "rotated")) => {
            let successor = ledger.successors(&spent.value).next().cloned();
            let unspent = successor.is_some_and(|it| it.ended.is_none());
            if unspent && !settings.grace.is_zero() && now <= at + settings.grace {
                return ledger.answered[&spent.value].clone();
            }
            ledger.replays.push(now);
            ledger.end(|it| it.family == spent.family, "family revoked", now);
            Said::error(400, "invalid_grant")
        }
        Some(_) => Said::error(400, "invalid_grant"),
    }
}

/// An access token, and a refresh token in place of `spent`.
fn tokens(settings: &Settings, ledger: &mut Ledger, asked: &Asked, now: Duration, spent: Option<&Issued>) -> Said {
    let mut access = draft(settings, Kind::Access, asked, now);
    access.expires = Some(now + settings.access_lifetime);
    access.family = spent.and_then(|it| it.family);
    let access = ledger.mint(access, now);
    let mut body = json!({
        "access_token": access.value,
        "token_type": "Bearer",
        "expires_in": settings.access_lifetime.as_secs(),
    });
    let Some(spent) = spent else {
        return Said::json(200, body);
    };
    let mut next = draft(settings, Kind::Refresh, asked, now);
    (next.visible, next.expires) = (now, None);
    (next.family, next.predecessor) = (spent.family, Some(spent.value.clone()));
    body["refresh_token"] = ledger.mint(next, now).value.into();
    let said = Said::json(200, body);
    ledger.answered.insert(spent.value.clone(), said.clone());
    said
}
