//! The two system calls: sendmsg(2) with an array of descriptors, and recvmsg(2) that owns whatever arrives.
//!
//! The invariant: whatever the kernel installed in this process's descriptor table is owned before anything else is
//! looked at, so every way out of here either hands a descriptor to the caller or closes it. All are close-on-exec from
//! their first instant (`MSG_CMSG_CLOEXEC`).
#![allow(unsafe_code, reason = "sendmsg and recvmsg by libc, and taking ownership of what arrives")]

use super::options::answer;
use super::{Received, RecvFdsError};
use crate::cmsg::{
    CREDENTIALS_LEN_BYTES, ControlError, ControlMessage, FD_LEN_BYTES, FDS_PER_MESSAGE_MAX, HEADER_LEN_BYTES,
    control_space_bytes, encode_rights, rights_space_bytes, walk,
};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Room in bytes for the sender's credentials and pidfd, which come where the socket asks for them. It is given
/// unasked: to ask the socket takes two system calls, half as long as the receiving itself (1.0 and 2.2 µs). Where they
/// do not come, so many more descriptors may.
pub(super) const OTHER_ROOM_BYTES: usize =
    control_space_bytes(CREDENTIALS_LEN_BYTES) + control_space_bytes(FD_LEN_BYTES);
/// The length of a control buffer in bytes: room for 254 descriptors and what else may come.
const CONTROL_MAX_BYTES: usize = rights_space_bytes(FDS_PER_MESSAGE_MAX.next_multiple_of(2)) + OTHER_ROOM_BYTES;

/// A control buffer on the stack, aligned as the kernel's macros assume.
#[repr(C, align(8))]
struct ControlBuffer([MaybeUninit<u8>; CONTROL_MAX_BYTES]);

impl ControlBuffer {
    fn new() -> Self {
        Self([MaybeUninit::uninit(); CONTROL_MAX_BYTES])
    }

    /// Its first `len` bytes, all zero: no more than a message needs, for most need little.
    fn zeroed(&mut self, len: usize) -> &mut [u8] {
        let bytes = &mut self.0[..len];
        bytes.fill(MaybeUninit::new(0));
        // SAFETY: all of them have just been written.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) }
    }
}

/// One sendmsg(2), retried when a signal interrupts it.
pub(super) fn send_message(
    socket: BorrowedFd<'_>,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: libc::c_int,
) -> Result<usize, Errno> {
    let mut buffer = ControlBuffer::new();
    let control = buffer.zeroed(if fds.is_empty() { 0 } else { rights_space_bytes(fds.len()) });
    if !fds.is_empty() {
        encode_rights(fds.iter().map(AsRawFd::as_raw_fd), control).map_err(|_| Errno::INVAL)?;
    }
    // sendmsg only reads through this pointer.
    let mut iov = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let header = message_header(&mut iov, control);
    loop {
        // SAFETY: `header` points to `iov` and `control`, and `iov` to `payload`: all alive, with these lengths. The
        // descriptors in `control` are borrowed by `fds` until the call is over.
        let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags | libc::MSG_NOSIGNAL) };
        match answer(result) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// One recvmsg(2), retried when a signal interrupts it, with a control buffer of `control_len` bytes. Every descriptor
/// that it installs is owned by the message returned.
pub(super) fn receive_message(
    socket: BorrowedFd<'_>,
    payload: &mut [u8],
    control_len: usize,
    flags: libc::c_int,
) -> Result<Message, Errno> {
    let mut buffer = ControlBuffer::new();
    let control = buffer.zeroed(control_len);
    let mut iov = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut header = message_header(&mut iov, control);
    let len = loop {
        // SAFETY: `header` points to `iov` and `control`, and `iov` to `payload`: all alive, with these lengths, and
        // borrowed mutably by nobody else. A failed call leaves them as they were.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags | libc::MSG_CMSG_CLOEXEC) };
        match answer(result) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    #[allow(clippy::unnecessary_cast, reason = "u32 with musl")]
    let (flags, used) = (header.msg_flags, header.msg_controllen as usize);
    // SAFETY: this recvmsg alone wrote these bytes (or none), and nothing has looked at them yet.
    let owned = unsafe { own_descriptors(&control[..used.min(control_len)], control_len) };
    Ok(Message { received: Received { len, fds: owned.fds }, flags, room_left: owned.room_left, fault: owned.fault })
}

/// A message as it came, with everything in it owned.
pub(super) struct Message {
    received: Received,
    flags: libc::c_int,
    /// As in [`Owned`].
    room_left: usize,
    fault: Option<ControlError>,
}

impl Message {
    /// The kernel puts flags of its own among these (`MSG_CMSG_CLOEXEC`), so only bits are ever looked at.
    pub(super) fn has(&self, flag: libc::c_int) -> bool {
        self.flags & flag != 0
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
        if let Some(error) = fault {
            return Err(RecvFdsError::Malformed { error, received });
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

/// What a control buffer held.
struct Owned {
    fds: Vec<OwnedFd>,
    /// How many more descriptors there was room for when the kernel had written these.
    room_left: usize,
    fault: Option<ControlError>,
}

/// Takes ownership of every descriptor in `control`, the used part of a control buffer of `control_len` bytes, and
/// closes those that nobody asked for: the sender's pidfd.
///
/// # Safety
///
/// `control` must be what one recvmsg(2) wrote, and this must be the only call for it: the kernel has then installed
/// each descriptor in it for this call alone.
unsafe fn own_descriptors(control: &[u8], control_len: usize) -> Owned {
    let own = |number: RawFd| {
        // The kernel writes an errno, negated, where it could not make a pidfd.
        (number >= 0).then(|| {
            // SAFETY: the caller vouches that the kernel installed this number for this call, and the walk yields each
            // only once.
            unsafe { OwnedFd::from_raw_fd(number) }
        })
    };
    let mut owned = Owned { fds: Vec::new(), room_left: room_behind(0, control_len), fault: None };
    let mut rights_seen = false;
    let mut messages = walk(control);
    loop {
        let offset = messages.offset();
        let Some(message) = messages.next() else { return owned };
        match message {
            Ok(ControlMessage::Rights(numbers)) => {
                rights_seen = true;
                let end = offset + HEADER_LEN_BYTES + numbers.len() * FD_LEN_BYTES;
                owned.room_left = control_len.saturating_sub(end) / FD_LEN_BYTES;
                owned.fds.reserve_exact(numbers.len());
                owned.fds.extend(numbers.filter_map(own));
                continue;
            }
            // Written after the descriptors, so it took no room from them.
            Ok(ControlMessage::Pidfd(number)) => {
                drop(own(number));
                continue;
            }
            Ok(ControlMessage::Credentials(_) | ControlMessage::Other { .. }) => {}
            Err(error) => owned.fault = owned.fault.or(Some(error)),
        }
        if !rights_seen {
            owned.room_left = room_behind(messages.offset(), control_len);
        }
    }
}

/// How many descriptors a message that begins at `offset` has room for, in a control buffer of `control_len` bytes.
fn room_behind(offset: usize, control_len: usize) -> usize {
    control_len.saturating_sub(offset + HEADER_LEN_BYTES) / FD_LEN_BYTES
}

/// The control length in bytes that makes the kernel install at most `fds_max` descriptors, or one more where that is
/// odd: the padding of an odd array would be room for one more anyway.
pub(super) fn rights_room_bytes(fds_max: usize) -> usize {
    rights_space_bytes(fds_max.next_multiple_of(2))
}

/// A message header for one piece of payload.
fn message_header(iov: &mut libc::iovec, control: &mut [u8]) -> libc::msghdr {
    // SAFETY: a C struct of integers and pointers, some of them private padding, of which all zeros are a value.
    let mut header = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
    header.msg_iov = iov;
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() as _;
    }
    header
}
