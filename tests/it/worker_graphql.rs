//! Operations of GraphQL through a real worker: which are sent again, which are refused, and what errors in an answer mean.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tidegate::api::integration::{ErrorsAreFailures, Protocol};
use tidegate::domain::plan::{GraphQlPlan, Plan};

use crate::support::dataplane;

mod again;
mod ecosystem;
mod errors;
mod refused;

/// A plan with small bounds, and retries that are soon made.
fn graphql(url: String) -> Plan {
    let mut plan = dataplane::plan(&[url]);
    plan.protocol = Protocol::GraphQL;
    plan.retries.limit = 1;
    plan.graphql = Some(GraphQlPlan {
        errors_are_failures: ErrorsAreFailures::Never,
        max_depth: 4,
        max_aliases: 4,
    });
    plan
}

/// A request with a body of JSON.
fn post(path: &str) -> http::request::Builder {
    Request::post(path).header("content-type", "application/json")
}

fn attempts(response: &Response<Bytes>) -> &str {
    response.headers()["tidegate-attempts"].to_str().unwrap()
}

/// Long enough for whatever has to happen, and short for a test that has to wait for it.
const SOON: Duration = Duration::from_millis(200);
