//! Ending waits from elsewhere: from another thread, or from a signal handler.
//!
//! The invariant: the eventfd is readable exactly while the word is raised, but for a moment while one of them is being
//! changed. Waits on descriptors watch the eventfd, waits on futex words the word; both look at the word before they
//! sleep, so an interrupt that comes between the look and the sleep ends the sleep at once.

use super::fork::ForkGuard;
use super::futex::{self, Captured};
use super::notice::Notice;
use crate::error::Result;
use crate::sync::{AtomicU32, Ordering};
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The values of the word.
const LOWERED: u32 = 0;
const RAISED: u32 = 1;

/// Ends the waits of the endpoints that it was given to, from another thread or from a signal handler.
///
/// Once [`interrupt`](Self::interrupt) is called, every call on such an endpoint that would wait returns an error of
/// the kind [`Interrupted`](crate::errors::ErrorKind::Interrupted) instead: calls that wait already, and calls that
/// begin later, until [`clear`](Self::clear) is called. The interrupt is a state: it lasts until it is cleared. The
/// endpoints lose nothing by it: after `clear` they go on where they were.
///
/// Only calls that would wait are interrupted. A consumer that always finds a record, or a producer that always finds
/// room, never returns that error: a loop around such calls looks at [`is_interrupted`](Self::is_interrupted) itself. A
/// record that is published is received before the interrupt is reported.
///
/// It is given to
///
/// - [`SessionOptions::interrupter`](crate::options::SessionOptions::interrupter): ends connecting, with all its
///   patience, attaching, and every wait of the consumers and taps of the session
/// - [`LaneOptions::interrupter`](crate::options::LaneOptions::interrupter): every wait of the producer, for room, for
///   consumers and for releases
/// - [`ServerOptions::interrupter`](crate::options::ServerOptions::interrupter):
///   [`Server::wait_for_sessions`](crate::Server::wait_for_sessions), waits on the server's descriptor, and connecting
///   to a consumer that listens
/// - [`SessionListenerOptions::interrupter`](crate::options::SessionListenerOptions::interrupter):
///   [`SessionListener::accept`](crate::collect::SessionListener::accept), waits on the listener's descriptor, and the
///   waits of the sessions that it returns
/// - [`FeedOptions::session`](crate::feed::FeedOptions::session), in its options: the waits of the feed
/// - [`CollectorOptions::interrupter`](crate::collect::CollectorOptions::interrupter): the waits of the collector
/// - [`Selector::set_interrupter`](crate::select::Selector::set_interrupter): the waits of the selector
///
/// Clones are handles to the same interrupter. Its descriptor ([`AsFd`]) is readable while it is interrupted, for event
/// loops of the caller's own. Only watch it; do not read it.
///
/// ```
/// use fdring::errors::ReceiveError;
/// use fdring::options::SessionOptions;
/// use fdring::{Attach, Interrupter, Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-interrupter", [&ticks])?;
/// let stop = Interrupter::new()?;
/// let session = SessionOptions::new().interrupter(&stop).connect("@doc-interrupter")?;
/// let mut consumer = session.attach_one(Attach::new())?;
///
/// let other = stop.clone();
/// std::thread::spawn(move || other.interrupt());
/// assert_eq!(consumer.receive().unwrap_err(), ReceiveError::Interrupted); // there is no record
///
/// stop.clear();
/// ticks.send(b"hello")?;
/// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
/// # Ok(())
/// # }
/// ```
///
/// For Ctrl-C, a handler finds it in a static:
///
/// ```
/// use fdring::Interrupter;
/// use std::sync::OnceLock;
///
/// static STOP: OnceLock<Interrupter> = OnceLock::new();
///
/// extern "C" fn on_interrupt(_signal: i32) {
///     if let Some(stop) = STOP.get() {
///         stop.interrupt();
///     }
/// }
///
/// # fn main() -> fdring::Result<()> {
/// let stop = STOP.get_or_init(|| Interrupter::new().expect("a descriptor is left"));
/// // … install `on_interrupt` for SIGINT by sigaction(2), and give `stop` to the endpoints.
/// # on_interrupt(2);
/// # assert!(stop.is_interrupted());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias("cancel", "shutdown", "stop"))]
pub struct Interrupter(Arc<State>);

#[derive(Debug)]
struct State {
    word: AtomicU32,
    notice: Notice,
    guard: ForkGuard,
}

impl State {
    /// Makes the eventfd what the word says. Each thread that changes the word calls this afterwards: if several do so
    /// at once, the last one to change the eventfd has looked at the word once more.
    fn settle(&self) {
        loop {
            let value = self.word.load(Ordering::Relaxed);
            match value {
                RAISED => self.notice.raise(),
                _ => self.notice.lower(),
            }
            if self.word.load(Ordering::Relaxed) == value {
                return;
            }
        }
    }
}

impl Interrupter {
    /// An interrupter that is not interrupted. It holds one descriptor, until its last clone and the last endpoint that
    /// it was given to are dropped.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let stop = fdring::Interrupter::new()?;
    /// assert!(!stop.is_interrupted());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`](crate::Error::Os) if the process is out of descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn new() -> Result<Self> {
        let (word, notice) = (AtomicU32::new(LOWERED), Notice::new()?);
        Ok(Self(Arc::new(State { word, notice, guard: ForkGuard::get()? })))
    }

    /// Ends all waits of the endpoints that it was given to, now and until [`clear`](Self::clear) is called.
    ///
    /// It may be called from a signal handler (it is async-signal-safe, signal-safety(7)): it takes no lock, allocates
    /// nothing, and leaves `errno` alone. No effect in a forked child, whose handlers run for signals of its own.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let stop = fdring::Interrupter::new()?;
    /// stop.interrupt();
    /// assert!(stop.is_interrupted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupt(&self) {
        let State { word, guard, .. } = &*self.0;
        if guard.is_child() {
            // The eventfd is the parent's too.
            return;
        }
        // Pairs with the acquire load in `is_interrupted`: who is interrupted sees what was stored before.
        word.store(RAISED, Ordering::Release);
        futex::wake_private(word);
        self.0.settle();
    }

    /// Whether it is interrupted.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = fdring::Producer::create("ticks")?;
    /// let stop = fdring::Interrupter::new()?;
    /// # stop.interrupt();
    /// while !stop.is_interrupted() {
    ///     ticks.send(b"there is always room")?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn is_interrupted(&self) -> bool {
        // Pairs with the release store in `interrupt`.
        self.0.word.load(Ordering::Acquire) == RAISED
    }

    /// Takes the interrupt back: the endpoints wait again. A wait that has not noticed the interrupt yet goes on as if
    /// there had been none. So let the calls that are to end return first.
    ///
    /// It may be called from a signal handler, too. No effect in a forked child.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let stop = fdring::Interrupter::new()?;
    /// stop.interrupt();
    /// stop.clear();
    /// assert!(!stop.is_interrupted());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear(&self) {
        let State { word, guard, .. } = &*self.0;
        if guard.is_child() {
            return;
        }
        word.store(LOWERED, Ordering::Relaxed);
        self.0.settle();
    }

    /// The word, and the value that it has while nobody interrupts, for those who sleep on words.
    pub(crate) fn captured(&self) -> Captured<'_> {
        (&self.0.word, LOWERED)
    }
}

impl AsFd for Interrupter {
    /// The descriptor that is readable while it is interrupted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.notice.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use crate::os::futex::Limit;
    use crate::test_support::DEADLINE;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::thread;
    use std::time::Instant;

    fn is_readable(interrupter: &Interrupter) -> bool {
        poll(&mut [PollFd::new(interrupter, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn it_stands_until_it_is_cleared_however_often_it_was_raised() {
        let interrupter = Interrupter::new().unwrap();
        let states = || (interrupter.is_interrupted(), is_readable(&interrupter), is_readable(&interrupter));
        assert_eq!(states(), (false, false, false));
        for _ in 0..3 {
            interrupter.clone().interrupt();
        }
        assert_eq!(states(), (true, true, true));
        interrupter.clear();
        assert_eq!(states(), (false, false, false));
        interrupter.clear();
        interrupter.interrupt();
        assert_eq!(states(), (true, true, true));
    }

    #[test]
    fn a_sleep_that_begins_after_the_interrupt_ends_at_once() {
        let (interrupter, word) = (Interrupter::new().unwrap(), AtomicU32::new(0));
        interrupter.interrupt();
        let begin = Instant::now();
        futex::wait((&word, 0), None, Limit::new(Deadline::after(DEADLINE), Some(&interrupter)));
        assert!(begin.elapsed() < DEADLINE / 2);
    }

    #[test]
    fn word_and_descriptor_agree_whatever_comes_together() {
        const ROUNDS: u32 = 20_000;
        let interrupter = Interrupter::new().unwrap();
        let (round_begun, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        let wait_for = |word: &AtomicU32, value| {
            while word.load(Ordering::Acquire) < value {
                thread::yield_now();
            }
        };
        thread::scope(|scope| {
            for clears in [false, true] {
                let (interrupter, round_begun, ended) = (interrupter.clone(), &round_begun, &ended);
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        wait_for(round_begun, round);
                        // At another moment of the other's call each time.
                        (0..if clears { 32 } else { round % 128 * 2 }).for_each(|_| std::hint::spin_loop());
                        if clears {
                            interrupter.clear()
                        } else {
                            interrupter.interrupt()
                        }
                        ended.fetch_add(1, Ordering::Release);
                    }
                });
            }
            // No panic before the other threads are through.
            let (mut outcomes, mut disagreed) = ([0; 2], Vec::new());
            for round in 1..=ROUNDS {
                if round % 2 == 1 {
                    interrupter.interrupt();
                }
                round_begun.store(round, Ordering::Release);
                wait_for(&ended, 2 * round);
                let is_interrupted = interrupter.is_interrupted();
                if is_readable(&interrupter) != is_interrupted {
                    disagreed.push(round);
                }
                outcomes[usize::from(is_interrupted)] += 1;
            }
            println!("{outcomes:?} of {ROUNDS} rounds ended cleared and interrupted");
            assert_eq!(disagreed, [], "rounds after which they disagreed");
        });
    }
}
