//! Messages as they arrive: from the kernel's flags to what they mean.
//!
//! The invariant: everything that came with a message stays in it, or in the error that is made of it.

use super::calls::{Arrived, receive};
use super::options::Sender;
use super::{Received, RecvFdsError};
use crate::cmsg::{ControlError, rights_space_bytes};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// One message, with a control buffer of `control_len` bytes; see [`receive`].
pub(super) fn receive_message(
    socket: BorrowedFd<'_>,
    payload: &mut [u8],
    control_len: usize,
    flags: libc::c_int,
) -> Result<Message, Errno> {
    let Arrived { len, flags, owned } = receive(socket, payload, control_len, flags)?;
    let received = Received { len, fds: owned.fds };
    Ok(Message { received, flags, room_left: owned.room_left, fault: owned.fault, sender: owned.sender })
}

/// A message as it came, with everything in it owned.
pub(super) struct Message {
    received: Received,
    flags: libc::c_int,
    /// As in [`Owned`](super::calls::Owned).
    room_left: usize,
    fault: Option<ControlError>,
    sender: Sender,
}

impl Message {
    /// The kernel puts flags of its own among these (`MSG_CMSG_CLOEXEC`), so only bits are ever looked at.
    pub(super) fn has(&self, flag: libc::c_int) -> bool {
        self.flags & flag != 0
    }

    /// The length of its payload, in bytes.
    pub(super) fn len(&self) -> usize {
        self.received.len
    }

    /// Who sent it, as far as the socket asks for that. Taken out: a second call says nobody.
    pub(super) fn take_sender(&mut self) -> Sender {
        std::mem::take(&mut self.sender)
    }

    /// Decides what the message means to a caller who asked for at most `fds_max` descriptors.
    pub(super) fn check(self, socket: BorrowedFd<'_>, fds_max: usize) -> Result<Received, RecvFdsError> {
        let control_truncated = self.has(libc::MSG_CTRUNC);
        let payload_truncated = self.has(libc::MSG_TRUNC);
        let Self { received, room_left, fault, .. } = self;
        let count = received.fds.len();
        if count > fds_max || control_truncated && count == fds_max {
            return Err(RecvFdsError::TooManyDescriptors { fds_max, received });
        }
        if control_truncated && room_left == 0 {
            return Err(RecvFdsError::NoRoom { received });
        }
        if control_truncated {
            // What arrived still has its places, so a table that was full is full now, unless someone closed something.
            let full = rustix::io::fcntl_dupfd_cloexec(socket, 0).is_err_and(|error| error == Errno::MFILE);
            return Err(if full { RecvFdsError::TableFull { received } } else { RecvFdsError::Withheld { received } });
        }
        if let Some(cause) = fault {
            return Err(RecvFdsError::Malformed { cause, received });
        }
        if payload_truncated {
            return Err(RecvFdsError::PayloadTruncated { received });
        }
        if received.len == 0 && received.fds.is_empty() {
            return Err(RecvFdsError::Closed);
        }
        Ok(received)
    }
}

/// The control length in bytes that makes the kernel install at most `fds_max` descriptors, or one more if that is odd:
/// the padding of an odd array would be room for one more anyway.
pub(super) fn rights_room_bytes(fds_max: usize) -> usize {
    rights_space_bytes(fds_max.next_multiple_of(2))
}
