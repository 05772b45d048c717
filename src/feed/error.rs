//! The reasons why a feed has nothing to yield.

use crate::consumer::ReceiveError;
use crate::error::{Error, OfErrno};
use crate::kind::{ErrorKind, is_passing};
use crate::ring::stop::Corruption;
use std::fmt;
use std::io;

/// The reason why a feed has nothing to yield. The end of a lane, or of its producer, is a
/// [`FeedEvent`](super::FeedEvent).
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets the kind of the [`ReceiveError`] of that name, or of the [`Error`] in it.
///
/// ```
/// use fdring::feed::{Feed, FeedError, FeedOptions};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut feed = FeedOptions::new().patience(Duration::from_millis(20)).connect("@doc-feed-error")?;
/// let error = feed.receive().unwrap_err(); // nobody listens there
/// assert!(matches!(error, FeedError::GaveUp(fdring::Error::Os { .. })));
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub enum FeedError {
    /// Nothing is there now. Only `try_receive` returns this.
    Empty,
    /// Nothing came before the deadline.
    TimedOut,
    /// The [`Interrupter`](crate::Interrupter) of the session's options ended the wait. Nothing is lost.
    Interrupted,
    /// The feed could not connect: no later try can succeed as things are, or its
    /// [`patience`](super::FeedOptions::patience) is at an end. The next call begins anew.
    GaveUp(Error),
    /// The producer broke the protocol of its lane. The feed reads nothing any more.
    Corrupt(Corruption),
    /// The kernel did not let this thread wait. The number is the error's, as in errno(3).
    Wait(i32),
    /// This process is a forked child, and the feed belongs to the parent.
    Forked,
}

impl FeedError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::ErrorKind;
    /// use fdring::feed::FeedError;
    ///
    /// assert_eq!(FeedError::TimedOut.kind(), ErrorKind::TimedOut);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Empty,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::GaveUp(error) => error.kind(),
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Wait(_) => ErrorKind::Os,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether a later call on the same feed may yield something. Not if an [`Interrupter`](crate::Interrupter) ended
    /// the wait: clear it first.
    ///
    /// ```
    /// use fdring::feed::FeedError;
    ///
    /// assert!(FeedError::TimedOut.is_worth_retrying());
    /// assert!(!FeedError::Forked.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Empty | Self::TimedOut => true,
            Self::GaveUp(error) => error.is_worth_retrying(),
            Self::Wait(errno) => is_passing(&io::Error::from_raw_os_error(*errno)),
            Self::Interrupted | Self::Corrupt(_) | Self::Forked => false,
        }
    }
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing is there yet"),
            Self::TimedOut => f.write_str("nothing came until the deadline"),
            Self::Interrupted => f.write_str("interrupted before anything came"),
            Self::GaveUp(error) => write!(f, "the feed gave up: {error}"),
            Self::Corrupt(corruption) => write!(f, "the producer broke the protocol of its lane: {corruption}"),
            Self::Wait(errno) => write!(f, "could not wait for the feed: {}", OfErrno(*errno)),
            Self::Forked => {
                f.write_str("this process is a forked child, and a feed belongs to the process that made it")
            }
        }
    }
}

impl std::error::Error for FeedError {}

impl fmt::Debug for FeedError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Empty => "Empty",
            Self::TimedOut => "TimedOut",
            Self::Interrupted => "Interrupted",
            Self::GaveUp(_) => "GaveUp",
            Self::Corrupt(corruption) => return write!(f, "{self} (Corrupt: {corruption:?})"),
            Self::Wait(_) => "Wait",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl From<FeedError> for io::Error {
    /// The kind is said at [`FeedError`].
    fn from(error: FeedError) -> Self {
        let kind = match &error {
            FeedError::Empty => io::ErrorKind::WouldBlock,
            FeedError::TimedOut => io::ErrorKind::TimedOut,
            FeedError::Interrupted => io::ErrorKind::Other,
            FeedError::GaveUp(error) => error.io_kind(),
            FeedError::Corrupt(_) => io::ErrorKind::InvalidData,
            FeedError::Wait(errno) => Self::from_raw_os_error(*errno).kind(),
            FeedError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// What becomes of an error of the feed's consumer.
pub(super) enum ReadFailure {
    /// The lane cannot be read any more, for this reason.
    Lost(ReceiveError),
    /// The call ends, and the next one goes on.
    Failed(FeedError),
}

impl From<ReceiveError> for ReadFailure {
    fn from(error: ReceiveError) -> Self {
        Self::Failed(match error {
            ReceiveError::Empty => FeedError::Empty,
            ReceiveError::TimedOut => FeedError::TimedOut,
            ReceiveError::Interrupted => FeedError::Interrupted,
            ReceiveError::Corrupt(corruption) => FeedError::Corrupt(corruption),
            ReceiveError::Wait(errno) => FeedError::Wait(errno),
            ReceiveError::Forked => FeedError::Forked,
            why => return Self::Lost(why),
        })
    }
}
