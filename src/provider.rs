//! Values from where they come from: asked of a provider, or made here.
//!
//! An [`Order`] says what is wanted and what is known; what comes back is a [`Minted`], or an
//! [`IssueError`] that says whether the provider may have acted. Nothing is stored here and nothing decided: that is the
//! controller's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::credential::CredentialSpec;
use crate::domain::key::Key;
use crate::domain::plan::Material;
use crate::domain::rotation::{Attempt, Minted, Record};
use crate::domain::secret::SecretValue;
use crate::domain::validate::{self, Values, Violation};
use exchange::Exchange;
use steps::Trial;

pub mod certificate;
pub mod exchange;
pub mod extract;
pub mod generated;
pub mod jws;
pub mod jwt;
pub mod lookup;
pub mod oauth2;
mod order;
pub mod pace;
pub mod private_key;
pub mod steps;
pub mod template;

#[cfg(test)]
mod sample;

/// What is wanted, and all that is known.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The Credential.
    pub key: &'a Key,
    /// Its UID.
    pub uid: &'a str,
    /// What it asks for.
    pub spec: &'a CredentialSpec,
    /// The attempt that this is for.
    pub attempt: &'a Attempt,
    /// The value in use, if there is one.
    pub current: Option<Current<'a>>,
    /// What the spec refers to.
    pub sources: &'a Sources,
    /// The time of day.
    pub now: Timestamp,
}

/// The value in use.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// What is known of it.
    pub record: &'a Record,
    /// The issued Secret, all keys.
    pub values: &'a BTreeMap<String, SecretValue>,
}

/// What the spec refers to, as it was read just now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Secrets by name; `None` if there is none of that name.
    pub secrets: BTreeMap<String, Option<Values>>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Option<Values>>,
    /// Credentials by name that authorise calls; `None` if there is none of that name.
    pub credentials: BTreeMap<String, Option<Authority>>,
}

/// A Credential that authorises calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    /// Its `spec.allowedHosts`.
    pub allowed_hosts: Vec<String>,
    /// Its value; `None` if it has none that can be used now.
    pub material: Option<Material>,
}

/// Names of what a spec refers to, for who reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Secrets.
    pub secrets: std::collections::BTreeSet<String>,
    /// ConfigMaps.
    pub config_maps: std::collections::BTreeSet<String>,
    /// Credentials, without the one whose spec it is.
    pub credentials: std::collections::BTreeSet<String>,
}

/// The longest wait that is granted to a provider: nobody is to be put off for years by one answer.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Why nothing was issued, tested or revoked. No message has a secret, a header, or a body of a provider in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// What is referred to is not there yet, or the provider was not reached: it has surely not acted.
    #[error("{message}")]
    NotSent {
        /// Reason of the condition: `SecretNotFound`, `IssueFailed`, …
        reason: &'static str,
        /// What failed and what can be done.
        message: String,
    },
    /// The provider was asked and its answer was lost, or could not be read: it may have acted.
    #[error("{message}")]
    Lost {
        /// What failed and what can be done.
        message: String,
    },
    /// The provider answered that it acted, and what it gave cannot be used: the same call would most likely bring the same
    /// again, and something more that nobody uses.
    #[error("{message}")]
    Unusable {
        /// What failed and what can be done.
        message: String,
    },
    /// The provider answered that it did not act, and may later: 429, 503.
    #[error("{message}")]
    Later {
        /// When it may be asked again, as far as it said so; [`WAIT_MAX`] at most.
        after: Option<Duration>,
        /// What failed and what can be done.
        message: String,
    },
    /// The provider answered that it did not and will not act, or the spec or a source is wrong: only an edit helps.
    #[error("{message}")]
    Refused {
        /// Reason of the condition: `IssueFailed`, `InvalidSpec`, `KeyMissing`, …
        reason: &'static str,
        /// What failed and what can be done.
        message: String,
    },
    /// A person has to authorise anew.
    #[error("{message}")]
    Reauthorize {
        /// What failed and what can be done.
        message: String,
    },
}

/// Issues, tests and revokes.
#[derive(Clone)]
pub struct Providers {
    /// How providers are called.
    pub exchange: Arc<dyn Exchange>,
}

/// Keys of the issued Secret that hold the value itself, and are kept as the previous one.
pub const VALUE_KEYS: [&str; 5] = ["token", "value", "username", "tls.crt", "tls.key"];

/// The names of what the spec of the Credential `name` refers to.
pub fn named(name: &str, spec: &CredentialSpec) -> Named {
    let mut named = Named::default();
    if let Some(oauth2) = &spec.oauth2 {
        named = oauth2::named(oauth2);
    }
    if let Some(jwt) = &spec.jwt {
        named = jwt::named(jwt);
    }
    if let Some(certificate) = &spec.certificate {
        named = certificate::named(certificate);
    }
    if spec.steps().is_some() {
        named = steps::named(name, spec);
        // The first value.
        named.secrets.extend(validate::secret_name(spec).map(str::to_owned));
    }
    named
}

/// What is wrong with the templates and filters of a spec.
pub fn violations(spec: &CredentialSpec) -> Vec<Violation> {
    let Some(steps) = spec.steps() else {
        return Vec::new();
    };
    let extract = steps.create.extract.as_ref();
    let find = steps.find.as_ref().map(|find| &find.extract);
    template::check(steps)
        .into_iter()
        .chain(extract.into_iter().flat_map(extract::check))
        .chain(find.into_iter().flat_map(extract::check_find))
        .collect()
}

/// Whether the provider gives the same value again when it is asked again under the same attempt's id: the field's usual
/// header says so (draft-ietf-httpapi-idempotency-key-header). A value that is found and revoked first would be given
/// again, dead.
pub fn is_idempotent(spec: &CredentialSpec) -> bool {
    let request = spec.steps().and_then(|steps| steps.create.request.as_ref());
    let mut headers = request.into_iter().flat_map(|request| &request.headers);
    headers.any(|(name, value)| name.eq_ignore_ascii_case("Idempotency-Key") && value.contains("attempt.id"))
}

/// The value, where we choose it: it is written down before anybody is told.
pub fn candidate(spec: &CredentialSpec) -> Option<SecretValue> {
    let steps = spec.steps().and_then(|steps| steps.create.generate.as_ref());
    let generated = spec.generated.as_ref().or(steps)?;
    Some(generated::make(generated, &mut |bytes| rand::fill(bytes)))
}

/// The first value of a provider's key, which somebody else wrote.
pub fn first_value(spec: &CredentialSpec, sources: &Sources) -> Option<SecretValue> {
    spec.steps()?;
    let of = |name: &str, key: &str| sources.secrets.get(name)?.as_ref()?.get(key)?.clone();
    if let Some(secret) = spec.basic.as_ref().and_then(|basic| basic.secret_ref.as_ref()) {
        return of(&secret.name, secret.password_key.as_deref().unwrap_or("password"));
    }
    let api_key = spec.api_key.as_ref().and_then(|it| it.secret_ref.as_ref());
    let bearer = spec.bearer.as_ref().and_then(|it| it.secret_ref.as_ref());
    let secret = api_key.or(bearer)?;
    of(&secret.name, &secret.key)
}

/// Host of the provider that issues what `spec` asks for; `None` where it is made here.
pub fn host(spec: &CredentialSpec) -> Option<String> {
    let oauth2 = spec.oauth2.as_ref();
    let token = oauth2.and_then(|oauth2| oauth2.token_url.as_ref().or(oauth2.issuer_url.as_ref()));
    let request = spec.steps().and_then(|steps| {
        let set = steps.set.as_ref().map(|set| &set.request);
        steps.create.request.as_ref().or(set)
    });
    let url = token.or(request.map(|request| &request.url))?;
    // A template is no URL, but its beginning is: a host with a placeholder in it would be refused.
    let url = url.split("{{").next().unwrap_or(url);
    Some(url::Url::parse(url).ok()?.host_str()?.to_owned())
}

impl Providers {
    /// Makes a value, or has it made.
    pub async fn issue(&self, order: &Order<'_>) -> Result<Minted, IssueError> {
        let exchange = &*self.exchange;
        let spec = order.spec;
        if spec.oauth2.is_some() {
            return oauth2::issue(exchange, order).await;
        }
        if spec.steps().is_some() {
            let minted = steps::create(exchange, order).await?;
            // Where we choose the value, the provider is given it; again and again, if need be.
            steps::set(exchange, order, &minted).await?;
            return Ok(minted);
        }
        if spec.jwt.is_none() && spec.certificate.is_none() {
            return generated::issue(order);
        }
        // A new RSA key takes seconds now and then, and everything else would wait for it here.
        let owned = order::Owned::of(order);
        let made = tokio::task::spawn_blocking(move || {
            let mut fill = |bytes: &mut [u8]| rand::fill(bytes);
            let order = owned.order();
            if order.spec.jwt.is_some() {
                jwt::issue(&order, &mut fill)
            } else {
                certificate::issue(&order, &mut fill)
            }
        });
        made.await
            .unwrap_or_else(|_| Err(lookup::failed("the value could not be made; it is tried again")))
    }

    /// Tries a value.
    pub async fn test(&self, order: &Order<'_>, minted: &Minted) -> Result<Trial, IssueError> {
        steps::test(&*self.exchange, order, minted).await
    }

    /// Takes a value away at its provider; one that is gone counts as taken away.
    pub async fn revoke(
        &self,
        order: &Order<'_>,
        value: Option<&SecretValue>,
        id: Option<&str>,
    ) -> Result<(), IssueError> {
        steps::revoke(&*self.exchange, order, steps::Revoked { value, id }).await
    }

    /// Takes away all that carries the attempt's id at the provider. What could not be, by its id there; `None` if there is
    /// no way to ask.
    pub async fn take_away(&self, order: &Order<'_>) -> Result<Option<Vec<(String, IssueError)>>, IssueError> {
        let Some(ids) = self.find(order).await? else {
            return Ok(None);
        };
        let mut left = Vec::new();
        for id in ids {
            if let Err(error) = self.revoke(order, None, Some(&id)).await {
                left.push((id, error));
            }
        }
        Ok(Some(left))
    }

    /// What carries the attempt's id at the provider; `None` if there is no way to ask.
    pub async fn find(&self, order: &Order<'_>) -> Result<Option<Vec<String>>, IssueError> {
        if order.spec.steps().is_none_or(|steps| steps.find.is_none()) {
            return Ok(None);
        }
        steps::find(&*self.exchange, order).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key_with(headers: serde_json::Value) -> CredentialSpec {
        let request = json!({"url": "https://api.example.com/keys", "headers": headers});
        let create = json!({"request": request, "extract": {"value": ".key"}});
        let spec = json!({
            "allowedHosts": ["api.example.com"],
            "apiKey": {},
            "rotation": {"steps": {"create": create}},
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn only_the_key_of_the_attempt_makes_a_call_one_that_may_be_made_again() {
        for (headers, expected) in [
            (json!({"idempotency-key": "{{ attempt.id }}"}), true),
            (json!({"Idempotency-Key": "v1-{{attempt.id}}"}), true),
            (json!({"Idempotency-Key": "always"}), false),
            (json!({"X-Label": "{{ attempt.id }}"}), false),
            (json!({}), false),
        ] {
            assert_eq!(is_idempotent(&key_with(headers.clone())), expected, "{headers}");
        }
    }

    #[test]
    fn the_host_of_a_provider_is_that_of_the_call_that_makes_the_value() {
        assert_eq!(host(&key_with(json!({}))).as_deref(), Some("api.example.com"));
    }
}
