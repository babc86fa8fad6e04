//! What is particular to `protocol: GraphQL`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds;

/// Bounds on operations, and what errors in an answer mean.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GraphQl {
    /// Which answers with errors in them, and a status of success, count as failures for the circuit. `Never`: none.
    /// `WithoutData`: those without data. `Always`: all. Errors with a code that blames the caller, such as
    /// `GRAPHQL_VALIDATION_FAILED`, never do. Unless it is `Never`, providers are asked for answers that are not compressed.
    /// Defaults to `Never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_are_failures: Option<ErrorsAreFailures>,

    /// Fields within fields that an operation may have, fragments included, 1 to 1000. Defaults to 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::GRAPHQL_DEPTH.schema())]
    pub max_depth: Option<i32>,

    /// Aliases that a request may have, fragments counted each time they are spread, 0 to 10000; each operation of a batch
    /// after the first counts as one. Defaults to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::GRAPHQL_ALIASES.schema())]
    pub max_aliases: Option<i32>,
}

/// Which answers with errors in them count as failures.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = bounds::undescribed)]
pub enum ErrorsAreFailures {
    /// None.
    #[default]
    Never,
    /// Those without data.
    WithoutData,
    /// All.
    Always,
}
