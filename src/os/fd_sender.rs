//! The sending end of the pair of sockets on which a consumer receives the descriptors of records.
//!
//! The invariant: sending, looking and closing never wait, whatever the consumer does. The consumer has made the pair,
//! so that nobody else can hold the lock of the end that it reads: a producer that kept a copy could read there into a
//! page that never comes. A send takes no such lock, so the consumer may keep a copy of this end.
//!
//! The kernel's queue is the queue: `SO_SNDBUF` bounds how much is in flight. Descriptors in flight are bounded for
//! each user as well, by `RLIMIT_NOFILE`.

use super::bell::BellEnd;
use super::closing::close_later;
use super::fork::ForkGuard;
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::{Error, Result};
use crate::fds;
use crate::terms::BellKind;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};
use std::sync::atomic::{AtomicBool, Ordering};

/// How many descriptors are in flight at most to one consumer, where a record has few.
const FDS_IN_FLIGHT: usize = FDS_PER_MESSAGE_MAX + 3;
/// The frames that a queue holds: no fewer than fit into the smallest buffer, and not more than make up for the time
/// that a consumer takes to wake up.
const FRAMES_MIN: usize = 6;
const FRAMES_MAX: usize = 64;
/// What a frame takes of the send buffer, in bytes, of which the kernel counts twice as many as it is told.
const FRAME_BUFFER_BYTES: usize = 768 / 2;

/// Where the descriptors of one consumer's records are sent.
#[derive(Debug)]
pub(crate) struct FdSender {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    guard: ForkGuard,
    /// The number of the lane in the consumer's session.
    lane: usize,
    /// Nothing is sent any more: the consumer has closed its end, or was cut off.
    is_over: AtomicBool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Done,
    /// There is no room now.
    Full,
    /// Too many descriptors of this user are in flight.
    TooManyInFlight,
    /// The consumer has closed its end.
    Over,
    /// The kernel does not send this.
    Failed(Errno),
}

impl FdSender {
    /// Takes the end of a pair that a consumer has sent, once it is seen to be one, for records of lane `lane` of its
    /// session, with at most `fds_max` descriptors each.
    pub(crate) fn receive(fd: OwnedFd, lane: usize, fds_max: u8) -> Result<Self> {
        if !BellEnd::is_bell(BellKind::Socketpair, &fd) {
            close_later([fd]);
            return Err(Error::peer("taking the socket for the descriptors of records", "it is no end of such a pair"));
        }
        let guard = ForkGuard::get()?;
        // From here on nothing can be sent back; what was sent before stays there until it is closed.
        let _ = shutdown(&fd, Shutdown::Read);
        let frames = (FDS_IN_FLIGHT / usize::from(fds_max.max(1))).clamp(FRAMES_MIN, FRAMES_MAX);
        let _ = sockopt::set_socket_send_buffer_size(&fd, frames * FRAME_BUFFER_BYTES);
        Ok(Self { fd: Some(fd), guard, lane, is_over: AtomicBool::new(false) })
    }

    /// The number of the lane in the consumer's session.
    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends one frame, whole or not at all.
    pub(crate) fn send(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> Sent {
        let Err(error) = fds::send_frame(self.as_fd(), frame, fds) else { return Sent::Done };
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Sent::Full,
            Some(Errno::TOOMANYREFS) => Sent::TooManyInFlight,
            // The consumer can also have refused descriptors (`SO_PASSRIGHTS`), and then takes none.
            Some(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED | Errno::PERM) => {
                self.cut();
                Sent::Over
            }
            errno => Sent::Failed(errno.unwrap_or(Errno::IO)),
        }
    }

    /// Sends nothing any more, and lets the consumer know.
    pub(crate) fn cut(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = shutdown(self, Shutdown::Write);
    }
}

impl AsFd for FdSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for FdSender {
    fn drop(&mut self) {
        if !self.guard.is_child() {
            close_later(self.fd.take());
        }
    }
}
