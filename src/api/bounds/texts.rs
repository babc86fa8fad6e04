//! Strings and their forms.

use std::net::IpAddr;

use super::{Form, Text};

mod credential;
mod hedge;
mod url;

pub use credential::*;
pub use hedge::*;
pub use url::*;

/// A name of ours that ends up in a label or a header: endpoint, namespace.
pub const LABEL: Text = Text {
    min: 1,
    max: 63,
    forms: &[Form {
        cel: "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        must: "must be a DNS label: lower-case letters, digits and '-', with a letter or digit at both ends",
        holds: is_label,
    }],
};

/// The name of an object in the cluster.
pub const OBJECT_NAME: Text = Text {
    min: 1,
    max: 253,
    forms: &[Form {
        cel: r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        must: "must be the name of an object: DNS labels of lower-case letters, digits and '-', joined by '.'",
        // As in Kubernetes, it is the whole that has a bound, not each label.
        holds: |text| text.split('.').all(is_label_of_any_length),
    }],
};

/// A key in a Secret or ConfigMap.
pub const DATA_KEY: Text = Text {
    min: 1,
    max: 253,
    forms: &[Form {
        cel: "self.matches('^[-._a-zA-Z0-9]+$')",
        must: "must be a key of a Secret or ConfigMap: letters, digits, '-', '_' and '.'",
        holds: |text| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        },
    }],
};

/// A DNS name, in ASCII.
pub const SERVER_NAME: Text = Text {
    min: 1,
    max: 253,
    forms: &[
        Form {
            cel: concat!(
                r"self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?",
                r"(\\.[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*$')"
            ),
            must: "must be a DNS name such as 'api.example.com', without a port",
            holds: |text| text.split('.').all(|label| is_label(&label.to_ascii_lowercase())),
        },
        Form {
            cel: "!isIP(self)",
            must: "must be a DNS name, not an address",
            holds: |text| text.parse::<IpAddr>().is_err(),
        },
    ],
};

/// `healthCheck.path`.
pub const PATH: Text = Text {
    min: 1,
    max: 1024,
    forms: &[Form {
        cel: r"self.matches('^/[!-~]*$') && !self.matches('[?#\\\\]')",
        must: "must be a path that begins with '/', in ASCII, without a query or fragment ('?' or '#')",
        holds: |text| {
            text.starts_with('/')
                && text.bytes().all(|byte| byte.is_ascii_graphic())
                && !text.contains(['?', '#', '\\'])
        },
    }],
};

/// `healthCheck.service`.
pub const GRPC_SERVICE_NAME: Text = Text {
    min: 0,
    max: 256,
    forms: &[Form {
        cel: "self.matches('^[!-~]*$')",
        must: "must be the full name of a service such as 'shop.v1.Orders', in ASCII without spaces",
        holds: |text| text.bytes().all(|byte| byte.is_ascii_graphic()),
    }],
};

/// A status or an inclusive range of them.
pub const STATUS_RANGE: Text = Text {
    min: 3,
    max: 7,
    forms: &[
        Form {
            cel: "self.matches('^[1-5][0-9]{2}(-[1-5][0-9]{2})?$')",
            must: "must be a status such as '204' or a range such as '200-299', from 100 to 599",
            holds: |text| status_range(text).is_some(),
        },
        Form {
            cel: "!self.matches('^[1-5][0-9]{2}-[1-5][0-9]{2}$') || self.substring(0, 3) <= self.substring(4, 7)",
            must: "must be a range whose first status is not above its last",
            holds: |text| status_range(text).is_some_and(|(first, last)| first <= last),
        },
    ],
};

/// `healthCheck.expect.expression`.
pub const EXPRESSION: Text = Text {
    min: 1,
    max: 1024,
    forms: &[],
};

/// An amount of CPU or memory.
pub const AMOUNT: Text = Text {
    min: 1,
    max: 20,
    forms: &[Form {
        cel: r"self.matches('^[0-9]{1,15}(\\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$')",
        must: "must be a quantity such as '100m', '0.5', '64Mi' or '1Gi'",
        holds: |text| amount(text).is_some(),
    }],
};

/// An entry of `allowedHosts`. Two forms that CEL cannot tell apart from others are left to `domain::hosts`: what is
/// no label although it looks like one, and a port beyond 65535.
pub const HOST_PATTERN: Text = Text {
    min: 1,
    max: 261,
    forms: &[Form {
        cel: concat!(
            r"self.matches('^(\\*\\.)?[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?",
            r"(\\.[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?)*\\.?(:[1-9][0-9]{0,4})?$') || ",
            r"self.matches('^\\[[0-9a-fA-F:]+([0-9]{1,3}(\\.[0-9]{1,3}){3})?\\](:[1-9][0-9]{0,4})?$')"
        ),
        must: HOST_PATTERN_MUST,
        holds: |text| text.is_ascii(),
    }],
};

/// What an entry of `allowedHosts` must be.
pub const HOST_PATTERN_MUST: &str = "must be a host such as 'api.example.com', a wildcard such as '*.example.com', \
                                     or an address, each with an optional port such as ':8443'";

/// The name of a header, query parameter or cookie. More is asked of a header's or a cookie's.
pub const KEY_NAME: Text = Text {
    min: 1,
    max: 256,
    forms: &[Form {
        cel: "self.matches('^[!-~]+$') && !self.matches('[&=#]')",
        must: "must be visible ASCII without '&', '=' and '#'",
        holds: |text| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
        },
    }],
};

/// The name of a header to look at (RFC 9110, 5.6.2).
pub const HEADER_NAME: Text = Text {
    min: 1,
    max: 256,
    forms: &[Form {
        cel: "self.matches('^[-!#$%&*+.^_`|~0-9A-Za-z]+$')",
        must: "must be the name of a header: letters, digits and the signs ! # $ % & * + - . ^ _ ` | ~",
        holds: |text| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-!#$%&*+.^_`|~".contains(&byte))
        },
    }],
};

/// What stands before the value in a header.
pub const PREFIX: Text = Text {
    min: 0,
    max: 64,
    forms: &[Form {
        cel: "self.matches('^([!-~][ -~]*)?$')",
        must: "must be ASCII without control characters and must not begin with a space",
        holds: |text| !text.starts_with(' ') && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '),
    }],
};

/// The two numbers of a status or range of them; `None` if it is neither.
pub fn status_range(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| {
        let plausible = text.len() == 3 && matches!(text.as_bytes()[0], b'1'..=b'5');
        text.parse()
            .ok()
            .filter(|_| plausible && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((status(first)?, status(last)?))
}

/// A quantity in millionths of a millionth of its unit, to compare with another; `None` if it is none.
pub fn amount(text: &str) -> Option<u128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let thousandths: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    if !(1..=15).contains(&whole.len()) || fraction.len() > 9 {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let billionths: u128 = format!("{fraction:0<9}").parse().ok()?;
    Some((whole * 1_000_000_000 + billionths).saturating_mul(thousandths))
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
