//! Arrays of descriptors over Unix sockets: [`send_fds`], [`recv_fds`], and what the session layer needs beside them.
//!
//! The invariant: whatever the kernel installed in this process's descriptor table is owned before anything else is
//! looked at, so every way out of this file either hands a descriptor to the caller or closes it. All are close-on-exec
//! from their first instant (`MSG_CMSG_CLOEXEC`).
//!
//! There is no connecting, no listening, no buffering and no framing here: one call is one sendmsg(2) or recvmsg(2).
//! Facts without a source are from unix(7), recvmsg(2), or were probed on Linux 6.18 and have a test.
#![allow(unsafe_code, reason = "sendmsg, recvmsg and two socket options by libc, and taking ownership of what arrives")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cmsg::{
    CREDENTIALS_LEN_BYTES, ControlError, ControlMessage, FD_LEN_BYTES, FDS_PER_MESSAGE_MAX, HEADER_LEN_BYTES,
    control_space_bytes, encode_rights, rights_space_bytes, walk,
};

/// `SO_PASSPIDFD`, from Linux 6.5; not in libc yet.
const SO_PASSPIDFD: libc::c_int = 76;
/// `SO_PEERPIDFD`, from Linux 6.5; not in libc yet.
const SO_PEERPIDFD: libc::c_int = 77;
/// `SO_PASSRIGHTS`, from Linux 6.16; not in libc yet.
const SO_PASSRIGHTS: libc::c_int = 83;

/// The length of a control buffer in bytes: room for 254 descriptors and, where the socket asks for them, the sender's
/// credentials and pidfd.
const CONTROL_MAX_BYTES: usize = rights_space_bytes(FDS_PER_MESSAGE_MAX.next_multiple_of(2))
    + control_space_bytes(CREDENTIALS_LEN_BYTES)
    + control_space_bytes(FD_LEN_BYTES);

/// A control buffer on the stack, aligned as the kernel's macros assume.
#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_MAX_BYTES]);

/// Sends `payload` and the array `fds` as one message, and returns how many bytes of the payload went.
///
/// The socket is any connected Unix socket: stream, seqpacket or datagram. The receiver gets descriptors of its own, in
/// this order, which stay open whatever happens to these; it shares file offsets and status flags with the sender. On
/// message sockets the whole payload goes. On a stream fewer bytes may go, as with write(2): the descriptors went with
/// the first byte, so send only the rest of the payload, without them.
///
/// The payload needs at least one byte, since a stream drops descriptors that come with none. A signal's interruption
/// is retried, and `SIGPIPE` is never raised. Whether it waits for room is up to the socket's own mode.
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

/// Why an array of descriptors was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendFdsError {
    /// The array is empty.
    #[error("there is no descriptor to send; give at least one, or send plain bytes with send(2)")]
    NoDescriptors,
    /// The array is longer than one message can carry.
    #[error(
        "{count} descriptors do not fit one message, which carries at most {FDS_PER_MESSAGE_MAX}; send several messages"
    )]
    TooManyDescriptors {
        /// The length of the array.
        count: usize,
    },
    /// The payload is empty.
    #[error("descriptors need at least one byte of payload to travel with; send one, any will do")]
    EmptyPayload,
    /// Too many of this user's descriptors are under way (`ETOOMANYREFS`): more than `RLIMIT_NOFILE` of this process,
    /// unless it has `CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`.
    #[error(
        "too many descriptors of this user have been sent and not yet received; \
         let the receivers catch up, or raise the limit (ulimit -n)"
    )]
    TooManyInFlight,
    /// The peer takes no descriptors (`SO_PASSRIGHTS` is 0 there, from Linux 6.16), or a security module forbids it
    /// (`EPERM`).
    #[error("the peer's socket takes no descriptors (SO_PASSRIGHTS), or a security policy forbids to send them")]
    Refused,
    /// The payload is too long for one message of this socket (`EMSGSIZE`).
    #[error("a payload of {len} bytes is too long for one message here; send less, or raise SO_SNDBUF")]
    TooLong {
        /// The length of the payload, in bytes.
        len: usize,
    },
    /// The peer closed its end (`EPIPE`, `ECONNRESET`).
    #[error("the peer closed its end of the socket before the descriptors were sent; see whether it still runs")]
    Closed,
    /// The system call failed in another way. `WouldBlock` is the answer of a non-blocking socket without room.
    #[error("could not send descriptors: {0}")]
    Os(#[source] io::Error),
}

impl SendFdsError {
    /// Whether a non-blocking socket had no room; nothing was sent, and nothing is wrong.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Os(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn from_os(error: Errno, len: usize) -> Self {
        match error {
            Errno::TOOMANYREFS => Self::TooManyInFlight,
            Errno::PERM => Self::Refused,
            Errno::MSGSIZE => Self::TooLong { len },
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            error => Self::Os(error.into()),
        }
    }
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
/// `SO_PASSPIDFD`), are given room, and dropped. A signal's interruption is retried. Whether it waits is up to the
/// socket's own mode and its time limit.
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
    let control_len = rights_room_bytes(fds_max) + other_room_bytes(socket);
    let message = receive_message(socket, payload, control_len, 0).map_err(RecvFdsError::from_os)?;
    message.check(socket, fds_max)
}

/// Why an array of descriptors was not received as asked for.
///
/// Some variants carry what did arrive, so that nothing is lost that need not be: the bytes in the payload buffer, up
/// to `received.len`, and the descriptors. Dropping the error closes those.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvFdsError {
    /// `fds_max` is out of range.
    #[error(
        "one message carries 1 to {FDS_PER_MESSAGE_MAX} descriptors, not {fds_max}; ask for a number in that range"
    )]
    FdsMax {
        /// What was asked for.
        fds_max: usize,
    },
    /// The payload buffer is empty.
    #[error("descriptors travel with at least one byte of payload; give a buffer of one byte or more")]
    EmptyPayload,
    /// The peer closed its end. (On message sockets, an empty message without descriptors looks the same.)
    #[error("the peer closed the connection; no more will come")]
    Closed,
    /// The peer closed its end without having read everything that had been sent to it (`ECONNRESET`). A seqpacket
    /// socket reports this once, *before* what the peer had sent: receive again to get that.
    #[error(
        "the peer closed the connection before it read all that was sent to it; receive again for what it had sent"
    )]
    Reset,
    /// The peer sent more descriptors than `fds_max`. Those that did not fit the control buffer were closed by the
    /// kernel. (Where exactly `fds_max` arrived, it may be that something else did not fit: see [`Self::NoRoom`].)
    #[error(
        "the peer sent more than the {fds_max} descriptors asked for; \
         ask for as many as it may send, up to {FDS_PER_MESSAGE_MAX}"
    )]
    TooManyDescriptors {
        /// What was asked for.
        fds_max: usize,
        /// What arrived: at least `fds_max` descriptors, the first of those sent.
        received: Received,
    },
    /// This process's descriptor table was full, so the kernel closed those descriptors that had no place. They are
    /// lost; the peer must send them again.
    #[error(
        "the descriptor table is full: only {} of the peer's descriptors arrived and the others are lost; \
         close some or raise the limit (ulimit -n), and have them sent again",
        .received.fds.len()
    )]
    TableFull {
        /// What arrived: the first of those sent, or none.
        received: Received,
    },
    /// The kernel closed descriptors although there was room for them: a security module denied them, or the descriptor
    /// table was full at that moment and is no longer.
    #[error(
        "the kernel withheld descriptors: only {} arrived and the others are lost; see whether a security policy \
         denies them, or whether the descriptor table was full for a moment (ulimit -n)",
        .received.fds.len()
    )]
    Withheld {
        /// What arrived: the first of those sent, or none.
        received: Received,
    },
    /// Other control messages took the room of descriptors, or of one another: security labels, timestamps.
    #[error(
        "other control messages left too little room: {} descriptors arrived, others may be lost; turn off what adds \
         them to this socket (SO_PASSSEC, SO_TIMESTAMP), or ask for more descriptors than can come",
        .received.fds.len()
    )]
    NoRoom {
        /// What arrived.
        received: Received,
    },
    /// The message is longer than the payload buffer, and its tail is lost (message sockets only).
    #[error("the peer's message is longer than the payload buffer, and its tail is lost; give a longer buffer")]
    PayloadTruncated {
        /// What arrived: all the descriptors, and as many bytes as the buffer holds.
        received: Received,
    },
    /// The control data makes no sense. The kernel never writes such; something between it and here does.
    #[error("the control data cannot be understood: {error}")]
    Malformed {
        /// What is wrong with it.
        #[source]
        error: ControlError,
        /// What could be understood.
        received: Received,
    },
    /// Descriptors wait at a socket that takes none. Only the session layer asks for this.
    #[error("the peer sent descriptors where none are taken; close this connection, on a thread that may block")]
    UnwantedDescriptors,
    /// The system call failed in another way. `WouldBlock` is the answer of a non-blocking socket where nothing waits.
    #[error("could not receive descriptors: {0}")]
    Os(#[source] io::Error),
}

impl RecvFdsError {
    /// Whether nothing waited at a non-blocking socket; nothing is wrong then.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Os(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What arrived in spite of the error, if anything did.
    #[must_use]
    pub fn into_received(self) -> Option<Received> {
        match self {
            Self::TooManyDescriptors { received, .. }
            | Self::TableFull { received }
            | Self::Withheld { received }
            | Self::NoRoom { received }
            | Self::PayloadTruncated { received }
            | Self::Malformed { received, .. } => Some(received),
            _ => None,
        }
    }

    fn from_os(error: Errno) -> Self {
        match error {
            Errno::CONNRESET => Self::Reset,
            error => Self::Os(error.into()),
        }
    }
}

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
/// Never waits: `WouldBlock` means that there is no room now. Never raises `SIGPIPE`. `ETOOMANYREFS` and `EPERM` come as
/// they are. A frame is never empty, since that would look like the end.
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
/// Never waits, as [`recv_frame`]. First it peeks without a control buffer, which installs nothing and releases nothing.
/// If descriptors wait, the answer is [`RecvFdsError::UnwantedDescriptors`] and the message stays where it is:
/// discarding it, even by closing the socket, can block for as long as a received socket lingers (`SO_LINGER`), so
/// close this one on a thread of its own. Nobody else may read from the socket at the same time.
pub(crate) fn recv_frame_without_fds(socket: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, RecvFdsError> {
    if buf.is_empty() {
        return Err(RecvFdsError::EmptyPayload);
    }
    let peek = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    let peeked = receive_message(socket, &mut buf[..1], 0, peek).map_err(RecvFdsError::from_os)?;
    if peeked.has(libc::MSG_CTRUNC) {
        return Err(RecvFdsError::UnwantedDescriptors);
    }
    recv_frame(socket, buf, 0).map(|frame| frame.len)
}

/// Makes the kernel refuse whoever sends descriptors to `socket` (`EPERM` there), from Linux 6.16.
///
/// Returns whether the kernel can do it. Accepted sockets inherit it from their listener. What is queued already still
/// arrives.
pub(crate) fn refuse_fds(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let off: libc::c_int = 0;
    // SAFETY: the pointer and the length are those of `off`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            ptr::from_ref(&off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    match answer(result as isize) {
        Ok(_) => Ok(true),
        Err(Errno::NOPROTOOPT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A descriptor of the process that connected `socket`, or that listened or made the pair, as the kernel remembers it.
///
/// It becomes readable when that process is dead, even if a child keeps the socket open. Before Linux 6.5 it is opened
/// by number (`SO_PEERCRED`), and names another process if that one died and its number was used again before this call.
/// A peer without a number in this pid namespace is an error of the kind `NotFound`.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    match socket_option::<libc::c_int>(socket, SO_PEERPIDFD) {
        Ok(number) if number >= 0 => {
            // SAFETY: the kernel has just installed this descriptor for this call (SO_PEERPIDFD), so nobody owns it.
            Ok(unsafe { OwnedFd::from_raw_fd(number) })
        }
        Ok(_) => Err(io::ErrorKind::NotFound.into()),
        Err(Errno::NOPROTOOPT) => peer_pidfd_by_number(socket),
        Err(error) => Err(error.into()),
    }
}

/// Who connected `socket`, or listened or made the pair, as of then (`SO_PEERCRED`, unix(7)).
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    Ok(socket_option(socket, libc::SO_PEERCRED)?)
}

fn peer_pidfd_by_number(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // libc's struct, not rustix's: its process number cannot be 0, but the kernel's can.
    let credentials = peer_credentials(socket)?;
    let no_number = || io::Error::new(io::ErrorKind::NotFound, "the peer has no number in this pid namespace");
    let pid = Pid::from_raw(credentials.pid).filter(|pid| pid.as_raw_nonzero().get() > 0).ok_or_else(no_number)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// `struct ucred`, see unix(7).
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C)]
pub(crate) struct PeerCredentials {
    /// 0 where the process has no number in this pid namespace.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    gid: u32,
}

const _: () = assert!(size_of::<PeerCredentials>() == size_of::<libc::ucred>());

/// getsockopt(2) of an option of `SOL_SOCKET`, of which any bytes make a `T`.
fn socket_option<T: bytemuck::Pod>(socket: BorrowedFd<'_>, option: libc::c_int) -> Result<T, Errno> {
    let mut value = T::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` and its length outlive the call, and it may become any bytes.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, ptr::from_mut(&mut value).cast(), &mut len)
    };
    answer(result as isize).map(|_| value)
}

/// One sendmsg(2), retried when a signal interrupts it.
fn send_message(
    socket: BorrowedFd<'_>,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: libc::c_int,
) -> Result<usize, Errno> {
    let mut control = ControlBuffer([0; CONTROL_MAX_BYTES]);
    let mut control_len = 0;
    if !fds.is_empty() {
        control_len = encode_rights(fds.iter().map(AsRawFd::as_raw_fd), &mut control.0).map_err(|_| Errno::INVAL)?;
    }
    // sendmsg only reads through this pointer.
    let mut iov = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let header = message_header(&mut iov, &mut control.0[..control_len]);
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
fn receive_message(
    socket: BorrowedFd<'_>,
    payload: &mut [u8],
    control_len: usize,
    flags: libc::c_int,
) -> Result<Message, Errno> {
    let mut control = ControlBuffer([0; CONTROL_MAX_BYTES]);
    let mut iov = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut header = message_header(&mut iov, &mut control.0[..control_len]);
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
    let owned = unsafe { own_descriptors(&control.0[..used.min(control_len)], control_len) };
    Ok(Message { received: Received { len, fds: owned.fds }, flags, room_left: owned.room_left, fault: owned.fault })
}

/// A message as it came, with everything in it owned.
struct Message {
    received: Received,
    flags: libc::c_int,
    /// As in [`Owned`].
    room_left: usize,
    fault: Option<ControlError>,
}

impl Message {
    /// The kernel puts flags of its own among these (`MSG_CMSG_CLOEXEC`), so only bits are ever looked at.
    fn has(&self, flag: libc::c_int) -> bool {
        self.flags & flag != 0
    }

    /// Decides what the message means to a caller who asked for at most `fds_max` descriptors.
    fn check(self, socket: BorrowedFd<'_>, fds_max: usize) -> Result<Received, RecvFdsError> {
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
fn rights_room_bytes(fds_max: usize) -> usize {
    rights_space_bytes(fds_max.next_multiple_of(2))
}

/// The control length in bytes that `socket` needs for what it asks for besides descriptors. Where that does not come,
/// more descriptors do, and are one too many.
fn other_room_bytes(socket: BorrowedFd<'_>) -> usize {
    let asks_for = |option| socket_option::<libc::c_int>(socket, option).is_ok_and(|value| value != 0);
    let credentials = if asks_for(libc::SO_PASSCRED) { control_space_bytes(CREDENTIALS_LEN_BYTES) } else { 0 };
    let pidfd = if asks_for(SO_PASSPIDFD) { control_space_bytes(FD_LEN_BYTES) } else { 0 };
    credentials + pidfd
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

/// The answer of a system call by libc: a count, or errno.
fn answer(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{census, command, isolated, role, unique_name};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn set_option(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
        // SAFETY: the pointer and the length are those of `value`.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                ptr::from_ref(&value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        answer(result as isize).map(|_| ())
    }

    /// Whether the process behind a pidfd is dead, waiting for it no longer than `limit`.
    fn is_dead(pidfd: &OwnedFd, limit: std::time::Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)).unwrap() == 1
    }

    #[test]
    fn frames_carry_none_some_and_all_descriptors() {
        isolated("fds::tests::frames_carry_none_some_and_all_descriptors", || {
            let before = census();
            let (here, there) = pair();
            let mut buf = [0; 64];
            for count in [0, 1, 2, 3, 253] {
                send_frame(here.as_fd(), b"frame", &vec![here.as_fd(); count]).unwrap();
                let frame = recv_frame(there.as_fd(), &mut buf, count).unwrap();
                assert_eq!((&buf[..frame.len], frame.fds.len()), (b"frame".as_slice(), count));
                if count < 253 {
                    send_frame(here.as_fd(), b"frame", &vec![here.as_fd(); count + 1]).unwrap();
                    let error = recv_frame(there.as_fd(), &mut buf, count).unwrap_err();
                    assert!(matches!(error, RecvFdsError::TooManyDescriptors { .. }), "{error}");
                }
            }
            drop((here, there));
            assert_eq!(census(), before);
        });
    }

    #[test]
    fn frames_neither_wait_nor_come_in_parts() {
        let (here, there) = pair();
        let mut buf = [0; 4];
        assert!(recv_frame(there.as_fd(), &mut buf, 1).unwrap_err().is_would_block());
        assert!(recv_frame_without_fds(there.as_fd(), &mut buf).unwrap_err().is_would_block());
        for receive in [
            |socket, buf: &mut [u8]| recv_frame(socket, buf, 1).map(|_| ()),
            |socket, buf: &mut [u8]| recv_frame_without_fds(socket, buf).map(|_| ()),
        ] {
            send_frame(here.as_fd(), b"12345", &[]).unwrap();
            let error = receive(there.as_fd(), &mut buf).unwrap_err();
            assert!(matches!(error, RecvFdsError::PayloadTruncated { .. }), "{error}");
        }
        let full = loop {
            if let Err(error) = send_frame(here.as_fd(), &[0; 4096], &[here.as_fd()]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(send_frame(here.as_fd(), b"", &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let many = [here.as_fd(); 254];
        assert_eq!(send_frame(here.as_fd(), b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_end_and_an_empty_message_close_a_session() {
        isolated("fds::tests::the_end_and_an_empty_message_close_a_session", || {
            let before = census();
            let mut buf = [0; 4];
            let (here, there) = pair();
            for count in [0, 2] {
                send_message(here.as_fd(), b"", &vec![here.as_fd(); count], 0).unwrap();
                assert!(matches!(recv_frame(there.as_fd(), &mut buf, 2), Err(RecvFdsError::Closed)));
            }
            send_message(here.as_fd(), b"", &[], 0).unwrap();
            assert!(matches!(recv_frame_without_fds(there.as_fd(), &mut buf), Err(RecvFdsError::Closed)));
            drop(here);
            assert!(matches!(recv_frame(there.as_fd(), &mut buf, 2), Err(RecvFdsError::Closed)));
            assert!(matches!(recv_frame_without_fds(there.as_fd(), &mut buf), Err(RecvFdsError::Closed)));
            let error = send_frame(there.as_fd(), b"x", &[]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            drop(there);
            assert_eq!(census(), before);
        });
    }

    #[test]
    fn unwanted_descriptors_are_seen_and_neither_installed_nor_discarded() {
        isolated("fds::tests::unwanted_descriptors_are_seen_and_neither_installed_nor_discarded", || {
            let (here, there) = pair();
            let mut buf = [0; 64];
            send_frame(here.as_fd(), b"without", &[]).unwrap();
            send_frame(here.as_fd(), b"with", &[here.as_fd()]).unwrap();
            assert_eq!(recv_frame_without_fds(there.as_fd(), &mut buf).unwrap(), 7);
            assert_eq!(&buf[..7], b"without");
            let before = census();
            for _ in 0..3 {
                let error = recv_frame_without_fds(there.as_fd(), &mut buf).unwrap_err();
                assert!(matches!(error, RecvFdsError::UnwantedDescriptors), "{error}");
                assert_eq!(census(), before);
            }
            assert_eq!(recv_frame(there.as_fd(), &mut buf, 1).unwrap().fds.len(), 1);
        });
    }

    #[test]
    fn what_a_socket_adds_unasked_is_closed_wherever_it_is_cut() {
        isolated("fds::tests::what_a_socket_adds_unasked_is_closed_wherever_it_is_cut", || {
            let before = census();
            let (here, there) = pair();
            let mut buf = [0; 4];
            for (credentials, pidfd) in [(1, 0), (0, 1), (1, 1)] {
                set_option(&there, libc::SO_PASSCRED, credentials).unwrap();
                if pidfd == 1 && set_option(&there, SO_PASSPIDFD, 1) == Err(Errno::NOPROTOOPT) {
                    println!("skipped: this kernel has no SO_PASSPIDFD");
                    continue;
                }
                for count in 0..12 {
                    for fds_max in 0..24 {
                        send_frame(here.as_fd(), b"x", &vec![here.as_fd(); count]).unwrap();
                        match recv_frame(there.as_fd(), &mut buf, fds_max) {
                            Ok(frame) => assert_eq!(frame.fds.len(), count),
                            Err(error) => assert!(error.into_received().is_some()),
                        }
                    }
                }
            }
            drop((here, there));
            assert_eq!(census(), before);
        });
    }

    #[test]
    fn a_socket_that_refuses_descriptors_still_takes_frames() {
        let (here, there) = pair();
        if !refuse_fds(there.as_fd()).unwrap() {
            println!("skipped: this kernel has no SO_PASSRIGHTS");
            return;
        }
        let error = send_frame(here.as_fd(), b"x", &[here.as_fd()]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        send_frame(here.as_fd(), b"x", &[]).unwrap();
        assert_eq!(recv_frame_without_fds(there.as_fd(), &mut [0; 4]).unwrap(), 1);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(refuse_fds(file.as_fd()).is_err());
    }

    #[test]
    fn the_pidfd_of_a_peer_tells_of_its_death_by_either_way() {
        let test = "fds::tests::the_pidfd_of_a_peer_tells_of_its_death_by_either_way";
        if let Some(name) = role() {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let mut socket = UnixStream::connect_addr(&address).unwrap();
            let _ = io::Read::read(&mut socket, &mut [0]); // Until the test closes its end.
            return;
        }
        let name = unique_name();
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for by_number in [false, true] {
            let child = command(test, &name).stdout(std::process::Stdio::null()).spawn().unwrap();
            let child = crate::test_support::KillOnDrop(child);
            let (socket, _) = listener.accept().unwrap();
            let peer = if by_number { peer_pidfd_by_number(socket.as_fd()) } else { peer_pidfd(socket.as_fd()) };
            let peer = peer.unwrap();
            let flags = rustix::io::fcntl_getfd(&peer).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            assert!(!is_dead(&peer, std::time::Duration::ZERO));
            drop(socket);
            assert!(is_dead(&peer, crate::test_support::DEADLINE));
            drop(child);
        }
    }
}
