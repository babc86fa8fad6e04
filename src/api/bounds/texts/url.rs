//! URLs.

use url::Url;

use crate::api::bounds::{Form, Text};

/// `endpoints[].url`.
pub const ENDPOINT_URL: Text = Text {
    min: 1,
    max: 2048,
    forms: &[ABSOLUTE, HTTP, NO_USER, NO_QUERY, PLAIN_HOST, PORT, NO_BACKSLASH],
};

/// `oauth2.tokenURL`: it may have a query (RFC 6749, 3.2).
pub const TOKEN_URL: Text = Text {
    min: 1,
    max: 2048,
    forms: &[
        ABSOLUTE,
        HTTP,
        NO_USER,
        NO_FRAGMENT,
        PLAIN_HOST,
        PORT,
        NO_BACKSLASH,
        ENCRYPTED,
    ],
};

/// `oauth2.issuerURL`: it has no query (RFC 8414, 2).
pub const ISSUER_URL: Text = Text {
    min: 1,
    max: 2048,
    forms: &[
        ABSOLUTE,
        HTTP,
        NO_USER,
        NO_QUERY,
        PLAIN_HOST,
        PORT,
        NO_BACKSLASH,
        ENCRYPTED,
    ],
};

/// `url` of a call to the provider: a template behind its host.
pub const STEP_URL: Text = Text {
    min: 1,
    max: 2048,
    forms: &[
        pattern!(
            concat!(
                r"^[hH][tT][tT][pP][sS]?://([-_.a-zA-Z0-9]+|\[[.:a-fA-F0-9]+\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|",
                r"6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?([/?][ -~]*)?$"
            ),
            "must be an absolute URL such as 'https://api.example.com/keys/{{ id }}', in ASCII, whose scheme, host and \
             port are not templates"
        ),
        NO_FRAGMENT,
        NO_BACKSLASH,
        ENCRYPTED,
    ],
};

const ABSOLUTE: Form = Form {
    cel: "isURL(self) && self.matches('^[!-.0-~][!-~]*$')",
    must: "must be an absolute URL such as 'https://api.example.com/v1', in ASCII",
    holds: |text| {
        let is_ascii = text.bytes().all(|byte| byte.is_ascii_graphic());
        is_ascii && has_whole_escapes(text) && Url::parse(text).is_ok()
    },
};

const HTTP: Form = Form {
    cel: "self.matches('^(?i:https?)://[^/]')",
    must: "must begin with 'http://' or 'https://' and a host",
    holds: |text| {
        ["http://", "https://"].iter().any(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        }) && !text.contains(":///")
    },
};

const NO_USER: Form = Form {
    cel: r"!self.matches('^[^/]*//[^/?#]*@')",
    must: "must not contain a user name or password; use a Credential",
    holds: |text| !authority(text).contains('@'),
};

const NO_QUERY: Form = Form {
    cel: "!self.contains('?') && !self.contains('#')",
    must: "must not contain a query or fragment ('?' or '#')",
    holds: |text| !text.contains(['?', '#']),
};

const NO_FRAGMENT: Form = Form {
    cel: "!self.contains('#')",
    must: "must not contain a fragment ('#')",
    holds: |text| !text.contains('#'),
};

const PLAIN_HOST: Form = Form {
    // Asked of the whole string: what `getHostname` answers has no known bound, which the cost estimate punishes.
    cel: r"self.matches('^[^/]*//([^/?#]*@)?([-_.a-zA-Z0-9]+|\\[[.:a-fA-F0-9]+\\])(:[0-9]*)?([/?#]|$)')",
    must: "must have a host that is a DNS name or an address",
    holds: has_plain_host,
};

const PORT: Form = Form {
    cel: concat!(
        "!isURL(self) || url(self).getPort() == '' || (url(self).getPort().size() <= 5 && ",
        "int(url(self).getPort()) >= 1 && int(url(self).getPort()) <= 65535)"
    ),
    must: "must have a port from 1 to 65535, if it has one",
    holds: |text| Url::parse(text).is_ok_and(|url| url.port() != Some(0)),
};

const NO_BACKSLASH: Form = Form {
    cel: r"!self.contains('\\')",
    must: "must not contain a backslash",
    holds: |text| !text.contains('\\'),
};

/// Secrets travel to such a URL and come from it. Inside the machine and the cluster TLS is often somebody else's
/// business.
const ENCRYPTED: Form = pattern!(
    concat!(
        r"^[hH][tT][tT][pP]([sS]://|://(localhost|127([.][0-9]{1,3}){3}|\[::1\]|",
        r"([-a-z0-9]+[.]){2,}svc([.]cluster[.]local)?)(:[0-9]*)?([/?#]|$))"
    ),
    "must begin with 'https://', because secrets go there; 'http://' is allowed for 'localhost', 127.0.0.0/8, [::1] and \
     names of Services that end in '.svc' or '.svc.cluster.local'"
);

/// What stands between `//` and the path.
fn authority(url: &str) -> &str {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

/// The URL parser would decode `%2e` in a host, which the API server does not, and takes signs that no host has.
fn has_plain_host(text: &str) -> bool {
    let authority = authority(text);
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    host_and_port.bytes().all(is_sign) && Url::parse(text).is_ok_and(|url| url.has_host())
}

/// Whether every `%` begins an escape; the URL parser does not mind others.
fn has_whole_escapes(text: &str) -> bool {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(is_escape)
}
