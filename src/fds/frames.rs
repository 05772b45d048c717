//! Whole frames over seqpacket sockets, with or without descriptors: what the session layer sends and receives.
//!
//! Nothing here waits. What the frames say is the business of [`wire`](crate::wire).

use super::calls::send_message;
use super::message::{receive_message, rights_room_bytes};
use super::{Received, RecvFdsError};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What a session received: one frame.
#[derive(Debug)]
pub(crate) struct ReceivedFrame {
    /// The length of the frame in the buffer, in bytes; at least 1.
    pub(crate) len: usize,
    /// Its descriptors, in order.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Sends one frame, whole or not at all, on a seqpacket socket, with 0 to [`FDS_PER_MESSAGE_MAX`] descriptors.
///
/// Never waits: `WouldBlock` means that there is no room now. Never raises `SIGPIPE`. `ETOOMANYREFS` and `EPERM` come
/// as they are. A frame is never empty, since that would look like the end.
pub(crate) fn send_frame(socket: BorrowedFd<'_>, frame: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if frame.is_empty() || fds.len() > FDS_PER_MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = send_message(socket, frame, fds, libc::MSG_DONTWAIT)?;
    if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one frame from a seqpacket socket, with 0 to `fds_max` descriptors.
///
/// Never waits: see [`RecvFdsError::is_would_block`]. An empty message is [`RecvFdsError::Closed`]; a frame longer than
/// `buf`, more descriptors than `fds_max` or lost ones are errors. After [`RecvFdsError::Reset`], frames that the peer
/// sent before it closed may still wait. The socket must not ask for credentials or pidfds: they get no room.
pub(crate) fn recv_frame(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    fds_max: usize,
) -> Result<ReceivedFrame, RecvFdsError> {
    if fds_max > FDS_PER_MESSAGE_MAX {
        return Err(RecvFdsError::FdsMax { fds_max });
    }
    if buf.is_empty() {
        return Err(RecvFdsError::EmptyPayload);
    }
    let control_len = if fds_max == 0 { 0 } else { rights_room_bytes(fds_max) };
    let message = receive_message(socket, buf, control_len, libc::MSG_DONTWAIT).map_err(RecvFdsError::from_os)?;
    let Received { len, fds } = message.check(socket, fds_max)?;
    if len == 0 { Err(RecvFdsError::Closed) } else { Ok(ReceivedFrame { len, fds }) }
}

/// Receives one frame from a seqpacket socket from which no descriptors are taken, and returns its length in bytes.
///
/// Never waits, as [`recv_frame`]. First it peeks without a control buffer, which installs and releases nothing. If
/// descriptors wait, the answer is [`RecvFdsError::UnwantedDescriptors`] and the message stays where it is:
/// discarding it, even by closing the socket, can block for as long as a received socket lingers (`SO_LINGER`). Where
/// somebody else reads from the same socket, another message may come than was seen: then its descriptors are in the
/// error, to be closed as carefully.
pub(crate) fn recv_frame_without_fds(socket: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, RecvFdsError> {
    if buf.is_empty() {
        return Err(RecvFdsError::EmptyPayload);
    }
    let peek = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let peeked = receive_message(socket, &mut buf[..1], 0, peek).map_err(RecvFdsError::from_os)?;
    if peeked.has(libc::MSG_CTRUNC) {
        return Err(RecvFdsError::UnwantedDescriptors);
    }
    let ReceivedFrame { len, fds } = recv_frame(socket, buf, FDS_PER_MESSAGE_MAX)?;
    if fds.is_empty() {
        return Ok(len);
    }
    Err(RecvFdsError::TooManyDescriptors { fds_max: 0, received: Received { len, fds } })
}
