//! The reading end of a lane: receive, read, receive again.
//!
//! [`Consumer`] puts together the reading protocol ([`ring::reader`](crate::ring::reader)), the ways in which payloads
//! reach the caller ([`payloads`]), and waiting ([`waiter`], [`pace`]). What is in view is found here; [`looks`] has
//! the closer looks, up to the sleep.
//!
//! What this file does not do: it makes no session, [`Session`](crate::Session) does.

mod error;
mod looks;
mod pace;
mod payloads;
mod record;
mod runs;
mod waiter;

#[cfg(test)]
mod tests;

use pace::Pace;
use payloads::{Copies, Payloads};
use waiter::Waiter;

pub use error::ReceiveError;
pub use record::Record;
pub use runs::Verdict;

use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::LaneInfo;
use crate::link::Link;
use crate::memory::{InPlace, LaneMap, SeatMap};
use crate::os::bell::BellEnd;
use crate::os::clock::coarse_now;
use crate::os::fork::ForkGuard;
use crate::os::spin::Spins;
use crate::ring::cursor::Found;
use crate::ring::reader::Reader;
use crate::terms::Barrier;
use crate::wire::LaneTerms;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How rarely a caller that never sleeps looks at the session.
const SESSION_INTERVAL: Duration = Duration::from_millis(5);

/// The reading end of a lane.
///
/// Every record that is published after it joined comes in order, once and whole, until the end of the stream: `None`.
/// A producer that dies without ending its lane is told apart from that, as [`ReceiveError::PeerDead`], after all that
/// it had published.
///
/// The bytes of a record are released to the lane by a later call: in steps of an eighth of the ring, and completely
/// whenever a call finds nothing or waits for more than a microsecond. A consumer that is neither used
/// nor dropped blocks the producer once the ring is full.
///
/// By default it copies each payload out and checks everything, so that a hostile producer can send nonsense and
/// nothing worse. Attached with [`Attach::in_place`](crate::Attach::in_place) it reads payloads in the ring itself.
///
/// ```
/// use fdring::{Consumer, Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut producer = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-consumer", [&producer])?;
/// let mut ticks = Consumer::connect("@doc-consumer")?;
/// # producer.send(b"hello")?;
/// # producer.finish();
/// while let Some(record) = ticks.receive()? {
///     println!("{} bytes with tag {}", record.len(), record.tag());
///     println!("{} read up to {}", ticks.lane().name, ticks.position()); // from here on, `record` is not used
/// }
/// # Ok(())
/// # }
/// ```
///
/// A [`Record`] borrows its consumer, so that its bytes cannot change while it is used. That is why a consumer is not
/// an `Iterator`: the items of an iterator can be kept. To keep a record, copy it (`to_vec`). In the loop, the
/// consumer's other methods can be called after the last use of the record, as above.
///
/// A consumer is `Send` and `Sync`: it can be moved to another thread.
#[derive(Debug)]
#[must_use = "dropping a consumer leaves its lane; keep it in a variable"]
pub struct Consumer {
    // Dropped in this order: the ring, then the seat, then the session.
    reader: Reader<LaneMap, SeatMap>,
    waiter: Waiter,
    guard: ForkGuard,
    payloads: Payloads,
    pace: Pace,
    spin: Duration,
    spins: Spins,
    /// Tries in vain since the last record.
    vain_tries: u32,
    /// When a caller that never sleeps looks at the session again, by the coarse clock.
    session_due: Duration,
    terms: LaneTerms,
    info: LaneInfo,
}

/// What a session knows of a lane that it attaches to.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) terms: LaneTerms,
    pub(crate) lane: Arc<LaneMap>,
    pub(crate) seat: SeatMap,
    pub(crate) bell: BellEnd,
    /// The kind that it was attached with.
    pub(crate) barrier: Barrier,
    pub(crate) start: u64,
    /// The lane's count of evictions from before this consumer attached.
    pub(crate) evictions: u32,
    pub(crate) in_place: Option<InPlace>,
    pub(crate) spin: Duration,
}

impl Consumer {
    /// # Errors
    ///
    /// If there is no descriptor to spare for waiting.
    pub(crate) fn new(attachment: Attachment, link: Arc<Link>, guard: ForkGuard) -> Result<Self> {
        let Attachment { terms, lane, seat, bell, barrier, start, evictions, in_place, spin } = attachment;
        let reader = Reader::new(lane, seat, start);
        let (reader, payloads) = match in_place {
            Some(trust) => (reader, Payloads::InPlace(trust)),
            None => (reader.copying(evictions), Payloads::Copied(Copies::new())),
        };
        let waiter = Waiter::new(link, bell, barrier)
            .map_err(|errno| Error::os(format!("watch the bell and the session of lane {}", terms.name))(errno))?;
        let (pace, session_due) = (Pace::default(), coarse_now() + SESSION_INTERVAL);
        Ok(Self {
            reader,
            waiter,
            guard,
            payloads,
            pace,
            spin,
            spins: Spins::default(),
            vain_tries: 0,
            session_due,
            info: LaneInfo::new(&terms),
            terms,
        })
    }

    /// The next record; waits for it. `None` is the end of the stream: the producer ended the lane in order, and all
    /// that it published has been read.
    ///
    /// # Errors
    ///
    /// Any [`ReceiveError`] but `Empty` and `TimedOut`.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::Never)
    }

    /// The next record, if it is there already. Never sleeps. In a busy stream it may spin for up to 1.8 µs, to leave
    /// the producer's cache line alone, and after a record that is an answer for about a microsecond.
    ///
    /// A call that finds nothing looks whether the producer lives, unless one did in the last 5 to 10 ms.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Empty`] if nothing is there: everything that was read has been released then. Any other
    /// [`ReceiveError`] but `TimedOut`.
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        let found = match self.next_in_view().or_else(|| self.answer_in_a_moment()) {
            Some(found) => found,
            None => match self.try_closely()? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        Ok(Some(self.record(found)?))
    }

    /// As [`receive`](Self::receive), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::TimedOut`] as well.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::after(timeout))
    }

    /// As [`receive`](Self::receive), but waits no longer than until `deadline`: for loops that have a common one.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::ReceiveError};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-deadline", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-deadline")?;
    /// # ticks.send(b"hello")?;
    /// let deadline = Instant::now() + Duration::from_millis(20);
    /// let mut records = 0;
    /// let why = loop {
    ///     match consumer.receive_deadline(deadline) {
    ///         Ok(Some(_)) => records += 1,
    ///         Ok(None) => break None,
    ///         Err(error) => break Some(error),
    ///     }
    /// };
    /// assert_eq!((records, why), (1, Some(ReceiveError::TimedOut)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReceiveError::TimedOut`] as well.
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::At(deadline))
    }

    /// Releases everything that was read. Every call that receives does so sooner or later; this is for a consumer that
    /// will not be called for a while.
    pub fn release(&mut self) {
        if !self.guard.is_child() {
            self.reader.release_all();
        }
    }

    /// What is known of the lane: name, capacity, alignments, schema.
    pub fn lane(&self) -> &LaneInfo {
        &self.info
    }

    /// Where the next record begins, in bytes since the ring was made, headers and padding included.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Whether payloads are read in the ring itself.
    pub fn reads_in_place(&self) -> bool {
        matches!(self.payloads, Payloads::InPlace(_))
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, ReceiveError> {
        let found = match self.next_in_view().or_else(|| self.wait_a_moment()) {
            Some(found) => found,
            None => match self.wait(deadline)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        Ok(Some(self.record(found)?))
    }

    /// The next record, if no more than its header needs to be looked at: the short way, inlined into the caller's
    /// loop. `None` says only that one must look closer. Here the bytes of the record before it are released, if that
    /// is due.
    #[inline(always)]
    fn next_in_view(&mut self) -> Option<Found> {
        // In a forked child there is no ring to look at.
        if self.guard.is_child() {
            return None;
        }
        self.reader.release_if_due();
        self.reader.next_in_view()
    }

    /// The record that was found, its payload in place or copied out.
    #[inline(always)]
    fn record(&mut self, found: Found) -> Result<Record<'_>, ReceiveError> {
        let payload = match &mut self.payloads {
            Payloads::InPlace(trust) => self.reader.lane().ring().in_place(trust, found.payload, found.len),
            Payloads::Copied(copies) => match copies.copy(&self.reader, self.reader.lane().ring(), found) {
                Some(copy) => copy,
                None => return Err(self.reader.evicted_in_copy(found.from).into()),
            },
        };
        crash::point!("consumer-record-found");
        Ok(Record::new(found, payload))
    }

    /// Prepares a wait in a loop of the caller's: poll(2), epoll(7), or anything that watches descriptors.
    ///
    /// 1. Call [`try_receive`](Self::try_receive) until it says [`ReceiveError::Empty`], or
    ///    [`try_receive_many`](Self::try_receive_many).
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the descriptor of [`as_fd`](Self::as_fd) is readable; it may be watched for levels or for edges.
    /// 4. Go to 1.
    ///
    /// The descriptor may become readable for no reason, but never stays unreadable when there is something to receive.
    /// The loop may stop at any step. The descriptor is the same for the life of the consumer; only watch it.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::ReceiveError};
    /// # use rustix::event::{PollFd, PollFlags, poll};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-arm", &[&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-arm")?;
    /// # ticks.send(b"hello")?;
    /// # ticks.finish();
    /// loop {
    ///     match consumer.try_receive() {
    ///         Ok(Some(record)) => assert_eq!(&record[..], b"hello"),
    ///         Ok(None) => break,
    ///         Err(ReceiveError::Empty) => {
    ///             if consumer.arm()? {
    ///                 poll(&mut [PollFd::new(&consumer, PollFlags::IN)], None)?;
    ///             }
    ///         }
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Wait`] if the kernel gives no descriptor or timer for it, [`ReceiveError::Forked`] in a forked
    /// child.
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        self.reader.release_all();
        self.waiter.arm_elsewhere(&mut self.reader)
    }
}

impl AsFd for Consumer {
    /// The descriptor that [`arm`](Self::arm) prepares.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.as_fd()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.guard.is_child() {
            crash::point!("consumer-leaving");
            // What it was at when its thread panicked is not done with.
            let is_done = !std::thread::panicking();
            self.reader.leave(if is_done { self.reader.position() } else { self.reader.released() });
            crash::point!("consumer-left");
        }
    }
}
