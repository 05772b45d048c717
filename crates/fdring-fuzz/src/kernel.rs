//! What the running kernel says of a control buffer: sent over a socketpair, and compared with what the oracle makes of
//! it.
//!
//! The rules are those of `__scm_send` and `put_cmsg` of Linux: which buffers sendmsg(2) takes, and what of them
//! recvmsg(2) delivers into a buffer of a certain length.

#![allow(unsafe_code, reason = "sendmsg and recvmsg with control buffers of our own making")]

use crate::messages::{Message, Sequence};
use crate::oracle::{Outcome, find};
use fdring::cmsg::{ControlError, ControlMessage, Credentials, FDS_PER_MESSAGE_MAX, walk};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// More of a buffer is not sent: `net.core.optmem_max` limits it.
const CONTROL_MAX_BYTES: usize = 8192;

/// Sends the sequence that `data` stands for, and compares verdict and delivery with the rules.
///
/// The descriptors in it become a descriptor that is open, and the credentials those of this process. The last byte
/// says how long the receiver's control buffer is, and whether it asks for credentials.
///
/// ```
/// fdring_fuzz::kernel::compare(&[0, 0, 0, 2, 5, 255]);
/// ```
///
/// # Panics
///
/// Where the kernel does otherwise, or the walker does not find what was delivered.
pub fn compare(data: &[u8]) {
    let (choice, data) = data.split_last().unwrap_or((&0, &[]));
    let [sender, receiver] = socketpair();
    let mut sequence = Sequence::from_bytes(data);
    sequence.messages.iter_mut().for_each(make_real);
    let mut control = sequence.to_bytes();
    control.truncate(CONTROL_MAX_BYTES);
    // Asked for before the message is sent: that is when the kernel names the sender.
    let wants_credentials = choice & 0x40 != 0;
    if wants_credentials {
        set_passcred(&receiver);
    }
    let expected = sendable(&control);
    if matches!(expected, Sendable::Unclear) {
        return;
    }
    let sent = send(&sender, &control);
    let Sendable::Descriptors(count) = expected else {
        let errno = sent.as_ref().err().and_then(io::Error::raw_os_error);
        assert_eq!(errno, Some(libc::EINVAL), "sendmsg says {sent:?} of {control:02x?}");
        return;
    };
    sent.unwrap_or_else(|error| panic!("sendmsg says {error} of {control:02x?}"));
    let room = if choice & 0x80 == 0 { 1100 } else { usize::from(choice & 0x3f) };
    let delivered = Delivered::expected(count, wants_credentials, room);
    assert_eq!(Delivered::received(&receiver, room), delivered, "of {control:02x?} into {room} bytes");
}

/// A descriptor that is open as long as the process lives.
fn open_number() -> i32 {
    static OPEN: OnceLock<std::fs::File> = OnceLock::new();
    OPEN.get_or_init(|| std::fs::File::open("/dev/null").expect("/dev/null can be opened")).as_raw_fd()
}

fn own_credentials() -> Credentials {
    // SAFETY: the call takes nothing and cannot fail.
    let uid = unsafe { libc::getuid() };
    // SAFETY: as above.
    let gid = unsafe { libc::getgid() };
    Credentials { pid: std::process::id().cast_signed(), uid, gid }
}

fn make_real(message: &mut Message) {
    match message {
        Message::Rights(numbers) => numbers.fill(open_number()),
        Message::Credentials(credentials) => *credentials = own_credentials(),
        Message::Other { level: 1, kind, data } | Message::Malformed { level: 1, kind, data, .. } => match *kind {
            libc::SCM_RIGHTS => {
                let number = open_number().to_ne_bytes();
                data.iter_mut().zip(number.iter().cycle()).for_each(|(byte, digit)| *byte = *digit);
            }
            libc::SCM_CREDENTIALS => {
                let own = own_credentials().to_bytes();
                data.iter_mut().zip(own).for_each(|(byte, new)| *byte = new);
            }
            _ => {}
        },
        _ => {}
    }
}

/// What sendmsg(2) makes of a control buffer.
enum Sendable {
    /// It sends this number of descriptors.
    Descriptors(usize),
    /// `EINVAL`.
    Invalid,
    /// It depends on numbers that a wrong length makes descriptors or credentials of.
    Unclear,
}

fn sendable(control: &[u8]) -> Sendable {
    let (mut count, number, own) = (0, open_number().to_ne_bytes(), own_credentials().to_bytes());
    for found in find(control) {
        match (found.outcome, found.level, found.kind) {
            (Outcome::CutHeader, ..) => {}
            (Outcome::BelowHeader | Outcome::PastEnd, ..) => return Sendable::Invalid,
            (_, libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                // A fraction of a descriptor is passed over.
                let numbers = found.body.chunks_exact(4);
                count += numbers.len();
                if count > FDS_PER_MESSAGE_MAX {
                    return Sendable::Invalid;
                }
                if numbers.into_iter().any(|other| other != number) {
                    return Sendable::Unclear;
                }
            }
            (Outcome::Message, libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if found.body == own => {}
            (Outcome::Message, libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => return Sendable::Unclear,
            (_, libc::SOL_SOCKET, _) => return Sendable::Invalid,
            _ => {}
        }
    }
    Sendable::Descriptors(count)
}

/// What arrives.
#[derive(Debug, PartialEq)]
struct Delivered {
    credentials: Option<Credentials>,
    /// How long the body of the credentials is, where it was cut.
    cut_credentials: Option<usize>,
    descriptors: usize,
    is_cut: bool,
}

impl Delivered {
    fn expected(count: usize, wants_credentials: bool, room: usize) -> Self {
        let mut delivered = Self { credentials: None, cut_credentials: None, descriptors: 0, is_cut: false };
        let mut room = room;
        if wants_credentials {
            match room {
                0..16 => delivered.is_cut = true,
                16..28 => (delivered.is_cut, delivered.cut_credentials) = (true, Some(room - 16)),
                _ => delivered.credentials = Some(own_credentials()),
            }
            room = if room < 16 { room } else { room.saturating_sub(32) };
        }
        delivered.descriptors = count.min(room.saturating_sub(16) / 4);
        delivered.is_cut |= delivered.descriptors < count;
        delivered
    }

    /// Receives the message, and walks over its control buffer.
    fn received(receiver: &OwnedFd, room: usize) -> Self {
        let mut control = vec![0xa5_u8; room];
        let (used, flags) = receive(receiver, &mut control);
        let control = &control[..used];
        let mut delivered =
            Self { credentials: None, cut_credentials: None, descriptors: 0, is_cut: flags & libc::MSG_CTRUNC != 0 };
        let mut faults = Vec::new();
        for message in walk(control) {
            match message {
                Ok(ControlMessage::Rights(numbers)) => {
                    for number in numbers {
                        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
                        drop(unsafe { OwnedFd::from_raw_fd(number) });
                        delivered.descriptors += 1;
                    }
                }
                Ok(ControlMessage::Credentials(sender)) => delivered.credentials = Some(sender),
                Ok(other) => panic!("nobody has sent {other:?}"),
                Err(ControlError::Body { level: 1, kind: libc::SCM_CREDENTIALS, len, .. }) => {
                    delivered.cut_credentials = Some(len);
                }
                Err(fault) => faults.push(fault),
            }
        }
        assert!(faults.is_empty(), "{faults:?} in {control:02x?}");
        delivered
    }
}

fn socketpair() -> [OwnedFd; 2] {
    let mut numbers = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the array has room for two numbers.
    let status = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, numbers.as_mut_ptr()) };
    assert_eq!(status, 0, "no socketpair: {}", io::Error::last_os_error());
    // SAFETY: the call has made both descriptors for us.
    numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) })
}

fn set_passcred(socket: &OwnedFd) {
    let (on, len) = (1_i32, size_of::<i32>() as libc::socklen_t);
    let option = (&raw const on).cast();
    // SAFETY: the option's value is one `i32`, which lives until the call returns.
    let status = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, option, len) };
    assert_eq!(status, 0, "no SO_PASSCRED: {}", io::Error::last_os_error());
}

/// A header for one byte of payload and this control buffer.
fn with_header<T>(control: &mut [u8], call: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let mut payload = [b'x'];
    let mut io = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all zeros is a header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut io;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    call(&mut header)
}

fn send(socket: &OwnedFd, control: &[u8]) -> io::Result<()> {
    with_header(&mut control.to_vec(), |header| {
        // SAFETY: what the header names lives until the call returns.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), header, libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    })
}

/// The length of what was delivered, and the flags.
fn receive(socket: &OwnedFd, control: &mut [u8]) -> (usize, i32) {
    with_header(control, |header| {
        // SAFETY: what the header names lives until the call returns.
        let came = unsafe { libc::recvmsg(socket.as_raw_fd(), header, libc::MSG_CMSG_CLOEXEC) };
        assert_eq!(came, 1, "recvmsg: {}", io::Error::last_os_error());
        (header.msg_controllen, header.msg_flags)
    })
}
