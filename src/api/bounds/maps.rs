//! Maps: how many entries, what their names and values are.
//!
//! A schema has no bound for the names of a map, so theirs is a rule.

use std::collections::BTreeMap;

use schemars::Schema;
use schemars::transform::Transform;

use super::{FRAMING_HEADERS, Form, Text, add_rule};

/// A map of strings.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// Most entries.
    pub max: usize,
    /// What every name must be: `cel` is over `self`, the map, `holds` is asked of one name.
    pub names: &'static [Form],
    /// What every value must be.
    pub value: Text,
}

impl Entries {
    /// What writes this bound into a schema.
    #[must_use]
    pub const fn schema(self) -> Self {
        self
    }

    /// What is wrong: with the map itself (`None`) or with the value of a name.
    pub fn check(self, entries: &BTreeMap<String, String>) -> Vec<(Option<&str>, String)> {
        let mut found = Vec::new();
        if entries.len() > self.max {
            found.push((None, format!("must have at most {} entries", self.max)));
        }
        for form in self.names {
            if !entries.keys().all(|name| (form.holds)(name)) {
                found.push((None, form.must.to_owned()));
            }
        }
        for (name, value) in entries {
            if let Err(must) = self.value.check(value) {
                found.push((Some(name.as_str()), must));
            }
        }
        found
    }
}

impl Transform for Entries {
    fn transform(&mut self, schema: &mut Schema) {
        schema.insert("maxProperties".into(), self.max.into());
        for form in self.names {
            add_rule(schema, form.cel, form.must);
        }
        if let Some(values) = schema
            .get_mut("additionalProperties")
            .and_then(|values| <&mut Schema>::try_from(values).ok())
        {
            self.value.transform(values);
        }
    }
}

/// A map whose values are any JSON. The API server keeps them as they are and looks at none, its names included.
#[derive(Clone, Copy, Debug)]
pub struct AnyJson {
    /// Most entries.
    pub max: usize,
}

impl AnyJson {
    /// What writes this bound into a schema.
    #[must_use]
    pub const fn schema(self) -> Self {
        self
    }
}

impl Transform for AnyJson {
    fn transform(&mut self, schema: &mut Schema) {
        schema.remove("additionalProperties");
        schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        schema.insert("maxProperties".into(), self.max.into());
    }
}

/// A form of the names of a map, each of which must match the pattern.
macro_rules! names {
    ($pattern:literal, $must:expr) => {{
        let form = pattern!($pattern, $must);
        Form {
            cel: concat!("self.all(name, name.matches(r'", $pattern, "'))"),
            ..form
        }
    }};
}

/// `oauth2.parameters`.
pub const PARAMETERS: Entries = Entries {
    max: 32,
    names: &[
        names!(
            r"^[!-~]{1,128}$",
            "must have names of 1 to 128 visible ASCII characters"
        ),
        Form {
            cel: "self.all(name, !(name in ['grant_type', 'client_id', 'client_secret', 'client_assertion', \
                  'client_assertion_type', 'refresh_token', 'assertion', 'subject_token', 'scope', 'audience', \
                  'resource']))",
            must: "must not have parameters that other fields set: grant_type, client_id, client_secret, \
                   client_assertion, client_assertion_type, refresh_token, assertion, subject_token, scope, audience, \
                   resource",
            holds: |name| !RESERVED_PARAMETERS.contains(&name),
        },
    ],
    value: Text {
        min: 0,
        max: 2048,
        forms: &[],
    },
};

/// The names that [`PARAMETERS`] does not take.
pub const RESERVED_PARAMETERS: [&str; 11] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "refresh_token",
    "assertion",
    "subject_token",
    "scope",
    "audience",
    "resource",
];

/// `headers` of a call to the provider. What it is about, it may say itself (`Content-Type`, `Date`, `Cookie`); how the
/// message is framed and where it goes, it may not.
pub const STEP_HEADERS: Entries = Entries {
    max: 32,
    names: &[
        names!(
            r"^[-!#$%&*+.^_`|~0-9A-Za-z]{1,128}$",
            "must have names of headers: 1 to 128 letters, digits and the signs ! # $ % & * + - . ^ _ ` | ~"
        ),
        Form {
            cel: "self.all(name, !(name.lowerAscii() in ['connection', 'content-encoding', 'content-length', 'expect', \
                  'host', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', \
                  'trailer', 'transfer-encoding', 'upgrade', 'via']))",
            must: "must not have headers that frame or route the request, such as 'Host' or 'Content-Length'",
            holds: |name| {
                let name = name.to_ascii_lowercase();
                let own = ["content-type", "cookie", "date"].contains(&name.as_str());
                own || !FRAMING_HEADERS.contains(&name.as_str())
            },
        },
    ],
    value: Text {
        min: 0,
        max: 4096,
        forms: &[pattern!(r"^[ -~]*$", "must be ASCII without control characters")],
    },
};

/// `jwt.claims`.
pub const CLAIMS: AnyJson = AnyJson { max: 64 };
/// Most bytes of `jwt.claims` as JSON: a token has to fit into a header.
pub const CLAIMS_SIZE: usize = 8 << 10;
/// What [`CLAIMS_SIZE`] asks.
pub const CLAIMS_SIZE_MUST: &str = "must be at most 8 KiB of JSON";
/// The claims that we set (RFC 7519, 4.1).
pub const REGISTERED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// What is asked of the names of `jwt.claims`.
pub const CLAIMS_MUST: &str = "must not have claims that are set by other fields or by us: iss, sub, aud, exp, nbf, \
                               iat, jti";
