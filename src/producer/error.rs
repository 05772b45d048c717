//! The reasons why a record could not be sent, and the consumer that holds the lane back.

use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::{InWords, OfErrno, OfUser};
use crate::fds::NamesFault;
use crate::kind::{ErrorKind, is_passing};
use crate::lane::ConsumerInfo;
use std::fmt;
use std::io;
use std::time::Duration;

/// The reason why a record could not be sent.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `TooLong`, `WindowTooLong`, `TooManyAttachments`, `Names` | `InvalidInput` |
/// | `Full`, `Untaken`, `TooManyInFlight` | `WouldBlock` |
/// | `TimedOut`, `TooSlow` | `TimedOut` |
/// | `Interrupted` | `Other`, since the loops of [`std::io`] begin anew after `Interrupted` |
/// | `TooFewConsumers` | `NotConnected` |
/// | `NotReleased`, `Unread` | `ConnectionAborted` |
/// | `Wait`, `Attachment` | the kind of the system call's error |
/// | `NoSpaceBell`, `Forked` | `Unsupported` |
///
/// ```
/// use std::io;
///
/// fn log(lane: &mut fdring::Producer, line: &str) -> io::Result<()> {
///     lane.try_send(line.as_bytes())?;
///     Ok(())
/// }
/// # let mut lane = fdring::Producer::create("log").unwrap();
/// # log(&mut lane, "hello").unwrap();
/// let too_long = "x".repeat(lane.lane().payload_max + 1);
/// assert_eq!(log(&mut lane, &too_long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The payload is too long: a record takes at most half of the ring.
    TooLong {
        /// The requested length, in bytes.
        len: usize,
        /// The longest payload of this lane, in bytes.
        max: usize,
    },
    /// The records of a window take more than half of the ring together.
    WindowTooLong {
        /// What they would take, headers and alignment included, in bytes.
        bytes: u64,
        /// The most that a window of this lane takes, in bytes.
        max_bytes: u64,
    },
    /// The ring is full. Only the `try_` forms return this.
    Full {
        /// The consumer that holds the lane back, if it is known.
        consumer: Option<Box<ConsumerInfo>>,
    },
    /// The ring stayed full until the deadline.
    TimedOut {
        /// The consumer that holds the lane back, if it is known.
        consumer: Option<Box<ConsumerInfo>>,
    },
    /// An [`Interrupter`](crate::Interrupter) ended the wait. Nothing is lost: call again once it is
    /// [cleared](crate::Interrupter::clear).
    Interrupted,
    /// A consumer left, died or was evicted before it had released a record. Only
    /// [`Producer::wait_released`](crate::Producer::wait_released) returns this.
    NotReleased {
        /// The position that was to be released.
        position: u64,
    },
    /// A consumer has held the full ring back for longer than the lane's
    /// [`SlowConsumer`](crate::options::SlowConsumer) allows.
    TooSlow {
        /// The consumer.
        consumer: Box<ConsumerInfo>,
    },
    /// Fewer consumers are there than the lane's [`NoConsumer`](crate::options::NoConsumer) wants.
    TooFewConsumers {
        /// How many are there.
        there: usize,
        /// How many the lane wants.
        wanted: usize,
        /// Of those who have gone, the one whose place keeps most.
        gone: Option<Box<ConsumerInfo>>,
    },
    /// Consumers had not released everything when the time was up, or when they went. Only
    /// [`Producer::finish_and_wait`](crate::Producer::finish_and_wait) returns this.
    Unread {
        /// Those consumers, each with the bytes that it has not released.
        consumers: Vec<ConsumerInfo>,
    },
    /// The record has more descriptors than the lane allows.
    TooManyAttachments {
        /// The number of descriptors.
        count: usize,
        /// The most that can be attached to a record of this lane.
        max: usize,
    },
    /// A consumer has left too many descriptors of earlier records untaken: there was no room for more, in the `try_`
    /// forms now, in the others until the deadline.
    Untaken {
        /// The consumer.
        consumer: Box<ConsumerInfo>,
    },
    /// Too many descriptors of this user are in flight, in all processes together: sent and not received. The limit is
    /// the sender's `RLIMIT_NOFILE`.
    TooManyInFlight,
    /// The kernel does not send one of the descriptors, or makes none for a parcel. The number is the error's, as in
    /// errno(3).
    Attachment(i32),
    /// A name of a descriptor cannot be sent. Only [`Producer::send_named`](crate::Producer::send_named) returns this.
    Names(NamesFault),
    /// The lane was created without a [space bell](crate::options::LaneOptions::space_bell), so that no event loop can
    /// wait for room. Only [`Producer::arm`](crate::Producer::arm) returns this.
    NoSpaceBell,
    /// The kernel cannot watch the bell of a consumer. The number is the error's, as in errno(3). Only
    /// [`Producer::arm`](crate::Producer::arm), and what waits by it, returns this.
    Wait(i32),
    /// This process is a forked child, and the producer belongs to the parent.
    Forked,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => {
                write!(f, "a payload of {len} bytes is more than the {max} that this lane takes; raise its capacity")
            }
            Self::WindowTooLong { bytes, max_bytes } => write!(
                f,
                "a window of {bytes} bytes, headers included, is more than the {max_bytes} that this lane takes; \
                 reserve fewer records at a time, or raise its capacity"
            ),
            Self::Full { consumer } => write!(f, "the lane is full{}", Blame(consumer)),
            Self::TimedOut { consumer } => {
                write!(f, "the lane stayed full until the deadline{}", Blame(consumer))
            }
            Self::Interrupted => f.write_str("interrupted while waiting for consumers of the lane"),
            Self::NotReleased { position } => write!(
                f,
                "a consumer left, died or was evicted before it had released everything up to position {position}; \
                 send again what it may have missed"
            ),
            Self::TooSlow { consumer } => {
                let advice = "make it quicker, or choose a larger ring or another SlowConsumer";
                write!(f, "a consumer is too slow: {}; {advice}", ConsumerClause(consumer))
            }
            Self::TooFewConsumers { there, wanted, gone } => {
                match wanted {
                    1 => f.write_str("the lane wants a consumer, and none is there")?,
                    _ => write!(f, "the lane wants {wanted} consumers, and {there} are there")?,
                }
                match gone {
                    Some(gone) => write!(f, ": {}; start it again, or give its place up", ConsumerClause(gone)),
                    None => f.write_str("; start what is missing first"),
                }
            }
            Self::Unread { consumers } => {
                f.write_str("the lane has ended, and not everything was read")?;
                let lead = |index| if index == 0 { ": " } else { "; " };
                consumers
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, consumer)| write!(f, "{}{}", lead(index), ConsumerClause(consumer)))
            }
            Self::TooManyAttachments { count, max } => write!(
                f,
                "{count} descriptors are more than the {max} that a record of this lane has; \
                 LaneOptions::attachments allows up to {FDS_PER_MESSAGE_MAX}"
            ),
            Self::Untaken { consumer } => {
                write!(f, "a consumer has not taken the descriptors of earlier records: {}", ConsumerClause(consumer))
            }
            Self::TooManyInFlight => f.write_str(
                "too many descriptors of this user are in flight: let the receivers catch up, or raise RLIMIT_NOFILE",
            ),
            Self::Attachment(errno) => {
                write!(f, "could not send the descriptors of a record: {}", OfErrno(*errno))
            }
            Self::Names(fault) => write!(f, "could not send descriptors under these names: {fault}"),
            Self::NoSpaceBell => f.write_str(
                "the lane has no space bell, so that no event loop can wait for room; create it with \
                 LaneOptions::space_bell",
            ),
            Self::Wait(errno) => write!(f, "could not wait for room: {}", OfErrno(*errno)),
            Self::Forked => {
                f.write_str("this process is a forked child, and a producer belongs to the process that created it")
            }
        }
    }
}

impl std::error::Error for SendError {}

impl fmt::Debug for SendError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::TooLong { .. } => "TooLong",
            Self::WindowTooLong { .. } => "WindowTooLong",
            Self::Full { .. } => "Full",
            Self::TimedOut { .. } => "TimedOut",
            Self::Interrupted => "Interrupted",
            Self::NotReleased { .. } => "NotReleased",
            Self::TooSlow { .. } => "TooSlow",
            Self::TooFewConsumers { .. } => "TooFewConsumers",
            Self::Unread { .. } => "Unread",
            Self::TooManyAttachments { .. } => "TooManyAttachments",
            Self::Untaken { .. } => "Untaken",
            Self::TooManyInFlight => "TooManyInFlight",
            Self::Attachment(_) => "Attachment",
            Self::Names(_) => "Names",
            Self::NoSpaceBell => "NoSpaceBell",
            Self::Wait(_) => "Wait",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl SendError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::ErrorKind;
    ///
    /// # let mut lane = fdring::Producer::create("log").unwrap();
    /// let error = lane.send(&vec![0; 4 << 20]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TooLong);
    /// assert_eq!(error.kind().number(), 10);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. } | Self::WindowTooLong { .. } => ErrorKind::TooLong,
            Self::Full { .. } | Self::Untaken { .. } => ErrorKind::Full,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::NotReleased { .. } => ErrorKind::NotReleased,
            Self::TooSlow { .. } => ErrorKind::TooSlow,
            Self::TooFewConsumers { .. } => ErrorKind::TooFewConsumers,
            Self::Unread { .. } => ErrorKind::Unread,
            Self::TooManyInFlight => ErrorKind::TooManyInFlight,
            Self::NoSpaceBell | Self::TooManyAttachments { .. } | Self::Names(_) => ErrorKind::Invalid,
            Self::Wait(_) | Self::Attachment(_) => ErrorKind::Os,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether the same call may succeed later without a change in this program: consumers may make room, take
    /// descriptors or come, or the system is briefly out of descriptors. Not if an [`Interrupter`](crate::Interrupter)
    /// ended the wait: clear it first.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut log = LaneOptions::new("log").capacity(4096).create()?;
    /// # let server = Server::listen("@doc-send-error-retry", [&log])?;
    /// # let consumer = Consumer::connect("@doc-send-error-retry")?;
    /// # while log.try_send(b"a line").is_ok() {}
    /// let full = log.try_send(b"one more").unwrap_err();
    /// assert!(full.is_worth_retrying());
    ///
    /// let too_long = log.try_send(&[0; 4096]).unwrap_err();
    /// assert!(!too_long.is_worth_retrying());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Full { .. }
            | Self::TimedOut { .. }
            | Self::TooSlow { .. }
            | Self::TooFewConsumers { .. }
            | Self::Untaken { .. }
            | Self::TooManyInFlight => true,
            Self::Wait(errno) | Self::Attachment(errno) => is_passing(&io::Error::from_raw_os_error(*errno)),
            Self::TooLong { .. }
            | Self::WindowTooLong { .. }
            | Self::Interrupted
            | Self::NotReleased { .. }
            | Self::Unread { .. }
            | Self::TooManyAttachments { .. }
            | Self::Names(_)
            | Self::NoSpaceBell
            | Self::Forked => false,
        }
    }
}

impl From<SendError> for io::Error {
    /// The kind is in the table at [`SendError`].
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::TooLong { .. }
            | SendError::WindowTooLong { .. }
            | SendError::TooManyAttachments { .. }
            | SendError::Names(_) => io::ErrorKind::InvalidInput,
            SendError::Full { .. } | SendError::Untaken { .. } | SendError::TooManyInFlight => {
                io::ErrorKind::WouldBlock
            }
            SendError::TimedOut { .. } | SendError::TooSlow { .. } => io::ErrorKind::TimedOut,
            SendError::Interrupted => io::ErrorKind::Other,
            SendError::TooFewConsumers { .. } => io::ErrorKind::NotConnected,
            SendError::NotReleased { .. } | SendError::Unread { .. } => io::ErrorKind::ConnectionAborted,
            SendError::Wait(errno) | SendError::Attachment(errno) => Self::from_raw_os_error(errno).kind(),
            SendError::NoSpaceBell | SendError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// The part of an error's sentence that names the consumer that holds the lane back.
struct Blame<'a>(&'a Option<Box<ConsumerInfo>>);

impl fmt::Display for Blame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|consumer| write!(f, ": {}", ConsumerClause(consumer)))
    }
}

/// Who a consumer is, how far behind, since when, and whether it sleeps, holds records or stands still.
struct ConsumerClause<'a>(&'a ConsumerInfo);

impl fmt::Display for ConsumerClause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConsumerInfo { pid, uid, since, behind_bytes, held_bytes, still_since, .. } = *self.0;
        match pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("a process of another pid namespace")?,
        }
        let (attached, still) = (InWords(rounded(since.elapsed())), InWords(rounded(still_since.elapsed())));
        write!(f, " of {}, attached {attached} ago, ", OfUser(uid))?;
        if self.0.is_gone {
            return write!(f, "has gone and left {behind_bytes} bytes that it had not released");
        }
        match held_bytes {
            0 => write!(f, "has not released {behind_bytes} bytes yet")?,
            _ if held_bytes == behind_bytes => write!(
                f,
                "has read everything and holds {held_bytes} bytes; it must drop the oldest record that it keeps"
            )?,
            _ => write!(
                f,
                "has not released {behind_bytes} bytes yet, and holds {held_bytes} of them in records that it has read"
            )?,
        }
        match (held_bytes, self.0.is_asleep) {
            (0, false) => write!(f, ", and has stood still for {still}"),
            (0, true) => write!(f, ", and sleeps; it has released nothing for {still}"),
            _ => write!(f, "; it has released nothing for {still}"),
        }
    }
}

/// To the millisecond.
fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
