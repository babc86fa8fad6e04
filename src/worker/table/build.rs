//! A stack from a plan, and from what the stack before it learned.

use std::sync::{Arc, Mutex};

use http::HeaderName;
use http::uri::Scheme;
use tokio::sync::watch;

use super::UnusablePlan;
use crate::api::integration::{Http2, Protocol};
use crate::domain::balance::Balancer;
use crate::domain::breaker::Settings as BreakerSettings;
use crate::domain::hosts::HostPattern;
use crate::domain::key::Key;
use crate::domain::plan::{self, CredentialPlan, EndpointPlan, Material, Plan};
use crate::domain::probing::Probing;
use crate::net::policy::AddressPolicy;
use crate::net::tls::{ClientCertificate, TlsError};
use crate::net::{Dialer, Target, TlsTarget, tls};
use crate::telemetry::worker_metrics::{EndpointMetrics, IntegrationMetrics};
use crate::worker::Reports;
use crate::worker::credential::{Credential, Now};
use crate::worker::endpoint::{Address, Endpoint};
use crate::worker::layer::admit::Admission;
use crate::worker::layer::quota::{Quota, Share};
use crate::worker::layer::retry::Retries;
use crate::worker::pause::Pause;
use crate::worker::pool::{self, Pool};
use crate::worker::report::Bulletin;
use crate::worker::stack::Stack;
use crate::worker::standing::Standing;

/// What every stack of this worker stands on.
#[derive(Debug)]
pub(super) struct Parts {
    policy: AddressPolicy,
    /// All endpoints share its lookups.
    dialer: Dialer,
    reports: Arc<watch::Sender<Reports>>,
    /// This worker's share of the rate limit; absent: all of it.
    share: Option<Share>,
}

/// Whether `plan` can be used: all that [`Parts::build`] may find wrong with it.
pub fn check(plan: &Plan) -> Result<(), UnusablePlan> {
    if plan.format > plan::FORMAT {
        return Err(UnusablePlan::Format {
            found: plan.format,
            known: plan::FORMAT,
        });
    }
    let is_certificate =
        |credential: &&CredentialPlan| matches!(credential.material, Some(Material::Certificate { .. }));
    let mut certificates = plan.credentials.iter().filter(is_certificate);
    // Two can never be of use: one endpoint cannot be shown both, and one that may be shown only one of them gets no
    // requests, because the other is needed there too.
    if let (Some(first), Some(second)) = (certificates.next(), certificates.next()) {
        return Err(UnusablePlan::Certificates {
            first: first.name.clone(),
            second: second.name.clone(),
        });
    }
    for endpoint in &plan.endpoints {
        let address = Address::parse(&endpoint.name, &endpoint.url)?;
        target(&address, &identity(plan, &address))?;
    }
    Ok(())
}

impl Parts {
    /// Stacks dial what `policy` allows, report to `reports`, and have `share` of their rate limits.
    pub fn new(policy: AddressPolicy, reports: Arc<watch::Sender<Reports>>, share: Option<Share>) -> Self {
        let dialer = Dialer::new(Arc::new(policy.clone()));
        Self {
            policy,
            dialer,
            reports,
            share,
        }
    }

    /// From now on connections are opened by `dialer`.
    #[cfg(test)]
    pub fn dial_with(&mut self, dialer: Dialer) {
        self.dialer = dialer;
    }

    /// The stack of `plan`, which follows `old`. An error leaves the old one as it was.
    pub fn build(&self, key: &Key, plan: &Arc<Plan>, old: Option<&Arc<Stack>>) -> Result<Stack, UnusablePlan> {
        check(plan)?;
        // Of an Integration that was deleted and made anew nothing is known; its series in the metrics go on.
        let same = old.filter(|old| old.plan.uid == plan.uid);
        let bulletin = old.map_or_else(
            || Arc::new(Bulletin::new(key.clone(), self.reports.clone())),
            |old| old.bulletin.clone(),
        );
        let metrics = old.map_or_else(|| Arc::new(IntegrationMetrics::new(key)), |old| old.metrics.clone());
        let now = Now::read();
        let credentials: Vec<_> = plan
            .credentials
            .iter()
            .map(|plan| credential(plan, same, now))
            .collect();
        let injected: Arc<[HeaderName]> = credentials.iter().filter_map(Credential::header).collect();
        // All that can fail comes before anything that is shared with the old stack is touched.
        let mut places = Vec::with_capacity(plan.endpoints.len());
        for endpoint in &plan.endpoints {
            let address = Address::parse(&endpoint.name, &endpoint.url)?;
            let known = old.and_then(|old| find(old, &endpoint.name));
            let pool = self.pool(plan, &address, known.map(|known| known.pool()))?;
            if address.scheme == Scheme::HTTP && plan.credentials.iter().any(is_certificate) {
                tracing::warn!(
                    namespace = &*key.namespace,
                    integration = &*key.name,
                    endpoint = endpoint.name,
                    "without TLS no client certificate is shown; the endpoint is called without one",
                );
            }
            places.push((address, pool));
        }
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(plan.endpoints.len());
        for (endpoint, (address, pool)) in plan.endpoints.iter().zip(places) {
            let known = old.and_then(|old| find(old, &endpoint.name));
            let standing = standing(plan, endpoint, known.zip(same), known, &bulletin);
            let (allowed, not_allowed) = allowed(&plan.credentials, &address);
            let pause = pause(
                &address,
                endpoints.iter().chain(same.into_iter().flat_map(|old| &old.endpoints)),
            );
            let name = endpoint.name.clone();
            endpoints.push(Arc::new(Endpoint::new(
                name,
                address,
                pool,
                standing,
                pause,
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
        metrics.concurrency_limit.set(admission.wanted().into());
        let quota = plan
            .rate_limit
            .as_ref()
            .map(|plan| match same.and_then(|same| same.quota.as_ref()) {
                Some(quota) => quota.following(plan),
                None => Quota::new(plan, self.share.clone()),
            });
        let retries = same.map_or_else(
            || Retries::new(&plan.retries),
            |same| same.retries.following(&plan.retries),
        );
        Ok(Stack {
            plan: plan.clone(),
            endpoints,
            credentials,
            admission,
            quota,
            retries,
            balancer: Mutex::new(Balancer::new(plan.balance, &plan.endpoints)),
            metrics,
            bulletin,
            injected,
        })
    }

    fn pool(&self, plan: &Plan, address: &Address, known: Option<&Arc<Pool>>) -> Result<Arc<Pool>, UnusablePlan> {
        let identity = identity(plan, address);
        if let Some(known) = known.filter(|known| *known.identity() == identity) {
            return Ok(known.clone());
        }
        let target = target(address, &identity)?;
        let dialer = self.dialer.under(Arc::new(self.policy.with_api_server(&plan.denied)));
        Ok(Arc::new(Pool::new(dialer, target, identity)))
    }
}

/// What makes connections of `plan` to `address` the same.
fn identity(plan: &Plan, address: &Address) -> pool::Identity {
    let secured = address.scheme == Scheme::HTTPS;
    pool::Identity {
        host: address.host.clone(),
        port: address.port,
        tls: secured.then(|| plan.tls.clone()),
        certificate: certificate(&plan.credentials, address),
        // A handshake is one of HTTP/1.1 (RFC 6455 4.1).
        http2: match plan.protocol {
            Protocol::WebSocket => Http2::Never,
            Protocol::HTTP | Protocol::GraphQL | Protocol::GRPC => plan.connections.http2,
        },
        grpc: plan.protocol == Protocol::GRPC,
        denied: plan.denied.clone(),
        bounds: pool::Bounds {
            max: plan.connections.max_per_endpoint,
            connect: plan.timeouts.connect,
            idle: plan.connections.idle_timeout,
            headers: plan.limits.headers,
        },
    }
}

fn target(address: &Address, identity: &pool::Identity) -> Result<Target, TlsError> {
    let tls = match &identity.tls {
        Some(tls) => {
            let config = tls::provider_config_with(tls, identity.http2, identity.certificate.as_ref())?;
            Some(TlsTarget {
                server_name: tls::server_name(tls, &address.host)?,
                config: if identity.grpc {
                    tls::http2_only(&config)
                } else {
                    config
                },
            })
        }
        None => None,
    };
    Ok(Target {
        host: address.host.clone(),
        port: address.port,
        tls,
    })
}

fn is_certificate(credential: &CredentialPlan) -> bool {
    matches!(credential.material, Some(Material::Certificate { .. }))
}

/// The client certificate that is shown at `address`, if it may be shown there.
fn certificate(credentials: &[CredentialPlan], address: &Address) -> Option<ClientCertificate> {
    let (sent, _) = allowed(credentials, address);
    sent.into_iter().find_map(|index| match &credentials[index].material {
        Some(Material::Certificate { chain, key }) => Some(ClientCertificate {
            chain: chain.clone(),
            key: key.clone(),
        }),
        _ => None,
    })
}

/// How `endpoint` stands: as it stood, if it is the same; its series in the metrics go on with its name.
fn standing(
    plan: &Plan,
    endpoint: &EndpointPlan,
    same: Option<(&Arc<Endpoint>, &Arc<Stack>)>,
    named: Option<&Arc<Endpoint>>,
    bulletin: &Arc<Bulletin>,
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

/// The pause of the host of `address`, as one of `known` has it.
fn pause<'a>(address: &Address, mut known: impl Iterator<Item = &'a Arc<Endpoint>>) -> Arc<Pause> {
    let known = known.find(|known| known.address().authority == address.authority);
    known.map_or_else(Arc::default, |known| known.pause().clone())
}

fn find<'a>(stack: &'a Stack, name: &str) -> Option<&'a Arc<Endpoint>> {
    stack.endpoints.iter().find(|endpoint| endpoint.name() == name)
}

fn credential(plan: &CredentialPlan, same: Option<&Arc<Stack>>, now: Now) -> Credential {
    let old = same.and_then(|same| same.credentials.iter().find(|old| old.plan().name == plan.name));
    Credential::new(plan.clone(), old, now)
}

/// The credentials that are sent to `address`, by their place in the plan, and the first that would be and may not.
fn allowed(credentials: &[CredentialPlan], address: &Address) -> (Vec<usize>, Option<String>) {
    let travels = |credential: &CredentialPlan| match credential.material {
        Some(Material::Unsent { .. }) => false,
        // Without TLS nobody asks who we are; the endpoint is called as if there were no certificate.
        Some(Material::Certificate { .. }) => address.scheme == Scheme::HTTPS,
        Some(Material::Header { .. } | Material::Query { .. } | Material::Cookie { .. }) | None => true,
    };
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
        .filter(|(_, credential)| travels(credential))
        .partition(|(_, credential)| allows(credential));
    let first = not.first().map(|(_, credential)| credential.name.clone());
    (allowed.into_iter().map(|(index, _)| index).collect(), first)
}
