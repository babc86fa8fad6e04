//! Which Integration a request is for: decided by its host alone.
//!
//! `<name>`, `<name>.<namespace>`, `….svc` and `….svc.cluster.local` are what cluster DNS makes of a Service, so each of
//! them is a name that an application may use; in `tidegate run` also `<name>.<namespace>.localhost`, which needs no DNS.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::key::Key;

use super::problem::Failure;

/// The names of all Integrations that are served, and what answers to each.
#[derive(Debug)]
pub struct Routes<T> {
    by_name: HashMap<Box<str>, Found<T>>,
    localhost_names: bool,
}

#[derive(Debug)]
enum Found<T> {
    One(Arc<T>),
    /// A bare name that several namespaces have.
    Several,
}

/// What cluster DNS may add to `<name>.<namespace>`.
const SUFFIXES: [&str; 2] = [".svc.cluster.local", ".svc"];

impl<T> Routes<T> {
    /// Routes to `targets`; with `localhost_names` also by `<name>.<namespace>.localhost`.
    pub fn new<'a>(targets: impl IntoIterator<Item = (&'a Key, &'a Arc<T>)>, localhost_names: bool) -> Self
    where
        T: 'a,
    {
        let mut by_name = HashMap::new();
        for (key, target) in targets {
            by_name.insert(
                format!("{}.{}", key.name, key.namespace).to_ascii_lowercase().into(),
                Found::One(target.clone()),
            );
            by_name
                .entry(key.name.to_ascii_lowercase().into())
                .and_modify(|found| *found = Found::Several)
                .or_insert_with(|| Found::One(target.clone()));
        }
        Self {
            by_name,
            localhost_names,
        }
    }

    /// What answers to `host`, which is a host with or without a port, as in the `Host` header.
    pub fn find(&self, host: &str) -> Result<&Arc<T>, Failure> {
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        // A Service name has at most 63 characters, a namespace too; what is longer cannot be one of ours, and the
        // lower-case copy lives on the stack.
        let mut buffer = [0; 160];
        let Some(buffer) = buffer.get_mut(..name.len()) else {
            return Err(UNKNOWN);
        };
        buffer.copy_from_slice(name.as_bytes());
        buffer.make_ascii_lowercase();
        let Ok(name) = std::str::from_utf8(buffer) else {
            return Err(UNKNOWN);
        };
        match self.by_name.get(self.without_suffix(name)) {
            Some(Found::One(target)) => Ok(target),
            Some(Found::Several) => Err(Failure::UnknownIntegration {
                detail: "several namespaces have an Integration of this name; call it as <name>.<namespace>",
            }),
            None => Err(UNKNOWN),
        }
    }

    fn without_suffix<'n>(&self, name: &'n str) -> &'n str {
        let localhost = self.localhost_names.then_some(".localhost");
        for suffix in SUFFIXES.into_iter().chain(localhost) {
            if let Some(rest) = name.strip_suffix(suffix) {
                // `<name>.svc` is not a name that DNS makes: a suffix follows a namespace.
                return if rest.contains('.') { rest } else { "" };
            }
        }
        name
    }
}

const UNKNOWN: Failure = Failure::UnknownIntegration {
    detail: "no Integration answers to this host; call it as <name> or <name>.<namespace>",
};

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(keys: &[(&str, &str)], localhost_names: bool) -> Routes<String> {
        let targets: Vec<_> = keys
            .iter()
            .map(|(namespace, name)| (Key::new(*namespace, *name), Arc::new(format!("{namespace}/{name}"))))
            .collect();
        Routes::new(targets.iter().map(|(key, target)| (key, target)), localhost_names)
    }

    #[test]
    fn every_name_that_dns_makes_of_a_service_finds_it() {
        let routes = routes(&[("shop", "payments")], false);
        for host in [
            "payments",
            "payments.shop",
            "payments.shop.svc",
            "payments.shop.svc.cluster.local",
            "payments.shop.svc.cluster.local.",
            "payments.",
            "payments:80",
            "Payments.SHOP.svc:8080",
            "payments.shop.:80",
        ] {
            assert_eq!(routes.find(host).map(|t| t.as_str()), Ok("shop/payments"), "{host}");
        }
    }

    #[test]
    fn what_is_not_a_name_of_it_is_unknown() {
        let routes = routes(&[("shop", "payments")], false);
        let long = "a".repeat(300);
        for host in [
            "",
            ".",
            ":80",
            "shop",
            "payments.svc",
            "payments.other",
            "payments.shop.svc.example.com",
            "payments.shop.localhost",
            "x.payments.shop",
            "payments..",
            "[::1]:80",
            "payménts",
            &long,
        ] {
            assert_eq!(
                routes.find(host).map_err(|f| f.slug()),
                Err("unknown-integration"),
                "{host}"
            );
        }
    }

    #[test]
    fn localhost_names_are_for_run_alone() {
        let keys = [("shop", "payments")];
        assert!(routes(&keys, true).find("payments.shop.localhost:8080").is_ok());
        assert!(routes(&keys, true).find("payments.localhost").is_err());
        assert!(routes(&keys, false).find("payments.shop.localhost:8080").is_err());
    }

    #[test]
    fn a_bare_name_of_two_namespaces_is_refused_and_the_full_ones_work() {
        let routes = routes(&[("shop", "payments"), ("bank", "payments")], false);
        let Err(Failure::UnknownIntegration { detail }) = routes.find("payments") else {
            panic!("a bare name that is ambiguous must not find one of the two");
        };
        assert!(detail.contains("several namespaces"));
        assert_eq!(routes.find("payments.bank").unwrap().as_str(), "bank/payments");
        assert_eq!(routes.find("payments.shop").unwrap().as_str(), "shop/payments");
    }
}
