//! Asking the kernel whether anyone still maps a seat, on a thread of its own.
//!
//! The answer takes microseconds, but a sixth of a second while a page of the seat is pinned, which its consumer can do
//! (vmsplice(2)). The invariant: whoever asks does not wait for the answer, unless no thread is to be had.

use crate::error::Result;
use crate::lane::Notice;
use crate::region::{Freeze, Region};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Enough for one system call.
const STACK_BYTES: usize = 128 << 10;

/// What the kernel said, and how long that took it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) freeze: Result<Freeze>,
    pub(super) took: Duration,
}

/// A question under way. Dropping it waits for the answer, so ask first whether it is there.
#[derive(Debug)]
pub(super) struct Inquiry {
    answer: Arc<OnceLock<Answer>>,
    thread: Option<JoinHandle<()>>,
}

impl Inquiry {
    /// Begins to ask about `seat`; `notice` is raised with the answer.
    pub(super) fn begin(seat: &Arc<Region>, notice: &Arc<Notice>) -> Self {
        let answer = Arc::new(OnceLock::new());
        let ask = || {
            let (seat, notice, answer) = (Arc::clone(seat), Arc::clone(notice), Arc::clone(&answer));
            move || {
                let start = Instant::now();
                let freeze = seat.try_freeze();
                drop(seat);
                // It is set only here, and once.
                let _ = answer.set(Answer { freeze, took: start.elapsed() });
                notice.raise();
            }
        };
        let thread = std::thread::Builder::new().name("fdring-inquiry".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(ask()).inspect_err(|_no_thread| ask()()).ok();
        Self { answer, thread }
    }

    /// The answer, if it is there.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.get()
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
