//! Why a reader stops for good.

use std::fmt;

/// Why nothing more is read of a lane, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The producer broke the protocol.
    Corrupt(Corruption),
    /// The lane has gone on without this reader, which missed that many published bytes.
    Evicted { missed_bytes: u64 },
}

impl From<Corruption> for Stop {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(corruption)
    }
}

/// How a producer broke the protocol. Positions are bytes since the lane was created.
///
/// ```
/// use fdring::errors::{Corruption, ReceiveError};
///
/// fn explain(error: &ReceiveError) -> &'static str {
///     match error {
///         ReceiveError::Corrupt(Corruption::UnknownState(_)) => "written by another version?",
///         ReceiveError::Corrupt(_) => "overwritten by a stray pointer?",
///         _ => "not the memory's fault",
///     }
/// }
///
/// assert_eq!(explain(&ReceiveError::Corrupt(Corruption::UnknownState(9))), "written by another version?");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// The published position fell.
    PublishedFell {
        /// The position seen before.
        from: u64,
        /// The position seen now.
        to: u64,
    },
    /// The published position is more than a ring ahead of this consumer, or further than any ring gets.
    PublishedTooFar {
        /// The published position.
        published: u64,
        /// The position at which this consumer reads.
        position: u64,
    },
    /// No record can end at this published position.
    PublishedUnaligned(u64),
    /// The last record is said to begin where none can.
    Last {
        /// Where it is said to begin.
        last: u64,
        /// The published position.
        published: u64,
    },
    /// More is said to be overwritten than the ring holds, or less than is published.
    IntentTooFar {
        /// How far the producer says that it may be writing.
        intent: u64,
        /// The published position.
        published: u64,
    },
    /// A header word has an unknown kind.
    UnknownKind {
        /// The header word.
        word: u64,
        /// The position of the header word.
        position: u64,
    },
    /// A header word announces more descriptors than records of this lane have.
    Descriptors {
        /// The header word.
        word: u64,
        /// Where it lies.
        position: u64,
    },
    /// A record reaches beyond what is published, or across the end of the ring.
    RecordTooLong {
        /// The payload length in its header, in bytes.
        len: u64,
        /// The position of the record.
        position: u64,
    },
    /// Padding does not reach the end of the ring, or no record follows it.
    Padding {
        /// The length in its header, in bytes.
        len: u64,
        /// The position of the padding.
        position: u64,
    },
    /// The word for the lane's state has an unknown value.
    UnknownState(u32),
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublishedFell { from, to } => write!(f, "the published position fell from {from} to {to}"),
            Self::PublishedTooFar { published, position } => {
                write!(f, "the published position {published} is more than a ring ahead of {position}")
            }
            Self::PublishedUnaligned(published) => {
                write!(f, "the published position {published} is not aligned as records are")
            }
            Self::Last { last, published } => {
                write!(f, "no record that ends at or below {published} can begin at {last}, where the last is said to")
            }
            Self::IntentTooFar { intent, published } => {
                write!(f, "the position {intent} up to which the ring may be written does not go with {published}")
            }
            Self::UnknownKind { word, position } => {
                write!(f, "the header {word:#018x} at {position} is of no known kind")
            }
            Self::Descriptors { word, position } => {
                write!(
                    f,
                    "the header {word:#018x} at {position} announces more descriptors than records of this lane have"
                )
            }
            Self::RecordTooLong { len, position } => write!(
                f,
                "a record of {len} bytes at {position} reaches beyond what is published or across the end of the ring"
            ),
            Self::Padding { len, position } => write!(
                f,
                "the padding of {len} bytes at {position} does not lead to a record at the beginning of the ring"
            ),
            Self::UnknownState(state) => write!(f, "the lane's state is {state}, which is none of the known ones"),
        }
    }
}

impl std::error::Error for Corruption {}
