//! The writing end of a lane: reserve, fill, commit.
//!
//! [`Producer`] puts together the publication protocol, the roster that says how far the ring may be overwritten, the
//! waking of consumers, and deadlines. What it does not do: it opens no socket. A [`Server`](crate::Server) offers its
//! lane.

mod error;

pub use error::{Holder, SendError};

use crate::error::Result;
use crate::lane::{Lane, LaneOptions, SeatLink};
use crate::layout::LaneState;
use crate::publisher::Publisher;
use crate::region::{ForkGuard, HugePagesOutcome};
use crate::ring::writer::{Claim, Writer};
use crate::ring::{LaneCounter, LaneWriter, WritableLane};
use crate::roster::Gate;
use crate::wake::{Deadline, spin_until};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// The writing end of a lane; there is one.
///
/// Records go to every consumer that has joined. The lane waits for the slowest of them, so that nothing is lost; with
/// no consumer it never waits. Dropping the producer ends the lane in order: consumers read what was published and then
/// see the end. Dropped by a panic, or [abandoned](Self::abandon), it ends as such, and they are told so.
///
/// ```
/// use fdring::{LaneOptions, Producer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut lane = Producer::create(LaneOptions::new("ticks"))?;
///
/// lane.send(b"copied into the ring")?;
///
/// let mut slot = lane.reserve(16)?; // room for 16 bytes, in the ring itself
/// slot.copy_from_slice(b"filled where it ");
/// slot.truncate(14);
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
pub struct Producer {
    publisher: Publisher<WritableLane, SeatLink>,
    lane: Arc<Lane>,
    spin: Duration,
    guard: ForkGuard,
    /// Whether the lane ends before its time.
    fails: bool,
}

impl Producer {
    /// Makes a lane: two regions in memory, sealed so that nobody else can ever write to them.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a name, capacity or alignment out of range, and
    /// [`Error::Os`](crate::Error::Os) where memory or descriptors (two, and one more for a moment) cannot be had.
    pub fn create(options: LaneOptions) -> Result<Self> {
        Self::create_at(&options, 0)
    }

    /// A lane whose ring begins at `position`: 0, but for tests that begin near an edge of the number space.
    pub(crate) fn create_at(options: &LaneOptions, position: u64) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let (lane, writable) = Lane::create(options, position)?;
        let spin = options.spin_duration();
        Ok(Self { publisher: Publisher::new(Writer::new(writable, position)), lane, spin, guard, fails: false })
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

    #[inline]
    fn reserve_until(&mut self, len: usize, deadline: Deadline) -> Result<Reservation<'_>, SendError> {
        self.publisher.writer.rewind();
        self.claim(len, deadline, true)
    }

    /// Copies `payload` into a record of its own; waits while the ring is full.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.reserve(payload.len())?.fill_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but never waits.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.try_reserve(payload.len())?.fill_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`reserve_timeout`](Self::reserve_timeout).
    pub fn send_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.reserve_timeout(payload.len(), timeout)?.fill_and_commit(payload);
        Ok(())
    }

    /// Begins a run of records that are published at once. Dropping it discards them.
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
        Ok(Batch { producer: self })
    }

    /// Ends the lane in order, as dropping the producer does.
    pub fn finish(self) {}

    /// Ends the lane as one that lacks what was still to come, as a panic does: consumers read what was published and
    /// then get [`ReceiveError::Abandoned`](crate::ReceiveError::Abandoned). For producers that fail without a panic.
    pub fn abandon(mut self) {
        self.fails = true;
    }

    /// The lane's name.
    pub fn name(&self) -> &str {
        &self.lane.name
    }

    /// The length of the ring, in bytes.
    pub fn capacity(&self) -> u64 {
        self.lane.geometry.capacity()
    }

    /// The longest payload, in bytes.
    pub fn payload_max(&self) -> usize {
        self.lane.geometry.payload_max() as usize
    }

    /// How many bytes were published since the lane was made, headers and padding included.
    pub fn published(&self) -> u64 {
        self.publisher.writer.published()
    }

    /// How many consumers have a seat on this lane now; none in a forked child.
    pub fn consumers(&self) -> usize {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return 0;
        }
        self.lane.roster.len()
    }

    /// What became of the wish for huge pages.
    pub fn huge_pages(&self) -> &HugePagesOutcome {
        self.lane.huge_pages()
    }

    /// [`Error::Forked`](crate::Error::Forked) in a forked child.
    pub(crate) fn check_owner(&self) -> Result<()> {
        self.guard.check()
    }

    /// The lane, for the session layer to offer.
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    #[inline(always)]
    fn claim(&mut self, len: usize, deadline: Deadline, publishes: bool) -> Result<Reservation<'_>, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        let max = self.payload_max();
        if len > max {
            return Err(SendError::TooLong { len, max });
        }
        let claim = match self.publisher.writer.claim(len as u64) {
            Some(claim) => claim,
            None => self.claim_with_room(len as u64, deadline)?,
        };
        Ok(Reservation { producer: self, claim, len, tag: 0, publishes })
    }

    /// Looks for room where the last look does not suffice; spins for it, then sleeps.
    #[cold]
    fn claim_with_room(&mut self, len: u64, deadline: Deadline) -> Result<Claim, SendError> {
        let gate = match self.publisher.find_room(&self.lane.roster, len) {
            Ok(claim) => return Ok(claim),
            Err(gate) if deadline == Deadline::Now => return Err(SendError::Full { holder: self.holder(gate) }),
            Err(gate) => gate,
        };
        self.publisher.writer.ring_mut().count(LaneCounter::TimesBlocked, 1);
        if let Some(claim) = spin_until(self.spin, deadline, |_| self.publisher.find_room(&self.lane.roster, len).ok())
        {
            return Ok(claim);
        }
        let mut gate = gate;
        loop {
            if deadline.has_passed() {
                return Err(SendError::TimedOut { holder: self.holder(gate) });
            }
            match self.publisher.sleep_for_space(&self.lane.roster, len, deadline) {
                Ok(claim) => return Ok(claim),
                Err(now) => gate = now,
            }
        }
    }

    fn holder(&self, gate: Option<Gate>) -> Option<Holder> {
        let gate = gate?;
        let seat = self.lane.roster.seat(gate.seat_id)?;
        Some(Holder { pid: seat.pid(), behind_bytes: gate.behind_bytes })
    }

    /// Publishes what is committed, and wakes those who sleep.
    fn publish(&mut self) {
        self.publisher.publish(&self.lane.roster);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        let fails = self.fails || std::thread::panicking();
        let state = if fails { LaneState::Abandoned } else { LaneState::Finished };
        self.publisher.close(&self.lane.roster, state);
        self.lane.end();
    }
}

/// Room in the ring for one record: a `&mut [u8]` to fill, then [`commit`](Self::commit). Dropping it discards it.
///
/// What stands in the bytes before they are filled is whatever the ring held there: old records of this lane, or zeros.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is discarded"]
pub struct Reservation<'a> {
    producer: &'a mut Producer,
    claim: Claim,
    len: usize,
    tag: u16,
    publishes: bool,
}

impl Reservation<'_> {
    /// Sets the tag, a number of the user's that goes with the record; 0 unless set.
    #[inline]
    pub fn set_tag(&mut self, tag: u16) {
        self.tag = tag;
    }

    /// Shortens the payload to its first `len` bytes, for a reservation made before its length was known. Nothing
    /// happens where it is no longer than that.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Completes the record. Made by a producer it is published at once; made by a batch, with the batch. In a forked
    /// child nothing happens.
    #[inline(always)]
    pub fn commit(self) {
        if self.producer.guard.is_child() {
            return;
        }
        self.producer.publisher.writer.commit(self.claim, self.len as u64, self.tag);
        if self.publishes {
            self.producer.publish();
        }
    }

    #[inline]
    fn fill_and_commit(mut self, payload: &[u8]) {
        self.copy_from_slice(payload);
        self.commit();
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let position = self.producer.publisher.writer.payload_position(&self.claim);
        self.producer.publisher.writer.ring().payload(position, self.len as u64)
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let position = self.producer.publisher.writer.payload_position(&self.claim);
        self.producer.publisher.writer.ring_mut().payload_mut(position, self.len as u64)
    }
}

/// A run of records that are published together, by [`commit`](Self::commit). Dropping it discards them.
///
/// A batch that does not fit the ring goes out in parts, each when the ring is full: what has gone out stays, and a
/// batch that waits for room has told consumers of all that it holds.
#[derive(Debug)]
#[must_use = "a batch that is not committed is discarded"]
pub struct Batch<'a> {
    producer: &'a mut Producer,
}

impl Batch<'_> {
    /// Room for the batch's next record; waits while the ring is full.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.producer.claim(len, Deadline::Never, false)
    }

    /// As [`reserve`](Self::reserve), but never waits.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_reserve`].
    #[inline]
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.producer.claim(len, Deadline::Now, false)
    }

    /// As [`reserve`](Self::reserve), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve_timeout`].
    pub fn reserve_timeout(&mut self, len: usize, timeout: Duration) -> Result<Reservation<'_>, SendError> {
        self.producer.claim(len, Deadline::after(timeout), false)
    }

    /// Copies `payload` into the batch's next record; waits while the ring is full.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
    #[inline]
    pub fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.reserve(payload.len())?.fill_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but never waits.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_reserve`].
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.try_reserve(payload.len())?.fill_and_commit(payload);
        Ok(())
    }

    /// Publishes the records of the batch.
    #[inline]
    pub fn commit(self) {
        if self.producer.publisher.writer.has_unpublished() && !self.producer.guard.is_child() {
            self.producer.publish();
        }
    }
}
