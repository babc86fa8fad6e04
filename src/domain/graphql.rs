//! What has to be known of GraphQL (September 2025 edition, and GraphQL over HTTP) to stand between its two ends: which kind
//! of operation a request carries, how deep and how wide it is, and whether an answer has errors.
//!
//! A worker repeats queries, so to take a mutation for a query would be the worst mistake there is. Whoever answers reads
//! the same bytes; therefore what two readers may read differently is refused, and what cannot be told is not a query.

pub mod answer;
pub mod document;
mod lexer;
pub mod request;

/// What an operation, or a request of several, is to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It reads.
    Query,
    /// It reads for as long as it is open, and may have effects.
    Subscription,
    /// It has effects.
    Mutation,
    /// It cannot be told, because the provider alone has the document, or the request names no operation of it.
    Unknown,
}

impl Kind {
    /// All of them, with what they are called in metrics and logs.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::Query, "query"),
        (Self::Subscription, "subscription"),
        (Self::Mutation, "mutation"),
        (Self::Unknown, "unknown"),
    ];

    /// What it is called in metrics and logs.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

/// How large an operation may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Fields within fields.
    pub depth: u64,
    /// Aliases in a request; each operation of a batch after the first counts as one.
    pub aliases: u64,
}

/// The longest document that is read, in bytes.
pub const LONGEST: usize = 1 << 20;

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its body is not JSON of the right shape.
    #[error("the body must be a JSON object with a `query`, or a list of such objects")]
    NotJson,
    /// A member that decides is there twice, or in two spellings.
    #[error("`{0}` must be there once, and be spelt so")]
    Twice(&'static str),
    /// The document is no document of operations and fragments.
    #[error("the document is not one of GraphQL operations and fragments: see its line {line}")]
    NotGraphQl {
        /// Line in the document, from 1.
        line: usize,
    },
    /// The document is too long.
    #[error("the document must be at most {LONGEST} bytes")]
    TooLong,
    /// A fragment contains itself.
    #[error("the fragment `{0}` contains itself")]
    Cycle(String),
    /// Two fragments have one name.
    #[error("there are two fragments `{0}`")]
    TwoFragments(String),
    /// Fields are nested too deep.
    #[error("{operation} is {depth} fields deep, and `graphql.maxDepth` is {limit}")]
    TooDeep {
        /// The operation.
        operation: String,
        /// Its depth.
        depth: u64,
        /// The bound.
        limit: u64,
    },
    /// There are too many aliases.
    #[error("with {operation} there are {aliases} aliases, and `graphql.maxAliases` is {limit}")]
    TooManyAliases {
        /// The operation with which the bound was passed.
        operation: String,
        /// How many there were by then.
        aliases: u64,
        /// The bound.
        limit: u64,
    },
    /// A list of no operations.
    #[error("the list of operations is empty")]
    Empty,
}

/// The lines of `text`, of which the last may be empty.
fn lines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count()
}
