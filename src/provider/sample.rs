//! An order for tests, whose parts can be changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Current, Order, Sources};
use crate::api::credential::CredentialSpec;
use crate::domain::key::Key;
use crate::domain::rotation::{Attempt, Minted, Phase, Reason, Record, attempt, record};
use crate::domain::secret::SecretValue;

/// All that an [`Order`] borrows.
pub struct Sample {
    key: Key,
    pub spec: CredentialSpec,
    pub attempt: Attempt,
    pub current: Option<(Record, BTreeMap<String, SecretValue>)>,
    pub sources: Sources,
    pub now: Timestamp,
}

impl Sample {
    /// The first attempt of a Credential whose spec is `allowedHosts` and `spec`.
    pub fn new(spec: Value) -> Self {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let mut sample = Self {
            key: Key::new("shop", "payments-key"),
            spec: serde_json::from_value(json!({"allowedHosts": ["api.example.com"]})).unwrap(),
            attempt: Attempt {
                format: attempt::FORMAT,
                revision: 1,
                id: "7d9c9a0e-9a2f-5c57-8d5c-3a9b3f1d2c11".to_owned(),
                candidate_number: 0,
                spec: String::new(),
                sources: String::new(),
                reason: Reason::Missing,
                requested: None,
                created: now,
                paid_until: now,
                candidate: None,
                sends: 0,
                sent: None,
                phase: Phase::Intent,
                minted: None,
                failed: None,
                abandoning: 0,
            },
            current: None,
            sources: Sources::default(),
            now,
        };
        sample.respec(spec);
        sample
    }

    /// Another spec.
    pub fn respec(&mut self, spec: Value) {
        let mut whole = json!({"allowedHosts": ["api.example.com"]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.spec = serde_json::from_value(whole).unwrap();
    }

    /// A Secret that is there.
    pub fn secret(&mut self, name: &str, values: &[(&str, &str)]) {
        let values = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Some(SecretValue::new(*value))));
        self.sources.secrets.insert(name.to_owned(), Some(values.collect()));
    }

    /// `minted` is in use, and `reason` is why it is replaced.
    pub fn publish(&mut self, minted: Minted, reason: Reason) {
        let Minted {
            values,
            id,
            issued,
            not_before,
            not_after,
        } = minted;
        let record = Record {
            format: record::FORMAT,
            revision: self.attempt.revision,
            attempt: self.attempt.id.clone(),
            spec: String::new(),
            sources: String::new(),
            id,
            issued,
            published: None,
            not_before,
            not_after,
            requested: None,
            rejections: 0,
            paid_until: self.now,
            previous: None,
        };
        self.current = Some((record, values));
        self.attempt.revision += 1;
        self.attempt.reason = reason;
    }

    /// The order.
    pub fn order(&self) -> Order<'_> {
        Order {
            key: &self.key,
            uid: "0c5f7a3e-11aa-4f0e-9a57-2f1f3c8f5d01",
            spec: &self.spec,
            attempt: &self.attempt,
            current: self.current.as_ref().map(|(record, values)| Current { record, values }),
            sources: &self.sources,
            now: self.now,
        }
    }
}
