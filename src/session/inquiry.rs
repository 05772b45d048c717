//! Asking the kernel whether anyone still maps a seat, on a thread of its own.
//!
//! The answer takes microseconds, but a sixth of a second while a page of the seat is pinned, which its consumer can do
//! (vmsplice(2)), and any time while its consumer keeps the file's lock. The invariant: the thread that asks does not
//! wait for the answer, unless no other thread can be started.

use crate::error::Result;
use crate::os::notice::Notice;
use crate::os::thread::{self, Thread};
use crate::region::{Freeze, Region};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The first and the longest pause before the kernel is asked again whether a consumer still reads in place.
const DEPARTURE_RETRY_MIN: Duration = Duration::from_millis(1);
const DEPARTURE_RETRY_MAX: Duration = Duration::from_millis(100);
/// While the consumer's process lives, which can make the answers take long, the pause is at least this many times as
/// long as the last answer took, up to the limit.
const DEPARTURE_RETRY_FACTOR: u32 = 8;
const DEPARTURE_RETRY_LIMIT: Duration = Duration::from_secs(1);

/// Enough for one system call.
const STACK_BYTES: usize = 128 << 10;
/// Longer than an answer takes unless the consumer keeps the lock.
const OVERDUE: Duration = Duration::from_secs(1);

/// The kernel's answer, and how long it took.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) freeze: Result<Freeze>,
    pub(super) took: Duration,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Inquiry {
    begun: Instant,
    answers: Receiver<Answer>,
    thread: Option<Thread>,
}

impl Inquiry {
    /// Begins to ask about `seat`. `notice` is raised when the answer is there.
    pub(super) fn begin(seat: &Arc<Region>, notice: &Arc<Notice>) -> Self {
        let (says, answers) = sync_channel(1);
        let begun = Instant::now();
        let thread = thread::start("fdring-inquiry", STACK_BYTES, {
            let (seat, notice, says) = (Arc::clone(seat), Arc::clone(notice), says.clone());
            move || answer(seat, &notice, &says)
        });
        if thread.is_err() {
            answer(Arc::clone(seat), notice, &says);
        }
        Self { begun, answers, thread: thread.ok() }
    }

    /// The answer, once, if it is there.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// From when on it has taken so long that the consumer must be keeping the seat's lock.
    pub(super) fn overdue_at(&self) -> Instant {
        self.begun + OVERDUE
    }
}

/// Asks the kernel about `seat`, lets go of it, and then says what the answer was.
fn answer(seat: Arc<Region>, notice: &Notice, says: &SyncSender<Answer>) {
    let start = Instant::now();
    let freeze = seat.try_freeze();
    drop(seat);
    // The inquiry may have been dropped.
    let _ = says.send(Answer { freeze, took: start.elapsed() });
    notice.raise();
}

impl Drop for Inquiry {
    /// Waits for the thread, so that nothing is left of it, unless the consumer holds it up.
    fn drop(&mut self) {
        let patience = self.overdue_at().saturating_duration_since(Instant::now());
        let is_held_up = matches!(self.answers.recv_timeout(patience), Err(RecvTimeoutError::Timeout));
        if let Some(thread) = self.thread.take().filter(|_| !is_held_up) {
            thread.join();
        }
    }
}

/// How long to wait before the kernel is asked again: twice as long each time, up to the longest, and longer while the
/// consumer may live and makes the answers take long.
pub(super) fn departure_pause(retries: u32, took: Duration, may_live: bool) -> Duration {
    let doubled = DEPARTURE_RETRY_MIN.saturating_mul(2_u32.saturating_pow(retries)).min(DEPARTURE_RETRY_MAX);
    let slowed = if may_live { took.saturating_mul(DEPARTURE_RETRY_FACTOR) } else { Duration::ZERO };
    doubled.max(slowed.min(DEPARTURE_RETRY_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_living_consumer_makes_the_pauses_longer_and_only_up_to_the_limit() {
        let millis = Duration::from_millis;
        let pauses = [0, 1, 6, 7, u32::MAX].map(|retries| departure_pause(retries, Duration::MAX, false));
        assert_eq!(pauses, [1, 2, 64, 100, 100].map(millis));
        assert_eq!(departure_pause(0, millis(10), true), millis(80));
        assert_eq!(departure_pause(u32::MAX, millis(10), true), millis(100));
        assert_eq!(departure_pause(0, Duration::MAX, true), DEPARTURE_RETRY_LIMIT);
    }
}
