//! *ConsistentHash*: weighted rendezvous hashing with bounded loads.
//!
//! Every key puts the endpoints into an order of its own, in which each is first with a chance in proportion to its
//! weight (Schindler and others, "Weighted distributed hash tables": `-weight / ln(u)`, the greatest first). When an
//! endpoint goes, its keys move to the second of their order and no other key moves. There is no ring to keep, and with
//! 16 endpoints at most none would be faster.
//!
//! An endpoint that has more than [`BOUND`] of its share of the requests under way is passed over, so that one key that
//! everybody asks for does not drown one endpoint (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded
//! loads").

use super::{Balancer, Set};

/// How much more than its share of the requests under way an endpoint takes, in percent.
const BOUND: u64 = 125;

/// What a request or an endpoint is known by here: the same in all workers and after every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of these values, in this order.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        // FNV-1a. That somebody may choose values which meet is no harm: loads are bounded.
        let step = |hash: u64, byte: u64| (hash ^ byte).wrapping_mul(0x0100_0000_01b3);
        Self(values.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, value| {
            // No byte has this value, so that `a`, `b` is not `ab`.
            step(value.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte))), 256)
        }))
    }

    /// A number of this key and `other`, from 0 to 1, both excluded. It is as good as drawn at random.
    fn unit(self, other: Self) -> f64 {
        let mut mixed = mix(mix(self.0) ^ other.0);
        mixed >>= 12;
        // 52 bits and a half: exact, and never 0 or 1.
        (f64::from(u32::try_from(mixed >> 26).unwrap_or_default()) * f64::from(1_u32 << 26)
            + f64::from(u32::try_from(mixed & ((1 << 26) - 1)).unwrap_or_default())
            + 0.5)
            / f64::from(1_u32 << 26)
            / f64::from(1_u32 << 26)
    }
}

/// The finish of SplitMix64: every bit of the outcome depends on every bit of `x`.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Balancer {
    /// The first in the order of `key` that has room.
    pub(super) fn hashed(&self, candidates: Set, key: Key) -> Option<usize> {
        let (weights, under_way) = self
            .members(candidates)
            .fold((0_u64, 1_u64), |(weights, under_way), (_, it)| {
                (weights + u64::from(it.weight), under_way + u64::from(it.in_flight))
            });
        let has_room = |weight: u32, in_flight: u32| {
            // in_flight + 1 <= ceil(BOUND * share): somebody always has room, for the shares come to more than all.
            let share = (BOUND * under_way * u64::from(weight)).div_ceil(100 * weights.max(1));
            u64::from(in_flight) < share
        };
        self.members(candidates)
            .filter(|(_, it)| has_room(it.weight, it.in_flight))
            .map(|(index, it)| (index, -f64::from(it.weight) / it.name.unit(key).ln()))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
