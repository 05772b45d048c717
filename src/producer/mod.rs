//! The writing end of a lane: reserve, fill, commit.
//!
//! [`Producer`] puts together the publication protocol, the roster that says how far the ring may be overwritten, the
//! waking of consumers, and deadlines. It opens no socket: a [`Server`](crate::Server) offers its lane.

mod arming;
mod attachments;
mod attachments_many;
mod audience;
mod batch;
mod delivery;
mod error;
mod reservation;
mod reservation_writer;
pub(crate) mod runs;
mod slow;
mod stats;
mod tagged;
mod waits;
mod window;

pub use attachments::AttachedReservation;
pub use batch::Batch;
pub use error::SendError;
pub use reservation::Reservation;
pub use reservation_writer::ReservationWriter;
pub use runs::Records;
pub use stats::ProducerStats;
pub use window::{Slot, Window};

use crate::crash;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::lane::{ConsumerInfo, Lane, LaneInfo, LaneOptions, SeatHandle};
use crate::layout::{CAPACITY_MIN_BYTES, Geometry, LaneState};
use crate::memory::WritableLane;
use crate::os::clock::now_ns;
use crate::os::fork::{ForkGuard, Shortcut};
use crate::os::interrupt::Interrupter;
use crate::os::spin::Spins;
use crate::policies::NoConsumer;
use crate::region::HugePagesOutcome;
use crate::ring::publisher::Publisher;
use crate::ring::roster::Roster;
use crate::ring::writer::{Room, Writer};
use crate::stores::StoreChooser;
use crate::trace::event;
use arming::Arming;
use delivery::Outbox;
use slow::SlowWatch;
use stats::Blocked;
use std::sync::Arc;
use std::time::{Duration, Instant};
use waits::LastNeed;

/// The writing end of a lane. A lane has exactly one producer.
///
/// Every record goes to every consumer that has joined. By default the lane waits for the slowest of them, so that no
/// record is lost, and without consumers it never waits: `send` returns `Ok`, and nobody receives the record. If the
/// first records matter, call [`wait_for_consumers`](Self::wait_for_consumers) first.
/// [`SlowConsumer`](crate::options::SlowConsumer) and [`NoConsumer`] change both.
///
/// Dropping the producer finishes the lane: consumers read what was published and then get the end of the stream,
/// `None`. If the drop happens in a panic, or the lane is [abandoned](Self::abandon), consumers get
/// [`ReceiveError::Abandoned`](crate::errors::ReceiveError::Abandoned) instead.
///
/// A producer is `Send` and `Sync`. It can be moved to another thread.
///
/// ```
/// use fdring::Producer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut lane = Producer::create("ticks")?;
///
/// lane.fill(16, |bytes| bytes.copy_from_slice(b"filled in place."))?; // 16 bytes, in the ring itself
///
/// lane.send(b"copied into the ring")?;
///
/// let mut slot = lane.reserve(16)?; // like `fill`, but in steps
/// slot[..5].copy_from_slice(b"short");
/// slot.truncate(5);
/// slot.commit();
///
/// let mut batch = lane.batch()?; // many records, one publication
/// for word in ["one", "two", "three"] {
///     batch.send(word.as_bytes())?;
/// }
/// let end = batch.commit();
/// assert_eq!(end, lane.published());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a producer ends its lane; keep it in a variable"]
#[doc(alias("publisher", "sender", "writer"))]
pub struct Producer {
    publisher: Publisher<WritableLane, SeatHandle>,
    lane: Arc<Lane>,
    spin: Duration,
    spins: Spins,
    guard: ForkGuard,
    /// Also closed if a record is more than header and payload.
    shortcut: Shortcut,
    no_consumer: NoConsumer,
    watch: SlowWatch,
    interrupter: Option<Interrupter>,
    /// What the last call needed that found no room.
    wanted: LastNeed,
    /// On lanes with a space bell.
    arming: Option<Arming>,
    outbox: Outbox,
    blocked: Blocked,
    stores: StoreChooser,
    ending: LaneEnd,
}

/// How the lane ends, once its producer is dropped.
#[derive(Clone, Copy, Debug)]
enum LaneEnd {
    Finish,
    /// As one that lacks what was still to come.
    Abandon,
    /// It has ended.
    Done,
}

impl Producer {
    /// Creates a lane called `name` with the default [`LaneOptions`].
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let ticks = fdring::Producer::create("ticks")?;
    /// assert_eq!(ticks.lane().capacity, 4 << 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if `name` is not 1 to 64 bytes long or contains a control character
    /// - [`Error::Os`](crate::Error::Os) if the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn create(name: impl Into<String>) -> Result<Self> {
        LaneOptions::new(name).create()
    }

    /// Creates a lane whose ring begins at `position`: 0, except in tests that begin near an edge of the number space.
    pub(crate) fn create_at(options: &LaneOptions, position: u64) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let (lane, writable) = Lane::create(options, position)?;
        event!(DEBUG, "lane created", lane = &*lane.info.name, capacity = lane.info.capacity);
        let spin = options.spin_duration();
        let publisher = Publisher::new(Writer::new(writable, position), lane.terms.barrier);
        let (no_consumer, slow_consumer) = options.policies();
        let (spins, watch) = (Spins::default(), SlowWatch::new(slow_consumer, lane.info.capacity));
        let stores = StoreChooser::new(options.stores_given(), lane.info.capacity);
        let interrupter = options.interrupter_given();
        let arming = match &lane.changed {
            Some(changed) if lane.terms.has_space_bell => Some(Arming::new(Arc::clone(changed), interrupter.as_ref())?),
            _ => None,
        };
        Ok(Self {
            publisher,
            lane,
            spin,
            spins,
            guard,
            shortcut: guard.shortcut(options.are_records_plain()),
            no_consumer,
            watch,
            interrupter,
            wanted: LastNeed::default(),
            arming,
            outbox: Outbox::default(),
            blocked: Blocked::default(),
            stores,
            ending: LaneEnd::Finish,
        })
    }

    /// Reserves a record of `len` payload bytes in the ring itself, calls `fill` to write it, and publishes it. Waits
    /// while the ring is full.
    ///
    /// Until they are written, the bytes are whatever was in that part of the ring: older records of this lane, or
    /// zeros. If `fill` panics, the record is discarded.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("points")?;
    /// let (x, y) = (1.5_f64, -2.0_f64);
    ///
    /// lane.fill(16, |bytes| {
    ///     bytes[..8].copy_from_slice(&x.to_le_bytes());
    ///     bytes[8..].copy_from_slice(&y.to_le_bytes());
    /// })?;
    /// assert_eq!(lane.published(), 24); // 8 bytes of header, 16 of payload
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than [`NoConsumer::FailBelow`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    #[inline]
    pub fn fill(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), SendError> {
        self.reserve(len)?.fill_and_commit(fill);
        Ok(())
    }

    /// Like [`fill`](Self::fill), but never waits. `fill` is called only if there is room.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, errors::SendError, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut frames = LaneOptions::new("frames").capacity(4096).create()?;
    /// # let server = Server::listen("@doc-try-fill", [&frames])?;
    /// # let consumer = Consumer::connect("@doc-try-fill")?;
    /// let (mut sent, mut dropped) = (0, 0);
    /// for frame in 0..10_u8 {
    ///     match frames.try_fill(1000, |pixels| pixels.fill(frame)) {
    ///         Ok(()) => sent += 1,
    ///         Err(SendError::Full { .. }) => dropped += 1, // a consumer is slow
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!((sent, dropped), (4, 6));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Forked`] in a forked child
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    #[inline]
    pub fn try_fill(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), SendError> {
        self.try_reserve(len)?.fill_and_commit(fill);
        Ok(())
    }

    /// Like [`fill`](Self::fill), but waits at most `timeout` for room.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("counters")?;
    /// use std::time::Duration;
    ///
    /// lane.fill_timeout(8, Duration::from_millis(100), |bytes| bytes.copy_from_slice(&17_u64.to_le_bytes()))?;
    /// assert_eq!(lane.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    pub fn fill_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), SendError> {
        self.reserve_timeout(len, timeout)?.fill_and_commit(fill);
        Ok(())
    }

    /// Like [`fill`](Self::fill), but waits for room only until `deadline`, which several calls can
    /// share.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("counters")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let deadline = Instant::now() + Duration::from_millis(100);
    /// for n in 0..3_u64 {
    ///     lane.fill_deadline(8, deadline, |bytes| bytes.copy_from_slice(&n.to_le_bytes()))?;
    /// }
    /// assert_eq!(lane.published(), 3 * 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    pub fn fill_deadline(
        &mut self,
        len: usize,
        deadline: Instant,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), SendError> {
        self.reserve_deadline(len, deadline)?.fill_and_commit(fill);
        Ok(())
    }

    /// Reserves a record of `len` payload bytes in the ring itself. Waits while the ring is full.
    ///
    /// The record is published by [`Reservation::commit`]. Dropping the reservation discards it.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("words")?;
    /// # let server = Server::listen("@doc-reserve", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-reserve")?;
    /// let mut slot = lane.reserve(5)?;
    /// slot.copy_from_slice(b"hello");
    /// slot[0] = b'j';
    /// slot.commit();
    ///
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"jello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than [`NoConsumer::FailBelow`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::Never)
    }

    /// Like [`reserve`](Self::reserve), but never waits.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("log")?;
    /// use fdring::errors::SendError;
    ///
    /// match lane.try_reserve(4) {
    ///     Ok(mut slot) => {
    ///         slot.copy_from_slice(b"line");
    ///         slot.commit();
    ///     }
    ///     Err(SendError::Full { consumer }) => println!("not logged, because of {consumer:?}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// assert_eq!(lane.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::Now)
    }

    /// Like [`reserve`](Self::reserve), but waits at most `timeout` for room.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("blocks")?;
    /// use std::time::Duration;
    ///
    /// let mut block = lane.reserve_timeout(4096, Duration::from_secs(1))?;
    /// block.fill(0xff);
    /// block.commit();
    /// assert_eq!(lane.published(), 8 + 4096);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_timeout(&mut self, len: usize, timeout: Duration) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::after(timeout))
    }

    /// Like [`reserve`](Self::reserve), but waits for room only until `deadline`, which several calls can
    /// share.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("pair")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// for half in [b"left.", b"right"] {
    ///     let mut slot = lane.reserve_deadline(5, deadline)?;
    ///     slot.copy_from_slice(half);
    ///     slot.commit();
    /// }
    /// assert_eq!(lane.published(), 32);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `len` is more than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn reserve_deadline(&mut self, len: usize, deadline: Instant) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::At(deadline))
    }

    #[inline(always)]
    fn reserve_until(&mut self, len: usize, deadline: Deadline) -> Result<Reservation<'_>, SendError> {
        if self.shortcut.is_closed() && self.guard.is_child() {
            return Err(SendError::Forked);
        }
        self.reserve_here(len, deadline)
    }

    /// As `reserve_until`, in the process that made the producer.
    #[inline(always)]
    fn reserve_here(&mut self, len: usize, deadline: Deadline) -> Result<Reservation<'_>, SendError> {
        // What was committed in a batch and not published is forgotten.
        self.publisher.writer.rewind();
        check_len(&self.publisher.writer.room(), len)?;
        let claim = match self.publisher.writer.claim(len as u64) {
            Some(claim) => claim,
            None => self.wait_for_room(len as u64, deadline)?,
        };
        Ok(Reservation::new(self, None, claim.with_len(len as u64)))
    }

    /// Copies `payload` into a record with this tag, and publishes it. Below 4 KiB, only what is inlined is given
    /// the payload: so the optimiser can write a value that was made for this call into the ring at once.
    #[inline(always)]
    fn send_until(&mut self, payload: &[u8], tag: u16, deadline: Deadline) -> Result<(), SendError> {
        let is_closed = self.shortcut.is_closed();
        if is_closed && self.guard.is_child() {
            return Err(SendError::Forked);
        }
        let mut slot = self.reserve_here(payload.len(), deadline)?;
        slot.set_tag(tag);
        slot.copy(payload);
        // Not asked again: nothing of the program's runs between the two, but in a wait for room.
        slot.complete(is_closed);
        Ok(())
    }

    /// Copies `payload` into a record and publishes it. Waits while the ring is full. By default, if there are no
    /// consumers, nobody receives the record, and the call returns `Ok`: see [`NoConsumer`].
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-send", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-send")?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than [`NoConsumer::FailBelow`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    #[inline(always)]
    pub fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_until(payload, 0, Deadline::Never)
    }

    /// Like [`send`](Self::send), but never waits.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, errors::SendError, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut log = LaneOptions::new("log").capacity(4096).create()?;
    /// # let server = Server::listen("@doc-try-send", [&log])?;
    /// # let consumer = Consumer::connect("@doc-try-send")?;
    /// while log.try_send(b"a line").is_ok() {}
    ///
    /// let Err(SendError::Full { consumer: Some(slow) }) = log.try_send(b"one more") else { panic!("there is room") };
    /// assert_eq!((slow.pid, slow.behind_bytes), (Some(std::process::id()), 4096));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::Full`] if the ring is full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Forked`] in a forked child
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_until(payload, 0, Deadline::Now)
    }

    /// Like [`send`](Self::send), but waits at most `timeout` for room.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, errors::SendError, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut log = LaneOptions::new("log").capacity(4096).create()?;
    /// # let server = Server::listen("@doc-send-timeout", [&log])?;
    /// # let consumer = Consumer::connect("@doc-send-timeout")?;
    /// use std::time::Duration;
    ///
    /// log.send_timeout(&[0; 2040], Duration::from_millis(10))?; // half of a ring of 4 KiB
    /// log.send_timeout(&[0; 2040], Duration::from_millis(10))?;
    /// let error = log.send_timeout(b"one more", Duration::from_millis(10)).unwrap_err();
    /// assert!(matches!(error, SendError::TimedOut { consumer: Some(_) }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.send_until(payload, 0, Deadline::after(timeout))
    }

    /// Like [`send`](Self::send), but waits for room only until `deadline`, which several calls can
    /// share.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// use std::time::{Duration, Instant};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// for word in ["one", "two", "six"] {
    ///     lane.send_deadline(word.as_bytes(), deadline)?;
    /// }
    /// assert_eq!(lane.published(), 3 * 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `payload` is longer than [`LaneInfo::payload_max`]
    /// - [`SendError::TimedOut`] if the ring stayed full; it names the consumer that holds the lane back
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than its [`NoConsumer`] requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`SendError::Forked`] in a forked child
    pub fn send_deadline(&mut self, payload: &[u8], deadline: Instant) -> Result<(), SendError> {
        self.send_until(payload, 0, Deadline::At(deadline))
    }

    /// Begins a batch: records that are published together by [`Batch::commit`]. Dropping the batch discards what is
    /// not published yet: a batch that is longer than the ring is published in parts.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// let mut batch = lane.batch()?;
    /// batch.send(b"published")?;
    /// batch.send(b"together")?;
    /// let end = batch.commit();
    /// assert_eq!(end, lane.published());
    ///
    /// lane.batch()?.send(b"discarded")?;
    /// assert_eq!(lane.published(), end);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError::Forked`] in a forked child.
    #[inline]
    pub fn batch(&mut self) -> Result<Batch<'_>, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        self.publisher.writer.rewind();
        Ok(Batch { room: self.publisher.writer.room(), producer: self })
    }

    /// Finishes the lane: consumers read what was published and then get the end of the stream, `None`. Dropping the
    /// producer does the same, except in a panic.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-finish", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-finish")?;
    /// ticks.send(b"the last one")?;
    /// ticks.finish();
    ///
    /// assert!(consumer.receive()?.is_some());
    /// assert!(consumer.receive()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("close"))]
    pub fn finish(self) {
        // The drop does it.
    }

    /// Ends the lane as incomplete, as a panic would: consumers read what was published and then get
    /// [`ReceiveError::Abandoned`](crate::errors::ReceiveError::Abandoned). For producers that fail without a panic.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::ReceiveError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut rows = Producer::create("rows")?;
    /// # let server = Server::listen("@doc-abandon", [&rows])?;
    /// # let mut consumer = Consumer::connect("@doc-abandon")?;
    /// rows.send(b"row 1 of 1000")?;
    /// rows.abandon(); // the database is gone
    ///
    /// assert!(consumer.receive()?.is_some());
    /// assert_eq!(consumer.receive().unwrap_err(), ReceiveError::Abandoned);
    /// # Ok(())
    /// # }
    /// ```
    pub fn abandon(mut self) {
        self.ending = LaneEnd::Abandon;
    }

    /// The facts of the lane: name, capacity, alignments, the longest payload.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let ticks = fdring::Producer::create("ticks")?;
    /// assert_eq!(ticks.lane().name, "ticks");
    /// assert_eq!(ticks.lane().payload_max, (2 << 20) - 8); // half of the ring, less a header
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> &LaneInfo {
        &self.lane.info
    }

    /// The position after the last published record, in bytes since the lane was created, headers and padding included.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = fdring::Producer::create("ticks")?;
    /// assert_eq!(ticks.published(), 0);
    /// ticks.send(b"hello")?; // 8 bytes of header, 5 of payload, 3 up to the next multiple of 8
    /// assert_eq!(ticks.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn published(&self) -> u64 {
        self.publisher.writer.published()
    }

    /// The consumers that have a seat on this lane now: who they are, how far behind they are, and whether they sleep.
    /// Empty in a forked child.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-consumers", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-consumers")?;
    /// ticks.send(b"hello")?;
    /// for consumer in ticks.consumers() {
    ///     println!("process {:?} has {} bytes to read", consumer.pid, consumer.behind_bytes);
    /// }
    /// assert_eq!(ticks.consumers()[0].behind_bytes, 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return Vec::new();
        }
        let published = self.published();
        self.lane.roster.seats().iter().map(|seat| ConsumerInfo::new(seat, seat.behind_bytes(published))).collect()
    }

    /// The number of consumers that this lane has now; 0 in a forked child. A consumer that was dropped does not count,
    /// even if the server has not noticed yet.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-consumer-count", [&ticks])?;
    /// assert_eq!(ticks.consumer_count(), 0);
    ///
    /// let consumer = Consumer::connect("@doc-consumer-count")?;
    /// assert_eq!(ticks.consumer_count(), 1);
    /// drop(consumer);
    /// assert_eq!(ticks.consumer_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn consumer_count(&self) -> usize {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return 0;
        }
        self.lane.roster.len()
    }

    /// The number of taps that this lane has now; 0 in a forked child. Taps do not count as consumers: the lane never
    /// waits for one.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Tap};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-tap-count", [&ticks])?;
    /// let tap = Tap::connect("@doc-tap-count")?;
    /// assert_eq!((ticks.tap_count(), ticks.consumer_count()), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tap_count(&self) -> usize {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return 0;
        }
        self.lane.roster.taps()
    }

    /// Whether the ring is in huge pages, and if not, why.
    ///
    /// ```
    /// use fdring::info::HugePagesOutcome;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let ticks = fdring::Producer::create("ticks")?;
    /// assert_eq!(*ticks.huge_pages(), HugePagesOutcome::NotAsked);
    /// # Ok(())
    /// # }
    /// ```
    pub fn huge_pages(&self) -> &HugePagesOutcome {
        self.lane.huge_pages()
    }

    /// Whether there is room for a record of `len` bytes, at most [`LaneInfo::payload_max`], now.
    #[inline]
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        self.publisher.writer.rewind();
        self.publisher.writer.claim(len as u64).is_some() || self.try_reserve(len).is_ok()
    }

    /// As `has_room`, if that needs no closer look; `false` says only that it does.
    #[inline(always)]
    pub(crate) fn has_clear_room(&self, len: usize) -> bool {
        self.publisher.writer.room().claim(len as u64).is_some()
    }

    /// The bytes of a record of `len` bytes of payload, and how many of them fit side by side without a closer look.
    pub(crate) fn clear_records(&mut self, len: usize) -> (u64, usize) {
        self.publisher.writer.rewind();
        let room = self.publisher.writer.room();
        let size = room.geometry().record_size(len as u64);
        (size, usize::try_from(room.clear_bytes() / size).unwrap_or(usize::MAX))
    }

    /// [`Error::Forked`](crate::Error::Forked) in a forked child.
    pub(crate) fn check_owner(&self) -> Result<()> {
        self.guard.check()
    }

    /// The lane, for the session layer to offer.
    pub(crate) fn owned_lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Ends the lane, once.
    fn end(&mut self) {
        let abandons = match std::mem::replace(&mut self.ending, LaneEnd::Done) {
            LaneEnd::Finish => std::thread::panicking(),
            LaneEnd::Abandon => true,
            LaneEnd::Done => return,
        };
        let state = if abandons { LaneState::Abandoned } else { LaneState::Finished };
        crash::point!("producer-before-end");
        self.publisher.close(&self.lane.roster, state);
        if abandons {
            event!(WARN, "lane abandoned", lane = &*self.lane.info.name, published = self.published());
        } else {
            event!(INFO, "lane finished", lane = &*self.lane.info.name, published = self.published());
        }
        crash::point!("producer-after-end");
        self.lane.end();
    }

    /// Copies a payload of [`STREAMED_MIN_BYTES`](crate::stores::STREAMED_MIN_BYTES) or more to `position`, claimed and
    /// not published, by the stores that are chosen.
    #[inline(never)]
    fn copy_long(&mut self, position: u64, payload: &[u8]) {
        let streams = self.stores.streams_at(position, now_ns);
        let memory = self.publisher.writer.memory_mut();
        if streams {
            memory.stream_in(position, payload);
        } else {
            memory.bytes_mut(position, payload.len() as u64).copy_from_slice(payload);
        }
    }

    /// What a commit begins with if it has no shortcut: writes the time into the record that begins at `begin`.
    /// `batch_committed` is the end of what its batch has committed. False in a forked child, in which nothing is
    /// committed.
    ///
    /// All by value: a batch whose address is taken is in memory, where each record waits for the one before (0.6 ns).
    #[cold]
    fn stamp(&mut self, batch_committed: Option<u64>, begin: u64) -> bool {
        if self.guard.is_child() {
            return false;
        }
        let writer = &mut self.publisher.writer;
        let committed = batch_committed.unwrap_or_else(|| writer.room().committed());
        writer.stamp(committed, begin, now_ns);
        true
    }

    /// Publishes the record that was just committed, which begins at `last`, and wakes those who sleep.
    #[inline]
    fn publish(&mut self, last: u64) {
        self.publish_by(|publisher, roster| publisher.publish(roster, last));
    }

    /// Takes back the room of a batch, publishes what it has committed, and wakes those who sleep.
    #[inline]
    fn publish_batch(&mut self, room: Room) {
        self.publish_by(|publisher, roster| publisher.publish_batch(roster, room));
    }

    #[inline(always)]
    fn publish_by(&mut self, publish: impl FnOnce(&mut Publisher<WritableLane, SeatHandle>, &Roster<SeatHandle>)) {
        crash::point!("producer-before-publication");
        publish(&mut self.publisher, &self.lane.roster);
        crash::point!("producer-after-publication");
    }
}

impl LaneOptions {
    /// Creates the lane: two memory regions, sealed so that no other process can ever write to them.
    ///
    /// Memory for the whole ring is allocated here. With [`prefault`](Self::prefault), 256 MiB take about 190 ms.
    ///
    /// ```
    /// use fdring::options::LaneOptions;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").capacity(64 << 10).create()?;
    /// ticks.send(b"hello")?;
    ///
    /// let error = LaneOptions::new("ticks").capacity(100_000).create().unwrap_err();
    /// assert!(error.to_string().contains("not a power of two"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`](crate::Error::Invalid) if the name is not 1 to 64 bytes long or contains a control
    ///   character
    /// - [`Error::Geometry`](crate::Error::Geometry) if the capacity or an alignment is out of range
    /// - [`Error::Os`](crate::Error::Os) if the system is short of memory or descriptors: a lane holds two, and needs a
    ///   third for a moment
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn create(self) -> Result<Producer> {
        Producer::create_at(&self, 0)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        self.end();
    }
}

/// Payloads up to this length, in bytes, are short enough for every ring: a record may take half of it, and what comes
/// before its payload takes at most a quarter.
const FITS_ALWAYS_BYTES: usize = CAPACITY_MIN_BYTES as usize / 4;

const _: () = {
    let align = CAPACITY_MIN_BYTES as u32 / 4;
    assert!(Geometry::new(CAPACITY_MIN_BYTES, 2 * align, align).is_err(), "no longer alignment");
    let Ok(shortest) = Geometry::new(CAPACITY_MIN_BYTES, align, align) else { panic!("the shortest ring") };
    assert!(shortest.payload_max() == FITS_ALWAYS_BYTES as u64);
};

/// Returns [`SendError::TooLong`] for a payload whose record would take more than half of the ring.
#[inline(always)]
fn check_len(room: &Room, len: usize) -> Result<(), SendError> {
    // Where the compiler knows the length, no check is left, and a batch keeps no register for `max`.
    if len <= FITS_ALWAYS_BYTES {
        return Ok(());
    }
    let max = room.payload_max() as usize;
    if len > max { Err(SendError::TooLong { len, max }) } else { Ok(()) }
}
