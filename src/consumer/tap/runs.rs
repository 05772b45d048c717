//! Many records read in one loop, by a tap.
//!
//! The invariant: each record was copied, and found whole after that, before the closure is called with it.

use super::{Tap, TapError};
use crate::consumer::Record;
use crate::consumer::runs::Verdict;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::ring::LaneWords;
use crate::ring::cursor::Found;
use crate::ring::tap::Wish;
use crate::sync::Ordering;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

impl Tap {
    /// Waits for a record, then calls `each` with it and with all records that are already visible after it. Returns
    /// the number of records, 0 at the end of the stream.
    ///
    /// Each record is copied and found whole before `each` is called with it. The closure may return nothing, or say
    /// whether to go on, see [`Verdict`]. The record for which it stops or fails counts as read. If the closure forks,
    /// it must not return in the child.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-many", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-many")?;
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// let mut bytes = 0;
    /// assert_eq!(tap.receive_many(|record| bytes += record.len())?, 2);
    /// assert_eq!(bytes, 11);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn receive_many<V: Verdict<TapError>>(
        &mut self,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::Never, each)
    }

    /// Like [`receive_many`](Self::receive_many), but waits at most `timeout` for the first record.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-many-timeout", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-many-timeout")?;
    /// use fdring::errors::TapError;
    /// use std::time::Duration;
    ///
    /// let patience = Duration::from_millis(10);
    /// assert_eq!(tap.receive_many_timeout(patience, |_| ()), Err(TapError::TimedOut));
    /// camera.send(b"first")?;
    /// assert_eq!(tap.receive_many_timeout(patience, |record| assert_eq!(&record[..], b"first"))?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::TimedOut`] if no record came within `timeout`
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn receive_many_timeout<V: Verdict<TapError>>(
        &mut self,
        timeout: Duration,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::after(timeout), each)
    }

    /// Like [`receive_many`](Self::receive_many), but waits for the first record only until `deadline`, which several
    /// calls can share.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-many-deadline", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-many-deadline")?;
    /// use fdring::errors::TapError;
    /// use std::time::{Duration, Instant};
    ///
    /// camera.send(b"first")?;
    /// let deadline = Instant::now() + Duration::from_millis(20);
    /// assert_eq!(tap.receive_many_deadline(deadline, |_| ())?, 1);
    /// assert_eq!(tap.receive_many_deadline(deadline, |_| ()), Err(TapError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::TimedOut`] if no record came before `deadline`
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`TapError::Wait`] if the kernel does not let this thread wait
    /// - [`TapError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn receive_many_deadline<V: Verdict<TapError>>(
        &mut self,
        deadline: Instant,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::At(deadline), each)
    }

    /// Calls `each` with every record that is published now, without waiting for more. Returns the number of records, 0
    /// at the end of the stream. The closure is as for [`receive_many`](Self::receive_many).
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut camera = Producer::create("camera")?;
    /// # let server = Server::listen("@doc-tap-try-many", [&camera])?;
    /// # let mut tap = Tap::connect("@doc-tap-try-many")?;
    /// use fdring::errors::TapError;
    ///
    /// camera.send(b"first")?;
    /// camera.send(b"second")?;
    /// assert_eq!(tap.try_receive_many(|record| assert!(!record.is_empty()))?, 2);
    /// assert_eq!(tap.try_receive_many(|_| ()), Err(TapError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TapError::Empty`] if no record is published now
    /// - [`TapError::Lagged`] if the producer has overwritten the next record; the next call goes on from the newest
    /// - [`TapError::Abandoned`] if the producer gave up or panicked
    /// - [`TapError::PeerDead`] if the producer died
    /// - [`TapError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`TapError::Refused`] or [`TapError::Peer`] if the producer refused to go on, or broke the session's protocol
    /// - [`TapError::Closed`] if the producer's process closed the session
    /// - [`TapError::Corrupt`] if the producer broke the protocol
    /// - [`TapError::Forked`] in a forked child
    /// - The closure's error, if it returned one
    ///
    /// Records handed over before the error count as read.
    pub fn try_receive_many<V: Verdict<TapError>>(
        &mut self,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        self.receive_many_until(Deadline::Now, each)
    }

    fn receive_many_until<V: Verdict<TapError>>(
        &mut self,
        deadline: Deadline,
        each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        if self.shortcut.is_closed() {
            self.check_fork()?;
            return self.receive_run::<V, true>(deadline, each);
        }
        self.receive_run::<V, false>(deadline, each)
    }

    fn receive_run<V: Verdict<TapError>, const STAMPED: bool>(
        &mut self,
        deadline: Deadline,
        mut each: impl FnMut(&Record<'_>) -> V,
    ) -> Result<usize, V::Error> {
        // Only a bound; everything below it is checked record by record.
        let end = self.reader.lane().published().load(Ordering::Relaxed);
        let Some(first) = self.find_next(deadline)? else { return Ok(0) };
        let mut flow = each(&self.record::<STAMPED>(first)?).into_flow();
        let mut records = 1;
        loop {
            if let ControlFlow::Break(outcome) = flow {
                return outcome.map(|()| records);
            }
            // As far as was published at the beginning, or as the first look saw.
            if self.reader.unread() == 0 && self.position() >= end {
                return Ok(records);
            }
            // Twice, for the reason that is in `Tap::receive_until`.
            flow = match self.reader.next_in_view() {
                Some(found) => each(&self.record::<STAMPED>(found)?).into_flow(),
                None => match self.poll_next()? {
                    Some(found) => each(&self.record::<STAMPED>(found)?).into_flow(),
                    None => return Ok(records),
                },
            };
            records += 1;
        }
    }

    /// The next record, or what lies in its way, after `next_in_view` found none.
    #[inline(never)]
    fn poll_next(&mut self) -> Result<Option<Found>, TapError> {
        Ok(self.reader.poll(Wish::Next)?)
    }
}
