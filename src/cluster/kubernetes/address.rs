//! Where the API server is, so that no worker connects to it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, Config};

/// For one call.
const DEADLINE: Duration = Duration::from_secs(10);

/// Every address of the API server that can be learnt: that of the configuration, those of its Service, and those behind
/// it. Sorted, so that a plan that holds them does not change with a restart.
pub async fn of_api_server(client: &Client, config: &Config) -> Vec<IpNet> {
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    let host = config.cluster_url.host().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        addresses.insert(address);
    } else if let Ok(Ok(found)) = tokio::time::timeout(DEADLINE, tokio::net::lookup_host((host, 443))).await {
        // A name: what it stands for now.
        addresses.extend(found.map(|socket| socket.ip()));
    } else {
        tracing::warn!(
            host,
            "the API server's name does not resolve; workers may connect to where it leads"
        );
    }
    let service = Api::<Service>::namespaced(client.clone(), "default");
    match tokio::time::timeout(DEADLINE, service.get_opt("kubernetes")).await {
        Ok(Ok(service)) => {
            let ips = service
                .and_then(|service| service.spec?.cluster_ips)
                .unwrap_or_default();
            addresses.extend(ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "Service default/kubernetes cannot be read; workers may connect to it");
        }
        Err(_) => tracing::warn!("Service default/kubernetes cannot be read in time; workers may connect to it"),
    }
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), "default");
    match tokio::time::timeout(DEADLINE, slices.get_opt("kubernetes")).await {
        Ok(Ok(slice)) => {
            let endpoints = slice.map(|slice| slice.endpoints).unwrap_or_default();
            let ips = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            addresses.extend(ips.filter_map(|ip| ip.parse::<IpAddr>().ok()));
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "EndpointSlice default/kubernetes cannot be read; workers may connect to its addresses");
        }
        Err(_) => tracing::warn!("EndpointSlice default/kubernetes cannot be read in time"),
    }
    addresses.into_iter().map(IpNet::from).collect()
}
