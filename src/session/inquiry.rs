//! Asking the kernel whether anyone still maps a seat, on a thread of its own.
//!
//! The answer takes microseconds, but a sixth of a second while a page of the seat is pinned, which its consumer can do
//! (vmsplice(2)), and any time while its consumer keeps the file's lock. The invariant: whoever asks does not wait for
//! the answer, unless no thread is to be had.

use crate::error::Result;
use crate::lane::Notice;
use crate::region::{Freeze, Region};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Enough for one system call.
const STACK_BYTES: usize = 128 << 10;
/// Longer than any answer takes by itself.
const OVERDUE: Duration = Duration::from_secs(1);

/// What the kernel said, and how long that took it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) freeze: Result<Freeze>,
    pub(super) took: Duration,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Inquiry {
    begun: Instant,
    answer: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Inquiry {
    /// Begins to ask about `seat`; `notice` is raised with the answer.
    pub(super) fn begin(seat: &Arc<Region>, notice: &Arc<Notice>) -> Self {
        let (says, answer) = sync_channel(1);
        let ask = || {
            let (seat, notice, says) = (Arc::clone(seat), Arc::clone(notice), says.clone());
            move || {
                let start = Instant::now();
                let freeze = seat.try_freeze();
                drop(seat);
                // Nobody may want to know any more.
                let _ = says.send(Answer { freeze, took: start.elapsed() });
                notice.raise();
            }
        };
        let begun = Instant::now();
        let thread = std::thread::Builder::new().name("fdring-inquiry".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(ask()).inspect_err(|_no_thread| ask()()).ok();
        Self { begun, answer, thread }
    }

    /// The answer, once, if it is there.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer.try_recv().ok()
    }

    /// When it has taken so long that its consumer must be at the seat's lock.
    pub(super) fn overdue_at(&self) -> Instant {
        self.begun + OVERDUE
    }
}

impl Drop for Inquiry {
    /// Waits for the thread, so that nothing is left of it, unless it is held up.
    fn drop(&mut self) {
        let patience = self.overdue_at().saturating_duration_since(Instant::now());
        let is_held_up = matches!(self.answer.recv_timeout(patience), Err(RecvTimeoutError::Timeout));
        if let Some(thread) = self.thread.take().filter(|_| !is_held_up) {
            let _ = thread.join();
        }
    }
}
