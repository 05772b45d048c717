//! Sleeping on words of memory, and waking who sleeps there: futex(2).

use super::interrupt::Interrupter;
use super::notice::Notice;
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::sync::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// How long to sleep at a time if nobody may be able to wake us.
const NAP: Duration = Duration::from_millis(10);

/// A futex word, and the value it had when the caller last looked.
pub(crate) type Captured<'a> = (&'a AtomicU32, u32);

/// A count of changes, for who sleeps until the next: a word of this process. And a notice, for who waits on
/// descriptors, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    word: AtomicU32,
    notice: Option<Arc<Notice>>,
}

impl Changes {
    pub(crate) fn with_notice(notice: Option<Arc<Notice>>) -> Self {
        Self { notice, ..Self::default() }
    }

    /// Notes that something has changed, for those that are woken to find.
    pub(crate) fn note(&self) {
        // Relaxed: it says only that there is something to see under a lock.
        self.word.fetch_add(1, Ordering::Relaxed);
        wake_private(&self.word);
        if let Some(notice) = &self.notice {
            notice.raise();
        }
    }

    /// The word, and its value now: captured before the look that a sleep relies on.
    #[inline]
    pub(crate) fn capture(&self) -> Captured<'_> {
        (&self.word, self.word.load(Ordering::Relaxed))
    }
}

/// What ends a sleep at the latest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    pub(crate) deadline: Deadline,
    /// A word of this process that changes when the sleep is to end.
    pub(crate) interrupt: Option<Captured<'a>>,
}

impl<'a> Limit<'a> {
    /// A limit that is a deadline, or an interrupt before it.
    pub(crate) fn new(deadline: Deadline, interrupter: Option<&'a Interrupter>) -> Self {
        Self { deadline, interrupt: interrupter.map(Interrupter::captured) }
    }
}

impl From<Deadline> for Limit<'_> {
    fn from(deadline: Deadline) -> Self {
        Self { deadline, interrupt: None }
    }
}

/// Sleeps until a word is woken or differs from its captured value, or until the limit. May return early.
///
/// `private` is a word of this process, `shared` one in a shared mapping, read-only or not. Without `futex_waitv`,
/// before Linux 5.16 or if a filter forbids it, several words are waited for in naps of at most 10 ms on one of them.
pub(crate) fn wait<'a>(private: Captured<'_>, shared: Option<Captured<'_>>, limit: impl Into<Limit<'a>>) {
    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags, WaitFlags, WaitvFlags};
    use std::sync::atomic::AtomicBool;

    static NO_WAITV: AtomicBool = AtomicBool::new(false);

    let Limit { deadline, interrupt } = limit.into();
    let remaining = deadline.remaining();
    let ((word, value), flags) = shared.map_or((private, Flags::PRIVATE), |shared| (shared, Flags::empty()));
    crash::asleep!("producer-asleep");
    let wait = |limit: Option<Duration>| futex::wait(word, flags, value, limit.map(timespec).as_ref());
    let outcome = if shared.is_none() && interrupt.is_none() {
        wait(remaining)
    } else if NO_WAITV.load(Ordering::Relaxed) {
        Err(Errno::NOSYS)
    } else {
        let privates = [Some(private), interrupt].into_iter().flatten();
        let privates = privates.map(|captured| futex_wait(captured, WaitFlags::SIZE_U32 | WaitFlags::PRIVATE));
        let waits: Vec<_> = privates.chain(shared.map(|captured| futex_wait(captured, WaitFlags::SIZE_U32))).collect();
        let end = remaining.map(monotonic_after);
        futex::waitv(&waits, WaitvFlags::empty(), end.as_ref(), futex::ClockId::Monotonic).map(drop)
    };
    if has_waited(outcome) {
        return;
    }
    if outcome == Err(Errno::NOSYS) {
        NO_WAITV.store(true, Ordering::Relaxed);
    }
    // Whatever the kernel has against it: the caller would only ask again, so never return at once.
    let nap = remaining.map_or(NAP, |remaining| remaining.min(NAP));
    if !has_waited(wait(Some(nap))) {
        let _ = rustix::event::poll(&mut [], Some(&timespec(nap)));
    }
}

/// Whether a wait came to an end, rather than to nothing: woken, with another value there, interrupted, or timed out.
fn has_waited(outcome: rustix::io::Result<()>) -> bool {
    use rustix::io::Errno;
    matches!(outcome, Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT))
}

fn futex_wait((word, value): Captured<'_>, flags: rustix::thread::futex::WaitFlags) -> rustix::thread::futex::Wait {
    let mut wait = rustix::thread::futex::Wait::new();
    wait.val = u64::from(value);
    wait.uaddr = rustix::thread::futex::WaitPtr::new(word.as_ptr().cast());
    wait.flags = flags;
    wait
}

/// Wakes every thread that sleeps on a word of this process.
pub(crate) fn wake_private(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, i32::MAX as u32);
}

/// Wakes every thread that sleeps on a word in a shared mapping.
pub(crate) fn wake_shared(word: &AtomicU32) {
    crash::point!("consumer-before-space-wake");
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), i32::MAX as u32);
    crash::point!("consumer-after-space-wake");
}

/// The time on the monotonic clock `duration` from now.
fn monotonic_after(duration: Duration) -> rustix::time::Timespec {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let duration = timespec(duration);
    let nanos = now.tv_nsec + duration.tv_nsec;
    let seconds = now.tv_sec.saturating_add(duration.tv_sec).saturating_add(nanos / 1_000_000_000);
    rustix::time::Timespec { tv_sec: seconds, tv_nsec: nanos % 1_000_000_000 }
}
