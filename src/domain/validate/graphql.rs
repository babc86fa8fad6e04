//! What `protocol: GraphQL` adds to a spec.

use super::checks::Checks;
use super::defaults;
use crate::api::bounds;
use crate::api::integration::{GraphQl, Protocol};
use crate::domain::plan::GraphQlPlan;

/// Checks `spec.graphql`; there is a plan if and only if GraphQL is spoken.
pub fn check(checks: &mut Checks, spec: Option<&GraphQl>, protocol: Protocol) -> Option<GraphQlPlan> {
    if protocol != Protocol::GraphQL && spec.is_some() {
        checks.violated("spec.graphql", bounds::GRAPHQL_ALONE.must);
    }
    let GraphQl {
        errors_are_failures,
        max_depth,
        max_aliases,
    } = spec.cloned().unwrap_or_default();
    let plan = GraphQlPlan {
        errors_are_failures: errors_are_failures.unwrap_or_default(),
        max_depth: checks.range(
            "spec.graphql.maxDepth",
            max_depth,
            bounds::GRAPHQL_DEPTH,
            defaults::GRAPHQL_DEPTH,
        ),
        max_aliases: checks.range(
            "spec.graphql.maxAliases",
            max_aliases,
            bounds::GRAPHQL_ALIASES,
            defaults::GRAPHQL_ALIASES,
        ),
    };
    (protocol == Protocol::GraphQL).then_some(plan)
}
