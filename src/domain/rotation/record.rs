//! What is known of the values in an issued Secret, beside the values themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the shape below.
pub const FORMAT: u32 = 1;

/// Annotation of the issued Secret that holds a [`Record`]. It has no secret in it.
pub const ANNOTATION: &str = "tidegate.dev/record";
/// Annotation of the issued Secret that holds the revision, for people and tools.
pub const ANNOTATION_REVISION: &str = "tidegate.dev/revision";

/// What is known of the value in use and of the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this shape.
    pub format: u32,
    /// Revision of the value in use.
    pub revision: i64,
    /// The attempt that made it.
    pub attempt: String,
    /// What of the spec decided over it, as a hash.
    pub spec: String,
    /// What it was made from, as a hash.
    pub sources: String,
    /// What the provider calls it.
    pub id: Option<String>,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it came in use: when this was written with it for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Timestamp>,
    /// When it begins to be valid, where that is known.
    pub not_before: Option<Timestamp>,
    /// When it ceases to be valid, where that is known.
    pub not_after: Option<Timestamp>,
    /// The last `tidegate.dev/rotate` annotation that was carried out.
    pub requested: Option<String>,
    /// How many values in a row were replaced because the provider refused them.
    pub rejections: u32,
    /// Until when issuing is paid for. Each issue moves it by a fixed time; where it is too far ahead of the clock,
    /// nothing is issued (the generic cell rate algorithm). So the cap holds whoever runs, and however often.
    pub paid_until: Timestamp,
    /// The value before, as long as it is kept.
    pub previous: Option<Previous>,
}

/// The value before the one in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// Its revision.
    pub revision: i64,
    /// What the provider calls it.
    pub id: Option<String>,
    /// When it ceases to be valid by itself, where that is known.
    pub not_after: Option<Timestamp>,
    /// When every worker was seen to use the value after it: from then on the overlap counts.
    pub confirmed: Option<Timestamp>,
    /// Attempts to take it away that failed, in a row.
    pub failures: u32,
    /// When the next one may be made.
    pub next_attempt: Option<Timestamp>,
}
