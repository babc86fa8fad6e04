//! What is asked for, and whether it may be asked: the checks that every parsed request passes before it is routed.

use std::borrow::Cow;

use http::header::HOST;
use http::uri::Authority;
use http::{Method, Request, Version};

use super::problem::Failure;

/// The host that `request` is for, with its port if it names one.
///
/// RFC 9112 3.2: exactly one valid `Host`, which says the same as the request target if that has an authority too.
pub fn host<B>(request: &Request<B>) -> Result<Cow<'_, str>, Failure> {
    if request.method() == Method::CONNECT {
        return refuse("CONNECT is not served; call the Integration as an ordinary HTTP server");
    }
    let uri = request.uri();
    if uri
        .scheme_str()
        .is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http"))
        && request.version() < Version::HTTP_2
    {
        return refuse("the request target must be a path, or a URL with http");
    }
    if !uri.path().starts_with('/') {
        return refuse("the request target must begin with a slash");
    }
    let mut lines = request.headers().get_all(HOST).iter();
    let line = match (lines.next(), lines.next()) {
        (_, Some(_)) => return refuse("there must be one Host header only"),
        (Some(line), None) => match line.to_str().ok().and_then(|text| text.parse::<Authority>().ok()) {
            Some(authority) => Some(authority),
            None => return refuse("the Host header must be a host, or a host and a port"),
        },
        (None, None) => None,
    };
    let host = match (uri.authority(), line) {
        (None, None) => return refuse("there must be a Host header"),
        (Some(target), Some(line)) if !target.as_str().eq_ignore_ascii_case(line.as_str()) => {
            return refuse("the Host header must name the host of the request target");
        }
        (Some(target), _) => Cow::Borrowed(target.as_str()),
        (None, Some(line)) => Cow::Owned(line.as_str().to_owned()),
    };
    if host.contains('@') {
        return refuse("the host must not carry a user name");
    }
    Ok(host)
}

fn refuse<T>(detail: &'static str) -> Result<T, Failure> {
    Err(Failure::InvalidRequest { detail: detail.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, version: Version, hosts: &[&str]) -> Result<String, String> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).unwrap();
        match host(&request) {
            Ok(host) => Ok(host.into_owned()),
            Err(Failure::InvalidRequest { detail }) => Err(detail.into_owned()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_is_what_the_host_header_or_the_target_says() {
        let http1 = Version::HTTP_11;
        assert_eq!(check("GET", "/", http1, &["api.shop:80"]), Ok("api.shop:80".into()));
        assert_eq!(
            check("GET", "http://api.shop/x", http1, &["API.shop"]),
            Ok("api.shop".into())
        );
        assert_eq!(check("GET", "/", Version::HTTP_10, &["api"]), Ok("api".into()));
        assert_eq!(
            check("GET", "http://api.shop/x", Version::HTTP_2, &[]),
            Ok("api.shop".into())
        );
        assert_eq!(
            check("GET", "https://api.shop/x", Version::HTTP_2, &[]),
            Ok("api.shop".into())
        );
        assert_eq!(check("GET", "/", http1, &["[::1]:80"]), Ok("[::1]:80".into()));
    }

    #[test]
    fn what_could_mean_two_hosts_or_none_is_refused() {
        let http1 = Version::HTTP_11;
        for (method, target, version, hosts) in [
            ("GET", "/", http1, &[][..]),
            ("GET", "/", Version::HTTP_10, &[]),
            ("GET", "/", http1, &["a", "a"]),
            ("GET", "/", http1, &["a", "b"]),
            ("GET", "/", http1, &[""]),
            ("GET", "/", http1, &["a b"]),
            ("GET", "/", http1, &["a/b"]),
            ("GET", "/", http1, &["user@a"]),
            ("GET", "http://a/", http1, &["b"]),
            ("GET", "http://a/", http1, &["a:80"]),
            ("GET", "http://a/", Version::HTTP_2, &["b"]),
            ("GET", "http://user@a/", http1, &["user@a"]),
            ("GET", "https://a/", http1, &["a"]),
            ("GET", "ftp://a/", http1, &["a"]),
            ("OPTIONS", "*", http1, &["a"]),
            ("CONNECT", "a:443", http1, &["a:443"]),
        ] {
            assert!(
                check(method, target, version, hosts).is_err(),
                "{method} {target} {hosts:?}"
            );
        }
    }
}
