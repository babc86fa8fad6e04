//! The Integrations that are served: a stack for each, made anew when its plan changes.
//!
//! What was learned under an old plan is handed on as far as it still means anything:
//!
//! | what                             | is handed on while                                            |
//! |----------------------------------|---------------------------------------------------------------|
//! | circuit and health of an endpoint | the Integration (UID), its name and its URL are the same      |
//! | its connections                  | where they lead, how TLS is spoken, and their bounds are the same |
//! | the retry budget                 | its settings are the same                                     |
//! | requests under way               | always: they count against the new bounds                     |
//! | a credential that was rejected   | its revision is the same                                      |
//!
//! A plan that cannot be used changes nothing: the last good one keeps serving, and the report keeps saying which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderName;
use http::uri::Scheme;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::domain::balance::Balancer;
use crate::domain::breaker::Settings as BreakerSettings;
use crate::domain::hosts::HostPattern;
use crate::domain::key::Key;
use crate::domain::plan::{self, CredentialPlan, EndpointPlan, Plan};
use crate::domain::probing::Probing;
use crate::net::policy::AddressPolicy;
use crate::net::tls::{self, TlsError};
use crate::net::{Dialer, Target, TlsTarget};
use crate::telemetry::worker_metrics::{EndpointMetrics, IntegrationMetrics};

use super::connection::Bounds;
use super::endpoint::{Address, Endpoint, UnusableUrl};
use super::layer::admit::Admission;
use super::layer::authenticate::Credential;
use super::layer::retry::Retries;
use super::pool::{self, Pool};
use super::probe;
use super::report::Bulletin;
use super::route::Routes;
use super::stack::Stack;
use super::standing::Standing;
use super::wire::Patience;
use super::{Plans, Reports};

/// How long a caller may take for the head of a request, and for the first byte of a connection.
const HEAD: Duration = Duration::from_secs(10);

/// A plan that cannot be used.
#[derive(Debug, thiserror::Error)]
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
    /// The provider could not be verified.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    policy: AddressPolicy,
    dialer: Dialer,
    localhost_names: bool,
    reports: Arc<watch::Sender<Reports>>,
    served: BTreeMap<Key, Arc<Stack>>,
    /// The probes of each stack; dropping them ends them.
    probes: BTreeMap<Key, JoinSet<()>>,
    directory: Arc<ArcSwap<Directory>>,
}

impl Table {
    /// Nothing is served yet.
    pub fn new(policy: AddressPolicy, localhost_names: bool, reports: Arc<watch::Sender<Reports>>) -> Self {
        let served = BTreeMap::new();
        let directory = Arc::new(ArcSwap::from_pointee(directory(&served, localhost_names)));
        let dialer = Dialer::new(Arc::new(policy.clone()));
        Self {
            policy,
            dialer,
            localhost_names,
            reports,
            served,
            probes: BTreeMap::new(),
            directory,
        }
    }

    /// What requests are looked up in; it changes with every [`apply`](Self::apply).
    pub fn directory(&self) -> Arc<ArcSwap<Directory>> {
        self.directory.clone()
    }

    /// Serves `plans` and nothing else.
    pub fn apply(&mut self, plans: &Plans) {
        let mut changed = Vec::new();
        for (key, plan) in plans {
            let old = self.served.get(key);
            if old.is_some_and(|stack| stack.plan == *plan) {
                continue;
            }
            match self.build(key, plan, old) {
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
        for (key, stack) in &changed {
            self.served.insert(key.clone(), stack.clone());
        }
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
        for stack in gone {
            stack.bulletin.withdraw();
            self.probes.remove(&stack.plan.integration);
        }
    }

    fn build(&self, key: &Key, plan: &Arc<Plan>, old: Option<&Arc<Stack>>) -> Result<Stack, UnusablePlan> {
        if plan.format > plan::FORMAT {
            return Err(UnusablePlan::Format {
                found: plan.format,
                known: plan::FORMAT,
            });
        }
        // Of an Integration that was deleted and made anew nothing is known; its series in the metrics go on.
        let same = old.filter(|old| old.plan.uid == plan.uid);
        let bulletin = old.map_or_else(
            || Arc::new(Bulletin::new(key.clone(), self.reports.clone())),
            |old| old.bulletin.clone(),
        );
        let metrics = old.map_or_else(|| Arc::new(IntegrationMetrics::new(key)), |old| old.metrics.clone());
        let credentials: Vec<_> = plan.credentials.iter().map(|plan| credential(plan, same)).collect();
        let injected: Arc<[HeaderName]> = credentials.iter().filter_map(Credential::header).collect();
        // All that can fail comes before anything that is shared with the old stack is touched.
        let mut places = Vec::with_capacity(plan.endpoints.len());
        for endpoint in &plan.endpoints {
            let address = Address::parse(&endpoint.name, &endpoint.url)?;
            let known = old.and_then(|old| find(old, &endpoint.name));
            let pool = self.pool(plan, &address, known.map(|known| known.pool()))?;
            places.push((address, pool));
        }
        let mut endpoints = Vec::with_capacity(plan.endpoints.len());
        for (endpoint, (address, pool)) in plan.endpoints.iter().zip(places) {
            let known = old.and_then(|old| find(old, &endpoint.name));
            let standing = self.standing(plan, endpoint, known.zip(same), &bulletin, known);
            let (allowed, not_allowed) = allowed(&plan.credentials, &address);
            let name = endpoint.name.clone();
            endpoints.push(Arc::new(Endpoint::new(
                name,
                address,
                pool,
                standing,
                allowed,
                not_allowed,
            )));
        }
        let admission = same.map_or_else(
            || Arc::new(Admission::new(&plan.concurrency)),
            |same| {
                same.admission.resize(&plan.concurrency);
                same.admission.clone()
            },
        );
        let retries = same.map_or_else(
            || Retries::new(&plan.retries),
            |same| same.retries.following(&plan.retries),
        );
        Ok(Stack {
            plan: plan.clone(),
            endpoints,
            credentials,
            admission,
            retries,
            balancer: Mutex::new(Balancer::new(plan.balance, &plan.endpoints)),
            metrics,
            bulletin,
            injected,
        })
    }

    fn standing(
        &self,
        plan: &Plan,
        endpoint: &EndpointPlan,
        same: Option<(&Arc<Endpoint>, &Arc<Stack>)>,
        bulletin: &Arc<Bulletin>,
        named: Option<&Arc<Endpoint>>,
    ) -> Arc<Standing> {
        let settings = BreakerSettings::new(&plan.breaker, plan.timeouts.attempt);
        let probes = plan.health_check.as_ref();
        let same = same.filter(|(_, old)| {
            old.plan
                .endpoints
                .iter()
                .any(|old| old.name == endpoint.name && old.url == endpoint.url)
        });
        if let Some((known, old)) = same {
            let standing = known.standing();
            standing.update(settings, probes);
            if plan.reset_circuit.is_some() && plan.reset_circuit != old.plan.reset_circuit {
                standing.reset();
            }
            return standing.clone();
        }
        let metrics = named.map_or_else(
            || Arc::new(EndpointMetrics::new(&plan.integration, &endpoint.name)),
            |named| named.standing().metrics.clone(),
        );
        let probing = probes.map(|plan| Probing::new(plan.unhealthy_threshold, plan.healthy_threshold));
        Arc::new(Standing::new(settings, probing, metrics, bulletin.clone()))
    }

    fn pool(&self, plan: &Plan, address: &Address, known: Option<&Arc<Pool>>) -> Result<Arc<Pool>, UnusablePlan> {
        let identity = pool::Identity {
            host: address.host.clone(),
            port: address.port,
            tls: (address.scheme == Scheme::HTTPS).then(|| plan.tls.clone()),
            http2: plan.connections.http2,
            denied: plan.denied.clone(),
            bounds: pool::Bounds {
                max: plan.connections.max_per_endpoint,
                connect: plan.timeouts.connect,
                idle: plan.connections.idle_timeout,
                headers: plan.limits.headers,
            },
        };
        if let Some(known) = known.filter(|known| *known.identity() == identity) {
            return Ok(known.clone());
        }
        let tls = match &identity.tls {
            Some(tls) => Some(TlsTarget {
                server_name: tls::server_name(tls, &address.host)?,
                config: tls::provider_config(tls, identity.http2)?,
            }),
            None => None,
        };
        let target = Target {
            host: address.host.clone(),
            port: address.port,
            tls,
        };
        let dialer = self.dialer.under(Arc::new(self.policy.with_api_server(&plan.denied)));
        Ok(Arc::new(Pool::new(dialer, target, identity)))
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

fn find<'a>(stack: &'a Stack, name: &str) -> Option<&'a Arc<Endpoint>> {
    stack.endpoints.iter().find(|endpoint| endpoint.name() == name)
}

fn credential(plan: &CredentialPlan, same: Option<&Arc<Stack>>) -> Credential {
    let rejected = same.is_some_and(|same| {
        same.credentials
            .iter()
            .any(|old| old.plan().name == plan.name && old.plan().revision == plan.revision && old.is_rejected())
    });
    Credential::new(plan.clone(), rejected)
}

/// The credentials that may be sent to `address`, by their place in the plan, and the first that may not.
fn allowed(credentials: &[CredentialPlan], address: &Address) -> (Vec<usize>, Option<String>) {
    let allows = |credential: &CredentialPlan| {
        // A pattern that cannot be read allows nothing.
        let patterns = credential
            .allowed_hosts
            .iter()
            .filter_map(|pattern| pattern.parse::<HostPattern>().ok());
        patterns
            .into_iter()
            .any(|pattern| pattern.allows(&address.host, address.port))
    };
    let (allowed, not): (Vec<_>, Vec<_>) = credentials
        .iter()
        .enumerate()
        .partition(|(_, credential)| allows(credential));
    let first = not.first().map(|(_, credential)| credential.name.clone());
    (allowed.into_iter().map(|(index, _)| index).collect(), first)
}
