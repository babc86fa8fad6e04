//! Where a token is asked for.

use url::{Host, Url};

use super::{IssueError, invalid};

/// A URL that secrets may be sent to: `https`, or `http` within the machine and the cluster, where TLS is often somebody
/// else's business; without user name, password and fragment (RFC 6749, 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL.
    pub url: Url,
    /// The URL as it was written: what an assertion calls its audience is compared letter by letter.
    pub text: String,
}

impl Endpoint {
    /// The endpoint that `text` names, or what it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "must be a URL")?;
        let secure = url.scheme() == "https" || url.scheme() == "http" && is_near(&url);
        if !secure {
            return Err(
                "must be an https URL (or an http one of localhost or a Service of the cluster), because secrets are sent to it",
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user name or password");
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment");
        }
        Ok(Self {
            url,
            text: text.to_owned(),
        })
    }

    /// The host, as it is named in messages.
    pub fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}

/// The endpoint that the spec names in `field`.
pub fn named(field: &str, text: &str) -> Result<Endpoint, IssueError> {
    Endpoint::parse(text).map_err(|must| invalid(field, must))
}

fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost") || is_service(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `<name>.<namespace>.svc`, as the schema has it.
fn is_service(name: &str) -> bool {
    let service = name.strip_suffix(".svc.cluster.local").or(name.strip_suffix(".svc"));
    service.is_some_and(|service| service.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_https_or_to_loopback() {
        for good in [
            "https://a.example/token",
            "https://a.example:8443/token?tenant=1",
            "http://127.0.0.1:8080/token",
            "http://[::1]/token",
            "http://localhost/token",
            "http://idp.localhost/token",
            "http://keycloak.auth.svc:8080/token",
            "http://keycloak.auth.svc.cluster.local/token",
        ] {
            let endpoint = Endpoint::parse(good).unwrap();
            assert_eq!(endpoint.text, good);
        }
        for (bad, must) in [
            ("", "must be a URL"),
            ("a.example/token", "must be a URL"),
            ("http://a.example/token", "https"),
            ("http://127.0.0.1.example/token", "https"),
            ("http://notlocalhost/token", "https"),
            ("http://auth.svc/token", "https"),
            ("http://svc.cluster.local/token", "https"),
            ("http://a.b.svc.example/token", "https"),
            ("http://a.bsvc/token", "https"),
            ("ftp://localhost/token", "https"),
            ("file:///etc/passwd", "https"),
            ("https://user@a.example/token", "user name"),
            ("https://:hush@a.example/token", "password"),
            ("https://a.example/token#a", "fragment"),
        ] {
            let said = Endpoint::parse(bad).unwrap_err();
            assert!(said.contains(must), "{bad}: {said}");
        }
    }
}
