//! The system calls on sockets that rustix lacks: sendmsg(2) with an array of descriptors, recvmsg(2) that owns
//! whatever arrives, and socket options.
//!
//! The invariant: whatever the kernel installed in this process's descriptor table is owned before anything else is
//! looked at, so every way out of here either hands a descriptor to the caller or closes it. All are close-on-exec from
//! their first instant (`MSG_CMSG_CLOEXEC`).
#![allow(unsafe_code, reason = "system calls by libc, and taking ownership of what arrives")]

use super::options::Sender;
use super::patience::Patience;
use crate::cmsg::{
    CREDENTIALS_LEN_BYTES, ControlError, ControlMessage, FD_LEN_BYTES, FDS_PER_MESSAGE_MAX, HEADER_LEN_BYTES,
    control_space_bytes, encode_rights, rights_space_bytes, walk,
};
use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{io, ptr};

/// Room in bytes for the sender's credentials and pidfd, which come if the socket asks for them. It is given unasked:
/// to ask the socket takes two system calls, half as long as the receiving itself (1.0 and 2.2 µs). Where they do not
/// come, as many more descriptors may.
pub(super) const OTHER_ROOM_BYTES: usize = CREDENTIALS_ROOM_BYTES + control_space_bytes(FD_LEN_BYTES);
/// Room in bytes for the sender's credentials alone.
pub(super) const CREDENTIALS_ROOM_BYTES: usize = control_space_bytes(CREDENTIALS_LEN_BYTES);
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
    let mut patience = Patience::new(socket, Timeout::Send, flags);
    loop {
        let flags = patience.flags(flags | libc::MSG_NOSIGNAL);
        // SAFETY: `header` points to `iov` and `control`, and `iov` to `payload`: all alive, with these lengths. The
        // descriptors in `control` are borrowed by `fds` until the call is over.
        let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) };
        match answer(result) {
            Err(error) => patience.after(error)?,
            sent => return sent,
        }
    }
}

/// What one recvmsg(2) brought.
pub(super) struct Arrived {
    /// The length of the payload, in bytes.
    pub(super) len: usize,
    pub(super) flags: libc::c_int,
    pub(super) owned: Owned,
}

/// One recvmsg(2), retried when a signal interrupts it, with a control buffer of `control_len` bytes. Every descriptor
/// that it installs is owned by what is returned.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    payload: &mut [u8],
    control_len: usize,
    flags: libc::c_int,
) -> Result<Arrived, Errno> {
    let mut buffer = ControlBuffer::new();
    let control = buffer.zeroed(control_len);
    let mut iov = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut header = message_header(&mut iov, control);
    let mut patience = Patience::new(socket, Timeout::Recv, flags);
    let len = loop {
        let flags = patience.flags(flags | libc::MSG_CMSG_CLOEXEC);
        // SAFETY: `header` points to `iov` and `control`, and `iov` to `payload`: all alive, with these lengths, and
        // borrowed mutably by nobody else. A failed call leaves them as they were.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
        match answer(result) {
            Err(error) => patience.after(error)?,
            Ok(len) => break len,
        }
    };
    #[allow(clippy::unnecessary_cast, reason = "u32 with musl")]
    let (flags, used) = (header.msg_flags, header.msg_controllen as usize);
    // SAFETY: this recvmsg alone wrote these bytes (or none), and nothing has looked at them yet.
    let owned = unsafe { own_descriptors(&control[..used.min(control_len)], control_len) };
    Ok(Arrived { len, flags, owned })
}

/// What a control buffer held.
pub(super) struct Owned {
    pub(super) fds: Vec<OwnedFd>,
    /// How many more descriptors there was room for when the kernel had written these.
    pub(super) room_left: usize,
    pub(super) fault: Option<ControlError>,
    pub(super) sender: Sender,
}

/// Takes ownership of every descriptor in `control`, the used part of a control buffer of `control_len` bytes.
///
/// # Safety
///
/// `control` must be what one recvmsg(2) wrote, and this must be the only call for it: the kernel has then installed
/// each descriptor in it for this call alone.
unsafe fn own_descriptors(control: &[u8], control_len: usize) -> Owned {
    let own = |number: RawFd| {
        // The kernel writes an errno, negated, if it could not make a pidfd.
        (number >= 0).then(|| {
            // SAFETY: the caller vouches that the kernel installed this number for this call, and the walk yields each
            // only once.
            unsafe { OwnedFd::from_raw_fd(number) }
        })
    };
    let mut owned =
        Owned { fds: Vec::new(), room_left: room_behind(0, control_len), fault: None, sender: Sender::default() };
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
                owned.sender.pidfd = own(number);
                continue;
            }
            Ok(ControlMessage::Credentials(credentials)) => owned.sender.credentials = Some(credentials),
            Ok(ControlMessage::Other { .. }) => {}
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

/// setsockopt(2) of an option of `SOL_SOCKET` that is a number.
pub(super) fn set_socket_option(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, ptr::from_ref(&value).cast(), len) };
    answer(result as isize).map(drop)
}

/// getsockopt(2) of an option of `SOL_SOCKET`, of which any bytes make a `T`.
///
/// A filter (seccomp(2)) can report success although the kernel was not asked. A zeroed value would then be taken for
/// descriptor 0, or for root. So all bytes of the value begin as 0xff: −1, which is no descriptor, process or user.
/// `ENODATA` if they still are, or if the kernel wrote only a part.
pub(super) fn socket_option<T: bytemuck::Pod>(socket: BorrowedFd<'_>, option: libc::c_int) -> Result<T, Errno> {
    let mut value = T::zeroed();
    bytemuck::bytes_of_mut(&mut value).fill(u8::MAX);
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` and its length outlive the call, and it may become any bytes.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, ptr::from_mut(&mut value).cast(), &mut len)
    };
    answer(result as isize)?;
    let is_written = len as usize == size_of::<T>() && bytemuck::bytes_of(&value).iter().any(|byte| *byte != u8::MAX);
    if is_written { Ok(value) } else { Err(Errno::NODATA) }
}

/// Like [`socket_option`], for one whose value is a descriptor that the kernel makes for this call; `None` for a
/// negative number.
pub(super) fn socket_option_fd(socket: BorrowedFd<'_>, option: libc::c_int) -> Result<Option<OwnedFd>, Errno> {
    let number: libc::c_int = socket_option(socket, option)?;
    // SAFETY: the kernel has just installed this descriptor for this call, so nobody owns it; a number that it did not
    // write is no answer of `socket_option`.
    Ok((number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) }))
}

/// What was sent by a Unix socket and is not received yet, in bytes of its send buffer: each message takes more of them
/// than it has (`SIOCOUTQ`, unix(7)).
pub(crate) fn queued_bytes(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = -1;
    // SAFETY: the kernel writes one number of this type there (unix(7)), which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, ptr::from_mut(&mut bytes)) };
    answer(result as isize)?;
    // A filter (seccomp(2)) can report success although the kernel was not asked.
    usize::try_from(bytes).map_err(|_| Errno::NODATA)
}

/// The answer of a system call by libc: a count, or errno.
pub(super) fn answer(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
