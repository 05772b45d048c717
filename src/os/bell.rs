//! The bell: what a producer rings to wake a consumer that sleeps for data, and a consumer to wake a producer that
//! waits for space.
//!
//! The invariant: ringing, hearing and closing never wait, whatever the holder of the other end does. So a bell is a
//! pair of sockets: `MSG_DONTWAIT` belongs to the call, and each end has status flags of its own. An eventfd is one
//! file for both sides, and its flags too: the other side clears `O_NONBLOCK`, fills the count, and the next ring waits
//! for ever (`RWF_NOWAIT` is refused for writes to an eventfd). Of producers that use one all the same, it is taken.
//!
//! A pair of sockets is never read. The producer may have kept a copy of the consumer's end, and a thread of it that
//! reads there into a page that never comes keeps the socket's lock, for which `MSG_DONTWAIT` waits too. Each ring is
//! an edge for epoll(7), whatever is in the queue. Once the queue is full, the producer rings by shutting its end down
//! for writing, again and again: each shutdown(2) is an edge too, and takes neither room nor that lock.

use super::closing::close_later;
use super::fork::ForkGuard;
use crate::error::{Error, Result};
use crate::fds;
use crate::terms::BellKind;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, getpeername, send, shutdown, sockopt};
use std::io::IoSliceMut;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The end of a bell that is rung.
#[derive(Debug)]
pub(crate) struct Bell {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    /// Of one that a peer has sent: closing it may take long.
    sent_to: Option<ForkGuard>,
}

impl Bell {
    /// What kind every bell of this crate's producers is.
    pub(crate) const KIND: BellKind = BellKind::Socketpair;

    /// A new bell, and the end that goes to the consumer.
    pub(crate) fn create() -> Result<(Self, OwnedFd)> {
        let (fd, end) = pair().map_err(Error::os("create a bell for a consumer"))?;
        Ok((Self { fd: Some(fd), sent_to: None }, end))
    }

    /// Takes the end of a pair of sockets that a peer has sent for being rung, once it is seen to be one.
    pub(crate) fn receive(fd: OwnedFd) -> Result<Self> {
        BellEnd::check(BellKind::Socketpair, &fd)?;
        let guard = ForkGuard::get()?;
        // From here on nothing can be sent back; what was sent before stays there until it is closed.
        let _ = shutdown(&fd, Shutdown::Read);
        Ok(Self { fd: Some(fd), sent_to: Some(guard) })
    }

    /// Rings; whether it could. One whose other end is gone need not be heard.
    pub(crate) fn ring(&self) -> bool {
        let rung = match send(self, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            // Full, or shut down when it was full.
            Err(Errno::AGAIN | Errno::PIPE) => shutdown(self, Shutdown::Write),
            sent => sent.map(drop),
        };
        !matches!(rung, Err(Errno::NOBUFS | Errno::NOMEM))
    }

    /// Rings even if the kernel has no memory for a message: from then on by shutting down alone.
    pub(crate) fn ring_surely(&self) {
        if !self.ring() {
            let _ = shutdown(self, Shutdown::Write);
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if self.sent_to.is_some_and(|guard| !guard.is_child()) {
            close_later(self.fd.take());
        }
    }
}

/// A pair of sockets: the end that is rung, and the end that is heard.
fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (rung, heard) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // Nothing can be sent back, descriptors with SO_LINGER least of all.
    shutdown(&rung, Shutdown::Read)?;
    // Rings that nobody reads stay in the kernel's memory: the smallest buffer holds about six.
    sockopt::set_socket_send_buffer_size(&rung, 0)?;
    Ok((rung, heard))
}

/// The end of a bell that is heard.
#[derive(Debug)]
pub(crate) struct BellEnd {
    kind: BellKind,
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    guard: ForkGuard,
}

impl BellEnd {
    /// A new bell, and the end that goes to the process that rings it.
    pub(crate) fn create() -> Result<(Self, OwnedFd)> {
        let guard = ForkGuard::get()?;
        let (rung, end) = pair().map_err(Error::os("create a space bell"))?;
        fds::refuse_fds(end.as_fd());
        Ok((Self { kind: BellKind::Socketpair, fd: Some(end), guard }, rung))
    }

    /// Takes the bell that a producer has sent, once it is seen to be one.
    pub(crate) fn receive(kind: BellKind, fd: OwnedFd) -> Result<Self> {
        Self::check(kind, &fd)?;
        let guard = ForkGuard::get()?;
        if kind == BellKind::Socketpair {
            // From Linux 6.16 on the kernel turns away a sender of descriptors.
            fds::refuse_fds(fd.as_fd());
        }
        Ok(Self { kind, fd: Some(fd), guard })
    }

    /// Blames the producer for a descriptor that is no bell of that kind.
    pub(crate) fn check(kind: BellKind, fd: &OwnedFd) -> Result<()> {
        match Self::is_bell(kind, fd) {
            true => Ok(()),
            false => Err(Error::peer("taking the bell of a lane", format_args!("the descriptor is not {kind}"))),
        }
    }

    /// Whether `fd` can be a bell of that kind.
    pub(crate) fn is_bell(kind: BellKind, fd: &OwnedFd) -> bool {
        match kind {
            BellKind::Eventfd => is_eventfd(fd),
            // Connected, as it then stays for good: one that listens would have others waiting in it.
            BellKind::Socketpair => {
                sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
                    && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
                    && getpeername(fd).is_ok()
            }
        }
    }

    /// Whether what has rung stays readable: such a bell is of use only to one that watches for its edges.
    pub(crate) fn stays_readable(&self) -> bool {
        self.kind == BellKind::Socketpair
    }

    /// Empties the bell, if it can be emptied. Never blocks, whatever the owner of the other end does.
    pub(crate) fn take_rings(&self) {
        if self.stays_readable() {
            return;
        }
        // Whatever the file's status flags, which the producer shares: never block. The offset −1 stands for "where the
        // file is" (preadv2(2)); an eventfd is nowhere else.
        let mut count = [0u8; 8];
        let _ = preadv2(self, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
    }
}

impl AsFd for BellEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for BellEnd {
    /// Hangs up, even if a forked child still has it. Its sender may have an epoll descriptor that watches it, and the
    /// last one to close it waits for the lock of that one: so a thread that may wait closes it.
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        if self.kind == BellKind::Socketpair {
            let _ = shutdown(&*self, Shutdown::Both);
        }
        close_later(self.fd.take());
    }
}

/// Whether `fd` is an eventfd: by its name in /proc, or, if that is not mounted, by having no file type. A file system
/// of its sender's own is not asked for that: it could take long.
fn is_eventfd(fd: &OwnedFd) -> bool {
    const TYPE: u16 = 0o170_000;
    match kernel_name(fd) {
        Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
        Err(_) => statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)
            .is_ok_and(|stat| stat.stx_mode & TYPE == 0),
    }
}

/// Whether a close of `fd` takes no time as long as another descriptor has the same file. That is not known of files of
/// a file system: it may want to be told of each close (FUSE).
pub(crate) fn is_quick_to_close_while_held(fd: &OwnedFd) -> bool {
    const QUICK: [&str; 3] = ["socket:[", "pipe:[", "anon_inode:[eventfd]"];
    // Names of other files are paths, which begin with a slash.
    kernel_name(fd)
        .is_ok_and(|name| QUICK.iter().any(|quick| name.as_os_str().as_bytes().starts_with(quick.as_bytes())))
}

/// What the kernel calls the file, in /proc.
fn kernel_name(fd: &OwnedFd) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
