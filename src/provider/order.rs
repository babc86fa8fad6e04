//! An order that outlives whoever gives it: for a thread that may block.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Current, Order, Sources};
use crate::api::credential::CredentialSpec;
use crate::domain::key::Key;
use crate::domain::rotation::{Attempt, Record};
use crate::domain::secret::SecretValue;

/// All of an [`Order`], copied.
pub(super) struct Owned {
    key: Key,
    uid: String,
    spec: CredentialSpec,
    attempt: Attempt,
    current: Option<(Record, BTreeMap<String, SecretValue>)>,
    sources: Sources,
    now: Timestamp,
}

impl Owned {
    /// A copy of `order`.
    pub(super) fn of(order: &Order<'_>) -> Self {
        // No `..`: whoever adds something to an order is asked here.
        let Order {
            key,
            uid,
            spec,
            attempt,
            current,
            sources,
            now,
        } = *order;
        Self {
            key: key.clone(),
            uid: uid.to_owned(),
            spec: spec.clone(),
            attempt: attempt.clone(),
            current: current.map(|current| (current.record.clone(), current.values.clone())),
            sources: sources.clone(),
            now,
        }
    }

    /// The order.
    pub(super) fn order(&self) -> Order<'_> {
        Order {
            key: &self.key,
            uid: &self.uid,
            spec: &self.spec,
            attempt: &self.attempt,
            current: self.current.as_ref().map(|(record, values)| Current { record, values }),
            sources: &self.sources,
            now: self.now,
        }
    }
}
