//! What a token endpoint answers (RFC 6749, 5).
//!
//! Whoever asked needs to know one thing of a failure: whether the provider may have acted. For a refresh token that is
//! used up by its use it is the difference between trying again and losing the authorisation; for the other grants a
//! token too many costs nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::IssueError;
use crate::api::condition::reason;
use crate::api::credential::oauth2::Grant;
use crate::domain::secret::SecretValue;
use crate::provider::WAIT_MAX;
use crate::provider::exchange::Answer;
use crate::provider::lookup::TEXT_MAX;

/// The lifetime of a token whose answer names none (RFC 6749, 5.1 leaves it to the documentation): what most providers
/// give, so that it is renewed before they are likely to refuse it.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// The longest lifetime that is believed, in seconds: 10 years.
pub const LIFETIME_MAX: u32 = 10 * 365 * 86_400;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The access token.
    pub access: SecretValue,
    /// The refresh token to use next; `None`: the same as before.
    pub refresh: Option<SecretValue>,
    /// How long it is valid, from when it was asked for.
    pub lifetime: Duration,
}

/// The error codes that are named, and what can be done.
const CODES: &[(&str, &str)] = &[
    (
        "invalid_request",
        "check the fields of spec.oauth2 against what the provider expects",
    ),
    (
        "invalid_client",
        "check clientID, clientAuthentication, and the client's secret, key or certificate",
    ),
    (
        "invalid_grant",
        "what the token is asked for with is not accepted or not valid any more; replace it",
    ),
    (
        "unauthorized_client",
        "have the provider allow this grant to the client, or choose another grant",
    ),
    ("unsupported_grant_type", "choose another grant"),
    ("invalid_scope", "check scopes"),
    ("invalid_target", "check audience and resource"),
    ("invalid_resource", "check resource"),
    ("access_denied", "have the provider allow it to the client"),
    ("interaction_required", "a person has to sign in at the provider"),
    ("login_required", "a person has to sign in at the provider"),
    ("consent_required", "a person has to consent at the provider"),
    (
        "invalid_dpop_proof",
        "have the provider issue Bearer tokens to the client",
    ),
    ("use_dpop_nonce", "have the provider issue Bearer tokens to the client"),
    ("server_error", "see the provider's log or status page"),
    ("temporarily_unavailable", "it is tried again"),
    ("slow_down", "it is tried again"),
];

#[derive(Deserialize)]
struct Success {
    access_token: Option<SecretValue>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    refresh_token: Option<SecretValue>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Failure {
    error: Option<Value>,
}

/// The token, or why there is none. `host` is the endpoint's, for messages.
pub fn read(grant: Grant, host: &str, answer: &Answer) -> Result<Token, IssueError> {
    let reading = Reading { grant, host, answer };
    match answer.status {
        200..=299 => reading.success(),
        300..=399 => Err(reading.refused(format!(
            "answered with a redirect ({}); redirects are not followed, name the endpoint itself",
            answer.status
        ))),
        status => Err(reading.failure(status)),
    }
}

struct Reading<'a> {
    grant: Grant,
    host: &'a str,
    answer: &'a Answer,
}

impl Reading<'_> {
    fn success(&self) -> Result<Token, IssueError> {
        if !is_json(self.answer.content_type.as_deref()) {
            return Err(self.unintelligible("is not of type application/json"));
        }
        let Some(success) = object::<Success>(&self.answer.body) else {
            return Err(self.unintelligible("is no JSON object as RFC 6749, 5.1 has it"));
        };
        let Some(access) = success.access_token else {
            // Some providers report errors under a status of success.
            return Err(match success.error {
                Some(Value::String(_)) => self.failure(400),
                _ => self.useless("has no access token in it"),
            });
        };
        // Left out by some, against RFC 6749, 5.1. What is not said to be something else is sent as what most are.
        let kind = success.token_type.as_deref().unwrap_or("Bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err(self.refused(format!(
                "issues tokens of type {}, and only Bearer tokens can be sent; have it issue those to the client",
                kind_named(kind)
            )));
        }
        if !is_token68(access.expose()) {
            return Err(self.useless(
                "has an access token that cannot be sent: letters, digits and - . _ ~ + / with '=' at its end alone, at \
                 most 16 KiB (RFC 6750, 2.1)",
            ));
        }
        let refresh = success.refresh_token.filter(|_| self.grant == Grant::RefreshToken);
        if refresh.as_ref().is_some_and(|token| !is_visible(token.expose())) {
            return Err(self.useless("has a refresh token that is empty, longer than 16 KiB or not visible ASCII"));
        }
        let Some(lifetime) = lifetime(success.expires_in.as_ref()) else {
            return Err(self.useless("has an `expires_in` that is no positive number of seconds"));
        };
        Ok(Token {
            access,
            refresh,
            lifetime,
        })
    }

    fn failure(&self, status: u16) -> IssueError {
        let error = object::<Failure>(&self.answer.body).and_then(|failure| failure.error);
        let code = match &error {
            Some(Value::String(code)) => Some(CODES.iter().find(|(known, _)| known == code)),
            Some(_) => Some(None),
            None => None,
        };
        let (name, what) = match code {
            Some(Some((name, help))) => (*name, format!("`{name}` ({status}): {help}")),
            Some(None) => ("", format!("an unknown error code ({status}); see the provider's log")),
            None => (
                "",
                format!("{status}, without an OAuth 2.0 error code; {}", hint(status)),
            ),
        };
        let answered = format!("answered {what}");
        let refreshes = self.grant == Grant::RefreshToken;
        match (status, name) {
            (408 | 429 | 503, _) | (_, "temporarily_unavailable" | "slow_down") => self.later(&answered),
            (500.., _) | (_, "server_error") if refreshes => self.lost(&answered),
            (500.., _) | (_, "server_error") => self.later(&answered),
            // A switch of protocols, which nobody asked for.
            (..200, _) => self.unintelligible("is no answer to a token request"),
            (_, "invalid_grant" | "interaction_required" | "login_required" | "consent_required") if refreshes => {
                IssueError::Reauthorize {
                    message: self.says(
                        "does not accept the refresh token any more: authorise anew, and put the new one where \
                         `spec.oauth2.refreshTokenRef` points to",
                    ),
                }
            }
            _ => self.refused(answered),
        }
    }

    /// A success that does not read like one: an error page of something in between, perhaps gone with the next try, or
    /// the page of a person's login.
    fn unintelligible(&self, what: &str) -> IssueError {
        let message = format!("gave an answer that {what}; check that the URL is that of a token endpoint");
        match self.grant {
            Grant::RefreshToken => self.lost(&message),
            _ => IssueError::Unusable {
                message: self.says(&message),
            },
        }
    }

    /// A success that reads like one, without a token that can be used.
    fn useless(&self, what: &str) -> IssueError {
        let message = format!("gave an answer that {what}");
        match self.grant {
            Grant::RefreshToken => self.lost(&message),
            _ => self.refused(message),
        }
    }

    fn later(&self, what: &str) -> IssueError {
        IssueError::Later {
            after: self.answer.retry_after.map(|wait| wait.min(WAIT_MAX)),
            message: self.says(what),
        }
    }

    fn lost(&self, what: &str) -> IssueError {
        IssueError::Lost {
            message: self.says(what),
        }
    }

    fn refused(&self, what: impl AsRef<str>) -> IssueError {
        IssueError::Refused {
            reason: reason::ISSUE_FAILED,
            message: self.says(what.as_ref()),
        }
    }

    fn says(&self, what: &str) -> String {
        format!("the token endpoint on `{}` {what}", self.host)
    }
}

/// What helps where only the status is known.
fn hint(status: u16) -> &'static str {
    match status {
        401 => "check the client's identifier and secret",
        403 => "check what the client may do, and whether calls from here are let through",
        404 | 405 => "check that the URL is that of a token endpoint",
        408 | 429 | 500.. => "see the provider's status page",
        _ => "check that the URL is that of a token endpoint, and see the provider's log",
    }
}

/// A type of token as it may be repeated: one of those that are known.
fn kind_named(kind: &str) -> &'static str {
    ["DPoP", "mac", "PoP", "N_A"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(kind))
        .unwrap_or("unknown to us")
}

/// The body, if it is a JSON object of this shape. What the parser says is not passed on: it quotes what it could not read.
fn object<T: for<'de> Deserialize<'de>>(body: &SecretValue) -> Option<T> {
    let body = body.expose().trim_start();
    // A struct could be read from an array as well.
    if !body.starts_with('{') {
        return None;
    }
    serde_json::from_str(body).ok()
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|it| it == "application/json" || it == "text/json" || it.ends_with("+json"))
}

/// RFC 6750, 2.1.
fn is_token68(token: &str) -> bool {
    let inner = token.trim_end_matches('=');
    token.len() <= TEXT_MAX
        && !inner.is_empty()
        && inner
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// RFC 6749, A.17.
fn is_visible(token: &str) -> bool {
    (1..=TEXT_MAX).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// A number of seconds, or a string of digits, as some write it; `None` if it cannot be meant.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole seconds, checked to be positive and bounded before"
)]
fn lifetime(expires_in: Option<&Value>) -> Option<Duration> {
    let seconds = match expires_in {
        None | Some(Value::Null) => return Some(LIFETIME),
        Some(Value::Number(number)) => number.as_f64()?,
        Some(Value::String(text)) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<f64>().ok()?
        }
        Some(_) => return None,
    };
    let seconds = seconds.min(f64::from(LIFETIME_MAX));
    (seconds >= 1.0).then(|| Duration::from_secs(seconds as u64))
}

#[cfg(test)]
mod tests;
