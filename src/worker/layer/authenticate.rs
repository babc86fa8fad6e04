//! The innermost layer: puts the credentials in. Nothing above it ever sees one.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

use crate::domain::inject::{Unfit, inject};
use crate::domain::plan::Material;
use crate::worker::credential::Credential;

/// Puts `credentials` into the head of a request.
///
/// A TRACE request gets none: it asks the provider to send back what it got, and a client must not send it anything that
/// the one who reads the answer is not to see (RFC 9110 9.3.8).
pub fn authenticate<'a>(
    method: &Method,
    target: &mut PathAndQuery,
    headers: &mut HeaderMap,
    credentials: impl IntoIterator<Item = &'a Credential>,
) -> Result<(), (String, Unfit)> {
    if *method == Method::TRACE {
        return Ok(());
    }
    for credential in credentials {
        if let Some(material) = &credential.plan().material {
            inject(material, target, headers).map_err(|unfit| (credential.plan().name.clone(), unfit))?;
        }
    }
    Ok(())
}

/// Takes a credential that was sent as a query parameter out of the answer's redirects.
///
/// Many servers redirect to the URL they were asked for with a slash at its end, query included. The redirect is passed
/// on, and with it the key would reach the caller, and whomever the caller then asks.
pub fn withdraw<'a>(headers: &mut HeaderMap, credentials: impl IntoIterator<Item = &'a Credential>) {
    for credential in credentials {
        let Some(Material::Query { name, value }) = &credential.plan().material else {
            continue;
        };
        for header in [LOCATION, CONTENT_LOCATION] {
            let told = headers
                .get(&header)
                .and_then(|url| without(url.to_str().ok()?, name, value.expose()));
            if let Some(url) = told.and_then(|url| HeaderValue::from_str(&url).ok()) {
                headers.insert(header, url);
            }
        }
    }
}

/// `url` without the parameters that are `name=value`, if it has any.
fn without(url: &str, name: &str, value: &str) -> Option<String> {
    let (rest, fragment) = url
        .split_once('#')
        .map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = rest.split_once('?')?;
    let ours =
        |pair: &&str| url::form_urlencoded::parse(pair.as_bytes()).any(|(key, found)| key == name && found == value);
    query.split('&').find(ours)?;
    let others: Vec<_> = query.split('&').filter(|pair| !ours(pair)).collect();
    let mut told = path.to_owned();
    for (index, pair) in others.iter().enumerate() {
        told.push(if index == 0 { '?' } else { '&' });
        told.push_str(pair);
    }
    if let Some(fragment) = fragment {
        told.push('#');
        told.push_str(fragment);
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_loses_our_parameter_and_no_other_byte() {
        for (url, told) in [
            ("https://a/x/?key=s3%2Bcret", Some("https://a/x/")),
            ("/x/?a=%2F&key=s3%2bcret&b=+#f?key=1", Some("/x/?a=%2F&b=+#f?key=1")),
            ("/x/?key=other", None),
            ("/x/?keys=s3%2Bcret", None),
            ("/x/", None),
            ("?", None),
        ] {
            assert_eq!(without(url, "key", "s3+cret").as_deref(), told, "{url}");
        }
    }
}
