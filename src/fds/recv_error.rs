//! Why an array of descriptors was not received.
//!
//! The invariant: an error that is made after something arrived carries it, so that nothing is lost that need not be.

use super::Received;
use super::names::NamesFault;
use crate::cmsg::{ControlError, FDS_PER_MESSAGE_MAX};
use crate::kind::{ErrorKind, is_passing};
use rustix::io::Errno;
use std::fmt;
use std::io;

/// The reason why descriptors were not received. The message includes the cause, and `source()` is `None`.
///
/// Some variants carry what did arrive: the bytes in the payload buffer, up to `received.len`, and the descriptors.
/// Dropping the error closes the descriptors.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses, with what arrived. Converted to
/// [`io::Error`], it keeps its sentence and what arrived, and gets this kind:
///
/// | variant | [`io::ErrorKind`] |
/// | --- | --- |
/// | `FdsMax`, `EmptyPayload` | `InvalidInput` |
/// | `Closed` | `UnexpectedEof` |
/// | `Reset` | `ConnectionReset` |
/// | `TooManyDescriptors`, `NoRoom`, `PayloadTruncated`, `Malformed`, `Names`, `UnwantedDescriptors` | `InvalidData` |
/// | `TableFull` | `QuotaExceeded` |
/// | `Withheld` | `PermissionDenied` |
/// | `Os` | the kind of the system call's error |
///
/// ```
/// use std::{io, os::unix::net::UnixStream};
///
/// fn take(peer: &UnixStream) -> io::Result<fdring::fds::Received> {
///     Ok(fdring::recv_fds(peer, &mut [0; 64], 1)?)
/// }
///
/// let (here, there) = UnixStream::pair()?;
/// drop(there);
/// assert_eq!(take(&here).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
/// # Ok::<(), io::Error>(())
/// ```
#[non_exhaustive]
pub enum RecvFdsError {
    /// `fds_max` is not 1 to 253.
    FdsMax {
        /// The value of `fds_max`.
        fds_max: usize,
    },
    /// The payload buffer is empty.
    EmptyPayload,
    /// The peer closed its end. On seqpacket and datagram sockets, an empty message without descriptors looks the same.
    Closed,
    /// The peer closed its end before it had read everything sent to it (`ECONNRESET`). A seqpacket socket reports this
    /// once, *before* what the peer had sent: receive again to get that.
    Reset,
    /// The peer sent more descriptors than `fds_max`. The kernel closed those that did not fit the control buffer. If
    /// exactly `fds_max` arrived, another control message may be what did not fit: see [`Self::NoRoom`].
    TooManyDescriptors {
        /// The value of `fds_max`.
        fds_max: usize,
        /// What arrived: the first of the descriptors sent, at least `fds_max`.
        received: Received,
    },
    /// The descriptor table of this process was full, and the kernel closed the descriptors that had no place. They are
    /// lost: the peer must send them again.
    TableFull {
        /// What arrived: the first of those sent, or none.
        received: Received,
    },
    /// The kernel closed descriptors although there was room for them: a security module denied them, or the descriptor
    /// table was full at that moment and is no longer.
    Withheld {
        /// What arrived: the first of those sent, or none.
        received: Received,
    },
    /// Other control messages, such as security labels or timestamps, took the room of descriptors or of each other.
    NoRoom {
        /// What arrived.
        received: Received,
    },
    /// The message is longer than the payload buffer, and its tail is lost. Only on seqpacket and datagram sockets.
    PayloadTruncated {
        /// What arrived: all the descriptors, and as many bytes as the buffer holds.
        received: Received,
    },
    /// The control data makes no sense. The kernel never writes such data.
    Malformed {
        /// What is wrong with it.
        cause: ControlError,
        /// What could be understood.
        received: Received,
    },
    /// The descriptors came without names that fit them. Only [`recv_named`](super::recv_named) fails with it.
    Names {
        /// What is wrong with the names.
        fault: NamesFault,
        /// What arrived: all the descriptors; `len` is the length of the text that came instead of names.
        received: Received,
    },
    /// A message with descriptors came at a socket that takes none. Only the session layer meets this.
    UnwantedDescriptors,
    /// The system call failed in another way. `WouldBlock` means that no message waits at a non-blocking socket.
    Os(io::Error),
}

impl fmt::Display for RecvFdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FdsMax { fds_max } => write!(
                f,
                "one message carries 1 to {FDS_PER_MESSAGE_MAX} descriptors, not {fds_max}; \
                 ask for a number in that range"
            ),
            Self::EmptyPayload => {
                f.write_str("descriptors travel with at least one byte of payload; give a buffer of one byte or more")
            }
            Self::Closed => f.write_str("the peer closed the connection; no more will come"),
            Self::Reset => f.write_str(
                "the peer closed the connection before it read all that was sent to it; \
                 receive again for what it had sent",
            ),
            Self::TooManyDescriptors { fds_max, .. } => write!(
                f,
                "the peer sent more than the {fds_max} descriptors asked for; \
                 ask for as many as it may send, up to {FDS_PER_MESSAGE_MAX}"
            ),
            Self::TableFull { received } => write!(
                f,
                "the descriptor table is full: only {} of the peer's descriptors arrived and the others are lost; \
                 close some or raise the limit (ulimit -n), and have them sent again",
                received.fds.len()
            ),
            Self::Withheld { received } => write!(
                f,
                "the kernel withheld descriptors: only {} arrived and the others are lost; \
                 see whether a security policy denies them, \
                 or whether the descriptor table was full for a moment (ulimit -n)",
                received.fds.len()
            ),
            Self::NoRoom { received } => write!(
                f,
                "other control messages left too little room: {} descriptors arrived, others may be lost; \
                 turn off what adds them to this socket (SO_PASSSEC, SO_TIMESTAMP), \
                 or ask for more descriptors than can come",
                received.fds.len()
            ),
            Self::PayloadTruncated { .. } => f.write_str(
                "the peer's message is longer than the payload buffer, and its tail is lost; \
                 give a longer buffer",
            ),
            Self::Malformed { cause, .. } => write!(f, "the control data cannot be understood: {cause}"),
            Self::Names { fault, .. } => write!(f, "the peer sent descriptors without proper names: {fault}"),
            Self::UnwantedDescriptors => f.write_str(
                "the peer sent descriptors where none are taken; \
                 close this connection, on a thread that may block",
            ),
            Self::Os(cause) => write!(f, "could not receive descriptors: {cause}"),
        }
    }
}

impl std::error::Error for RecvFdsError {}

impl fmt::Debug for RecvFdsError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (variant, received) = match self {
            Self::FdsMax { .. } => ("FdsMax", None),
            Self::EmptyPayload => ("EmptyPayload", None),
            Self::Closed => ("Closed", None),
            Self::Reset => ("Reset", None),
            Self::TooManyDescriptors { received, .. } => ("TooManyDescriptors", Some(received)),
            Self::TableFull { received } => ("TableFull", Some(received)),
            Self::Withheld { received } => ("Withheld", Some(received)),
            Self::NoRoom { received } => ("NoRoom", Some(received)),
            Self::PayloadTruncated { received } => ("PayloadTruncated", Some(received)),
            Self::Malformed { received, .. } => ("Malformed", Some(received)),
            Self::Names { received, .. } => ("Names", Some(received)),
            Self::UnwantedDescriptors => ("UnwantedDescriptors", None),
            Self::Os(cause) => return write!(f, "{self} (Os: {:?})", cause.kind()),
        };
        match received {
            Some(received) => write!(f, "{self} ({variant}: {received:?})"),
            None => write!(f, "{self} ({variant})"),
        }
    }
}

impl From<RecvFdsError> for io::Error {
    /// The kind is in the table at [`RecvFdsError`].
    fn from(error: RecvFdsError) -> Self {
        let kind = match &error {
            RecvFdsError::FdsMax { .. } | RecvFdsError::EmptyPayload => io::ErrorKind::InvalidInput,
            RecvFdsError::Closed => io::ErrorKind::UnexpectedEof,
            RecvFdsError::Reset => io::ErrorKind::ConnectionReset,
            RecvFdsError::TooManyDescriptors { .. }
            | RecvFdsError::NoRoom { .. }
            | RecvFdsError::PayloadTruncated { .. }
            | RecvFdsError::Malformed { .. }
            | RecvFdsError::Names { .. }
            | RecvFdsError::UnwantedDescriptors => io::ErrorKind::InvalidData,
            RecvFdsError::TableFull { .. } => io::ErrorKind::QuotaExceeded,
            RecvFdsError::Withheld { .. } => io::ErrorKind::PermissionDenied,
            RecvFdsError::Os(cause) => cause.kind(),
        };
        Self::new(kind, error)
    }
}

impl RecvFdsError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::ErrorKind;
    /// # use std::os::unix::net::UnixStream;
    ///
    /// let (here, there) = UnixStream::pair()?;
    /// drop(there);
    /// let error = fdring::recv_fds(&here, &mut [0; 1], 1).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Closed);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::FdsMax { .. } | Self::EmptyPayload => ErrorKind::Invalid,
            Self::Closed | Self::Reset => ErrorKind::Closed,
            Self::TableFull { .. } | Self::Withheld { .. } | Self::NoRoom { .. } => ErrorKind::DescriptorsLost,
            Self::TooManyDescriptors { .. }
            | Self::PayloadTruncated { .. }
            | Self::Malformed { .. }
            | Self::Names { .. }
            | Self::UnwantedDescriptors => ErrorKind::Peer,
            Self::Os(_) => ErrorKind::Os,
        }
    }

    /// Whether the same call may still receive what it asked for: nothing was taken out of the socket. `false` if a
    /// message was taken that is not whole, though the next one may be: its descriptors do not come again, and the peer
    /// must send them anew.
    ///
    /// ```
    /// use fdring::fds::RecvFdsError;
    ///
    /// assert!(RecvFdsError::Reset.is_worth_retrying());
    /// assert!(!RecvFdsError::Closed.is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Reset => true,
            Self::Os(cause) => is_passing(cause),
            Self::FdsMax { .. }
            | Self::EmptyPayload
            | Self::Closed
            | Self::TooManyDescriptors { .. }
            | Self::TableFull { .. }
            | Self::Withheld { .. }
            | Self::NoRoom { .. }
            | Self::PayloadTruncated { .. }
            | Self::Malformed { .. }
            | Self::Names { .. }
            | Self::UnwantedDescriptors => false,
        }
    }

    /// Whether no message came: at once if the socket is non-blocking, otherwise within its `SO_RCVTIMEO`. Wait until
    /// the socket is readable, and try again.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// let (here, there) = UnixStream::pair()?;
    /// here.set_nonblocking(true)?;
    /// let error = fdring::recv_fds(&here, &mut [0; 1], 1).unwrap_err();
    /// assert!(error.is_would_block());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Os(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What arrived despite the error; `None` if nothing did.
    ///
    /// ```
    /// # use std::{fs::File, os::fd::AsFd, os::unix::net::UnixStream};
    /// # let (here, there) = UnixStream::pair()?;
    /// # let null = File::open("/dev/null")?;
    /// fdring::send_fds(&here, b"x", &[null.as_fd(), null.as_fd()])?; // two
    ///
    /// let error = fdring::recv_fds(&there, &mut [0; 1], 1).unwrap_err(); // room for one
    /// let received = error.into_received().expect("something arrived");
    /// assert_eq!(received.len, 1);
    /// assert!(!received.fds.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn into_received(self) -> Option<Received> {
        match self {
            Self::TooManyDescriptors { received, .. }
            | Self::TableFull { received }
            | Self::Withheld { received }
            | Self::NoRoom { received }
            | Self::PayloadTruncated { received }
            | Self::Malformed { received, .. }
            | Self::Names { received, .. } => Some(received),
            _ => None,
        }
    }

    pub(super) fn from_os(error: Errno) -> Self {
        match error {
            Errno::CONNRESET => Self::Reset,
            error => Self::Os(error.into()),
        }
    }
}
