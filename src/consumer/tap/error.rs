//! The reasons why a tap has no record to give.

use crate::error::OfErrno;
use crate::kind::{ErrorKind, is_passing};
use crate::link::LastWords;
use crate::ring::stop::Corruption;
use crate::ring::tap::Miss;
use crate::terms::Refusal;
use std::fmt;
use std::io;

/// The reason why a [`Tap`](crate::Tap) has no record to give. The end of the stream is not an error, and
/// [`Lagged`](Self::Lagged) is not the end of it.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `Empty` | `WouldBlock` |
/// | `TimedOut` | `TimedOut` |
/// | `Lagged` | `Other` |
/// | `Interrupted` | `Other`, since the loops of [`std::io`] begin anew after `Interrupted` |
/// | `Abandoned` | `ConnectionAborted` |
/// | `PeerDead` | `BrokenPipe` |
/// | `HungUp`, `Closed` | `ConnectionReset` |
/// | `Refused` | `ConnectionRefused` |
/// | `Peer`, `Corrupt` | `InvalidData` |
/// | `Wait` | the kind of the system call's error |
/// | `Forked` | `Unsupported` |
///
/// ```
/// use fdring::{Tap, errors::TapError};
///
/// /// The next record that this tap is in time for; `None` at the end of the stream.
/// fn next(tap: &mut Tap) -> Result<Option<Vec<u8>>, TapError> {
///     loop {
///         match tap.receive() {
///             Err(TapError::Lagged { missed_bytes }) => eprintln!("missed {missed_bytes} bytes"),
///             outcome => return Ok(outcome?.map(|record| record.to_vec())),
///         }
///     }
/// }
/// # let mut lane = fdring::Producer::create("log").unwrap();
/// # let server = fdring::Server::listen("@doc-tap-error", [&lane]).unwrap();
/// # let mut tap = Tap::connect("@doc-tap-error").unwrap();
/// # lane.send(b"hello").unwrap();
/// # lane.abandon();
/// # assert_eq!(next(&mut tap).unwrap().unwrap(), b"hello");
/// # assert_eq!(next(&mut tap), Err(TapError::Abandoned));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TapError {
    /// No record is published now. Only the calls that do not wait return this.
    Empty,
    /// No record was published before the deadline.
    TimedOut,
    /// An [`Interrupter`](crate::Interrupter) ended the wait for a record. Nothing is lost: call again once it is
    /// [cleared](crate::Interrupter::clear).
    Interrupted,
    /// The producer has overwritten the next record. The tap goes on from the newest record: call again.
    Lagged {
        /// What was passed over, in bytes, headers and padding included.
        missed_bytes: u64,
    },
    /// The producer gave the lane up, or its thread panicked.
    Abandoned,
    /// The producer's process ended before the lane did.
    PeerDead,
    /// The producer hung up without a word. It lives, as far as the kernel says.
    HungUp,
    /// The producer refused to go on.
    Refused {
        /// The kind of the refusal.
        refusal: Refusal,
        /// The producer's own sentence, shortened and safe to print.
        reason: Box<str>,
    },
    /// The producer broke the session's protocol: the text says how.
    Peer(Box<str>),
    /// The producer's process closed the session. The lane goes on without this tap: connect again to read on.
    Closed,
    /// The producer broke the protocol. Nothing more is read of its lane.
    Corrupt(Corruption),
    /// The kernel did not let this thread wait. The number is the error's, as in errno(3).
    Wait(i32),
    /// This process is a forked child, and the tap belongs to the parent.
    Forked,
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no record is there yet"),
            Self::TimedOut => f.write_str("no record came until the deadline"),
            Self::Interrupted => f.write_str("interrupted before a record came"),
            Self::Lagged { missed_bytes } => {
                write!(f, "the lane was too quick for this tap, which passed over {missed_bytes} bytes; read on")
            }
            Self::Abandoned => f.write_str("the producer gave up before its time"),
            Self::PeerDead => f.write_str("the producer died"),
            Self::HungUp => f.write_str("the producer hung up without a goodbye; connect again to read on"),
            Self::Refused { refusal, reason } => {
                write!(f, "the producer refused to go on: {reason} (code {})", refusal.code())
            }
            Self::Peer(fault) => write!(f, "the producer broke the protocol of its session: {fault}"),
            Self::Closed => f.write_str("the producer closed this session; connect again to read on"),
            Self::Corrupt(corruption) => write!(f, "the producer broke the protocol of its lane: {corruption}"),
            Self::Wait(errno) => write!(f, "could not wait for a record: {}", OfErrno(*errno)),
            Self::Forked => {
                f.write_str("this process is a forked child, and a tap belongs to the process that attached it")
            }
        }
    }
}

impl std::error::Error for TapError {}

impl fmt::Debug for TapError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Empty => "Empty",
            Self::TimedOut => "TimedOut",
            Self::Interrupted => "Interrupted",
            Self::Lagged { .. } => "Lagged",
            Self::Abandoned => "Abandoned",
            Self::PeerDead => "PeerDead",
            Self::HungUp => "HungUp",
            Self::Refused { .. } => "Refused",
            Self::Peer(_) => "Peer",
            Self::Closed => "Closed",
            Self::Corrupt(corruption) => return write!(f, "{self} (Corrupt: {corruption:?})"),
            Self::Wait(_) => "Wait",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl From<TapError> for io::Error {
    /// The kind is in the table at [`TapError`].
    fn from(error: TapError) -> Self {
        let kind = match &error {
            TapError::Empty => io::ErrorKind::WouldBlock,
            TapError::TimedOut => io::ErrorKind::TimedOut,
            TapError::Interrupted => io::ErrorKind::Other,
            TapError::Lagged { .. } => io::ErrorKind::Other,
            TapError::Abandoned => io::ErrorKind::ConnectionAborted,
            TapError::PeerDead => io::ErrorKind::BrokenPipe,
            TapError::HungUp | TapError::Closed => io::ErrorKind::ConnectionReset,
            TapError::Refused { .. } => io::ErrorKind::ConnectionRefused,
            TapError::Peer(_) | TapError::Corrupt(_) => io::ErrorKind::InvalidData,
            TapError::Wait(errno) => Self::from_raw_os_error(*errno).kind(),
            TapError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

impl TapError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::{ErrorKind, TapError};
    ///
    /// let error = TapError::Lagged { missed_bytes: 4096 };
    /// assert_eq!((error.kind(), error.kind().number()), (ErrorKind::Lagged, 24));
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Empty,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Lagged { .. } => ErrorKind::Lagged,
            Self::Abandoned => ErrorKind::Abandoned,
            Self::PeerDead => ErrorKind::PeerDead,
            Self::HungUp | Self::Closed => ErrorKind::Closed,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Peer(_) => ErrorKind::Peer,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Wait(_) => ErrorKind::Os,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether a later call on the same tap may have a record. Not once the lane or the session is over: connect again.
    /// Not if an [`Interrupter`](crate::Interrupter) ended the wait: clear it first.
    ///
    /// ```
    /// use fdring::errors::TapError;
    ///
    /// assert!(TapError::Lagged { missed_bytes: 4096 }.is_worth_retrying());
    /// assert!(!TapError::PeerDead.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Empty | Self::TimedOut | Self::Lagged { .. } => true,
            Self::Wait(errno) => is_passing(&io::Error::from_raw_os_error(*errno)),
            Self::Interrupted
            | Self::Abandoned
            | Self::PeerDead
            | Self::HungUp
            | Self::Refused { .. }
            | Self::Peer(_)
            | Self::Closed
            | Self::Corrupt(_)
            | Self::Forked => false,
        }
    }
}

impl TapError {
    /// That the session is broken: for the reason that the producer gave, if it gave one.
    pub(crate) fn broken(words: Option<&LastWords>) -> Self {
        match words.cloned() {
            Some(LastWords::Refused(refusal, reason)) => Self::Refused { refusal, reason },
            Some(LastWords::Nonsense(fault)) => Self::Peer(fault),
            None => Self::HungUp,
        }
    }
}

impl From<Miss> for TapError {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Lagged { missed_bytes } => Self::Lagged { missed_bytes },
            Miss::Corrupt(corruption) => Self::Corrupt(corruption),
        }
    }
}
