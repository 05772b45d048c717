//! The writing end of a lane: reserve, fill, commit.
//!
//! [`Producer`] puts together the publication protocol, the roster that says how far the ring may be overwritten, the
//! waking of consumers, and deadlines. What it does not do: it opens no socket. A [`Server`](crate::Server) offers its
//! lane.

mod batch;
mod error;
mod reservation;
mod reservation_writer;
pub(crate) mod runs;
mod waits;

pub use batch::Batch;
pub use error::SendError;
pub use reservation::Reservation;
pub use reservation_writer::ReservationWriter;
pub use runs::Records;

use crate::crash;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::lane::{ConsumerInfo, Lane, LaneInfo, LaneOptions, SeatHandle};
use crate::layout::LaneState;
use crate::memory::WritableLane;
use crate::os::fork::ForkGuard;
use crate::os::spin::Spins;
use crate::region::HugePagesOutcome;
use crate::ring::publisher::Publisher;
use crate::ring::writer::{Room, Writer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The writing end of a lane; there is one.
///
/// Records go to every consumer that has joined. The lane waits for the slowest of them, so that nothing is lost; with
/// no consumer it never waits. Dropping the producer ends the lane in order: consumers read what was published and then
/// see the end. Dropped by a panic, or [abandoned](Self::abandon), it ends as such, and they are told so.
///
/// A record that is sent while there is no consumer goes nowhere, and `send` returns `Ok`. If the first records matter,
/// wait for the consumers first: [`wait_for_consumers`](Self::wait_for_consumers).
///
/// A producer is `Send` and `Sync`: it can be moved to another thread.
///
/// ```
/// use fdring::{Producer, options::LaneOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut lane = Producer::create("ticks")?;
///
/// lane.fill(16, |bytes| bytes.copy_from_slice(b"filled in place."))?; // 16 bytes, in the ring itself
///
/// lane.send(b"copied into the ring")?;
///
/// let mut slot = lane.reserve(16)?; // as `fill`, in steps
/// slot[..5].copy_from_slice(b"short");
/// slot.truncate(5);
/// slot.commit();
///
/// let mut batch = lane.batch()?; // many records, one publication
/// for word in ["one", "two", "three"] {
///     batch.send(word.as_bytes())?;
/// }
/// batch.commit();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a producer ends its lane; keep it in a variable"]
pub struct Producer {
    publisher: Publisher<WritableLane, SeatHandle>,
    lane: Arc<Lane>,
    spin: Duration,
    spins: Spins,
    guard: ForkGuard,
    /// Whether the lane ends before its time.
    abandons: bool,
}

impl Producer {
    /// Makes a lane of that name with the default [`LaneOptions`].
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
    /// As [`LaneOptions::create`].
    pub fn create(name: impl Into<String>) -> Result<Self> {
        LaneOptions::new(name).create()
    }

    /// A lane whose ring begins at `position`: 0, but for tests that begin near an edge of the number space.
    pub(crate) fn create_at(options: &LaneOptions, position: u64) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let (lane, writable) = Lane::create(options, position)?;
        let spin = options.spin_duration();
        let publisher = Publisher::new(Writer::new(writable, position), lane.terms.barrier);
        Ok(Self { publisher, lane, spin, spins: Spins::default(), guard, abandons: false })
    }

    /// Reserves a record of `len` payload bytes in the ring itself, has `fill` write it, and publishes it; waits while
    /// the ring is full. There is no commit to forget.
    ///
    /// Before they are filled, the bytes are as in a [`Reservation`]. If `fill` panics, the record is discarded.
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
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    #[inline]
    pub fn fill(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), SendError> {
        self.reserve(len)?.fill_and_commit(fill);
        Ok(())
    }

    /// As [`fill`](Self::fill), but never waits; `fill` is called only if there is room.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    #[inline]
    pub fn try_fill(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), SendError> {
        self.try_reserve(len)?.fill_and_commit(fill);
        Ok(())
    }

    /// As [`fill`](Self::fill), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`reserve_timeout`](Self::reserve_timeout).
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

    /// Room for a record of `len` payload bytes in the ring itself; waits while the ring is full. Dropping the
    /// reservation discards it.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLong`], or [`SendError::Forked`].
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::Never)
    }

    /// As [`reserve`](Self::reserve), but never waits.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] as well.
    #[inline]
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::Now)
    }

    /// As [`reserve`](Self::reserve), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendError::TimedOut`] as well, which names the consumer that holds the lane back.
    pub fn reserve_timeout(&mut self, len: usize, timeout: Duration) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::after(timeout))
    }

    /// As [`reserve`](Self::reserve), but waits no longer than until `deadline`: for loops that have a common one.
    ///
    /// # Errors
    ///
    /// As [`reserve_timeout`](Self::reserve_timeout).
    pub fn reserve_deadline(&mut self, len: usize, deadline: Instant) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::At(deadline))
    }

    #[inline(always)]
    fn reserve_until(&mut self, len: usize, deadline: Deadline) -> Result<Reservation<'_>, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        // What was committed in a batch and not published is forgotten.
        self.publisher.writer.rewind();
        check_len(&self.publisher.writer.room(), len)?;
        let claim = match self.publisher.writer.claim(len as u64) {
            Some(claim) => claim,
            None => self.wait_for_room(len as u64, deadline)?,
        };
        crash::point!("producer-reserved");
        Ok(Reservation { producer: self, batch: None, claim: claim.with_len(len as u64), tag: 0 })
    }

    /// Copies `payload` into a record of its own; waits while the ring is full. With no consumer the record goes
    /// nowhere, and the call returns `Ok`.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    pub fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.reserve(payload.len())?.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), with a tag: an application-defined number that goes with the record.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("orders")?;
    /// const CANCEL: u16 = 2;
    ///
    /// lane.send_tagged(b"order 17", CANCEL)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn send_tagged(&mut self, payload: &[u8], tag: u16) -> Result<(), SendError> {
        let mut slot = self.reserve(payload.len())?;
        slot.set_tag(tag);
        slot.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but never waits.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.try_reserve(payload.len())?.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`reserve_timeout`](Self::reserve_timeout).
    pub fn send_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.reserve_timeout(payload.len(), timeout)?.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but waits no longer than until `deadline`: for loops that have a common one.
    ///
    /// # Errors
    ///
    /// As [`reserve_timeout`](Self::reserve_timeout).
    pub fn send_deadline(&mut self, payload: &[u8], deadline: Instant) -> Result<(), SendError> {
        self.reserve_deadline(payload.len(), deadline)?.copy_and_commit(payload);
        Ok(())
    }

    /// Begins a batch: records that are published together. Dropping it discards them.
    ///
    /// # Errors
    ///
    /// [`SendError::Forked`].
    #[inline]
    pub fn batch(&mut self) -> Result<Batch<'_>, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        self.publisher.writer.rewind();
        Ok(Batch { room: self.publisher.writer.room(), producer: self })
    }

    /// Ends the lane in order, as dropping the producer does.
    pub fn finish(self) {
        // The drop does it.
    }

    /// Ends the lane as incomplete, as a panic would: consumers read what was published and then get
    /// [`ReceiveError::Abandoned`](crate::errors::ReceiveError::Abandoned). For producers that fail without a panic.
    pub fn abandon(mut self) {
        self.abandons = true;
    }

    /// What is known of the lane: name, capacity, alignments, the longest payload.
    pub fn lane(&self) -> &LaneInfo {
        &self.lane.info
    }

    /// The position up to which everything is published: bytes since the lane was made, headers and padding included.
    pub fn published(&self) -> u64 {
        self.publisher.writer.published()
    }

    /// The consumers that have a seat on this lane now: who they are, how far behind, whether they sleep. None in a
    /// forked child.
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
    /// # assert_eq!(ticks.consumers()[0].behind_bytes, 16);
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

    /// How many consumers this lane has now; none in a forked child. One that was dropped does not count, even if the
    /// server has not heard of it yet.
    pub fn consumer_count(&self) -> usize {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return 0;
        }
        self.lane.roster.len()
    }

    /// Whether the ring is in huge pages, and if not, why.
    pub fn huge_pages(&self) -> &HugePagesOutcome {
        self.lane.huge_pages()
    }

    /// [`Error::Forked`](crate::Error::Forked) in a forked child.
    pub(crate) fn check_owner(&self) -> Result<()> {
        self.guard.check()
    }

    /// The lane, for the session layer to offer.
    pub(crate) fn owned_lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Publishes what is committed, of which the last record begins at `last`, and wakes those who sleep.
    #[inline]
    fn publish(&mut self, last: u64) {
        crash::point!("producer-before-publication");
        self.publisher.publish(&self.lane.roster, last);
        crash::point!("producer-after-publication");
    }
}

impl LaneOptions {
    /// Makes the lane: two regions in memory, sealed so that nobody else can ever write to them.
    ///
    /// Memory for the whole ring is allocated here. With [`prefault`](Self::prefault) 256 MiB take about 190 ms.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a name and [`Error::Geometry`](crate::Error::Geometry) for a
    /// capacity or an alignment out of range; [`Error::Os`](crate::Error::Os) if memory or descriptors (two, and one
    /// more for a moment) are lacking; [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has
    /// used this library.
    pub fn create(self) -> Result<Producer> {
        Producer::create_at(&self, 0)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        let abandons = self.abandons || std::thread::panicking();
        let state = if abandons { LaneState::Abandoned } else { LaneState::Finished };
        crash::point!("producer-before-end");
        self.publisher.close(&self.lane.roster, state);
        crash::point!("producer-after-end");
        self.lane.end();
    }
}

/// [`SendError::TooLong`] for a payload that takes more than half of the ring.
#[inline(always)]
fn check_len(room: &Room, len: usize) -> Result<(), SendError> {
    let max = room.payload_max() as usize;
    if len > max { Err(SendError::TooLong { len, max }) } else { Ok(()) }
}
