//! One endpoint of one plan: where requests go, with what, over which connections, and how it stands.

use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use url::Url;

use super::pause::Pause;
use super::pool::Pool;
use super::standing::Standing;

/// One endpoint of one plan.
#[derive(Debug)]
pub struct Endpoint {
    name: String,
    address: Address,
    pool: Arc<Pool>,
    standing: Arc<Standing>,
    pause: Arc<Pause>,
    /// Which of the plan's credentials are sent there.
    credentials: Vec<usize>,
    /// A credential that is not to be sent there though it is needed: its name.
    not_allowed: Option<String>,
}

/// Where an endpoint is, in the pieces that requests are made of.
#[derive(Clone, Debug)]
pub struct Address {
    /// Host: a name or an address, IPv6 without brackets.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host, with its port if that is not the scheme's own: what the provider sees as `Host`.
    pub authority: Authority,
    /// What is put before a caller's path: empty, or a path without a slash at its end.
    pub base: String,
}

/// An endpoint's URL that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL of endpoint `{name}` must be http or https with a host, and without user, query or fragment")]
pub struct UnusableUrl {
    /// The endpoint.
    pub name: String,
}

impl Address {
    /// The address in `url`, the URL of the endpoint `name`.
    pub fn parse(name: &str, url: &str) -> Result<Self, UnusableUrl> {
        Self::of(url).ok_or_else(|| UnusableUrl { name: name.to_owned() })
    }

    fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return None,
        };
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return None;
        }
        let written = url.host_str()?;
        let authority = match url.port() {
            Some(port) => format!("{written}:{port}"),
            None => written.to_owned(),
        };
        let host = written
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(written);
        Some(Self {
            host: host.into(),
            port: url.port_or_known_default()?,
            scheme,
            authority: authority.parse().ok()?,
            base: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The whole URL of `target` there. `target` is the caller's path and query, byte for byte, behind the base.
    pub fn with(&self, target: PathAndQuery) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).ok()
    }

    /// `target` behind the base.
    pub fn join(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        if self.base.is_empty() {
            return Some(target.clone());
        }
        PathAndQuery::try_from(format!("{}{target}", self.base)).ok()
    }
}

impl Endpoint {
    /// An endpoint made of its parts.
    pub fn new(
        name: String,
        address: Address,
        pool: Arc<Pool>,
        standing: Arc<Standing>,
        pause: Arc<Pause>,
        credentials: Vec<usize>,
        not_allowed: Option<String>,
    ) -> Self {
        Self {
            name,
            address,
            pool,
            standing,
            pause,
            credentials,
            not_allowed,
        }
    }

    /// Its name in the plan.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The connections to it.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// How it stands.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// What its host asked for; endpoints of the same host share it.
    pub fn pause(&self) -> &Arc<Pause> {
        &self.pause
    }

    /// The credentials that are sent there, by their place in the plan.
    pub fn credentials(&self) -> &[usize] {
        &self.credentials
    }

    /// The credential that is needed and not allowed there, if there is one.
    pub fn not_allowed(&self) -> Option<&str> {
        self.not_allowed.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_a_provider_sees_has_the_port_only_if_it_is_not_the_default() {
        for (url, host, port, header) in [
            ("https://api.example.com/v1", "api.example.com", 443, "api.example.com"),
            ("https://api.example.com:443", "api.example.com", 443, "api.example.com"),
            (
                "https://api.example.com:8443",
                "api.example.com",
                8443,
                "api.example.com:8443",
            ),
            ("http://API.example.com:80", "api.example.com", 80, "api.example.com"),
            ("http://[::1]:8080/", "::1", 8080, "[::1]:8080"),
            ("http://127.1", "127.0.0.1", 80, "127.0.0.1"),
        ] {
            let address = Address::parse("e", url).unwrap();
            assert_eq!((&*address.host, address.port), (host, port), "{url}");
            assert_eq!(address.authority, header, "{url}");
        }
    }

    #[test]
    fn what_is_not_a_plain_url_is_refused() {
        for url in [
            "",
            "api.example.com",
            "ftp://a/",
            "https://u@a/",
            "https://u:p@a/",
            "https://a/?q",
            "https://a/#f",
        ] {
            assert!(Address::parse("e", url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_callers_path_and_query_follow_the_base_byte_for_byte() {
        for (url, target, expected) in [
            ("https://a", "/x?y=%2F+z&&", "/x?y=%2F+z&&"),
            ("https://a/", "/", "/"),
            ("https://a/v1", "/x", "/v1/x"),
            ("https://a/v1/", "/x/", "/v1/x/"),
            ("https://a/v1", "/?q", "/v1/?q"),
            ("https://a/v1", "//x/%2e%2e/", "/v1//x/%2e%2e/"),
        ] {
            let address = Address::parse("e", url).unwrap();
            let joined = address.join(&PathAndQuery::try_from(target).unwrap()).unwrap();
            assert_eq!(joined.as_str(), expected);
            assert_eq!(
                address.with(joined).unwrap().to_string(),
                format!("https://a{expected}")
            );
        }
    }
}
