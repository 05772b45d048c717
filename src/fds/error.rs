//! Why an array of descriptors was not sent.

use super::names::NamesFault;
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::kind::{ErrorKind, is_passing};
use rustix::io::Errno;
use std::fmt;
use std::io;

/// The reason why descriptors were not sent. The message includes the cause, and `source()` is `None`.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `NoDescriptors`, `TooManyDescriptors`, `EmptyPayload`, `Names`, `TooLong` | `InvalidInput` |
/// | `TooManyInFlight` | `QuotaExceeded` |
/// | `Refused` | `PermissionDenied` |
/// | `Closed` | `BrokenPipe` |
/// | `NamesCut` | `WriteZero` |
/// | `Os` | the kind of the system call's error |
///
/// ```
/// use std::{fs::File, io, os::fd::AsFd, os::unix::net::UnixStream};
///
/// fn pass(peer: &UnixStream, file: &File) -> io::Result<()> {
///     fdring::send_fds(peer, b"file", &[file.as_fd()])?;
///     Ok(())
/// }
///
/// let (here, there) = UnixStream::pair()?;
/// drop(there);
/// let outcome = pass(&here, &File::open("/dev/null")?);
/// assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
/// # Ok::<(), io::Error>(())
/// ```
#[non_exhaustive]
pub enum SendFdsError {
    /// There is no descriptor.
    NoDescriptors,
    /// There are more than 253 descriptors, which is the most that one message can carry.
    TooManyDescriptors {
        /// The number of descriptors.
        count: usize,
    },
    /// The payload is empty.
    EmptyPayload,
    /// Too many of this user's descriptors are in flight (`ETOOMANYREFS`): more than `RLIMIT_NOFILE` of this process,
    /// unless it has `CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`.
    TooManyInFlight,
    /// The peer takes no descriptors (`SO_PASSRIGHTS` is 0 there, from Linux 6.16), or a security module forbids it
    /// (`EPERM`).
    Refused,
    /// The payload is too long for one message of this socket (`EMSGSIZE`).
    TooLong {
        /// The length of the payload, in bytes.
        len: usize,
    },
    /// The peer closed its end (`EPIPE`, `ECONNRESET`).
    Closed,
    /// The names cannot be sent; only [`send_named`](super::send_named) fails with it.
    Names(NamesFault),
    /// The descriptors were sent, but only the first bytes of their names: the send buffer of the stream is too small
    /// for them (`SO_SNDBUF`). Only [`send_named`](super::send_named) fails with it.
    NamesCut {
        /// How many bytes of the names were sent.
        sent: usize,
        /// How many bytes they have.
        len: usize,
    },
    /// The system call failed in another way. `WouldBlock` means that a non-blocking socket has no room.
    Os(io::Error),
}

impl fmt::Display for SendFdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDescriptors => {
                f.write_str("there is no descriptor to send; give at least one, or send plain bytes with send(2)")
            }
            Self::TooManyDescriptors { count } => write!(
                f,
                "{count} descriptors do not fit one message, which carries at most {FDS_PER_MESSAGE_MAX}; \
                 send several messages"
            ),
            Self::EmptyPayload => {
                f.write_str("descriptors need at least one byte of payload to travel with; send one, any will do")
            }
            Self::TooManyInFlight => f.write_str(
                "too many descriptors of this user have been sent and not yet received; \
                 let the receivers catch up, or raise the limit (ulimit -n)",
            ),
            Self::Refused => f.write_str(
                "the peer's socket takes no descriptors (SO_PASSRIGHTS), or a security policy forbids to send them",
            ),
            Self::TooLong { len } => {
                write!(f, "a payload of {len} bytes is too long for one message here; send less, or raise SO_SNDBUF")
            }
            Self::Closed => f.write_str(
                "the peer closed its end of the socket before the descriptors were sent; see whether it still runs",
            ),
            Self::Names(fault) => write!(f, "descriptors cannot be sent under these names: {fault}"),
            Self::NamesCut { sent, len } => write!(
                f,
                "the descriptors were sent, but only {sent} of the {len} bytes of their names; \
                 raise SO_SNDBUF to twice that and close this connection, which the peer can no longer make sense of"
            ),
            Self::Os(cause) => write!(f, "could not send descriptors: {cause}"),
        }
    }
}

impl std::error::Error for SendFdsError {}

impl fmt::Debug for SendFdsError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::NoDescriptors => "NoDescriptors",
            Self::TooManyDescriptors { .. } => "TooManyDescriptors",
            Self::EmptyPayload => "EmptyPayload",
            Self::TooManyInFlight => "TooManyInFlight",
            Self::Refused => "Refused",
            Self::TooLong { .. } => "TooLong",
            Self::Closed => "Closed",
            Self::Names(_) => "Names",
            Self::NamesCut { .. } => "NamesCut",
            Self::Os(cause) => return write!(f, "{self} (Os: {:?})", cause.kind()),
        };
        write!(f, "{self} ({variant})")
    }
}

impl From<SendFdsError> for io::Error {
    /// The kind is in the table at [`SendFdsError`].
    fn from(error: SendFdsError) -> Self {
        let kind = match &error {
            SendFdsError::NoDescriptors
            | SendFdsError::TooManyDescriptors { .. }
            | SendFdsError::EmptyPayload
            | SendFdsError::Names(_)
            | SendFdsError::TooLong { .. } => io::ErrorKind::InvalidInput,
            SendFdsError::TooManyInFlight => io::ErrorKind::QuotaExceeded,
            SendFdsError::Refused => io::ErrorKind::PermissionDenied,
            SendFdsError::Closed => io::ErrorKind::BrokenPipe,
            SendFdsError::NamesCut { .. } => io::ErrorKind::WriteZero,
            SendFdsError::Os(cause) => cause.kind(),
        };
        Self::new(kind, error)
    }
}

impl SendFdsError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::ErrorKind;
    /// # let (here, there) = std::os::unix::net::UnixStream::pair()?;
    ///
    /// let error = fdring::send_fds(&here, b"x", &[]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Invalid);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDescriptors | Self::TooManyDescriptors { .. } | Self::EmptyPayload | Self::Names(_) => {
                ErrorKind::Invalid
            }
            Self::TooManyInFlight => ErrorKind::TooManyInFlight,
            Self::Refused => ErrorKind::Refused,
            Self::TooLong { .. } | Self::NamesCut { .. } => ErrorKind::TooLong,
            Self::Closed => ErrorKind::Closed,
            Self::Os(_) => ErrorKind::Os,
        }
    }

    /// Whether the same call may succeed later: the socket may have room, or the receivers may have taken descriptors.
    ///
    /// ```
    /// use fdring::fds::SendFdsError;
    ///
    /// assert!(SendFdsError::TooManyInFlight.is_worth_retrying());
    /// assert!(!SendFdsError::Closed.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::TooManyInFlight => true,
            Self::Os(cause) => is_passing(cause),
            Self::NoDescriptors
            | Self::TooManyDescriptors { .. }
            | Self::EmptyPayload
            | Self::Refused
            | Self::TooLong { .. }
            | Self::Closed
            | Self::Names(_)
            | Self::NamesCut { .. } => false,
        }
    }

    /// Whether the socket had no room: at once if it is non-blocking, otherwise within its `SO_SNDTIMEO`. Nothing was
    /// sent: wait until the socket is writable, and try again.
    ///
    /// ```
    /// # use std::{fs::File, os::fd::AsFd, os::unix::net::UnixStream};
    /// let (here, there) = UnixStream::pair()?;
    /// here.set_nonblocking(true)?;
    /// let null = File::open("/dev/null")?;
    /// let error = loop {
    ///     if let Err(error) = fdring::send_fds(&here, &[0; 4096], &[null.as_fd()]) {
    ///         break error;
    ///     }
    /// };
    /// assert!(error.is_would_block());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Os(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) fn from_os(error: Errno, len: usize) -> Self {
        match error {
            Errno::TOOMANYREFS => Self::TooManyInFlight,
            Errno::PERM => Self::Refused,
            Errno::MSGSIZE => Self::TooLong { len },
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            error => Self::Os(error.into()),
        }
    }
}
