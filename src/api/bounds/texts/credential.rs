//! Strings of a Credential.

use crate::api::bounds::{Form, Text};

/// `oauth2.clientID` (RFC 6749, A.1).
pub const CLIENT_ID: Text = Text {
    min: 1,
    max: 512,
    forms: &[pattern!(r"^[ -~]+$", "must be visible ASCII or spaces")],
};

/// An entry of `oauth2.scopes` (RFC 6749, 3.3).
pub const SCOPE: Text = Text {
    min: 1,
    max: 256,
    forms: &[pattern!(
        r"^[!#-\[\]-~]+$",
        "must be one scope: visible ASCII without spaces, '\"' and '\\' (RFC 6749, 3.3)"
    )],
};

/// Names of parties: `oauth2.audience`, and the claims of `jwt` that have a field.
pub const PARTY: Text = Text {
    min: 1,
    max: 1024,
    forms: &[NO_CONTROLS],
};

/// `oauth2.resource` (RFC 8707, 2).
pub const RESOURCE: Text = Text {
    min: 1,
    max: 2048,
    forms: &[pattern!(
        r#"^[a-zA-Z][-+.a-zA-Z0-9]*:[!-"$-~]+$"#,
        "must be an absolute URI such as 'https://api.example.com/', in ASCII, without a fragment ('#')"
    )],
};

/// `jwt.keyID`.
pub const KEY_ID: Text = Text {
    min: 1,
    max: 256,
    forms: &[NO_CONTROLS],
};

/// `certificate.issue.commonName` (RFC 5280, A.1: ub-common-name).
pub const COMMON_NAME: Text = Text {
    min: 1,
    max: 64,
    forms: &[NO_CONTROLS],
};

/// An entry of `certificate.issue.dnsNames`.
pub const CERTIFICATE_DNS_NAME: Text = Text {
    min: 1,
    max: 253,
    forms: &[
        pattern!(
            concat!(
                r"^([*][.])?[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?",
                r"([.][a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*$"
            ),
            "must be a DNS name such as 'client.example.com', whose first label may be '*'"
        ),
        Form {
            cel: "!isIP(self)",
            must: "must be a DNS name, not an address",
            holds: |text| text.parse::<std::net::IpAddr>().is_err(),
        },
    ],
};

/// An entry of `certificate.issue.uris`.
pub const CERTIFICATE_URI: Text = Text {
    min: 1,
    max: 1024,
    forms: &[pattern!(
        r"^[a-zA-Z][-+.a-zA-Z0-9]*:[!-~]+$",
        "must be an absolute URI such as 'spiffe://example.com/client', in ASCII"
    )],
};

/// `rotation.windows[].schedule`. Whether its numbers are such times is more than CEL can tell.
pub const SCHEDULE: Text = Text {
    min: 9,
    max: 100,
    forms: &[pattern!(
        r"^[-*/,0-9]+ [-*/,0-9]+ [-*/,0-9]+ [-*/,0-9A-Za-z]+ [-*/,0-9A-Za-z]+$",
        "must be five fields as in cron, minute, hour, day of month, month and day of week, such as '0 2 * * *'"
    )],
};

/// `rotation.windows[].timeZone`. Whether there is one of this name is more than CEL can tell.
pub const TIME_ZONE: Text = Text {
    min: 1,
    max: 64,
    forms: &[pattern!(
        r"^[A-Za-z][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+){0,2}$",
        TIME_ZONE_MUST
    )],
};

/// What `rotation.windows[].timeZone` must be.
pub const TIME_ZONE_MUST: &str = "must be the name of a time zone such as 'Europe/Berlin' or 'Etc/UTC'";

/// `body` of a call to the provider: a template.
pub const STEP_BODY: Text = Text {
    min: 0,
    max: 16 << 10,
    forms: &[],
};

/// A jq filter. Whether it compiles is more than CEL can tell.
pub const FILTER: Text = Text {
    min: 1,
    max: 1024,
    forms: &[],
};

const NO_CONTROLS: Form = pattern!(r"^[^\x00-\x1f\x7f]+$", "must not contain control characters");
