//! The Integrations that are served: a stack for each, made anew when its plan changes.
//!
//! What was learned under an old plan is handed on as far as it still means anything:
//!
//! | what                             | is handed on while                                            |
//! |----------------------------------|---------------------------------------------------------------|
//! | circuit and health of an endpoint | the Integration (UID), its name and its URL are the same      |
//! | its connections                  | where they lead, how TLS is spoken and as whom, and their bounds are the same |
//! | the retry budget                 | its settings are the same                                     |
//! | a pause that a host asked for    | the Integration (UID) and the host are the same               |
//! | requests under way               | always: they count against the new bounds                     |
//! | a credential that was rejected   | its revision is the same                                      |
//!
//! Connections that are not handed on are no loss for anybody: requests on them go on to their end, and those that lie
//! idle are closed when no new request can find them any more.
//!
//! A plan that cannot be used changes nothing: the last good one keeps serving, and the report keeps saying which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::domain::health::Pauses;
use crate::domain::key::Key;
use crate::net::policy::AddressPolicy;
use crate::net::tls::TlsError;

use super::connection::Bounds;
use super::endpoint::UnusableUrl;
use super::layer::quota::Share;
use super::probe;
use super::route::Routes;
use super::stack::Stack;
use super::wire::Patience;
use super::{Plans, Reports};

use build::Parts;

pub use build::check;

mod build;

/// How long a caller may take for the head of a request, and for the first byte of a connection.
const HEAD: Duration = Duration::from_secs(10);

/// A plan that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusablePlan {
    /// It was written by newer code.
    #[error("the plan has format {found}, and this worker knows formats up to {known}; upgrade the worker")]
    Format {
        /// Its format.
        found: u32,
        /// The highest known one.
        known: u32,
    },
    /// An endpoint cannot be used.
    #[error(transparent)]
    Url(#[from] UnusableUrl),
    /// The provider could not be verified, or would not know us.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A connection has one client certificate.
    #[error("the credentials `{first}` and `{second}` are both client certificates; a connection has one")]
    Certificates {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
}

/// What requests are looked up in.
#[derive(Debug)]
pub struct Directory {
    /// Stacks by host.
    pub routes: Routes<Stack>,
    /// What a connection may take: the widest of all plans, because whom it is for is not known when it comes.
    pub bounds: Bounds,
}

/// The Integrations that are served.
#[derive(Debug)]
pub struct Table {
    parts: Parts,
    localhost_names: bool,
    served: BTreeMap<Key, Arc<Stack>>,
    /// The probes of each stack; dropping them ends them.
    probes: BTreeMap<Key, JoinSet<()>>,
    directory: Arc<ArcSwap<Directory>>,
}

impl Table {
    /// Nothing is served yet.
    pub fn new(
        policy: AddressPolicy,
        localhost_names: bool,
        reports: Arc<watch::Sender<Reports>>,
        share: Option<Share>,
    ) -> Self {
        let served = BTreeMap::new();
        let directory = Arc::new(ArcSwap::from_pointee(directory(&served, localhost_names)));
        Self {
            parts: Parts::new(policy, reports, share),
            localhost_names,
            served,
            probes: BTreeMap::new(),
            directory,
        }
    }

    /// What requests are looked up in; it changes with every [`apply`](Self::apply).
    pub fn directory(&self) -> Arc<ArcSwap<Directory>> {
        self.directory.clone()
    }

    /// The same over another dialer.
    #[cfg(test)]
    #[must_use]
    pub fn dialing(mut self, dialer: crate::net::Dialer) -> Self {
        self.parts.dial_with(dialer);
        self
    }

    /// What answers for `key`.
    #[cfg(test)]
    pub fn stack(&self, key: &Key) -> Option<Arc<Stack>> {
        self.served.get(key).cloned()
    }

    /// Reports everything anew, because this worker has another share.
    pub fn publish(&self) {
        for stack in self.served.values() {
            stack.bulletin.publish();
        }
    }

    /// Heeds what other workers were asked for.
    pub fn heed(&self, pauses: &Pauses) {
        for stack in self.served.values() {
            stack.heed(pauses);
        }
    }

    /// Serves `plans` and nothing else.
    pub fn apply(&mut self, plans: &Plans) {
        let mut changed = Vec::new();
        for (key, plan) in plans {
            let old = self.served.get(key);
            if old.is_some_and(|stack| stack.plan == *plan) {
                continue;
            }
            match self.parts.build(key, plan, old) {
                Ok(stack) => changed.push((key.clone(), Arc::new(stack))),
                Err(error) => tracing::error!(
                    namespace = &*key.namespace,
                    integration = &*key.name,
                    revision = plan.revision,
                    %error,
                    "a plan cannot be used; the one before it stays",
                ),
            }
        }
        let gone: Vec<_> = self
            .served
            .keys()
            .filter(|key| !plans.contains_key(*key))
            .cloned()
            .collect();
        if changed.is_empty() && gone.is_empty() {
            return;
        }
        let gone: Vec<_> = gone.iter().filter_map(|key| self.served.remove(key)).collect();
        let replaced: Vec<_> = changed
            .iter()
            .filter_map(|(key, stack)| Some((self.served.insert(key.clone(), stack.clone())?, stack.clone())))
            .collect();
        self.directory
            .store(Arc::new(directory(&self.served, self.localhost_names)));
        // Reported only now that requests find it: who reads that a plan runs may rely on it.
        for (key, stack) in changed {
            tracing::info!(
                namespace = &*key.namespace,
                integration = &*key.name,
                revision = stack.plan.revision,
                "a plan runs",
            );
            stack.bulletin.take_over(&stack);
            self.probes.insert(key, probe::start(&stack));
        }
        for (old, new) in &replaced {
            old.retire_pools(|pool| new.endpoints.iter().any(|endpoint| Arc::ptr_eq(endpoint.pool(), pool)));
        }
        for stack in gone {
            stack.bulletin.withdraw();
            stack.retire_pools(|_| false);
            self.probes.remove(&stack.plan.integration);
        }
    }
}

fn directory(served: &BTreeMap<Key, Arc<Stack>>, localhost_names: bool) -> Directory {
    let plans = || served.values().map(|stack| &stack.plan);
    let idle = plans().map(|plan| plan.timeouts.idle).max().unwrap_or(HEAD);
    let headers = plans().map(|plan| plan.limits.headers).max().unwrap_or(8 << 10);
    Directory {
        routes: Routes::new(served, localhost_names),
        bounds: Bounds {
            patience: Patience { head: HEAD, idle },
            headers: usize::try_from(headers).unwrap_or(usize::MAX),
        },
    }
}
