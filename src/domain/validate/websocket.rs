//! What `protocol: WebSocket` means for the rest of a spec.

use super::checks::Checks;
use super::defaults;
use crate::api::bounds;
use crate::api::integration::{Http2, IntegrationSpec, ProbeMethod, Protocol};
use crate::domain::plan::ProbePlan;

/// Checks that `spec` fits, if WebSocket is spoken, and gives `probes` as they are then: handshakes.
pub fn check(checks: &mut Checks, spec: &IntegrationSpec, probes: Option<ProbePlan>) -> Option<ProbePlan> {
    if spec.protocol != Some(Protocol::WebSocket) {
        return probes;
    }
    let method = spec.health_check.as_ref().and_then(|probes| probes.method);
    if method.is_some_and(|method| method != ProbeMethod::GET) {
        checks.violated("spec.healthCheck.method", bounds::WEBSOCKET_PROBE.must);
    }
    let http2 = spec.connections.as_ref().and_then(|connections| connections.http2);
    if http2.is_some_and(|http2| http2 != Http2::Never) {
        checks.violated("spec.connections.http2", bounds::WEBSOCKET_HTTP2.must);
    }
    let expected = spec.health_check.as_ref().and_then(|probes| probes.expect.as_ref());
    let has_statuses = expected.is_some_and(|expected| expected.statuses.is_some());
    probes.map(|probes| ProbePlan {
        statuses: if has_statuses {
            probes.statuses
        } else {
            vec![defaults::WEBSOCKET_STATUSES]
        },
        ..probes
    })
}
