//! The bell: what a producer rings to wake a consumer that sleeps for data.
//!
//! The invariant: ringing, emptying and closing never wait, whoever holds the other end. So a bell is a pair of
//! sockets: `MSG_DONTWAIT` belongs to the call, and each end has status flags of its own. An eventfd is one file for
//! both sides, and its flags too: the other side clears `O_NONBLOCK`, fills the count, and the next ring waits for ever
//! (`RWF_NOWAIT` is refused where an eventfd is written). Of producers that use one all the same, it is taken.

use super::closing::close_later;
use super::fork::ForkGuard;
use crate::crash;
use crate::error::{Error, Result};
use crate::fds::{self, RecvFdsError};
use crate::terms::BellKind;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, getpeername, send, shutdown, sockopt};
use std::io::IoSliceMut;

/// The producer's end of a bell.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    /// What kind every bell of this crate's producers is.
    pub(crate) const KIND: BellKind = BellKind::Socketpair;

    /// A new bell, and the end that goes to the consumer.
    pub(crate) fn create() -> Result<(Self, OwnedFd)> {
        let doing = "create a bell for a consumer";
        let (fd, end) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(Error::os(doing))?;
        // Nothing can be sent back to us, descriptors with SO_LINGER least of all.
        shutdown(&fd, Shutdown::Read).map_err(Error::os(doing))?;
        Ok((Self(fd), end))
    }

    /// Rings; whether it could. A bell that is full is a rung bell, and one whose other end is gone need not be heard.
    pub(crate) fn ring(&self) -> bool {
        crash::point!("producer-before-bell");
        let rung = send(&self.0, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        crash::point!("producer-after-bell");
        !matches!(rung, Err(Errno::NOBUFS | Errno::NOMEM))
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The consumer's end of a bell.
#[derive(Debug)]
pub(crate) struct BellEnd {
    kind: BellKind,
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    guard: ForkGuard,
}

/// A socketpair's queue holds a few hundred rings; more than that is a producer that floods.
const RINGS_TAKEN_MAX: usize = 1024;

impl BellEnd {
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

    /// Whether rings must be taken for the next one to be heard. An eventfd that is watched for its edges tells of each
    /// ring; a socketpair does not once it is full.
    pub(crate) fn fills_up(&self) -> bool {
        self.kind == BellKind::Socketpair
    }

    /// Empties the bell. Never blocks, whoever owns the other end.
    pub(crate) fn take_rings(&self) {
        match self.kind {
            BellKind::Eventfd => {
                // Whatever the file's status flags, which the producer shares: never block. The offset −1 stands for
                // "where the file is" (preadv2(2)); an eventfd is nowhere else.
                let mut count = [0u8; 8];
                let _ = preadv2(self, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
            }
            BellKind::Socketpair => {
                for _ in 0..RINGS_TAKEN_MAX {
                    match fds::recv_frame_without_fds(self.as_fd(), &mut [0; 8]) {
                        Ok(_) => {}
                        Err(RecvFdsError::PayloadTruncated { received }) if received.fds.is_empty() => {}
                        // Empty, or at its end, or what follows is not to be touched.
                        Err(error) => {
                            return error.into_received().map_or((), |received| close_later(received.fds));
                        }
                    }
                }
            }
        }
    }
}

impl AsFd for BellEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for BellEnd {
    /// Hangs up, even where a forked child still has it. Its sender may have an epoll descriptor that watches it, and
    /// whoever closes it last waits for that one's lock: so a thread that may wait closes it.
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

/// Whether `fd` is an eventfd: by its name in /proc, or where that is not mounted by having no file type.
fn is_eventfd(fd: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
        Err(_) => rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_mode & 0o170_000 == 0),
    }
}
