//! Whole frames over seqpacket sockets, with or without descriptors: what the session layer sends and receives.
//!
//! Nothing here waits. What the frames say is the business of [`wire`](crate::wire).

use super::calls::{CREDENTIALS_ROOM_BYTES, OTHER_ROOM_BYTES, send_message};
use super::message::{receive_message, rights_room_bytes};
use super::options::{Sender, add_pidfds};
use super::{Received, RecvFdsError};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use rustix::io::Errno;
use rustix::net::RecvFlags;
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
    receive(socket, buf, fds_max, control_len).map(|(frame, _)| frame)
}

/// Like [`recv_frame`], with up to [`FDS_PER_MESSAGE_MAX`] descriptors, from a socket that asks who sends
/// ([`name_senders`](super::name_senders), [`add_pidfds`]); the frame, and who sent it.
pub(crate) fn recv_first_frame(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
) -> Result<(ReceivedFrame, Sender), RecvFdsError> {
    if buf.is_empty() {
        return Err(RecvFdsError::EmptyPayload);
    }
    let control_len = rights_room_bytes(FDS_PER_MESSAGE_MAX) + OTHER_ROOM_BYTES;
    receive(socket, buf, FDS_PER_MESSAGE_MAX, control_len)
}

/// One frame, without waiting, and its sender. The end of a stream has neither bytes nor a sender, whatever the
/// credentials that come with it.
fn receive(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    fds_max: usize,
    control_len: usize,
) -> Result<(ReceivedFrame, Sender), RecvFdsError> {
    let mut message = receive_message(socket, buf, control_len, libc::MSG_DONTWAIT).map_err(RecvFdsError::from_os)?;
    let sender = message.take_sender();
    let Received { len, fds } = message.check(socket, fds_max)?;
    if len == 0 { Err(RecvFdsError::Closed) } else { Ok((ReceivedFrame { len, fds }, sender)) }
}

/// Like [`recv_frame`], but leaves the frame where it is: its descriptors are installed again by the next call. To
/// close them never waits as long as the frame is there. If they cannot all be installed, nothing is lost. An empty
/// message with descriptors is a frame of 0 bytes.
pub(crate) fn peek_frame_with_fds(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    fds_max: usize,
) -> Result<ReceivedFrame, RecvFdsError> {
    let peek = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let message = receive_message(socket, buf, rights_room_bytes(fds_max), peek).map_err(RecvFdsError::from_os)?;
    let Received { len, fds } = message.check(socket, fds_max)?;
    Ok(ReceivedFrame { len, fds })
}

/// The bytes of the next frame, which stays where it is, and none of its descriptors; their number.
pub(crate) fn peek_frame(socket: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, RecvFdsError> {
    let peek = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let message = receive_message(socket, buf, 0, peek).map_err(RecvFdsError::from_os)?;
    if message.len() == 0 && !message.has(libc::MSG_CTRUNC) { Err(RecvFdsError::Closed) } else { Ok(message.len()) }
}

/// Takes the next frame out of the socket, and lets its descriptors go. That waits for nobody if the caller has got
/// them by [`peek_frame_with_fds`]: then these are not their last holders, and no file system is told of it, as it is
/// of a close.
pub(crate) fn discard_frame(socket: BorrowedFd<'_>) -> Result<(), RecvFdsError> {
    // recv(2) has no control buffer, and takes less than recvmsg(2).
    loop {
        match rustix::net::recv(socket, &mut [0; 1], RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            received => return received.map(drop).map_err(RecvFdsError::from_os),
        }
    }
}

/// Receives one frame from a seqpacket socket from which no descriptors are taken, and returns its length in bytes.
///
/// Never waits, as [`recv_frame`]. First it peeks without a control buffer, which installs and releases nothing. If
/// descriptors wait, the answer is [`RecvFdsError::UnwantedDescriptors`] and the message stays where it is:
/// discarding it, even by closing the socket, can block for as long as a received socket lingers (`SO_LINGER`). Where
/// somebody else reads from the same socket, another message may come than was seen: then its descriptors are in the
/// error, to be closed as carefully.
pub(crate) fn recv_frame_without_fds(socket: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, RecvFdsError> {
    peek_for_fds(socket, buf, 0)?;
    without_fds(recv_frame(socket, buf, FDS_PER_MESSAGE_MAX)?)
}

/// Like [`recv_frame_without_fds`], from a socket that asks who sends ([`name_senders`](super::name_senders)) and was
/// not asked for pidfds yet; the length of the frame, and who sent it. Whether pidfds come is the last: then they come
/// with later frames too, until the caller says otherwise.
pub(crate) fn recv_first_frame_without_fds(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
) -> Result<(usize, Sender, bool), RecvFdsError> {
    // The credentials come first, so that there is no room for anything else.
    peek_for_fds(socket, buf, CREDENTIALS_ROOM_BYTES)?;
    let has_pidfds = add_pidfds(socket, true);
    let received = recv_first_frame(socket, buf);
    if received.is_err() {
        // A reset is reported before the frame, and the next look has no room for a pidfd.
        add_pidfds(socket, false);
    }
    let (frame, sender) = received?;
    Ok((without_fds(frame)?, sender, has_pidfds))
}

/// Fails if descriptors wait with the next frame, and leaves them where they are. `control_len` is room in bytes for
/// what comes with every frame.
fn peek_for_fds(socket: BorrowedFd<'_>, buf: &mut [u8], control_len: usize) -> Result<(), RecvFdsError> {
    if buf.is_empty() {
        return Err(RecvFdsError::EmptyPayload);
    }
    let peek = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let peeked = receive_message(socket, &mut buf[..1], control_len, peek).map_err(RecvFdsError::from_os)?;
    if peeked.has(libc::MSG_CTRUNC) { Err(RecvFdsError::UnwantedDescriptors) } else { Ok(()) }
}

/// The length of a frame, if no descriptors came with it.
fn without_fds(ReceivedFrame { len, fds }: ReceivedFrame) -> Result<usize, RecvFdsError> {
    if fds.is_empty() {
        return Ok(len);
    }
    Err(RecvFdsError::TooManyDescriptors { fds_max: 0, received: Received { len, fds } })
}
