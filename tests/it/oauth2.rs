//! OAuth 2.0 on real sockets: answers that are meant to hurt, and an identity provider that somebody else wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate::api::credential::CredentialSpec;
use tidegate::domain::key::Key;
use tidegate::domain::rotation::{Attempt, Minted, Phase, Reason, Record};
use tidegate::domain::secret::SecretValue;
use tidegate::net::Dialer;
use tidegate::net::policy::AddressPolicy;
use tidegate::provider::exchange::Network;
use tidegate::provider::{Current, IssueError, Order, Sources, oauth2};

mod answers;
mod connections;
mod grants;
mod issuer;
mod peer;

/// Long enough for whatever is local; nothing waits for it to pass unless something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The network, loopback included.
fn network() -> Network {
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    };
    Network::new(Dialer::new(Arc::new(policy)))
}

/// One Credential over its life: what it asks for, what it refers to, and what was issued last.
struct Life {
    spec: CredentialSpec,
    sources: Sources,
    attempts: u32,
    current: Option<(Record, BTreeMap<String, SecretValue>)>,
}

impl Life {
    /// `secret` is the Secret `s`.
    fn of(oauth2: &Value, secret: &[(&str, &str)]) -> Self {
        let spec = json!({ "allowedHosts": ["127.0.0.1"], "oauth2": oauth2 });
        let values = secret
            .iter()
            .map(|&(key, value)| (key.to_owned(), Some(SecretValue::new(value))))
            .collect();
        Self {
            spec: serde_json::from_value(spec).unwrap(),
            sources: Sources {
                secrets: [("s".to_owned(), Some(values))].into(),
                ..Sources::default()
            },
            attempts: 0,
            current: None,
        }
    }

    /// Issues the next value, which becomes the current one.
    async fn issue(&mut self, network: &Network) -> Result<Minted, IssueError> {
        self.attempts += 1;
        let key = Key::new("shop", "key");
        let attempt = attempt(self.attempts);
        let order = Order {
            key: &key,
            uid: "uid",
            spec: &self.spec,
            attempt: &attempt,
            current: self.current.as_ref().map(|(record, values)| Current { record, values }),
            sources: &self.sources,
            now: Timestamp::now(),
        };
        let minted = oauth2::issue(network, &order).await?;
        self.current = Some((record(&attempt, &minted), minted.values.clone()));
        Ok(minted)
    }
}

fn attempt(revision: u32) -> Attempt {
    Attempt {
        format: 1,
        revision: revision.into(),
        id: format!("attempt-{revision}"),
        candidate_number: 0,
        spec: "spec".to_owned(),
        sources: "sources".to_owned(),
        reason: Reason::Requested,
        requested: None,
        created: Timestamp::now(),
        paid_until: Timestamp::now(),
        candidate: None,
        sends: 1,
        sent: None,
        phase: Phase::Intent,
        minted: None,
        failed: None,
        abandoning: 0,
    }
}

fn record(attempt: &Attempt, minted: &Minted) -> Record {
    Record {
        format: 1,
        revision: attempt.revision,
        attempt: attempt.id.clone(),
        spec: attempt.spec.clone(),
        sources: attempt.sources.clone(),
        id: None,
        issued: minted.issued,
        published: None,
        not_before: None,
        not_after: minted.not_after,
        requested: None,
        rejections: 0,
        paid_until: attempt.paid_until,
        previous: None,
    }
}
