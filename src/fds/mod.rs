//! Arrays of descriptors over Unix sockets: [`send_fds`], [`recv_fds`], and what the session layer needs beside them.
//!
//! The invariant: every descriptor that arrives is owned before anything else is looked at; see `message.rs`.
//!
//! There is no connecting, no listening, no buffering and no framing here: one call is one sendmsg(2) or recvmsg(2).
//! Facts without a source are from unix(7), recvmsg(2), or were probed on Linux 6.18 and have a test.

mod calls;
mod error;
mod frames;
mod message;
mod options;
mod patience;

#[cfg(test)]
mod tests;

use crate::cmsg::FDS_PER_MESSAGE_MAX;
use calls::{OTHER_ROOM_BYTES, send_message};
pub use error::{RecvFdsError, SendFdsError};
pub(crate) use frames::{recv_frame, recv_frame_without_fds, send_frame};
use message::{receive_message, rights_room_bytes};
pub(crate) use options::{holds_descriptors, peer_credentials, peer_pidfd, refuse_fds};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sends `payload` and the array `fds` as one message, and returns how many bytes of the payload went.
///
/// The socket is any connected Unix socket: stream, seqpacket or datagram. The receiver gets descriptors of its own, in
/// this order, which stay open whatever happens to these; it shares file offsets and status flags with the sender. On
/// message sockets the whole payload goes. On a stream fewer bytes may go, as with write(2): the descriptors went with
/// the first byte, so send only the rest of the payload, without them.
///
/// The payload needs at least one byte, since a stream drops descriptors that come with none. A signal's interruption
/// is retried, and `SIGPIPE` is never raised. Whether it waits for room is up to the socket's own mode and its time
/// limit, which signals do not prolong.
///
/// # Errors
///
/// A [`SendFdsError`]; nothing was sent then.
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

/// What [`recv_fds`] received.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the payload buffer were filled, from its beginning.
    pub len: usize,
    /// The descriptors, in the order in which they were sent, all close-on-exec. May be empty: not every message brings
    /// some. To have exactly `N`, try to convert it: `<[OwnedFd; N]>::try_from(received.fds)`.
    pub fds: Vec<OwnedFd>,
}

/// Receives one message: bytes into `payload`, and an array of at most `fds_max` descriptors.
///
/// The socket is any Unix socket: stream, seqpacket or datagram. `fds_max` is from 1 to [`FDS_PER_MESSAGE_MAX`]. A
/// message without descriptors is received too. On a stream, plain bytes that were sent before an array may come
/// together with it, up to the length of `payload`; bytes sent after it do not.
///
/// Credentials or the sender's pidfd, which the kernel attaches where the socket asks for them (`SO_PASSCRED`,
/// `SO_PASSPIDFD`), are given room, and dropped. Where they do not come, up to 15 descriptors more than `fds_max` may,
/// from a peer that sends too many: all are in the error then. A signal's interruption is retried. Whether it waits is
/// up to the socket's own mode and its time limit, which signals do not prolong.
///
/// # Errors
///
/// A [`RecvFdsError`]. Where something arrived all the same, the error carries it; dropping the error closes the
/// descriptors in it.
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
/// # use std::{fs::File, io::Write, os::fd::AsFd, os::unix::net::UnixDatagram};
/// # let (here, there) = UnixDatagram::pair()?;
/// # let null = File::open("/dev/null")?;
/// # fdring::send_fds(&here, b"logs", &[null.as_fd(), null.as_fd()])?;
///
/// let mut payload = [0; 64];
/// let received = fdring::recv_fds(&there, &mut payload, 2)?;
/// assert_eq!(&payload[..received.len], b"logs");
/// match <[OwnedFd; 2]>::try_from(received.fds) {
///     Ok([out, err]) => println!("{out:?} and {err:?} are ours now"),
///     Err(fds) => println!("the peer sent {} descriptors instead of two", fds.len()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
