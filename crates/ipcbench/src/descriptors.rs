//! Arrays of descriptors: `send_fds` and `recv_fds`, and records of a lane that carry them, next to the shortest loop
//! of sendmsg(2) and recvmsg(2).
//!
//! So few messages are under way that an ordinary limit on open files suffices.
#![allow(unsafe_code, reason = "the plain loop speaks to the kernel through libc")]

use super::shared::{Shared, Word};
use crate::contender::Fallible;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};
use std::mem::size_of;
use std::sync::atomic::Ordering;

/// How many descriptors are under way at most, unless one message has more.
const IN_FLIGHT_MAX: usize = 512;
/// The most descriptors of a message.
const FDS_MAX: usize = 253;
/// The length of a control message's header.
const HEADER_BYTES: usize = 16;
/// One byte goes with each array.
const BYTE: &[u8] = b"f";

/// A control buffer with room for the longest array.
#[repr(C, align(8))]
struct Control([u8; HEADER_BYTES + (FDS_MAX + 1) * size_of::<i32>()]);

/// How many arrays are sent at once by those that can.
const AT_ONCE: u64 = 16;

/// Sends `messages` arrays of `count` descriptors each; the receiver says how many it has seen.
pub(crate) fn send(
    shared: &Shared,
    count: usize,
    messages: u64,
    mut send: impl FnMut(&[BorrowedFd<'_>]) -> Fallible,
) -> Fallible {
    send_at_once(shared, count, messages, 1, |fds, _| send(fds))
}

/// The same, up to 16 arrays with a call.
pub(crate) fn send_many(
    shared: &Shared,
    count: usize,
    messages: u64,
    send: impl FnMut(&[BorrowedFd<'_>], usize) -> Fallible,
) -> Fallible {
    send_at_once(shared, count, messages, AT_ONCE, send)
}

fn send_at_once(
    shared: &Shared,
    count: usize,
    messages: u64,
    at_once: u64,
    mut send: impl FnMut(&[BorrowedFd<'_>], usize) -> Fallible,
) -> Fallible {
    // A socket under way would be the kernel's to watch for cycles, which what people send is not.
    let file = memfd_create("fdring-bench-sent", MemfdFlags::CLOEXEC)?;
    let fds: Vec<BorrowedFd<'_>> = vec![file.as_fd(); count];
    let window = (IN_FLIGHT_MAX / count).max(1) as u64;
    let seen = shared.word(Word::Pong);
    let mut sent = 0;
    while sent < messages {
        // Not more than there is room for.
        let now = at_once.min(window).min(messages - sent);
        while sent + now > seen.load(Ordering::Acquire) + window {}
        send(&fds, now as usize)?;
        sent += now;
    }
    Ok(())
}

/// Receives them, and closes each.
pub(crate) fn receive(
    shared: &Shared,
    count: usize,
    messages: u64,
    mut receive: impl FnMut() -> Fallible<usize>,
) -> Fallible {
    for n in 0..messages {
        let received = receive()?;
        if received != count {
            return Err(format!(
                "{received} descriptors came of a message of {count}: they were not counted rightly, or this process \
                 may open no more files; see `ulimit -n`"
            )
            .into());
        }
        shared.word(Word::Pong).store(n + 1, Ordering::Release);
    }
    Ok(())
}

/// One byte and these descriptors, by `send_fds` of the library.
pub(crate) fn send_by_fdring(socket: &OwnedFd, fds: &[BorrowedFd<'_>]) -> Fallible {
    fdring::send_fds(socket, BYTE, fds)?;
    Ok(())
}

pub(crate) fn send_plainly(socket: &OwnedFd, fds: &[BorrowedFd<'_>]) {
    let mut control = Control([0; size_of::<Control>()]);
    let len = HEADER_BYTES + size_of_val(fds);
    control.0[..8].copy_from_slice(&len.to_ne_bytes());
    control.0[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.0[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    for (at, fd) in control.0[HEADER_BYTES..].chunks_exact_mut(size_of::<i32>()).zip(fds) {
        at.copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
    }
    let mut part = libc::iovec { iov_base: BYTE.as_ptr().cast_mut().cast(), iov_len: BYTE.len() };
    let message = message(&mut part, &mut control, len.next_multiple_of(8));
    // SAFETY: the message points to live buffers of the lengths that it gives.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, 0) };
    assert_eq!(sent, 1, "one byte goes out: {}", std::io::Error::last_os_error());
}

pub(crate) fn receive_plainly(socket: &OwnedFd, count: usize) -> usize {
    let mut control = Control([0; size_of::<Control>()]);
    let mut byte = [0u8; 1];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let len = (HEADER_BYTES + count * size_of::<i32>()).next_multiple_of(8);
    let mut message = message(&mut part, &mut control, len);
    // SAFETY: as in `send_plainly`.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) };
    assert_eq!(received, 1, "one byte comes in: {}", std::io::Error::last_os_error());
    let len = usize::from_ne_bytes(control.0[..8].try_into().expect("eight bytes"));
    for number in control.0[HEADER_BYTES..len].chunks_exact(size_of::<i32>()) {
        let number = i32::from_ne_bytes(number.try_into().expect("four bytes"));
        // SAFETY: the kernel has just installed it, for this process to own.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    (len - HEADER_BYTES) / size_of::<i32>()
}

fn message(part: &mut libc::iovec, control: &mut Control, len: usize) -> libc::msghdr {
    // SAFETY: an all-zero header is one without a name, parts or control messages.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = len as _;
    message
}
