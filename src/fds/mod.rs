//! Arrays of descriptors over Unix sockets: [`send_fds`] and [`recv_fds`]; with names, [`send_named`] and
//! [`recv_named`].
//!
//! One call is one sendmsg(2) or recvmsg(2). Connecting, listening, buffering and framing are left to the caller.
//!
//! The invariant: every descriptor that arrives is owned before anything else is looked at, so none leaks. Facts
//! without a source are from unix(7) or recvmsg(2), or were probed on Linux 6.18 and have a test.

mod calls;
mod error;
mod frames;
mod message;
mod named;
mod names;
mod options;
mod patience;
mod recv_error;

#[cfg(test)]
mod tests;

use crate::cmsg::{Credentials, FDS_PER_MESSAGE_MAX};
pub(crate) use calls::queued_bytes;
use calls::{OTHER_ROOM_BYTES, send_message};
pub use error::SendFdsError;
pub(crate) use frames::{
    ReceivedFrame, discard_frame, peek_frame, peek_frame_with_fds, recv_first_frame, recv_first_frame_without_fds,
    recv_frame, recv_frame_without_fds, send_frame,
};
use message::{receive_message, rights_room_bytes};
pub use named::{recv_named, send_named};
pub use names::NamesFault;
pub(crate) use names::{from_table, to_table};
pub(crate) use options::{
    Sender, accept_fds, add_nothing, add_pidfds, has_peer_pidfd, holds_descriptors, name_senders, peer_pidfd, pidfd_of,
    refuse_fds,
};
pub use recv_error::RecvFdsError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sends `payload` and the descriptors `fds` as one message. Returns the number of payload bytes that were sent.
///
/// The socket is any connected Unix socket: stream, seqpacket or datagram. `fds` has 1 to [`FDS_PER_MESSAGE_MAX`]
/// entries, and `payload` at least one byte, because a stream drops descriptors that come without bytes.
///
/// The receiver gets descriptors of its own, in this order. They stay open if the sender closes its own. They share
/// file offsets and status flags with the sender's.
///
/// A seqpacket or datagram socket sends the whole payload. A stream may send fewer bytes, as with write(2). The
/// descriptors travel with the first byte: send the rest of the payload without them.
///
/// Blocks while the socket has no room, if the socket is blocking, up to its `SO_SNDTIMEO`. A call that is interrupted
/// by a signal is repeated, within that time. `SIGPIPE` is never raised. The socket sets how long: after
/// `set_nonblocking(true)` of the standard library's sockets a call never waits, after `set_write_timeout(Some(limit))`
/// it waits up to `limit`. If the time is up, [`SendFdsError::is_would_block`] is true.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use std::os::fd::AsFd;
/// use std::os::unix::net::UnixStream;
///
/// let (here, there) = UnixStream::pair()?;
/// let (null, zero) = (File::open("/dev/null")?, File::open("/dev/zero")?);
/// fdring::send_fds(&here, b"x", &[null.as_fd(), zero.as_fd()])?;
///
/// let received = fdring::recv_fds(&there, &mut [0; 1], 2)?;
/// assert_eq!((received.len, received.fds.len()), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Nothing was sent, and the error is
///
/// - [`SendFdsError::NoDescriptors`], [`TooManyDescriptors`](SendFdsError::TooManyDescriptors) or
///   [`EmptyPayload`](SendFdsError::EmptyPayload) if an argument is out of range
/// - [`SendFdsError::TooLong`] if the payload is too long for one message of this socket
/// - [`SendFdsError::TooManyInFlight`] if too many descriptors of this user are in flight
/// - [`SendFdsError::Refused`] if the peer takes no descriptors
/// - [`SendFdsError::Closed`] if the peer closed its end
/// - [`SendFdsError::Os`] if the system call fails in another way
pub fn send_fds(socket: impl AsFd, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, SendFdsError> {
    if fds.is_empty() {
        return Err(SendFdsError::NoDescriptors);
    }
    if fds.len() > FDS_PER_MESSAGE_MAX {
        return Err(SendFdsError::TooManyDescriptors { count: fds.len() });
    }
    if payload.is_empty() {
        return Err(SendFdsError::EmptyPayload);
    }
    send_message(socket.as_fd(), payload, fds, 0).map_err(|error| SendFdsError::from_os(error, payload.len()))
}

/// A received message: [`recv_fds`] returns it.
///
/// ```
/// use std::os::fd::OwnedFd;
/// # use std::{fs::File, os::fd::AsFd, os::unix::net::UnixStream};
/// # let (here, there) = UnixStream::pair()?;
/// # fdring::send_fds(&here, b"one", &[File::open("/dev/null")?.as_fd()])?;
///
/// let mut payload = [0; 16];
/// let received = fdring::recv_fds(&there, &mut payload, 1)?;
/// assert_eq!(&payload[..received.len], b"one");
/// let [null] = <[OwnedFd; 1]>::try_from(received.fds).expect("one descriptor was sent");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Received {
    /// The number of payload bytes, from the beginning of the buffer.
    pub len: usize,
    /// The descriptors, in the order in which they were sent, all close-on-exec. Empty if the message brought none. For
    /// exactly `N` of them, use `<[OwnedFd; N]>::try_from(received.fds)`.
    pub fds: Vec<OwnedFd>,
}

/// Receives one message: bytes into `payload`, and at most `fds_max` descriptors.
///
/// The socket is any Unix socket: stream, seqpacket or datagram. `fds_max` is 1 to [`FDS_PER_MESSAGE_MAX`], and
/// `payload` has room for at least one byte. A message without descriptors is received too. On a stream, bytes sent
/// before the descriptors may come together with them, up to the length of `payload`. Bytes sent after them do not.
///
/// The sender's credentials and pidfd, which the kernel attaches if the socket asks for them (`SO_PASSCRED`,
/// `SO_PASSPIDFD`), are received and dropped. A peer that sends too many descriptors may get up to 15 more than
/// `fds_max` of them through; they are all in the error.
///
/// Blocks until a message comes, if the socket is blocking, up to its `SO_RCVTIMEO`. A call that is interrupted by a
/// signal is repeated, within that time. The socket sets how long: after `set_nonblocking(true)` of the standard
/// library's sockets a call never waits, after `set_read_timeout(Some(limit))` it waits up to `limit`. If the time is
/// up, [`RecvFdsError::is_would_block`] is true.
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
/// # use std::{fs::File, os::fd::AsFd, os::unix::net::UnixDatagram};
/// # let (here, there) = UnixDatagram::pair()?;
/// # let null = File::open("/dev/null")?;
/// # fdring::send_fds(&here, b"logs", &[null.as_fd(), null.as_fd()])?;
///
/// let mut payload = [0; 64];
/// let received = fdring::recv_fds(&there, &mut payload, 2)?;
/// assert_eq!(&payload[..received.len], b"logs");
/// match <[OwnedFd; 2]>::try_from(received.fds) {
///     Ok([out, err]) => println!("{out:?} and {err:?} are ours now"),
///     Err(fds) => panic!("the peer sent {} descriptors instead of two", fds.len()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`RecvFdsError::FdsMax`] or [`EmptyPayload`](RecvFdsError::EmptyPayload) if an argument is out of range
/// - [`RecvFdsError::Closed`] or [`Reset`](RecvFdsError::Reset) if the peer closed its end
/// - [`RecvFdsError::TooManyDescriptors`] if the peer sent more than `fds_max` descriptors
/// - [`RecvFdsError::PayloadTruncated`] if the message is longer than `payload`
/// - [`RecvFdsError::TableFull`], [`Withheld`](RecvFdsError::Withheld) or [`NoRoom`](RecvFdsError::NoRoom) if
///   descriptors were lost
/// - [`RecvFdsError::Malformed`] if the control data makes no sense
/// - [`RecvFdsError::Os`] if the system call fails in another way
///
/// An error after which something arrived carries it, see [`RecvFdsError::into_received`]. Dropping the error closes
/// the descriptors in it.
pub fn recv_fds(socket: impl AsFd, payload: &mut [u8], fds_max: usize) -> Result<Received, RecvFdsError> {
    let socket = socket.as_fd();
    if fds_max == 0 || fds_max > FDS_PER_MESSAGE_MAX {
        return Err(RecvFdsError::FdsMax { fds_max });
    }
    if payload.is_empty() {
        return Err(RecvFdsError::EmptyPayload);
    }
    let control_len = rights_room_bytes(fds_max) + OTHER_ROOM_BYTES;
    let message = receive_message(socket, payload, control_len, 0).map_err(RecvFdsError::from_os)?;
    message.check(socket, fds_max)
}

/// Makes a connected pair of seqpacket sockets, close-on-exec and blocking: each message arrives whole, with exactly
/// its descriptors. The standard library makes pairs of streams and of datagram sockets.
///
/// ```
/// use std::{fs::File, os::fd::AsFd};
///
/// let (here, there) = fdring::fds::seqpacket_pair()?;
/// fdring::send_fds(&here, b"null", &[File::open("/dev/null")?.as_fd()])?;
/// fdring::send_fds(&here, b"zero", &[File::open("/dev/zero")?.as_fd()])?;
///
/// let mut payload = [0; 16];
/// let received = fdring::recv_fds(&there, &mut payload, 1)?; // the first message alone
/// assert_eq!(&payload[..received.len], b"null");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If the kernel makes no sockets: no descriptors are left (`EMFILE`, `ENFILE`), or no memory.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The process at the other end of a connected Unix socket: who connected, or listened, or made the pair, as of then
/// (`SO_PEERCRED`, unix(7)). A socket that was passed on since has another owner now.
///
/// The process number is 0 if that process is in another pid namespace, and the user and group are those of
/// /proc/sys/kernel/overflowuid and overflowgid if this user namespace has no numbers for them. A process number may be
/// another process's by now: do not decide by it.
///
/// ```
/// let (here, _there) = fdring::fds::seqpacket_pair()?;
/// let maker = fdring::fds::peer_credentials(&here)?;
/// assert_eq!(maker.pid as u32, std::process::id());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// If the descriptor is no Unix socket, or not connected.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<Credentials> {
    options::peer_credentials(socket.as_fd())
}
