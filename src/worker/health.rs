//! Whether an endpoint is healthy: by probes where there are any, else by traffic (contract section 8).
//!
//! A pure state machine; who feeds it keeps it behind a lock.

use crate::api::integration::{CircuitState, Health, HealthReason};
use crate::domain::probing::Finding;

/// The longest message, in characters.
const MESSAGE: usize = 256;

/// What is known of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Healthy, Unhealthy, or not known yet.
    pub health: Health,
    /// Why.
    pub reason: HealthReason,
    /// More about it; never a body, a header or a credential.
    pub message: String,
    failures: u32,
    /// How traffic failed last.
    last: Option<(HealthReason, String)>,
}

impl Default for Record {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            reason: HealthReason::NoReport,
            message: String::new(),
            failures: 0,
            last: None,
        }
    }
}

impl Record {
    /// Takes in what a probe found, and what all probes come to.
    pub fn probed(&mut self, finding: &Finding, health: Health) {
        let (reason, message) = match finding {
            Finding::Good => (HealthReason::ProbeSucceeded, String::new()),
            Finding::Bad { reason, message } => (*reason, message.clone()),
        };
        // What does not change anything yet is not told: the reason belongs to the health that is shown. Before anything
        // is known, what was found last is all there is.
        if (*finding == Finding::Good) == (health == Health::Healthy) || health == Health::Unknown {
            self.set(health, reason, message);
        } else {
            self.health = health;
        }
    }

    /// An attempt was answered.
    pub fn served(&mut self, circuit: CircuitState) {
        self.failures = 0;
        if circuit == CircuitState::Closed {
            self.set(Health::Healthy, HealthReason::TrafficSucceeded, String::new());
        }
    }

    /// An attempt failed, and why.
    pub fn failed(&mut self, circuit: CircuitState, consecutive_failures: u32, why: (HealthReason, String)) {
        self.failures = self.failures.saturating_add(1);
        let too_many = consecutive_failures > 0 && self.failures >= consecutive_failures;
        if too_many || circuit != CircuitState::Closed {
            self.set(Health::Unhealthy, why.0, why.1.clone());
        }
        self.last = Some(why);
    }

    /// The address policy refused the endpoint's address: no second try is needed to know that.
    pub fn refused(&mut self, message: String) {
        self.set(Health::Unhealthy, HealthReason::AddressRefused, message);
    }

    /// The circuit changed, by traffic, by a reset, or because a user forced it.
    pub fn circuit_changed(&mut self, circuit: CircuitState) {
        if circuit != CircuitState::Closed {
            if self.health != Health::Unhealthy {
                let forced = || (HealthReason::TrafficFailed, "the circuit is not closed".to_owned());
                let (reason, message) = self.last.clone().unwrap_or_else(forced);
                self.set(Health::Unhealthy, reason, message);
            }
        } else if self.health == Health::Unhealthy {
            self.failures = 0;
            self.set(Health::Unknown, HealthReason::NoReport, String::new());
        }
    }

    fn set(&mut self, health: Health, reason: HealthReason, message: String) {
        self.health = health;
        self.reason = reason;
        self.message = if message.len() <= MESSAGE {
            message
        } else {
            message.chars().take(MESSAGE).collect()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing() -> Finding {
        Finding::Bad {
            reason: HealthReason::UnexpectedStatus,
            message: "status 500".into(),
        }
    }

    #[test]
    fn the_reason_of_a_probe_belongs_to_the_health_that_is_shown() {
        let mut record = Record::default();
        let mut probe = |finding: Finding, health| {
            record.probed(&finding, health);
            (record.health, record.reason)
        };
        assert_eq!(
            probe(failing(), Health::Unknown),
            (Health::Unknown, HealthReason::UnexpectedStatus)
        );
        assert_eq!(
            probe(Finding::Good, Health::Healthy),
            (Health::Healthy, HealthReason::ProbeSucceeded)
        );
        assert_eq!(
            probe(failing(), Health::Healthy),
            (Health::Healthy, HealthReason::ProbeSucceeded)
        );
        assert_eq!(
            probe(failing(), Health::Unhealthy),
            (Health::Unhealthy, HealthReason::UnexpectedStatus)
        );
        assert_eq!(
            probe(Finding::Good, Health::Unhealthy),
            (Health::Unhealthy, HealthReason::UnexpectedStatus)
        );
    }

    #[test]
    fn traffic_makes_an_endpoint_healthy_and_failures_in_a_row_unhealthy() {
        let mut record = Record::default();
        let mut serve = |well, circuit| {
            if well {
                record.served(circuit);
            } else {
                record.failed(circuit, 2, (HealthReason::TrafficFailed, "status 500".into()));
            }
            record.health
        };
        assert_eq!(serve(false, CircuitState::Closed), Health::Unknown);
        assert_eq!(serve(true, CircuitState::Closed), Health::Healthy);
        assert_eq!(serve(false, CircuitState::Closed), Health::Healthy);
        assert_eq!(serve(false, CircuitState::Open), Health::Unhealthy);
        assert_eq!(
            serve(true, CircuitState::HalfOpen),
            Health::Unhealthy,
            "while the circuit is not closed"
        );
        assert_eq!(serve(true, CircuitState::Closed), Health::Healthy);
    }

    #[test]
    fn a_circuit_that_is_reset_leaves_nothing_known() {
        let mut record = Record::default();
        record.failed(
            CircuitState::Open,
            1,
            (HealthReason::TrafficFailed, "status 500".into()),
        );
        record.circuit_changed(CircuitState::Closed);
        assert_eq!(
            (record.health, record.reason),
            (Health::Unknown, HealthReason::NoReport)
        );
        record.circuit_changed(CircuitState::Open);
        assert_eq!(record.health, Health::Unhealthy);
    }

    #[test]
    fn a_message_has_at_most_256_characters() {
        let mut record = Record::default();
        let finding = Finding::Bad {
            reason: HealthReason::ProbeFailed,
            message: "é".repeat(300),
        };
        record.probed(&finding, Health::Unhealthy);
        assert_eq!(record.message.chars().count(), 256);
    }
}
