//! The opening handshake (RFC 6455 4), as a proxy sees it: what a caller may ask, and what a provider may answer.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

const DEFLATE: &str = "permessage-deflate";

/// What RFC 6455 1.3 puts behind the key.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether this is a handshake that can be passed on; else what is wrong with it.
pub fn check(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    if version != Version::HTTP_11 {
        return Err("this Integration speaks WebSocket; the handshake must come over HTTP/1.1");
    }
    if method != Method::GET
        || !has_token(headers, &UPGRADE, "websocket")
        || !has_token(headers, &CONNECTION, "upgrade")
    {
        return Err(
            "this Integration speaks WebSocket; the request must be a GET with `Upgrade: websocket` and `Connection: Upgrade`",
        );
    }
    if only(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("`Sec-WebSocket-Version` must be 13");
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err("`Sec-WebSocket-Key` must be 16 bytes in base64");
    }
    Ok(())
}

/// What `Sec-WebSocket-Accept` must be for this key.
pub fn accept(key: &HeaderValue) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), SUFFIX].concat());
    STANDARD.encode(hash)
}

/// The headers that make a request a handshake, put back after those for one hop were taken off. `key` is the caller's.
pub fn ask(headers: &mut HeaderMap, key: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, key);
    // An extension may change what frames are. Of one that is not known here it could not be said any more where a frame
    // ends, so it is not offered.
    let offers: Vec<_> = offers(headers, &SEC_WEBSOCKET_EXTENSIONS)
        .filter(|offer| name_of(offer).eq_ignore_ascii_case(DEFLATE))
        .collect();
    let offers = (!offers.is_empty()).then(|| HeaderValue::from_str(&offers.join(", ")).ok());
    match offers.flatten() {
        Some(offers) => drop(headers.insert(SEC_WEBSOCKET_EXTENSIONS, offers)),
        None => drop(headers.remove(SEC_WEBSOCKET_EXTENSIONS)),
    }
}

/// Checks a 101 to a handshake with the headers `asked`: whether `permessage-deflate` was agreed upon; else what is wrong
/// with it.
pub fn agreed(asked: &HeaderMap, answer: &HeaderMap) -> Result<bool, &'static str> {
    if !has_token(answer, &UPGRADE, "websocket") || !has_token(answer, &CONNECTION, "upgrade") {
        return Err("the provider switches to something that is not WebSocket");
    }
    let expected = asked.get(SEC_WEBSOCKET_KEY).map(accept);
    let found = only(answer, &SEC_WEBSOCKET_ACCEPT);
    if expected.is_none() || found.as_deref() != expected.as_deref() {
        return Err("the provider's `Sec-WebSocket-Accept` does not fit the key");
    }
    let offered = asked.contains_key(SEC_WEBSOCKET_EXTENSIONS);
    let mut extensions = offers(answer, &SEC_WEBSOCKET_EXTENSIONS);
    match (extensions.next(), extensions.next()) {
        (None, _) => Ok(false),
        (Some(one), None) if offered && name_of(&one).eq_ignore_ascii_case(DEFLATE) => Ok(true),
        _ => Err("the provider uses an extension that it was not offered"),
    }
}

/// What the `Origin` of a handshake says of who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// There is none: no browser.
    Program,
    /// A page at the address of the caller's own request. It means nothing to the provider.
    Here,
    /// A page of the provider.
    There,
    /// A page of somebody else, which browsers let open any WebSocket.
    Elsewhere,
}

/// Whom a handshake for `host` comes from. `endpoints` are the provider's hosts, as in `Host`.
pub fn origin<'a>(headers: &HeaderMap, host: &str, endpoints: impl IntoIterator<Item = &'a str>) -> From {
    if !headers.contains_key(ORIGIN) {
        return From::Program;
    }
    let origin = only(headers, &ORIGIN);
    let Some((scheme, from)) = origin.as_deref().and_then(|origin| origin.split_once("://")) else {
        return From::Elsewhere;
    };
    let default = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let same = |host: &str| {
        host.strip_suffix(default)
            .unwrap_or(host)
            .eq_ignore_ascii_case(from.strip_suffix(default).unwrap_or(from))
    };
    if same(host) {
        From::Here
    } else if endpoints.into_iter().any(same) {
        From::There
    } else {
        From::Elsewhere
    }
}

/// The value of a header that must be there once.
fn only(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(value), None) => value.to_str().ok().map(|value| value.trim().to_owned()),
        _ => None,
    }
}

fn offers<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|offer| String::from_utf8_lossy(offer).trim().to_owned())
        .filter(|offer| !offer.is_empty())
}

fn name_of(offer: &str) -> &str {
    offer.split_once(';').map_or(offer, |(name, _)| name).trim()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    offers(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests;
