//! Whether the head of a provider's answer has one meaning: the checks that every parsed answer passes before it is
//! passed on.
//!
//! hyper reads what it can: of an answer with both `Content-Length` and `Transfer-Encoding` it believes the latter, and a
//! coding that it does not know is a body until the connection ends. A cache or a gateway between the provider and us may
//! have read the same bytes otherwise, and then what follows on the connection is an answer to somebody else. RFC 9112 6.1
//! and 6.3 have a proxy answer 502 and close, which is what an error here comes to.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};

/// Checks the head of `response`, and says what is wrong with it. `may_switch`: the request asked for another protocol, so
/// that 101 is an answer.
pub fn check<B>(response: &Response<B>, may_switch: bool) -> Result<(), &'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !may_switch {
        return Err("the provider switches to a protocol that nobody asked for");
    }
    // On HTTP/2 frames say where an answer ends, and hyper refuses the header that would say otherwise.
    if response.version() >= Version::HTTP_2 {
        return Ok(());
    }
    check_framing(response.headers(), response.version())
}

fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => {}
        (Some(_), Some(_)) => return Err("the provider's answer has both Content-Length and Transfer-Encoding"),
        (Some(coding), None) => {
            // RFC 9112 6.1: a sender of 1.0 does not know what the header means.
            let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
            if !chunked || codings.next().is_some() || version == Version::HTTP_10 {
                return Err("the provider's answer has a Transfer-Encoding other than `chunked`, once, on HTTP/1.1");
            }
        }
        (None, Some(length)) => {
            if lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
                return Err("the provider's answer has a Content-Length that is not one number");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: Version, status: u16, headers: &[(&str, &str)]) -> Response<()> {
        let mut response = Response::builder().version(version).status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    #[test]
    fn an_answer_whose_end_is_told_once_is_passed_on() {
        let http1 = Version::HTTP_11;
        for (version, headers) in [
            (http1, &[][..]),
            (http1, &[("content-length", "5")]),
            (http1, &[("transfer-encoding", "Chunked")]),
            (Version::HTTP_10, &[("content-length", "5")]),
            (Version::HTTP_2, &[("content-length", "5")]),
        ] {
            assert_eq!(check(&answer(version, 200, headers), false), Ok(()), "{headers:?}");
        }
        assert_eq!(check(&answer(http1, 101, &[]), true), Ok(()));
    }

    #[test]
    fn an_answer_whose_end_is_told_twice_or_in_vain_is_refused() {
        let http1 = Version::HTTP_11;
        for (version, status, headers) in [
            (http1, 101, &[][..]),
            (Version::HTTP_2, 101, &[]),
            (http1, 200, &[("content-length", "5"), ("transfer-encoding", "chunked")]),
            (http1, 200, &[("content-length", "5"), ("content-length", "5")]),
            (http1, 200, &[("content-length", "5, 5")]),
            (http1, 200, &[("content-length", "+5")]),
            (http1, 200, &[("transfer-encoding", "gzip")]),
            (http1, 200, &[("transfer-encoding", "gzip, chunked")]),
            (http1, 200, &[("transfer-encoding", "identity")]),
            (http1, 200, &[("transfer-encoding", "")]),
            (
                http1,
                200,
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            ),
            (Version::HTTP_10, 200, &[("transfer-encoding", "chunked")]),
        ] {
            assert!(
                check(&answer(version, status, headers), false).is_err(),
                "{version:?} {headers:?}"
            );
        }
    }
}
