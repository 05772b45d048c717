//! What happens next, one event a call.
//!
//! ```text
//!   next_until     the next record of the lane whose turn it is, if only its header needs a look
//!   next_closely   whatever else there is: news, that lane looked at closer, the turn of another
//! ```
//!
//! The invariant: a lane is reported as joined before its first record, and what is known to have happened before the
//! next turn.

use super::endpoint::{CollectedLane, Endpoint};
use super::{Collector, Event};
use crate::consumer::{Consumer, ReceiveError};
use crate::deadline::Deadline;
use crate::ring::cursor::Found;
use crate::select::Selectable;
use rustix::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What happens next: what is to be [reported](Collector::reported), or a record of the lane whose turn it is.
#[derive(Debug)]
pub(crate) enum NextEvent {
    News,
    Record(Found),
}

impl Collector {
    /// The next event. Waits until there is one.
    ///
    /// ```
    /// # use fdring::{Producer, collect::{Collector, Event}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut collector = Collector::listen("@doc-collector-next")?;
    /// # let client = std::thread::spawn(|| Producer::create("log")?.connect("@doc-collector-next").map(drop));
    /// assert!(matches!(collector.next()?, Event::Joined(_)));
    /// assert!(matches!(collector.next()?, Event::Finished(_)));
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[expect(clippy::should_implement_trait, reason = "an event borrows the collector, which no iterator can lend")]
    #[inline]
    pub fn next(&mut self) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::Never)
    }

    /// The next event, if there is one. Never waits.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-try-next")?;
    /// assert_eq!(collector.try_next().unwrap_err(), ReceiveError::Empty); // nobody has connected
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if nothing has happened
    /// - [`ReceiveError::Interrupted`] if there is none, and an [`Interrupter`](crate::Interrupter) has ended all waits
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    pub fn try_next(&mut self) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::Now)
    }

    /// Like [`next`](Self::next), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-next-timeout")?;
    /// let nobody = collector.next_timeout(Duration::from_millis(1));
    /// assert_eq!(nobody.unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if nothing happened within `timeout`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::after(timeout))
    }

    /// Like [`next`](Self::next), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-next-deadline")?;
    /// assert_eq!(collector.next_deadline(Instant::now()).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if nothing happened before `deadline`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn next_deadline(&mut self, deadline: Instant) -> Result<Event<'_>, ReceiveError> {
        self.next_until(Deadline::At(deadline))
    }

    /// Prepares a wait in the caller's event loop: poll(2), epoll(7), or anything that watches descriptors.
    ///
    /// 1. Call [`try_next`](Self::try_next) until it returns [`ReceiveError::Empty`].
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the collector's descriptor ([`AsFd`]) is readable. Watch it level-triggered or edge-triggered.
    /// 4. Go to 1.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut collector = fdring::collect::Collector::listen("@doc-collector-arm")?;
    /// assert!(collector.arm()?); // now wait for its descriptor
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        if !self.news.is_empty() {
            return Ok(false);
        }
        self.end_turn();
        match self.selector.try_wait() {
            // It stays in the selector's queue.
            Ok(_) => Ok(false),
            Err(ReceiveError::Empty) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// In the caller's code, so that a record gets there in registers: an event in memory, written in narrow words and
    /// copied in wide ones, costs three times as much as the record.
    #[inline(always)]
    pub(super) fn next_until(&mut self, deadline: Deadline) -> Result<Event<'_>, ReceiveError> {
        match self.next_in_turn(Consumer::next_in_view) {
            Some(found) => Ok(self.record(found)),
            None => self.next_closely(deadline),
        }
    }

    /// Another record of the lane whose turn it is, if it is found so: the short way. `None` says only that a closer
    /// look is needed.
    #[inline(always)]
    pub(super) fn next_in_turn(&mut self, find: impl FnOnce(&mut Consumer) -> Option<Found>) -> Option<Found> {
        let turn = self.turn.as_mut().filter(|turn| !turn.is_over())?;
        find(&mut turn.lane.consumer)
    }

    /// As `next_until`, if the turn is over or its lane needs a closer look.
    #[inline(never)]
    fn next_closely(&mut self, deadline: Deadline) -> Result<Event<'_>, ReceiveError> {
        let next = self.find_until(deadline)?;
        Ok(self.event(next))
    }

    /// What happens next, to be made an event of at once. `Deadline::Now` never waits.
    fn find_until(&mut self, deadline: Deadline) -> Result<NextEvent, ReceiveError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                self.reported = Some(news);
                return Ok(NextEvent::News);
            }
            if let Some(next) = self.go_on()? {
                return Ok(next);
            }
            let key = self.next_turn(deadline)?;
            self.begin_turn(key)?;
        }
    }

    /// As `find_until`, without a wait. Where there is nothing, the descriptor becomes readable once there is.
    #[cfg(feature = "tokio")]
    pub(crate) fn find_or_arm(&mut self) -> Result<NextEvent, ReceiveError> {
        loop {
            match self.find_until(Deadline::Now) {
                Err(ReceiveError::Empty) if self.arm()? => return Err(ReceiveError::Empty),
                Err(ReceiveError::Empty) => {}
                found => return found,
            }
        }
    }

    /// The event that was found.
    #[inline(always)]
    pub(crate) fn event(&mut self, next: NextEvent) -> Event<'_> {
        match next {
            NextEvent::Record(found) => self.record(found),
            NextEvent::News => self.reported.as_ref().expect("it was just put there").event(),
        }
    }

    /// Looks closer at the lane whose turn it is. `None` if there is no turn any more.
    pub(super) fn go_on(&mut self) -> Result<Option<NextEvent>, ReceiveError> {
        let Some(turn) = &mut self.turn else { return Ok(None) };
        let found = if turn.is_over() { Err(ReceiveError::Empty) } else { turn.lane.consumer.try_find() };
        if let Ok(Some(found)) = found {
            return Ok(Some(NextEvent::Record(found)));
        }
        let key = turn.key;
        self.end_turn();
        match found {
            Err(ReceiveError::Empty) => Ok(None),
            Err(error @ (ReceiveError::Forked | ReceiveError::Wait(_))) => Err(error),
            end => {
                let Some(Endpoint::Lane(Some(lane))) = self.selector.remove(key) else { return Ok(None) };
                let CollectedLane { origin, consumer, is_lost } = *lane;
                self.totals.add(&consumer);
                if is_lost {
                    return Ok(None);
                }
                self.reported = Some(self.totals.end(origin, end.err()));
                Ok(Some(NextEvent::News))
            }
        }
    }

    /// The record that was found.
    #[inline(always)]
    pub(super) fn record(&mut self, found: Found) -> Event<'_> {
        let Some(turn) = &mut self.turn else { unreachable!("its lane was just looked at") };
        let CollectedLane { origin, consumer, is_lost } = &mut *turn.lane;
        match consumer.record(found) {
            Ok(record) => Event::Record(origin, record),
            Err(why) => {
                *is_lost = true;
                self.reported.insert(self.totals.lose(origin, why)).event()
            }
        }
    }
}

impl AsFd for Collector {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.as_fd()
    }
}

impl Selectable for Collector {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self)
    }
}
