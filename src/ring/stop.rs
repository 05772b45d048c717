//! Why a reader stops for good.

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

/// How a producer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// `published` fell.
    #[error("the published position fell from {from} to {to}")]
    PublishedFell {
        /// The position seen before.
        from: u64,
        /// The position seen now.
        to: u64,
    },
    /// `published` is further ahead than the ring is long.
    #[error("the published position {published} is more than a ring ahead of {position}")]
    PublishedTooFar {
        /// The position seen.
        published: u64,
        /// Where this consumer reads.
        position: u64,
    },
    /// `published` is no place where a record can end.
    #[error("the published position {0} is not aligned as records are")]
    PublishedUnaligned(u64),
    /// A header word is of no known kind.
    #[error("the header {word:#018x} at {position} is of no known kind")]
    UnknownKind {
        /// The header word.
        word: u64,
        /// Where it lies.
        position: u64,
    },
    /// A record reaches beyond what is published, or across the end of the ring.
    #[error("a record of {len} bytes at {position} reaches beyond what is published or across the end of the ring")]
    RecordTooLong {
        /// The length its header claims, in bytes.
        len: u64,
        /// Where the record begins.
        position: u64,
    },
    /// Padding that does not reach the end of the ring, or is not followed by a record.
    #[error("the padding of {len} bytes at {position} does not lead to a record at the beginning of the ring")]
    Padding {
        /// The length its header claims, in bytes.
        len: u64,
        /// Where it begins.
        position: u64,
    },
    /// The word that tells whether the lane is open has no known value.
    #[error("the lane's state is {0}, which is none of the known ones")]
    UnknownState(u32),
}
