//! Headers that are for one hop only, taken off in both directions.
//!
//! They are taken off before a credential is put in: `Connection` names what the next hop is to drop, and a caller that
//! could name the header we inject could have it dropped there (CVE-2026-105299 is that bug in another proxy).

use http::header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Those that http has no name for. `http2-settings` belongs to an upgrade that we do not make (RFC 9113 3.1).
const MORE: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Takes off what is for one hop only (contract section 8), whatever `Connection` names included. That trailers are
/// welcome is said again, because we pass them on.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| *name != TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    let trailers = headers.contains_key(TE) && wants_trailers(headers);
    for name in [TE, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION]
        .into_iter()
        .chain(MORE)
    {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// How many bytes the headers take, as HTTP/2 counts them (RFC 9113 6.5.2): name, value and 32 for each.
pub fn size(headers: &HeaderMap) -> u64 {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().len() + value.len() + 32) as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn what_is_for_one_hop_goes_and_the_rest_stays() {
        let left = stripped(&[
            ("connection", "keep-alive, X-Once"),
            ("Connection", "x-twice ,"),
            ("x-once", "1"),
            ("x-twice", "2"),
            ("x-stays", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "gzip"),
            ("trailer", "checksum"),
        ]);
        assert_eq!(left, ["trailer: checksum", "x-stays: 3"]);
    }

    #[test]
    fn that_trailers_are_welcome_is_passed_on_and_nothing_else_of_te() {
        assert_eq!(stripped(&[("te", "gzip;q=0.5, trailers")]), ["te: trailers"]);
        assert_eq!(stripped(&[("connection", "TE"), ("te", "trailers")]), ["te: trailers"]);
    }
}
