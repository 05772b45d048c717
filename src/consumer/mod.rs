//! The reading end of a lane: receive, read, receive again.
//!
//! [`Consumer`] puts together the reading protocol ([`ring::reader`](crate::ring::reader)), the ways in which payloads
//! reach the caller ([`payloads`]), and waiting ([`waiter`], [`pace`]). The fast path, for records already in view, is
//! here; [`looks`] has the slow path, up to sleeping. Sessions are made by [`Session`](crate::Session).

mod attached;
mod error;
mod inbox;
mod kept;
mod looks;
mod own_seat;
mod owned;
mod pace;
mod payloads;
mod record;
mod report;
mod runs;
mod standing;
mod stats;
mod tap;
mod waiter;
mod working;

#[cfg(test)]
mod tests;

use inbox::SETTLE_AGAIN;
use own_seat::{LaneReader, OwnSeat};
use pace::Pace;
use payloads::{Copies, Payloads};
use waiter::Waiter;

pub use attached::TakeFdsError;
pub use error::ReceiveError;
pub(crate) use inbox::{Inbox, InboxEnd, make_inboxes};
pub use owned::OwnedRecord;
pub use record::Record;
pub use report::{LaneReport, ReaderKind, ReaderReport};
pub use runs::Verdict;
pub use stats::ConsumerStats;
pub use tap::{Tap, TapError, TapStats};
pub(crate) use working::RecordInHand;

use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::LaneInfo;
use crate::link::Link;
use crate::memory::{Chunk, InPlace, LaneMap, SeatMap};
use crate::os::bell::{Bell, BellEnd};
use crate::os::clock::coarse_now;
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::spin::Spins;
use crate::ring::cursor::Found;
use crate::ring::reader::Reader;
use crate::terms::Barrier;
use crate::wire::{LaneTerms, SeatKind};
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The interval at which a caller that never sleeps looks at the session.
const SESSION_INTERVAL: Duration = Duration::from_millis(5);

/// The reading end of a lane.
///
/// A consumer receives every record published after it joined: in order, once, and whole, up to the end of the stream,
/// which is `None`. If the producer dies without ending its lane, the consumer receives everything that was published
/// and then gets [`ReceiveError::PeerDead`].
///
/// After the end of its stream, with `None` or an error, a consumer keeps its mapping of the ring, its seat and its
/// descriptors until it is dropped. Drop it to free the ring's memory, which the kernel keeps while any process maps
/// it. An [`OwnedRecord`] that was read in place keeps the mapping, too, for as long as it lives.
///
/// The bytes of a record are released to the producer by a later call: in steps of an eighth of the ring, and
/// completely whenever a call finds nothing or waits for more than a microsecond. A consumer that is neither used nor
/// dropped blocks the producer once the ring is full.
///
/// By default a consumer copies each payload out and checks everything, so that a hostile producer can do no worse than
/// send nonsense. Attached with [`Attach::in_place`](crate::Attach::in_place), it reads payloads in the ring itself.
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
/// let mut bytes = 0;
/// while let Some(record) = ticks.receive()? {
///     bytes += record.len();
///     println!("{} read up to {}", ticks.lane().name, ticks.position()); // `record` is no longer used here
/// }
/// assert_eq!(bytes, 5);
/// # Ok(())
/// # }
/// ```
///
/// A [`Record`] borrows its consumer, so that its bytes cannot change while it is used. That is why it is not an
/// `Iterator`: an iterator's items can be kept. To keep a record, call [`Record::into_owned`], or copy it with
/// `to_vec`. After the last use of the record, the consumer's other methods can be called in the same loop, as above.
///
/// A consumer is `Send` and `Sync`. It can be moved to another thread.
#[derive(Debug)]
#[must_use = "dropping a consumer leaves its lane; keep it in a variable"]
#[doc(alias("subscriber", "receiver", "reader"))]
pub struct Consumer {
    // Dropped in this order: the ring, then the seat, then the session.
    reader: LaneReader,
    waiter: Waiter,
    guard: ForkGuard,
    payloads: Payloads,
    pace: Pace,
    spin: Duration,
    spins: Spins,
    /// Tries in vain since the last record.
    vain_tries: u32,
    /// The bytes of the last record that came within a moment, header and all: as many as the next one will have.
    expected_bytes: u64,
    /// Whether there is much to do between the first bytes of a record and its last: more than a processor looks ahead.
    is_read_slowly: bool,
    /// The time of the next look at the session by a caller that never sleeps, on the coarse clock.
    session_due: Duration,
    /// Where it stood when a call first found nothing there, and when that was.
    idle: Option<(u64, Instant)>,
    info: LaneInfo,
}

/// What a session knows of a lane that it attaches to.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) terms: LaneTerms,
    pub(crate) lane: Arc<LaneMap>,
    pub(crate) seat: SeatMap,
    pub(crate) bell: BellEnd,
    /// On lanes with a space bell.
    pub(crate) space_bell: Option<Bell>,
    /// Where the descriptors of records come, if they were asked for.
    pub(crate) inbox: Option<InboxEnd>,
    /// The kind of barrier that was agreed on.
    pub(crate) barrier: Barrier,
    pub(crate) start: u64,
    /// The lane's count of evictions from before this consumer attached.
    pub(crate) evictions: u32,
    pub(crate) in_place: Option<InPlace>,
    pub(crate) spin: Duration,
}

impl Consumer {
    /// A consumer of the attached lane.
    ///
    /// # Errors
    ///
    /// If the process is out of descriptors.
    pub(crate) fn new(attachment: Attachment, link: Arc<Link>, guard: ForkGuard) -> Result<Self> {
        let Attachment { terms, lane, seat, bell, space_bell, inbox, barrier, start, evictions, in_place, spin } =
            attachment;
        seat.introduce(if in_place.is_some() { SeatKind::InPlace } else { SeatKind::Copies }, start);
        let asks_for_fds = inbox.is_some();
        let inbox = inbox.map(|end| Inbox::new(end, terms.record_fds_max, link.producer().1, guard));
        let seat = OwnSeat::new(seat, space_bell, inbox, in_place.clone(), guard, Arc::clone(&link));
        let reader = Reader::new(lane, seat, start);
        let (reader, payloads) = match in_place {
            Some(trust) => (reader, Payloads::InPlace(trust)),
            None => (reader.copying(evictions), Payloads::Copied(Copies::new())),
        };
        let waiter = Waiter::new(link, bell, barrier);
        let waiter = if asks_for_fds { waiter.and_then(Waiter::with_timer) } else { waiter };
        let waiter = waiter
            .map_err(|errno| Error::os(format!("watch the bell and the session of lane {}", terms.name))(errno))?;
        let (pace, session_due) = (Pace::new(terms.geometry.capacity()), coarse_now() + SESSION_INTERVAL);
        Ok(Self {
            reader,
            waiter,
            guard,
            payloads,
            pace,
            spin,
            spins: Spins::default(),
            vain_tries: 0,
            expected_bytes: u64::MAX,
            is_read_slowly: false,
            session_due,
            idle: None,
            info: LaneInfo::new(&terms),
        })
    }

    /// Has an interrupter end the waits of this consumer.
    ///
    /// # Errors
    ///
    /// If the kernel cannot watch it.
    pub(crate) fn watch_interrupter(&mut self, interrupter: &Interrupter) -> Result<()> {
        self.waiter
            .watch_interrupter(interrupter)
            .map_err(Error::os(format!("watch the interrupter of lane {}", self.info.name)))
    }

    /// The next record. Waits until there is one. `None` is the end of the stream: the producer finished the lane, and
    /// everything that was published has been read.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive")?;
    /// ticks.send(b"hello")?;
    /// ticks.finish();
    ///
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// assert!(consumer.receive()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline]
    #[doc(alias("recv"))]
    pub fn receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::Never)
    }

    /// The next record, if it is already published. Never sleeps. `None` is the end of the stream.
    ///
    /// In a busy stream it may spin for up to 3.6 µs, to leave the producer's cache line alone. If records arrive one
    /// at a time in quick succession, as replies do, it may spin for about a microsecond. Calls that find nothing check
    /// whether the producer is alive, but no more often than once every 5 to 10 ms.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-try-receive", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-try-receive")?;
    /// use fdring::errors::ReceiveError;
    ///
    /// assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.try_receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if there is no unread record yet; everything that was read has then been released
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Forked`] in a forked child
    #[inline(always)]
    #[doc(alias("try_recv"))]
    pub fn try_receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        // As in `receive`, the quick way is inlined always: as a call it takes a third longer.
        match self.next_in_view() {
            Some(found) => Ok(Some(self.record(found)?)),
            None => self.try_receive_closely(),
        }
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-timeout", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-timeout")?;
    /// use fdring::errors::ReceiveError;
    /// use std::time::Duration;
    ///
    /// let patience = Duration::from_millis(10);
    /// assert_eq!(consumer.receive_timeout(patience).unwrap_err(), ReceiveError::TimedOut);
    /// ticks.send(b"hello")?;
    /// assert!(consumer.receive_timeout(patience)?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no record came within `timeout`
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[doc(alias("recv_timeout"))]
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::after(timeout))
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`, which several calls can share.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-receive-deadline", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-receive-deadline")?;
    /// use fdring::errors::ReceiveError;
    /// use std::time::{Duration, Instant};
    ///
    /// ticks.send(b"hello")?;
    ///
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
    /// - [`ReceiveError::TimedOut`] if no record came before `deadline`
    /// - [`ReceiveError::Abandoned`] if the producer gave up or panicked
    /// - [`ReceiveError::PeerDead`] if the producer died
    /// - [`ReceiveError::HungUp`] if the producer hung up unexpectedly and is not known to have died
    /// - [`ReceiveError::Refused`] or [`ReceiveError::Peer`] if it refused to go on, or broke the session's protocol
    /// - [`ReceiveError::Closed`] if the producer's process closed the session
    /// - [`ReceiveError::Evicted`] if the producer took this consumer's seat away
    /// - [`ReceiveError::Corrupt`] if the producer broke the protocol
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    #[doc(alias("recv_deadline"))]
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::At(deadline))
    }

    /// Releases everything that was read and is not held: the producer may then overwrite it. Receiving calls also do
    /// this, but not always at once. Call this before you stop using the consumer for a while. No effect in a forked
    /// child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-release", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-release")?;
    /// ticks.send(b"hello")?;
    /// consumer.receive()?;
    /// assert_eq!(ticks.consumers()[0].behind_bytes, 16); // read, not yet released
    ///
    /// consumer.release();
    /// assert_eq!(ticks.consumers()[0].behind_bytes, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(&mut self) {
        if !self.guard.is_child() {
            self.reader.release_all();
        }
    }

    /// The number of bytes of the ring that the producer cannot reuse because records are held: from the oldest held
    /// record up to [`position`](Self::position), headers and padding included. 0 if nothing is held, if payloads are
    /// copied out, or in a forked child. When it comes near the lane's capacity, the producer waits.
    ///
    /// ```
    /// use fdring::{Attach, Producer, Server, Session};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-held-bytes", [&ticks])?;
    /// // SAFETY: the producer is a process of ours, which uses this library.
    /// let in_place = unsafe { Attach::new().in_place() };
    /// let mut consumer = Session::connect("@doc-held-bytes")?.attach_one(in_place)?;
    /// for _ in 0..3 {
    ///     ticks.send(b"hello")?;
    /// }
    /// let first = consumer.receive()?.unwrap().into_owned();
    /// consumer.receive()?;
    /// assert_eq!(consumer.held_bytes(), 2 * 16);
    ///
    /// drop(first);
    /// assert_eq!(consumer.held_bytes(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn held_bytes(&self) -> u64 {
        // The lock may have been held when the process forked.
        if self.guard.is_child() { 0 } else { self.reader.held_bytes() }
    }

    /// The facts of the lane: name, capacity, alignments, schema.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-consumer-lane", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-consumer-lane")?;
    /// assert_eq!(consumer.lane().name, "ticks");
    /// let buffer = Vec::<u8>::with_capacity(consumer.lane().payload_max); // the longest record fits
    /// # assert_eq!(consumer.lane(), ticks.lane());
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> &LaneInfo {
        &self.info
    }

    /// The position of the next record, in bytes since the lane was created, headers and padding included.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-position", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-position")?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(consumer.position(), 0);
    /// consumer.receive()?;
    /// assert_eq!(consumer.position(), ticks.published());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Whether payloads are read in the ring itself, as asked for with [`Attach::in_place`](crate::Attach::in_place).
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-reads-in-place", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-reads-in-place")?;
    /// assert!(!consumer.reads_in_place()); // by default, payloads are copied out
    /// # Ok(())
    /// # }
    /// ```
    pub fn reads_in_place(&self) -> bool {
        matches!(self.payloads, Payloads::InPlace(_))
    }

    /// The number of records read so far.
    #[inline(always)]
    pub(crate) fn records_read(&self) -> u64 {
        self.reader.records()
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, ReceiveError> {
        match self.next_in_view() {
            Some(found) => Ok(Some(self.record(found)?)),
            None => self.receive_closely(deadline),
        }
    }

    // Out of line, as the next one: so a loop keeps nothing of a closer look but what it returns.
    #[inline(never)]
    fn receive_closely(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, ReceiveError> {
        match self.find_closely(deadline)? {
            Some(found) => Ok(Some(self.record(found)?)),
            None => Ok(None),
        }
    }

    #[inline(never)]
    fn try_receive_closely(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        match self.try_find_closely()? {
            Some(found) => Ok(Some(self.record(found)?)),
            None => Ok(None),
        }
    }

    /// Between the first bytes of each record and its last there is more to do than a processor looks ahead.
    pub(crate) fn expect_slow_reading(&mut self) {
        self.is_read_slowly = true;
    }

    /// The next record, if it is there or comes within a moment.
    #[inline(always)]
    pub(crate) fn find_in_a_moment(&mut self) -> Option<Found> {
        self.next_seen().or_else(|| self.wait_a_moment())
    }

    /// Like [`receive`](Self::receive) up to `deadline`, for a caller that has [`record`](Self::record) hand it out.
    #[inline(always)]
    pub(crate) fn find_until(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        match self.next_in_view() {
            Some(found) => Ok(Some(found)),
            None => self.find_closely(deadline),
        }
    }

    /// Like [`find_until`](Self::find_until), for a deadline that takes time to say: it is asked for after a moment.
    #[inline(always)]
    pub(crate) fn find_by(&mut self, deadline: impl FnOnce() -> Deadline) -> Result<Option<Found>, ReceiveError> {
        match self.find_in_a_moment() {
            Some(found) => Ok(Some(found)),
            None => self.wait(deadline()),
        }
    }

    /// Like [`try_receive`](Self::try_receive), for such a caller.
    #[inline(always)]
    pub(crate) fn try_find(&mut self) -> Result<Option<Found>, ReceiveError> {
        match self.next_in_view() {
            Some(found) => Ok(Some(found)),
            None => self.try_find_closely(),
        }
    }

    /// The next record, if only its header needs a look: the short way, inlined into the caller's loop. `None` says
    /// only that a closer look is needed. Here the bytes of the record before it are released, if that is due.
    #[inline(always)]
    pub(crate) fn next_in_view(&mut self) -> Option<Found> {
        // In a forked child there is no ring to look at.
        if self.guard.is_child() {
            return None;
        }
        self.reader.next_in_view()
    }

    /// As `next_in_view`, with the release that may be due before the next record.
    #[inline(always)]
    pub(crate) fn next_seen(&mut self) -> Option<Found> {
        self.next_in_view().or_else(|| self.next_after_release())
    }

    /// The first `N` words of the payload that was found, from `offset` bytes on, by value: 0 beyond its end.
    #[inline(always)]
    pub(crate) fn words<const N: usize>(&mut self, found: Found, offset: u64) -> Result<[u64; N], ReceiveError> {
        let len = found.len.saturating_sub(offset);
        let words = self.reader.lane().ring().first_words(found.payload + offset, len);
        if !self.reader.is_intact(found) {
            return Err(self.reader.evicted_in_copy(found.from).into());
        }
        crash::point!("consumer-record-found");
        Ok(words)
    }

    /// The first `N` chunks of the payload that was found, from `offset` bytes on, by value: zeros beyond its end.
    /// `None` if they were overwritten meanwhile; [`stopped`](Self::stopped) says why.
    ///
    /// No `Result`: the compiler takes chunks apart that share their place with an error, and their bytes are then
    /// stored in other pieces than they are loaded in, for which a processor waits.
    #[inline(always)]
    pub(crate) fn chunks<const N: usize>(&mut self, found: Found, offset: u64) -> Option<[Chunk; N]> {
        let len = found.len.saturating_sub(offset);
        let chunks = self.reader.lane().ring().first_chunks(found.payload + offset, len);
        if self.reader.is_intact(found) {
            return Some(chunks);
        }
        self.reader.evicted_in_copy(found.from);
        None
    }

    /// Why nothing more is read of the lane, after a copy that was not handed out.
    #[cold]
    pub(crate) fn stopped(&mut self) -> ReceiveError {
        self.reader.refresh().err().map_or(ReceiveError::Closed, ReceiveError::from)
    }

    /// The record that was found, its payload in place or copied out.
    #[inline(always)]
    pub(crate) fn record(&mut self, found: Found) -> Result<Record<'_>, ReceiveError> {
        let payload = match &mut self.payloads {
            Payloads::InPlace(trust) => self.reader.lane().ring().in_place(trust, found.payload, found.len),
            Payloads::Copied(copies) => match copies.copy(&self.reader, self.reader.lane().ring(), found) {
                Some(copy) => copy,
                None => return Err(self.reader.evicted_in_copy(found.from).into()),
            },
        };
        crash::point!("consumer-record-found");
        Ok(Record::new(found, payload, self.reader.release()))
    }

    /// Whether the next receiving call will return at once, with a record or an error. This method consumes nothing,
    /// and looks at the lane no more often than a receiving call would.
    ///
    /// `false` is not final: [`arm`](Self::arm) also sees the end of the lane and of the session. This method is for
    /// futures, which cannot keep a borrowed record while they find out whether to wait.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-has-news", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-has-news")?;
    /// assert!(!consumer.has_news());
    /// ticks.send(b"hello")?;
    /// assert!(consumer.has_news());
    /// assert_eq!(&consumer.try_receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn has_news(&mut self) -> bool {
        self.reader.unread() != 0 || self.poll_for_news()
    }

    /// Prepares a wait in the caller's event loop: poll(2), epoll(7), or anything that watches descriptors.
    ///
    /// 1. Call [`try_receive`](Self::try_receive) or [`try_receive_many`](Self::try_receive_many) until it returns
    ///    [`ReceiveError::Empty`].
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the descriptor of [`as_fd`](Self::as_fd) is readable. Watch it level-triggered or edge-triggered.
    /// 4. Go to 1.
    ///
    /// The descriptor may become readable for no reason, but it is never left unreadable while there is something to
    /// receive. The loop may stop at any step. The descriptor stays the same for the life of the consumer. Only watch
    /// it; do not read it.
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
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`] has ended all waits
    /// - [`ReceiveError::Wait`] if the kernel cannot provide a descriptor or timer for the wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        self.reader.release_all();
        let settle_in = self.settle_inbox();
        let armed = self.waiter.arm_elsewhere(&mut self.reader, settle_in);
        match armed.map_err(|errno| ReceiveError::Wait(errno.raw_os_error()))? {
            true if self.waiter.is_interrupted() => Err(ReceiveError::Interrupted),
            true => {
                self.note_wait_elsewhere();
                Ok(true)
            }
            false => Ok(false),
        }
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
            // Records that are held keep the seat, and take no more descriptors.
            self.reader.release().seat().inbox().iter().for_each(|inbox| inbox.hang_up());
            // What it was at when its thread panicked is not done with.
            let is_done = !std::thread::panicking();
            self.reader.leave(if is_done { self.reader.position() } else { self.reader.released() });
            crash::point!("consumer-left");
        }
    }
}
