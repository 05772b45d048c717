//! The reasons why a consumer has no record to give.

use crate::error::OfErrno;
use crate::kind::{ErrorKind, is_passing};
use crate::link::LastWords;
use crate::ring::stop::{Corruption, Stop};
use crate::terms::Refusal;
use std::fmt;
use std::io;

/// The reason why a consumer has no record to give. The end of the stream is not an error.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `Empty` | `WouldBlock` |
/// | `TimedOut` | `TimedOut` |
/// | `Interrupted` | `Other`, since the loops of [`std::io`] begin anew after `Interrupted` |
/// | `Abandoned` | `ConnectionAborted` |
/// | `PeerDead` | `BrokenPipe` |
/// | `HungUp`, `Closed`, `Evicted` | `ConnectionReset` |
/// | `Refused` | `ConnectionRefused` |
/// | `Peer`, `Corrupt` | `InvalidData` |
/// | `Wait` | the kind of the system call's error |
/// | `Forked` | `Unsupported` |
///
/// ```
/// use fdring::{Consumer, errors::ReceiveError};
/// use std::time::Duration;
///
/// /// The next record; empty at the end of the stream, or if none comes for a second.
/// fn next(consumer: &mut Consumer) -> std::io::Result<Vec<u8>> {
///     match consumer.receive_timeout(Duration::from_secs(1)) {
///         Ok(Some(record)) => Ok(record.to_vec()),
///         Ok(None) | Err(ReceiveError::TimedOut) => Ok(Vec::new()),
///         Err(error) => Err(error.into()),
///     }
/// }
/// # let mut lane = fdring::Producer::create("log").unwrap();
/// # let server = fdring::Server::listen("@doc-receive-error", [&lane]).unwrap();
/// # let mut consumer = fdring::Consumer::connect("@doc-receive-error").unwrap();
/// # lane.send(b"hello").unwrap();
/// # lane.abandon();
/// # assert_eq!(next(&mut consumer).unwrap(), b"hello");
/// # assert_eq!(next(&mut consumer).unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No record is published now. Only `try_receive` and `try_receive_many` return this.
    Empty,
    /// No record was published before the deadline.
    TimedOut,
    /// An [`Interrupter`](crate::Interrupter) ended the wait for a record. Nothing is lost: call again once it is
    /// [cleared](crate::Interrupter::clear).
    Interrupted,
    /// The producer gave the lane up, or its thread panicked. Everything that was published has been read.
    Abandoned,
    /// The producer's process ended before the lane did. Everything that was published has been read.
    PeerDead,
    /// The producer hung up without a word. It lives, as far as the kernel says. Everything that was published has been
    /// read. The call that finds this out first may take a tenth of a second longer: a process that is killed hangs up
    /// a moment before it has ended.
    HungUp,
    /// The producer refused to go on. Everything that was published has been read.
    Refused {
        /// The kind of the refusal.
        refusal: Refusal,
        /// The producer's own sentence, shortened and safe to print.
        reason: Box<str>,
    },
    /// The producer broke the session's protocol: the text says how. Everything that was published has been read.
    Peer(Box<str>),
    /// The producer's process closed the session. The lane goes on without this consumer: connect again to read on.
    Closed,
    /// The producer took this consumer's seat away. The lane goes on without this consumer.
    Evicted {
        /// What was published and not read, in bytes, headers and padding included.
        missed_bytes: u64,
    },
    /// The producer broke the protocol. Nothing more is read of its lane.
    Corrupt(Corruption),
    /// The kernel did not let this thread wait. The number is the error's, as in errno(3).
    Wait(i32),
    /// This process is a forked child, and the consumer belongs to the parent.
    Forked,
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no record is there yet"),
            Self::TimedOut => f.write_str("no record came until the deadline"),
            Self::Interrupted => f.write_str("interrupted before a record came"),
            Self::Abandoned => f.write_str("the producer gave up before its time; all that it published has been read"),
            Self::PeerDead => f.write_str("the producer died; all that it published has been read"),
            Self::HungUp => f.write_str(
                "the producer hung up without a goodbye; all that it published has been read; connect again to read on",
            ),
            Self::Refused { refusal, reason } => {
                write!(f, "the producer refused to go on: {reason} (code {})", refusal.code())
            }
            Self::Peer(fault) => {
                write!(
                    f,
                    "the producer broke the protocol of its session: {fault}; all that it published has been read"
                )
            }
            Self::Closed => f.write_str("the producer closed this session; connect again to read on"),
            Self::Evicted { missed_bytes } => write!(
                f,
                "the lane went on without this consumer, which missed {missed_bytes} bytes; \
                 read faster, or connect again"
            ),
            Self::Corrupt(corruption) => write!(f, "the producer broke the protocol of its lane: {corruption}"),
            Self::Wait(errno) => write!(f, "could not wait for a record: {}", OfErrno(*errno)),
            Self::Forked => {
                f.write_str("this process is a forked child, and a consumer belongs to the process that attached it")
            }
        }
    }
}

impl std::error::Error for ReceiveError {}

impl fmt::Debug for ReceiveError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Empty => "Empty",
            Self::TimedOut => "TimedOut",
            Self::Interrupted => "Interrupted",
            Self::Abandoned => "Abandoned",
            Self::PeerDead => "PeerDead",
            Self::HungUp => "HungUp",
            Self::Refused { .. } => "Refused",
            Self::Peer(_) => "Peer",
            Self::Closed => "Closed",
            Self::Evicted { .. } => "Evicted",
            Self::Corrupt(corruption) => return write!(f, "{self} (Corrupt: {corruption:?})"),
            Self::Wait(_) => "Wait",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl From<ReceiveError> for io::Error {
    /// The kind is in the table at [`ReceiveError`].
    fn from(error: ReceiveError) -> Self {
        let kind = match &error {
            ReceiveError::Empty => io::ErrorKind::WouldBlock,
            ReceiveError::TimedOut => io::ErrorKind::TimedOut,
            ReceiveError::Interrupted => io::ErrorKind::Other,
            ReceiveError::Abandoned => io::ErrorKind::ConnectionAborted,
            ReceiveError::PeerDead => io::ErrorKind::BrokenPipe,
            ReceiveError::HungUp | ReceiveError::Closed | ReceiveError::Evicted { .. } => {
                io::ErrorKind::ConnectionReset
            }
            ReceiveError::Refused { .. } => io::ErrorKind::ConnectionRefused,
            ReceiveError::Peer(_) | ReceiveError::Corrupt(_) => io::ErrorKind::InvalidData,
            ReceiveError::Wait(errno) => Self::from_raw_os_error(*errno).kind(),
            ReceiveError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

impl ReceiveError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-error-kind", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-error-kind")?;
    /// use fdring::errors::ErrorKind;
    ///
    /// let error = consumer.try_receive().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Empty);
    /// assert_eq!(error.kind().number(), 12);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Empty,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Abandoned => ErrorKind::Abandoned,
            Self::PeerDead => ErrorKind::PeerDead,
            Self::HungUp | Self::Closed => ErrorKind::Closed,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Peer(_) => ErrorKind::Peer,
            Self::Evicted { .. } => ErrorKind::Evicted,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Wait(_) => ErrorKind::Os,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether a later call on the same consumer may have a record. Not once the lane or the session is over: connect
    /// again, or use a [`Feed`](crate::feed::Feed), which does. Not if an [`Interrupter`](crate::Interrupter) ended the
    /// wait: clear it first.
    ///
    /// ```
    /// use fdring::errors::ReceiveError;
    ///
    /// assert!(ReceiveError::TimedOut.is_worth_retrying());
    /// assert!(!ReceiveError::PeerDead.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Empty | Self::TimedOut => true,
            Self::Wait(errno) => is_passing(&io::Error::from_raw_os_error(*errno)),
            Self::Interrupted
            | Self::Abandoned
            | Self::PeerDead
            | Self::HungUp
            | Self::Refused { .. }
            | Self::Peer(_)
            | Self::Closed
            | Self::Evicted { .. }
            | Self::Corrupt(_)
            | Self::Forked => false,
        }
    }
}

impl ReceiveError {
    /// That the session is broken: for the reason that the producer gave, if it gave one.
    pub(crate) fn broken(words: Option<&LastWords>) -> Self {
        match words.cloned() {
            Some(LastWords::Refused(refusal, reason)) => Self::Refused { refusal, reason },
            Some(LastWords::Nonsense(fault)) => Self::Peer(fault),
            None => Self::HungUp,
        }
    }
}

impl From<Stop> for ReceiveError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Corrupt(corruption) => Self::Corrupt(corruption),
            Stop::Evicted { missed_bytes } => Self::Evicted { missed_bytes },
        }
    }
}
