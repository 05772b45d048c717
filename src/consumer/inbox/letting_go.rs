//! Descriptors that a consumer has received and does not keep: closed by threads that may wait, and counted until then.

use crate::os::closing::Closes;
use crate::region::{close_peeked_counted, close_received_counted};
use rustix::fd::OwnedFd;

/// The most untaken descriptors that are being closed at once. Further ones stay in the queue, and the producer waits.
const UNTAKEN_MAX: usize = 256;
/// The most refused descriptors that are being closed at once. Until some are closed, no more are taken to be looked
/// at.
const REFUSED_MAX: usize = 64;
/// The most descriptors that came without others of their frame, and are being closed. Until some are closed, no frame
/// is asked for its descriptors: they would come again.
pub(super) const SEVERED_MAX: usize = 64;

/// Lets go of descriptors of one kind. The number of those that wait to be closed has a limit.
#[derive(Debug)]
pub(super) struct LettingGo {
    pub(super) closes: Closes,
    max: usize,
    close: fn(Vec<OwnedFd>, &Closes),
}

impl LettingGo {
    /// Of what this user has sent, and nobody takes.
    pub(super) fn of_untaken(uid: Option<u32>) -> Self {
        Self { closes: Closes::of_user(uid), max: UNTAKEN_MAX, close: close_received_counted }
    }

    /// Of what this user has sent, and the program has taken, and refuses.
    pub(super) fn of_refused(uid: Option<u32>) -> Self {
        Self { closes: Closes::of_user(uid), max: REFUSED_MAX, close: close_received_counted }
    }

    /// Of what this user has sent, and came without others of its frame, which is still in the queue with all of them.
    pub(super) fn of_severed(uid: Option<u32>) -> Self {
        Self { closes: Closes::of_user(uid), max: SEVERED_MAX, close: close_peeked_counted }
    }

    /// Closes these without waiting.
    pub(super) fn let_go(&self, fds: Vec<OwnedFd>) {
        (self.close)(fds, &self.closes);
    }

    /// Whether as many wait to be closed as may.
    pub(super) fn is_full(&self) -> bool {
        self.closes.is_full(self.max)
    }

    /// Whether nothing waits to be closed.
    pub(super) fn is_done(&self) -> bool {
        self.closes.waiting() == 0
    }
}
