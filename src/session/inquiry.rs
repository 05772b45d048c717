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
