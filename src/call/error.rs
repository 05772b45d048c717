//! Why a call has no reply, and why a reply did not go out.

use super::Cause;
use crate::consumer::ReceiveError;
use crate::error::{Error, OfErrno};
use crate::kind::{ErrorKind, is_passing};
use crate::producer::SendError;
use std::fmt;
use std::io;

/// The reason why a call has no reply, or none yet.
///
/// [`may_have_run`](Self::may_have_run) says whether the service may have executed the request. If not, the same call
/// can be made again without harm.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses.
///
/// ```
/// use fdring::call::{CallError, Caller};
/// use std::time::Duration;
///
/// # fn main() -> fdring::Result<()> {
/// # let mut service = fdring::call::Service::listen("@doc-call-error")?;
/// let mut caller = Caller::connect("@doc-call-error")?;
/// let error = caller.call(b"anybody?", Duration::from_millis(1)).unwrap_err(); // nobody receives it
/// assert!(matches!(error, CallError::TimedOut) && error.may_have_run());
/// # drop(service);
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub enum CallError {
    /// No reply is there now. Only [`try_wait`](super::Caller::try_wait), [`wait_timeout`](super::Caller::wait_timeout)
    /// and [`wait_deadline`](super::Caller::wait_deadline) return this; the call goes on.
    Empty,
    /// No reply came before the deadline of the call, which is over.
    TimedOut,
    /// There was no room in the requests' lane before the deadline. The request was not sent.
    Full,
    /// The request is longer than the requests' lane takes. It was not sent.
    TooLong {
        /// The bytes of the request.
        len: usize,
        /// The most that the lane takes.
        max: usize,
    },
    /// The most calls are in flight already: wait for one, or drop its ticket. The request was not sent.
    TooManyCalls {
        /// The most at once, see [`CallerOptions::calls_max`](super::CallerOptions::calls_max).
        max: usize,
    },
    /// Too many bytes of replies wait to be taken by other tickets, so no more are stored. Take them; the call goes on.
    StoreFull {
        /// The bytes that wait.
        stored_bytes: u64,
    },
    /// The service refused. The call is over.
    Refused {
        /// Who refused, and why.
        cause: Cause,
        /// What the service says about it, up to 512 bytes of it; may be empty. Control characters, invisible ones and
        /// what is no UTF-8 are replaced by U+FFFD.
        reason: Box<str>,
    },
    /// A reply came that is no value of the type that a [`TypedCaller`](super::TypedCaller) expects: of another length,
    /// or with bits that the type does not have. The call goes on, unless it was the last reply.
    NoValue {
        /// The bytes of the reply.
        len: usize,
        /// Those of a value.
        size: usize,
    },
    /// The session ended before a last reply came. The call is over. The next call connects again.
    Lost(ReceiveError),
    /// No session could be opened within [`patience`](super::CallerOptions::patience). The request was not sent.
    NotConnected(Error),
    /// The [`Interrupter`](crate::Interrupter) of the options ended the wait. The call goes on, unless it was about to
    /// be sent.
    Interrupted,
    /// The ticket is of another caller.
    ForeignTicket,
    /// The kernel did not let this thread wait. The number is the error's, as in errno(3).
    Wait(i32),
    /// This process is a forked child, and the caller belongs to the parent.
    Forked,
}

impl CallError {
    /// Whether the service may have executed the request, wholly or in part, or may yet do so.
    ///
    /// ```
    /// use fdring::call::CallError;
    ///
    /// assert!(CallError::TimedOut.may_have_run());
    /// assert!(!CallError::TooLong { len: 5, max: 4 }.may_have_run());
    /// ```
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Empty
            | Self::TimedOut
            | Self::StoreFull { .. }
            | Self::Refused { .. }
            | Self::NoValue { .. }
            | Self::Lost(_)
            | Self::Interrupted
            | Self::Wait(_) => true,
            Self::Full
            | Self::TooLong { .. }
            | Self::TooManyCalls { .. }
            | Self::NotConnected(_)
            | Self::ForeignTicket
            | Self::Forked => false,
        }
    }

    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::call::CallError;
    /// use fdring::errors::ErrorKind;
    ///
    /// assert_eq!(CallError::TimedOut.kind(), ErrorKind::TimedOut);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Empty,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Full | Self::TooManyCalls { .. } | Self::StoreFull { .. } => ErrorKind::Full,
            Self::TooLong { .. } => ErrorKind::TooLong,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::NoValue { .. } => ErrorKind::Layout,
            Self::Lost(error) => error.kind(),
            Self::NotConnected(error) => error.kind(),
            Self::Interrupted => ErrorKind::Interrupted,
            Self::ForeignTicket => ErrorKind::Invalid,
            Self::Wait(_) => ErrorKind::Os,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether the same call on the caller may succeed later without a change in this program: the reply may come, room
    /// may be made, or the service may be started again. If the service [may have executed](Self::may_have_run) the
    /// request, another call may execute it twice. Not if an [`Interrupter`](crate::Interrupter) ended the wait: clear
    /// it first.
    ///
    /// ```
    /// use fdring::call::CallError;
    ///
    /// assert!(CallError::Full.is_worth_retrying() && !CallError::Full.may_have_run());
    /// assert!(!CallError::TooLong { len: 5, max: 4 }.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Empty
            | Self::TimedOut
            | Self::Full
            | Self::TooManyCalls { .. }
            | Self::StoreFull { .. }
            | Self::Lost(_) => true,
            Self::NotConnected(error) => error.is_worth_retrying(),
            Self::Wait(errno) => is_passing(&io::Error::from_raw_os_error(*errno)),
            Self::TooLong { .. }
            | Self::Refused { .. }
            | Self::NoValue { .. }
            | Self::Interrupted
            | Self::ForeignTicket
            | Self::Forked => false,
        }
    }

    fn variant(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::TimedOut => "TimedOut",
            Self::Full => "Full",
            Self::TooLong { .. } => "TooLong",
            Self::TooManyCalls { .. } => "TooManyCalls",
            Self::StoreFull { .. } => "StoreFull",
            Self::Refused { .. } => "Refused",
            Self::NoValue { .. } => "NoValue",
            Self::Lost(_) => "Lost",
            Self::NotConnected(_) => "NotConnected",
            Self::Interrupted => "Interrupted",
            Self::ForeignTicket => "ForeignTicket",
            Self::Wait(_) => "Wait",
            Self::Forked => "Forked",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no reply is there yet"),
            Self::TimedOut => {
                f.write_str("no reply came before the deadline; the service may have executed the request even so")
            }
            Self::Full => f.write_str(
                "the lane of the requests stayed full until the deadline, and the request was not sent; see whether \
                 the service is busy or stopped, or raise the capacity",
            ),
            Self::TooLong { len, max } => write!(
                f,
                "a request of {len} bytes is more than the {max} that the lane of the requests takes; raise its \
                 capacity"
            ),
            Self::TooManyCalls { max } => {
                write!(f, "{max} calls are in flight, which is the most; wait for one of them, or drop its ticket")
            }
            Self::StoreFull { stored_bytes } => write!(
                f,
                "{stored_bytes} bytes of replies to other calls wait to be taken, and no more are stored; wait for \
                 those calls first"
            ),
            Self::Refused { cause, reason } if reason.is_empty() => write!(f, "{cause}"),
            Self::Refused { cause, reason } => write!(f, "{cause}: {reason}"),
            Self::NoValue { len, size } => write!(
                f,
                "a reply of {len} bytes came that is no value of the expected type, which has {size} bytes; build both \
                 ends alike"
            ),
            Self::Lost(ReceiveError::PeerDead) => {
                f.write_str("the service died before it replied, and may have executed the request")
            }
            Self::Lost(why) => {
                write!(f, "the session ended before the reply, and the request may have been executed: {why}")
            }
            Self::NotConnected(error) => write!(f, "the request was not sent: {error}"),
            Self::Interrupted => f.write_str("interrupted while waiting for the service"),
            Self::ForeignTicket => f.write_str("the ticket belongs to another caller; wait for it there"),
            Self::Wait(errno) => {
                write!(f, "could not wait for the service: {}", OfErrno(*errno))
            }
            Self::Forked => {
                f.write_str("this process is a forked child, and a caller belongs to the process that connected it")
            }
        }
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.variant())
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        let kind = match &error {
            CallError::Empty | CallError::Full | CallError::TooManyCalls { .. } | CallError::StoreFull { .. } => {
                io::ErrorKind::WouldBlock
            }
            CallError::TimedOut => io::ErrorKind::TimedOut,
            CallError::TooLong { .. } | CallError::ForeignTicket => io::ErrorKind::InvalidInput,
            CallError::Refused { .. } => io::ErrorKind::ConnectionRefused,
            CallError::NoValue { .. } => io::ErrorKind::InvalidData,
            CallError::Lost(ReceiveError::PeerDead) => io::ErrorKind::BrokenPipe,
            CallError::Lost(_) => io::ErrorKind::ConnectionReset,
            CallError::NotConnected(_) => io::ErrorKind::NotConnected,
            CallError::Interrupted => io::ErrorKind::Other,
            CallError::Wait(errno) => Self::from_raw_os_error(*errno).kind(),
            CallError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// The reason why a reply did not go out.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses.
///
/// ```
/// use fdring::call::ReplyError;
///
/// assert_eq!(ReplyError::Gone.to_string(), "the caller is gone, and nobody waits for the reply");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyError {
    /// The caller is gone.
    Gone,
    /// There is no room for another part now. Only [`try_reply_part`](super::Request::try_reply_part) returns this.
    Full,
    /// The caller takes no replies, and was evicted for that: its session has ended.
    Evicted,
    /// The reply is longer than the replies' lane takes. The caller was told that; of a part, nothing was sent.
    TooLong {
        /// The bytes of the reply.
        len: usize,
        /// The most that the lane takes.
        max: usize,
    },
    /// The kernel did not let this thread wait. The number is the error's, as in errno(3).
    Wait(i32),
    /// This process is a forked child, and the request belongs to the parent.
    Forked,
}

impl ReplyError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::call::ReplyError;
    /// use fdring::errors::ErrorKind;
    ///
    /// assert_eq!(ReplyError::Gone.kind(), ErrorKind::Closed);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone => ErrorKind::Closed,
            Self::Full => ErrorKind::Full,
            Self::Evicted => ErrorKind::TooSlow,
            Self::TooLong { .. } => ErrorKind::TooLong,
            Self::Wait(_) => ErrorKind::Os,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Whether a later call may send the same part.
    ///
    /// ```
    /// use fdring::call::ReplyError;
    ///
    /// assert!(ReplyError::Full.is_worth_retrying());
    /// assert!(!ReplyError::Gone.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Wait(errno) => is_passing(&io::Error::from_raw_os_error(*errno)),
            Self::Gone | Self::Evicted | Self::TooLong { .. } | Self::Forked => false,
        }
    }

    /// Of a lane that takes no record.
    pub(super) fn of_send(error: SendError, prefix_bytes: usize) -> Self {
        match error {
            SendError::TooLong { len, max } => {
                Self::TooLong { len: len - prefix_bytes, max: max.saturating_sub(prefix_bytes) }
            }
            SendError::Full { .. } | SendError::TimedOut { .. } => Self::Full,
            SendError::Forked => Self::Forked,
            SendError::Wait(errno) => Self::Wait(errno),
            _ => Self::Gone,
        }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the caller is gone, and nobody waits for the reply"),
            Self::Full => f.write_str("the caller has not taken earlier replies yet; try again later"),
            Self::Evicted => f.write_str("the caller took no replies for too long, and its session was ended"),
            Self::TooLong { len, max } => write!(
                f,
                "a reply of {len} bytes is more than the {max} that the lane of the replies takes; raise its capacity, \
                 or reply in parts"
            ),
            Self::Wait(errno) => {
                write!(f, "could not wait for the caller: {}", OfErrno(*errno))
            }
            Self::Forked => {
                f.write_str("this process is a forked child, and a request belongs to the process that received it")
            }
        }
    }
}

impl fmt::Debug for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Gone => "Gone",
            Self::Full => "Full",
            Self::Evicted => "Evicted",
            Self::TooLong { .. } => "TooLong",
            Self::Wait(_) => "Wait",
            Self::Forked => "Forked",
        };
        write!(f, "{self} ({variant})")
    }
}

impl std::error::Error for ReplyError {}

impl From<ReplyError> for io::Error {
    fn from(error: ReplyError) -> Self {
        let kind = match &error {
            ReplyError::Gone | ReplyError::Evicted => io::ErrorKind::BrokenPipe,
            ReplyError::Full => io::ErrorKind::WouldBlock,
            ReplyError::TooLong { .. } => io::ErrorKind::InvalidInput,
            ReplyError::Wait(errno) => Self::from_raw_os_error(*errno).kind(),
            ReplyError::Forked => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}
