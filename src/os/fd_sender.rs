//! The sending end of the pair of sockets on which a consumer receives the descriptors of records.
//!
//! The invariant: sending, looking and closing never wait, whatever the consumer does. The consumer has made the pair,
//! so that nobody else can hold the lock of the end that it reads: a producer that kept a copy could read there into a
//! page that never comes. A send takes no such lock, so the consumer may keep a copy of this end.
//!
//! The kernel's queue is the queue. How much may be in flight is counted in bytes of its send buffer, by our own limit:
//! the consumer, which may keep a copy, can set `SO_SNDBUF`. Descriptors in flight are bounded for each user as well,
//! by `RLIMIT_NOFILE`, which a consumer that takes none must not use up alone.

use super::bell::BellEnd;
use super::closing::close_later;
use super::fork::ForkGuard;
#[cfg(doc)]
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::deadline::timespec;
use crate::error::{Error, Result};
use crate::fds;
use crate::terms::BellKind;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How many descriptors are in flight at most to one consumer, if a frame has no more than a third of them.
const FDS_IN_FLIGHT: usize = 384;
/// The most descriptors of a frame for several records.
pub(crate) const GROUP_FDS_MAX: usize = 16;
/// The frames that a queue holds at least: so few that most limits allow them with [`FDS_PER_MESSAGE_MAX`] each. It
/// never holds more than make up for the time that a consumer takes to wake up.
const FRAMES_MIN: usize = 3;
/// What a frame takes of the send buffer, in bytes.
const FRAME_BUFFER_BYTES: usize = 768;

/// Where the descriptors of one consumer's records are sent.
#[derive(Debug)]
pub(crate) struct FdSender {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    guard: ForkGuard,
    /// The number of the lane in the consumer's session.
    lane: usize,
    /// How much of the send buffer is used, at most.
    buffer_bytes: usize,
    /// The number of frames that have room, even if nothing was taken since the kernel was asked last.
    sure_frames: AtomicUsize,
    /// Nothing is sent any more: the consumer has closed its end, or was cut off.
    is_over: AtomicBool,
}

/// The outcome of sending a frame.
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
        let frames = (FDS_IN_FLIGHT / usize::from(fds_max).max(GROUP_FDS_MAX)).max(FRAMES_MIN);
        let sender = Self {
            fd: Some(fd),
            guard,
            lane,
            buffer_bytes: frames * FRAME_BUFFER_BYTES,
            sure_frames: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        };
        sender.limit_buffer();
        Ok(sender)
    }

    /// Has the kernel's limit be ours, which the consumer may have changed: poll(2) says that there is room once a
    /// quarter of it or less is used.
    fn limit_buffer(&self) {
        // The kernel counts twice as many bytes as it is told, and has a lower limit.
        let _ = sockopt::set_socket_send_buffer_size(self, self.buffer_bytes / 2);
    }

    /// The number of the lane in the consumer's session.
    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// How much of its buffer is in flight, if the kernel tells.
    pub(crate) fn queued_bytes(&self) -> Option<usize> {
        fds::queued_bytes(self.as_fd()).ok()
    }

    /// How much of its buffer can be in flight.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Whether a frame can be sent, or nobody takes any. If there is no room, poll(2) says when there is. If there is
    /// room for several frames, the kernel is not asked again until they are sent.
    pub(crate) fn has_room(&self) -> bool {
        let has_room = || match self.queued_bytes() {
            Some(queued) => {
                let frames = self.buffer_bytes.saturating_sub(queued).div_ceil(FRAME_BUFFER_BYTES);
                self.sure_frames.store(frames, Ordering::Relaxed);
                frames != 0
            }
            None => poll(&mut [PollFd::new(self, PollFlags::OUT)], Some(&timespec(Duration::ZERO))) != Ok(0),
        };
        let has_room = self.is_over() || self.sure_frames.load(Ordering::Relaxed) != 0 || has_room();
        if !has_room {
            self.limit_buffer();
        }
        has_room
    }

    /// Whether the kernel says that there is room for a frame, or nobody takes any. A look that changes nothing.
    pub(crate) fn seems_to_have_room(&self) -> bool {
        self.is_over() || self.queued_bytes().is_some_and(|queued| queued < self.buffer_bytes)
    }

    /// Sends one frame, whole or not at all.
    pub(crate) fn send(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> Sent {
        let sent = fds::send_frame(self.as_fd(), frame, fds);
        // One thread sends.
        let sure_frames = if sent.is_ok() { self.sure_frames.load(Ordering::Relaxed).saturating_sub(1) } else { 0 };
        self.sure_frames.store(sure_frames, Ordering::Relaxed);
        let Err(error) = sent else { return Sent::Done };
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => {
                self.limit_buffer();
                Sent::Full
            }
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
            // Even if a forked child has it too, nothing is sent there any more.
            let _ = shutdown(&*self, Shutdown::Write);
            close_later(self.fd.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_a_copy_of_an_end_that_is_dropped_keeps_nobody_waiting() {
        let (ours, theirs) = fds::seqpacket_pair().unwrap();
        let copy = ours.try_clone().unwrap();
        let sender = FdSender::receive(ours, 0, 1).unwrap();
        assert_eq!(sender.send(b"frame", &[copy.as_fd()]), Sent::Done);
        drop(sender);
        assert_eq!(fds::recv_frame(theirs.as_fd(), &mut [0; 5], 1).unwrap().fds.len(), 1);
        assert!(matches!(fds::recv_frame(theirs.as_fd(), &mut [0; 5], 1), Err(fds::RecvFdsError::Closed)));
    }

    #[test]
    fn nothing_can_be_sent_back() {
        let (ours, theirs) = fds::seqpacket_pair().unwrap();
        let _sender = FdSender::receive(ours, 0, 1).unwrap();
        assert!(fds::send_frame(theirs.as_fd(), b"frame", &[]).is_err());
    }

    /// Else poll(2) might never say that there is room.
    #[test]
    fn where_the_kernel_refuses_what_has_room_its_limit_is_ours_again() {
        let (ours, _theirs) = fds::seqpacket_pair().unwrap();
        let copy = ours.try_clone().unwrap();
        let sender = FdSender::receive(ours, 0, 1).unwrap();
        sockopt::set_socket_send_buffer_size(&copy, 0).unwrap();
        let sent = std::iter::repeat_with(|| sender.send(&[0; 34], &[copy.as_fd()])).find(|sent| *sent != Sent::Done);
        assert_eq!(sent, Some(Sent::Full));
        assert!(sender.has_room(), "by our own limit");
        assert_eq!(sender.send(&[0; 34], &[copy.as_fd()]), Sent::Done);
    }

    /// The consumer can set the kernel's limit, by a copy.
    #[test]
    fn a_queue_holds_no_more_than_it_may_whatever_the_buffer() {
        for (fds_max, frames) in [(1, 24), (16, 24), (64, 6), (128, 3), (253, 3)] {
            let (ours, _theirs) = fds::seqpacket_pair().unwrap();
            let copy = ours.try_clone().unwrap();
            let sender = FdSender::receive(ours, 0, fds_max).unwrap();
            sockopt::set_socket_send_buffer_size(&copy, 1 << 20).unwrap();
            let frame = [0; 34];
            let sent = (0..).take_while(|_| sender.has_room() && sender.send(&frame, &[copy.as_fd()]) == Sent::Done);
            assert_eq!(sent.count(), frames, "{fds_max}");
            assert!(sockopt::socket_send_buffer_size(&copy).unwrap() < 1 << 20, "poll(2) would say that there is room");
        }
    }
}
