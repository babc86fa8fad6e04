//! What fits `protocol: GraphQL` alone.

use super::Across;

/// `graphql`.
pub const GRAPHQL_ALONE: Across = Across {
    cel: "has(self.protocol) && self.protocol == 'GraphQL' || !has(self.graphql)",
    field: ".graphql",
    must: "must be set only when `protocol` is 'GraphQL'",
};
