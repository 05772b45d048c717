//! Many events in one call: a run of records of one lane, which costs little more than a consumer's own.
//!
//! The invariant: a run is no longer than what is left of the lane's turn, so that lanes have turns as with
//! [`next`](Collector::next).

use super::endpoint::CollectedLane;
#[cfg(feature = "tokio")]
use super::next::NextEvent;
use super::{Collector, Event};
use crate::consumer::{Consumer, ReceiveError, Record, Verdict};
use crate::deadline::Deadline;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

impl Collector {
    /// Calls `each` with the next event, and, if that is a record, with the published records that follow it in the
    /// same lane's turn. Waits until there is one. Returns the number of events, at least 1.
    ///
    /// Short records cost a tenth less than with [`next`](Self::next), and a third less if they are read in place. The
    /// closure may return nothing, or say whether to go on, see [`Verdict`]. The event for which it stops or fails
    /// counts as handed over. If the closure forks, it must not return in the child.
    ///
    /// ```
    /// use fdring::Producer;
    /// use fdring::collect::{Collector, Event};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut collector = Collector::listen("@doc-collector-next-many")?;
    /// let client = std::thread::spawn(|| -> fdring::Result<()> {
    ///     let mut log = Producer::create("log")?;
    ///     let link = log.connect("@doc-collector-next-many")?;
    ///     (0..100_u8).for_each(|number| log.send(&[number]).expect("the lane is open"));
    ///     Ok(())
    /// });
    ///
    /// let (mut records, mut has_ended) = (0, false);
    /// while !has_ended {
    ///     collector.next_many(|event| match event {
    ///         Event::Record(_, _) => records += 1,
    ///         Event::Finished(_) | Event::Lost(..) => has_ended = true,
    ///         _ => {}
    ///     })?;
    /// }
    /// assert_eq!(records, 100);
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
    /// - the closure's error, if it returned one
    #[inline]
    pub fn next_many<V: Verdict>(&mut self, each: impl FnMut(Event<'_>) -> V) -> Result<usize, V::Error> {
        self.many_until(Deadline::Never, each)
    }

    /// Like [`next_many`](Self::next_many), but never waits.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-try-next-many")?;
    /// assert_eq!(collector.try_next_many(|_| ()), Err(ReceiveError::Empty)); // nobody has connected
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
    /// - the closure's error, if it returned one
    #[inline]
    pub fn try_next_many<V: Verdict>(&mut self, each: impl FnMut(Event<'_>) -> V) -> Result<usize, V::Error> {
        self.many_until(Deadline::Now, each)
    }

    /// Like [`next_many`](Self::next_many), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-next-many-timeout")?;
    /// let nobody = collector.next_many_timeout(Duration::from_millis(1), |_| ());
    /// assert_eq!(nobody, Err(ReceiveError::TimedOut));
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
    /// - the closure's error, if it returned one
    #[inline]
    pub fn next_many_timeout<V: Verdict>(
        &mut self,
        timeout: Duration,
        each: impl FnMut(Event<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.many_until(Deadline::after(timeout), each)
    }

    /// Like [`next_many`](Self::next_many), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::{collect::Collector, errors::ReceiveError};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut collector = Collector::listen("@doc-collector-next-many-deadline")?;
    /// let nobody = collector.next_many_deadline(Instant::now(), |_| ());
    /// assert_eq!(nobody, Err(ReceiveError::TimedOut));
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
    /// - the closure's error, if it returned one
    #[inline]
    pub fn next_many_deadline<V: Verdict>(
        &mut self,
        deadline: Instant,
        each: impl FnMut(Event<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.many_until(Deadline::At(deadline), each)
    }

    #[inline]
    fn many_until<V: Verdict>(
        &mut self,
        deadline: Deadline,
        each: impl FnMut(Event<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.many_after(|collector| collector.next_until(deadline), each)
    }

    /// The event that was found, and the records that follow it in its lane's turn.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn many_from<V: Verdict>(
        &mut self,
        next: NextEvent,
        each: impl FnMut(Event<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.many_after(|collector| Ok(collector.event(next)), each)
    }

    #[inline(always)]
    fn many_after<V: Verdict>(
        &mut self,
        first: impl FnOnce(&mut Self) -> Result<Event<'_>, ReceiveError>,
        mut each: impl FnMut(Event<'_>) -> V,
    ) -> Result<usize, V::Error> {
        let mut event = first(self)?;
        let mut events = 0;
        loop {
            let flow = each(event).into_flow();
            events += 1;
            let flow = if flow.is_continue() { self.run_ahead(&mut each, &mut events) } else { flow };
            if let ControlFlow::Break(outcome) = flow {
                return outcome.map(|()| events);
            }
            // Where a step of releases ends, or the ring does.
            match self.next_in_turn(Consumer::next_seen) {
                Some(found) => event = self.record(found),
                None => return Ok(events),
            }
        }
    }

    /// Hands over the records in view of the lane whose turn it is, as far as its turn goes, and counts them.
    #[inline]
    fn run_ahead<V: Verdict>(
        &mut self,
        each: &mut impl FnMut(Event<'_>) -> V,
        events: &mut usize,
    ) -> ControlFlow<Result<(), V::Error>> {
        let Some(turn) = self.turn.as_mut().filter(|turn| !turn.is_over()) else { return ControlFlow::Continue(()) };
        let (end, mut left) = (turn.end.position, turn.end.records - turn.reached().records);
        let CollectedLane { origin, consumer, is_lost } = &mut *turn.lane;
        let mut said = ControlFlow::Continue(());
        let ran = consumer.run_ahead(
            &mut |record: &Record<'_>| {
                let is_last = left == 1 || record.position() + record.len() as u64 >= end;
                left -= 1;
                said = each(Event::Record(origin, record.again())).into_flow();
                if said.is_continue() && !is_last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
            events,
        );
        if let Err(why) = ran {
            *is_lost = true;
            *events += 1;
            said = each(self.totals.lose(origin, why).event()).into_flow();
        }
        said
    }
}
