//! Probe results into health: so many in a row before the word changes.

use crate::api::integration::{Health, HealthReason};

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As expected.
    Good,
    /// Not as expected.
    Bad {
        /// Why, from the closed list.
        reason: HealthReason,
        /// A sentence without anything that the provider sent but its status.
        message: String,
    },
}

/// Health of one endpoint by its probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probing {
    unhealthy_threshold: u32,
    healthy_threshold: u32,
    health: Health,
    row: u32,
    row_is_good: bool,
}

impl Probing {
    /// Nothing is known yet. Thresholds below 1 count as 1.
    pub fn new(unhealthy_threshold: u32, healthy_threshold: u32) -> Self {
        Self {
            unhealthy_threshold: unhealthy_threshold.max(1),
            healthy_threshold: healthy_threshold.max(1),
            health: Health::Unknown,
            row: 0,
            row_is_good: false,
        }
    }

    /// Takes other thresholds without losing what is known.
    pub fn adjust(&mut self, unhealthy_threshold: u32, healthy_threshold: u32) {
        self.unhealthy_threshold = unhealthy_threshold.max(1);
        self.healthy_threshold = healthy_threshold.max(1);
    }

    /// Counts one finding and says what the endpoint is now.
    pub fn observe(&mut self, finding: &Finding) -> Health {
        let good = *finding == Finding::Good;
        self.row = if good == self.row_is_good {
            self.row.saturating_add(1)
        } else {
            1
        };
        self.row_is_good = good;
        let threshold = if good {
            self.healthy_threshold
        } else {
            self.unhealthy_threshold
        };
        if self.row >= threshold {
            self.health = if good { Health::Healthy } else { Health::Unhealthy };
        }
        self.health
    }

    /// What the endpoint is.
    pub fn health(&self) -> Health {
        self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(unhealthy: u32, healthy: u32, findings: &str) -> Vec<Health> {
        let mut probing = Probing::new(unhealthy, healthy);
        let bad = Finding::Bad {
            reason: HealthReason::ProbeFailed,
            message: String::new(),
        };
        findings
            .chars()
            .map(|c| probing.observe(if c == '+' { &Finding::Good } else { &bad }))
            .collect()
    }

    #[test]
    fn the_word_changes_after_so_many_in_a_row() {
        use Health::{Healthy, Unhealthy, Unknown};
        assert_eq!(
            run(3, 1, "+--+---+"),
            [Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Unhealthy, Healthy]
        );
        assert_eq!(
            run(2, 2, "+-+--++"),
            [Unknown, Unknown, Unknown, Unknown, Unhealthy, Unhealthy, Healthy]
        );
    }

    #[test]
    fn thresholds_of_zero_count_as_one() {
        assert_eq!(run(0, 0, "-+"), [Health::Unhealthy, Health::Healthy]);
    }
}
