//! The replacement of a value: what is stored of it, and the one step to take next.
//!
//! Two objects hold the truth. The issued Secret has the value in use, the one before it during an overlap, and a
//! [`Record`] of both. The pending Secret has an [`Attempt`]: a new value on its way, written down before anything is
//! asked of a provider, and saved before anything else is done with the answer. The status only tells of them.
//!
//! ```text
//! Stage -> Act -> (Test) -> Publish -> Clean -> Confirm -> (overlap) -> Retire
//! ```
//!
//! Each step ends with one write, so whoever continues after a crash finds out from the two objects where to go on.

pub mod attempt;
mod cap;
pub mod names;
pub mod next;
pub mod policy;
pub mod record;
pub mod window;

pub use attempt::{Attempt, Failed, Minted, Phase};
pub use next::{Next, Observed, Step, next};
pub use policy::{Class, Policy};
pub use record::{Previous, Record};

#[cfg(test)]
mod tests;

/// The part of a hash of sources that decides over a value that follows them: what stands after a `:`, or all of it.
///
/// A refresh token that was put in the place of another one begins a new chain of values; a client's secret that was
/// exchanged must not, since the chain would begin again with a token that was used up long ago.
pub fn root(sources: &str) -> &str {
    sources.split_once(':').map_or(sources, |(_, root)| root)
}

/// Why a value is replaced: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// There is none yet, or what there was is gone.
    Missing,
    /// The spec asks for another one.
    SpecChanged,
    /// What it is made from (a key, a client's secret, a CA) is another one.
    SourceChanged,
    /// A user asked for it.
    Requested,
    /// The provider refuses it.
    Rejected,
    /// It is not valid any more.
    Expired,
    /// It will not be valid for long.
    NearingExpiry,
    /// Its interval is over.
    IntervalElapsed,
}

impl Reason {
    /// As it stands in conditions, events and `status.rotation.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::SpecChanged => "SpecChanged",
            Self::SourceChanged => "SourceChanged",
            Self::Requested => "Requested",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
            Self::NearingExpiry => "NearingExpiry",
            Self::IntervalElapsed => "IntervalElapsed",
        }
    }
}
