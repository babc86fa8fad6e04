//! Values that we make up.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds;

/// A random value of our own, such as a webhook's signing key. It is in the issued Secret, and in no request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Generated {
    /// How many random bytes for `Base64` and `Hex`, how many characters for `Alphanumeric`; 16 to 512. Defaults to 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::GENERATED_LENGTH.schema())]
    pub length: Option<i32>,

    /// How the value is written: `Base64` (RFC 4648, 4, with padding), `Hex` (lower case) or `Alphanumeric` (letters and
    /// digits). Defaults to `Base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
}

/// How a random value is written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum Encoding {
    /// RFC 4648, 4, with padding.
    #[default]
    Base64,
    /// Lower case.
    Hex,
    /// Letters and digits.
    Alphanumeric,
}
