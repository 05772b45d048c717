//! A consumer's link to its session: the socket and the process at the other end, the sign of the producer's life.
//!
//! The consumers of one session share it, on any threads. The invariant: how the session ended is noted once, and the
//! first word stands; it wakes everyone who sleeps on it.

use crate::fds::{self, RecvFdsError};
use crate::handshake::{ConsumerHandshake, ConsumerStep};
use crate::os::closing::{Connection, close_later};
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::wire::{ByeReason, Frame};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};

/// Room for the one frame that a producer sends to an attached consumer: a Bye. A longer one ends the session too.
const BYE_ROOM_BYTES: usize = 64;

/// How a session ended, as a consumer sees it.
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
    /// Becomes readable when the producer's process ends; `None` if the kernel did not give one.
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

    /// The session's socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The producer's process, if the kernel has given it.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The producer's process has ended.
    pub(crate) fn note_death(&self) {
        self.note(Fate::Dead);
    }

    /// Takes what the producer's process has sent on the socket, up to the end of the session.
    pub(crate) fn receive_frames(&self) {
        let mut handshake = self.handshake.lock();
        let (mut bytes, mut may_reset) = ([0; BYE_ROOM_BYTES], true);
        while self.fate() == Fate::Alive {
            let frame = match fds::recv_frame_without_fds(self.socket.as_fd(), &mut bytes) {
                Ok(len) => Frame::parse(&bytes[..len], 0).ok(),
                Err(error) if error.is_would_block() => return,
                // Reported once, before what the producer had sent and we have not read.
                Err(RecvFdsError::Reset) if may_reset => {
                    may_reset = false;
                    continue;
                }
                // The end, or nonsense: in either case this session is over.
                Err(error) => {
                    close_later(error.into_received().map(|received| received.fds).unwrap_or_default());
                    None
                }
            };
            match frame.and_then(|frame| handshake.on_frame(frame).ok()) {
                Some(ConsumerStep::Bye(ByeReason::Evicted)) => self.note(Fate::Evicted),
                Some(ConsumerStep::Bye(_)) => self.note(Fate::Closed),
                _ => self.note(Fate::Dead),
            }
        }
        // Whoever else sleeps on this session finds nothing to read any more: the end wakes them, even of a producer
        // that keeps its end open.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// Notes how the session ended; the first word stands.
    fn note(&self, fate: Fate) {
        let alive = Fate::Alive as u32;
        let _ = self.fate.compare_exchange(alive, fate as u32, Ordering::AcqRel, Ordering::Acquire);
    }
}
