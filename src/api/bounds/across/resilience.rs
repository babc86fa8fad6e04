//! What holds between fields of hedging and adaptive concurrency.

use super::Across;

/// `retries.hedge`, against `protocol`.
pub const HEDGE_READS: Across = Across {
    cel: "!has(self.protocol) || self.protocol == 'HTTP' || !has(self.retries) || !has(self.retries.hedge)",
    field: ".retries.hedge",
    must: "must be absent unless `protocol` is 'HTTP', whose reads may be made side by side",
};

/// `concurrency.adaptive`, against `concurrency.maxInFlight`.
pub const MAXIMUM_WITHIN_IN_FLIGHT: Across = Across {
    cel: "!has(self.adaptive) || (has(self.maxInFlight) ? self.maxInFlight : 64) >= (has(self.adaptive.maximum) \
          ? self.adaptive.maximum : (has(self.adaptive.minimum) ? self.adaptive.minimum : 1))",
    field: ".adaptive.maximum",
    must: "must not be more than `maxInFlight`, and neither must `minimum`",
};

/// `concurrency.adaptive`.
pub const MINIMUM_WITHIN_MAXIMUM: Across = Across {
    cel: "!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum",
    field: ".minimum",
    must: "must not be more than `maximum`",
};
