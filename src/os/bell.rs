//! The bell: what a producer rings to wake a consumer that sleeps for data.
//!
//! The invariant: ringing never blocks, and emptying never blocks, whoever holds the other end.

use super::closing::{Connection, close_later};
use super::fork::ForkGuard;
use crate::crash;
use crate::error::{Error, Result};
use crate::fds::{self, RecvFdsError};
use crate::terms::BellKind;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, ReadWriteFlags, preadv2, write};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, getpeername, send, sockopt};
use std::io::IoSliceMut;

/// The producer's end of a bell.
#[derive(Debug)]
pub(crate) struct Bell {
    kind: BellKind,
    fd: OwnedFd,
}

impl Bell {
    /// A new bell, and the end that goes to the consumer (for an eventfd: the same object under another number).
    pub(crate) fn create(kind: BellKind) -> Result<(Self, OwnedFd)> {
        let doing = "create a bell for a consumer";
        match kind {
            BellKind::Eventfd => {
                let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(Error::os(doing))?;
                let end = rustix::io::fcntl_dupfd_cloexec(&fd, 0).map_err(Error::os(doing))?;
                Ok((Self { kind, fd }, end))
            }
            BellKind::Socketpair => {
                let flags = SocketFlags::CLOEXEC;
                let (fd, end) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                    .map_err(Error::os(doing))?;
                // Nothing can be sent back to us, descriptors with SO_LINGER least of all.
                rustix::net::shutdown(&fd, Shutdown::Read).map_err(Error::os(doing))?;
                Ok((Self { kind, fd }, end))
            }
        }
    }

    /// Rings; whether it could. A bell that is full is a rung bell, and one whose other end is gone need not be heard.
    pub(crate) fn ring(&self) -> bool {
        crash::point!("producer-before-bell");
        let rung = match self.kind {
            BellKind::Eventfd => write(&self.fd, &1u64.to_ne_bytes()),
            BellKind::Socketpair => send(&self.fd, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        };
        crash::point!("producer-after-bell");
        !matches!(rung, Err(Errno::NOBUFS | Errno::NOMEM))
    }
}

/// The consumer's end of a bell.
#[derive(Debug)]
pub(crate) enum BellEnd {
    Eventfd(OwnedFd),
    Socketpair(Connection),
}

/// A socketpair's queue holds a few hundred rings; more than that is a producer that floods.
const RINGS_TAKEN_MAX: usize = 1024;

impl BellEnd {
    /// Takes the bell that a producer has sent, once it is seen to be one.
    pub(crate) fn receive(kind: BellKind, fd: OwnedFd) -> Result<Self> {
        Self::check(kind, &fd)?;
        Ok(match kind {
            BellKind::Eventfd => Self::Eventfd(fd),
            BellKind::Socketpair => {
                // From Linux 6.16 on the kernel turns away a sender of descriptors.
                let _ = fds::refuse_fds(fd.as_fd());
                Self::Socketpair(Connection::new(fd, ForkGuard::get()?))
            }
        })
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
        matches!(self, Self::Socketpair(_))
    }

    /// Empties the bell. Never blocks, whoever owns the other end.
    pub(crate) fn take_rings(&self) {
        match self {
            Self::Eventfd(fd) => {
                // Whatever the file's status flags, which the producer shares: never block. The offset −1 stands for
                // "where the file is" (preadv2(2)); an eventfd is nowhere else.
                let mut count = [0u8; 8];
                let _ = preadv2(fd, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
            }
            Self::Socketpair(socket) => {
                for _ in 0..RINGS_TAKEN_MAX {
                    match fds::recv_frame_without_fds(socket.as_fd(), &mut [0; 8]) {
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
        match self {
            Self::Eventfd(fd) => fd.as_fd(),
            Self::Socketpair(socket) => socket.as_fd(),
        }
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
