//! A consumer's link to its session: the socket and the process at the other end, the sign of the producer's life.
//!
//! The consumers of one session share it, on any threads. The invariant: what became of the session is noted once, and
//! the first word stands; it wakes all who sleep on it.

use crate::closing::Connection;
use crate::fds::{self, RecvFdsError};
use crate::frame::{ByeReason, Frame};
use crate::handshake::{ConsumerHandshake, ConsumerStep};
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::wake::{self, BellEnd, Woken};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::time::Duration;

/// The longest frame that a producer may send to an attached consumer, with room to spare: a Bye.
const HEARD_MAX_BYTES: usize = 64;

/// What became of a session, as a consumer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Fate {
    Alive = 0,
    Dead = 1,
    Closed = 2,
    Evicted = 3,
}

/// The session that a consumer belongs to, shared by the consumers of all its lanes.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Connection,
    /// Becomes readable when the producer's process ends; `None` where the kernel would not give it.
    pidfd: Option<OwnedFd>,
    fate: AtomicU32,
    handshake: Mutex<ConsumerHandshake>,
}

impl Link {
    pub(crate) fn new(socket: Connection, pidfd: Option<OwnedFd>, handshake: ConsumerHandshake) -> Self {
        let (fate, handshake) = (AtomicU32::new(Fate::Alive as u32), Mutex::new(handshake));
        Self { socket, pidfd, fate, handshake }
    }

    pub(crate) fn fate(&self) -> Fate {
        match self.fate.load(Ordering::Acquire) {
            0 => Fate::Alive,
            2 => Fate::Closed,
            3 => Fate::Evicted,
            _ => Fate::Dead,
        }
    }

    /// Waits on the session, and on a bell, until something happens; then looks what it was.
    pub(crate) fn wait(&self, bell: Option<&BellEnd>, timeout: Option<Duration>) -> std::io::Result<Woken> {
        let mut waits = Vec::with_capacity(3);
        waits.push(PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN));
        waits.extend(self.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        waits.extend(bell.map(|bell| PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)));
        match poll(&mut waits, timeout.map(wake::timespec).as_ref()) {
            Ok(0) => return Ok(Woken::ByTime),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::Otherwise),
            Err(error) => return Err(error.into()),
        }
        let socket_stirs = !waits[0].revents().is_empty();
        let process_ended = self.pidfd.is_some() && !waits[1].revents().is_empty();
        let bell_stirs = bell.is_some() && waits.last().is_some_and(|wait| !wait.revents().is_empty());
        self.see(socket_stirs, process_ended);
        Ok(if bell_stirs { Woken::ByBell } else { Woken::Otherwise })
    }

    /// The session's socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The producer's process, where the kernel has given it.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Finds out what has happened, where something has.
    pub(crate) fn see(&self, socket_stirs: bool, process_ended: bool) {
        if socket_stirs {
            self.hear();
        }
        if process_ended {
            self.note(Fate::Dead);
        }
    }

    /// Takes what the producer's process has to say on the socket: one frame, for any is the last.
    fn hear(&self) {
        let mut handshake = self.handshake.lock();
        let mut bytes = [0; HEARD_MAX_BYTES];
        let mut heard = fds::recv_frame_without_fds(self.socket.as_fd(), &mut bytes);
        if matches!(heard, Err(RecvFdsError::Reset)) {
            // Reported once, before what the producer had still sent.
            heard = fds::recv_frame_without_fds(self.socket.as_fd(), &mut bytes);
        }
        let frame = match heard {
            Ok(len) => Frame::parse(&bytes[..len], 0).ok(),
            Err(error) if error.is_would_block() => return,
            // The end, or nonsense: in either case this session is over.
            Err(_) => None,
        };
        match frame.and_then(|frame| handshake.on_frame(frame).ok()) {
            Some(ConsumerStep::Bye(ByeReason::Evicted)) => self.note(Fate::Evicted),
            Some(ConsumerStep::Bye(_)) => self.note(Fate::Closed),
            _ => self.note(Fate::Dead),
        }
        // Whoever else sleeps on this session finds nothing to read any more: the end wakes them, even of a producer
        // that keeps its end open.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// Remembers what became of the session; the first word stands.
    fn note(&self, fate: Fate) {
        let alive = Fate::Alive as u32;
        let _ = self.fate.compare_exchange(alive, fate as u32, Ordering::AcqRel, Ordering::Acquire);
    }
}
