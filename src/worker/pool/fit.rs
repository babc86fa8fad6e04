//! The same request on either version of HTTP, and what an answer says of its connection.

use std::time::Duration;

use http::header::{HOST, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};

/// HTTP/1 has the host in a header and the rest in the request line.
pub fn fit_http1<B>(request: &mut Request<B>, uri: &Uri) {
    let target = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = Uri::from(target);
    if let Some(host) = uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// HTTP/2 has all of it in pseudo headers, made from the URI.
pub fn fit_http2<B>(request: &mut Request<B>, uri: &Uri) {
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri.clone();
    request.headers_mut().remove(HOST);
}

/// `Keep-Alive: timeout=N`, less a second for the way: a server that says so closes then, and a request that is on its
/// way at that moment is lost.
pub fn keep_alive_timeout<B>(response: &Response<B>) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let value = response.headers().get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds: u64 = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}
