//! Time as a thread of this process finds it, for bounds that a busy machine must not break.
//!
//! A stopwatch stands still while nothing here comes to run: while the machine gives its processors to others, or all
//! is stopped. A bound on what it says still fails if something waits in vain, since a wait takes no processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one step of [`Steps`] counts at most.
const STEP_MAX: Duration = Duration::from_millis(20);
/// How long the thread of a stopwatch sleeps between two steps.
const STEP: Duration = Duration::from_millis(5);

/// The time that passes from step to step of a loop that sleeps less than [`STEP_MAX`] in each.
#[derive(Debug)]
pub(crate) struct Steps {
    last: Instant,
    lived: Duration,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), lived: Duration::ZERO }
    }

    /// Ends a step; how long all of them were, each of them 20 ms at most.
    pub(crate) fn next(&mut self) -> Duration {
        let now = Instant::now();
        self.lived += now.duration_since(self.last).min(STEP_MAX);
        self.last = now;
        self.lived
    }
}

/// A clock that runs from its making to its drop, by a thread of its own.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    lived_ns: AtomicU64,
    is_over: AtomicBool,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut steps = Steps::new();
                while !shared.is_over.load(Ordering::Relaxed) {
                    std::thread::park_timeout(STEP);
                    shared.lived_ns.store(steps.next().as_nanos() as u64, Ordering::Relaxed);
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// The time since the start, up to 20 ms less, and less by what this process was kept from running.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.shared.lived_ns.load(Ordering::Relaxed))
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken here alone");
        thread.thread().unpark();
        thread.join().expect("it counts and no more");
    }
}
