//! Why a consumer has no record to give.

use crate::ring::stop::{Corruption, Stop};

/// Why a consumer has no record to give. The end of the stream is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Nothing is published now; only from the `try_` form.
    #[error("no record is there yet")]
    Empty,
    /// Nothing was published until the deadline.
    #[error("no record came until the deadline")]
    TimedOut,
    /// The producer's thread panicked, or it gave the lane up. All that was published has been read.
    #[error("the producer gave up before its time; all that it published has been read")]
    Abandoned,
    /// The producer died, or closed the session, without ending the lane. All that was published has been read.
    #[error("the producer died; all that it published has been read")]
    PeerDead,
    /// The producer's process ended the session, and the lane goes on without this consumer.
    #[error("the producer closed this session; connect again to read on")]
    Closed,
    /// The lane went on without this consumer.
    #[error("the lane went on without this consumer, which missed {missed_bytes} bytes; read faster, or connect again")]
    Evicted {
        /// What was published and not read, in bytes, headers and padding included.
        missed_bytes: u64,
    },
    /// The producer broke the protocol. Nothing more is read of its lane.
    #[error("the producer broke the protocol of its lane: {0}")]
    Corrupt(Corruption),
    /// The kernel would not let this thread wait.
    #[error("could not wait for a record: {0}")]
    Wait(std::io::Error),
    /// The consumer was made before a fork, and this is the child.
    #[error("this process is a forked child, and a consumer belongs to the process that attached it")]
    Forked,
}

impl From<Stop> for ReceiveError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Corrupt(corruption) => Self::Corrupt(corruption),
            Stop::Evicted { missed_bytes } => Self::Evicted { missed_bytes },
        }
    }
}
