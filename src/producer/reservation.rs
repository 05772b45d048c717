//! Room in the ring for one record, as a slice to fill.
//!
//! The invariant: without [`Reservation::commit`], a reservation has no effect.

use super::{Producer, ReservationWriter};
use crate::crash;
use crate::memory::WritableLane;
use crate::ring::writer::{Claim, Room};
use crate::stores::STREAMED_MIN_BYTES;
use std::ops::{Deref, DerefMut};

/// Payloads up to this length, in bytes, are copied word by word. They are often values that the caller has just made.
const WORDS_BYTES_MAX: usize = 128;

/// Room in the ring for one record. It dereferences to `[u8]`, mutably: fill it, then [`commit`](Self::commit).
/// Dropping it discards the record.
///
/// Before they are filled, the bytes are what the ring held there: older records of this lane, or zeros. Bytes that are
/// written and then discarded or truncated stay in the ring until they are overwritten. A consumer maps the whole ring:
/// it can see up to a capacity of history, even if it attaches later or belongs to another user.
///
/// A forked child must not touch the bytes: the ring is not mapped there, and other memory may be mapped instead.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut lane = fdring::Producer::create("points")?;
/// let mut slot = lane.reserve(16)?;
/// slot[..8].copy_from_slice(&1.5_f64.to_le_bytes());
/// slot[8..].copy_from_slice(&(-2.0_f64).to_le_bytes());
/// slot.commit();
/// assert_eq!(lane.published(), 24);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a reservation that is not committed is discarded"]
#[repr(C)]
pub struct Reservation<'a> {
    // In this order the tag lies where an error has its number, in what `reserve` returns. If a pointer lies there, the
    // optimiser takes it apart, and so keeps the batch in memory: each record of a batch then takes 0.6 ns longer.
    pub(super) producer: &'a mut Producer,
    pub(super) tag: u16,
    pub(super) claim: Claim,
    /// The room of the batch that the record belongs to, if any.
    pub(super) batch: Option<&'a mut Room>,
}

impl<'a> Reservation<'a> {
    /// The room of `claim`, in the `batch` that it belongs to.
    #[inline(always)]
    pub(super) fn new(producer: &'a mut Producer, batch: Option<&'a mut Room>, claim: Claim) -> Self {
        let slot = Self { producer, tag: 0, claim, batch };
        slot.producer.publisher.writer.memory().lines().take(&slot);
        slot
    }

    /// There is more to do until this record is published, and then an answer is waited for.
    #[inline(always)]
    pub(crate) fn expect_answer(&self) {
        self.producer.publisher.writer.memory().lines().take_own_of_short(self);
    }

    /// Sets the tag, a 16-bit number of the application's choice, which consumers see as
    /// [`Record::tag`](crate::Record::tag). Default: 0.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("events")?;
    /// # let server = Server::listen("@doc-set-tag", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-set-tag")?;
    /// let mut slot = lane.reserve(4)?;
    /// slot.copy_from_slice(b"stop");
    /// slot.set_tag(7);
    /// slot.commit();
    /// assert_eq!(consumer.receive()?.unwrap().tag(), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set_tag(&mut self, tag: u16) {
        self.tag = tag;
    }

    /// Shortens the payload to its first `len` bytes, for a reservation made before its length was known. No effect if
    /// it is already that short.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("log")?;
    /// # let server = Server::listen("@doc-truncate", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-truncate")?;
    /// let mut input = std::io::Cursor::new(b"a short line\n");
    ///
    /// let mut slot = lane.reserve(4096)?;
    /// let len = std::io::Read::read(&mut input, &mut slot)?; // straight into the ring
    /// slot.truncate(len);
    /// slot.commit();
    /// assert_eq!(consumer.receive()?.unwrap().len(), 13);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.producer.publisher.writer.room().truncate(&mut self.claim, len as u64);
    }

    /// Turns the reservation into a [`Write`](std::io::Write), for a payload whose length is known only once it is
    /// written.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("log")?;
    /// let mut line = lane.reserve(80)?.writer();
    /// write!(line, "{} of {} done", 3, 7)?;
    /// assert_eq!(line.written(), 11);
    /// line.commit();
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn writer(self) -> ReservationWriter<'a> {
        ReservationWriter::new(self)
    }

    /// Copies `payload` into the record by the lane's [stores](crate::options::Stores). The method of the same name of
    /// a slice does the same, but always by plain stores.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("frames")?;
    /// let frame = vec![7; 100_000];
    /// let mut slot = lane.reserve(frame.len())?;
    /// slot.copy_from_slice(&frame);
    /// slot.set_tag(1);
    /// slot.commit();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If `payload` is not as long as the record.
    #[inline(always)]
    pub fn copy_from_slice(&mut self, payload: &[u8]) {
        assert!(payload.len() == self.len(), "{} bytes for a record of {}", payload.len(), self.len());
        self.copy_to(0, payload);
    }

    /// Copies `bytes` to the bytes of the record from `offset` on, by the stores that are chosen.
    #[inline(always)]
    pub(super) fn copy_to(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.len() < STREAMED_MIN_BYTES {
            self[offset..][..bytes.len()].copy_from_slice(bytes);
        } else {
            assert!(offset + bytes.len() <= self.len(), "bytes beyond the record");
            self.producer.copy_long(self.payload() + offset as u64, bytes);
        }
    }

    /// Completes the record. Returns the position after it, in bytes since the lane was created, headers and padding
    /// included.
    ///
    /// A record reserved from a producer is published at once. A record reserved from a batch is published with the
    /// batch. In a forked child nothing is published.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("ticks")?;
    /// let mut slot = lane.reserve(5)?;
    /// slot.copy_from_slice(b"hello");
    /// let end = slot.commit();
    /// assert_eq!(end, lane.published());
    /// # Ok(())
    /// # }
    /// ```
    #[inline(always)]
    pub fn commit(self) -> u64 {
        let (end, is_closed) = (self.claim.end(), self.producer.shortcut.is_closed());
        self.complete(is_closed);
        end
    }

    /// Writes the header, and publishes the record if it is no batch's. If the
    /// [shortcut](crate::os::fork::Shortcut) `is_closed`, the time comes before that, and a forked child does nothing.
    #[inline(always)]
    pub(super) fn complete(self, is_closed: bool) {
        let (batch_committed, begin) = (self.batch.as_deref().map(Room::committed), self.claim.begin());
        if is_closed && !self.producer.stamp(batch_committed, begin) {
            // Its batch goes nowhere. What that held before would be kept for it on the stack, for each record of it.
            if let Some(room) = self.batch {
                room.pass(self.claim);
            }
            return;
        }
        crash::point!("producer-before-header");
        let writer = &mut self.producer.publisher.writer;
        match self.batch {
            Some(room) => {
                writer.commit_in(room, self.claim, self.tag);
                crash::point!("producer-between-batch-records");
            }
            None => {
                writer.commit(self.claim, self.tag);
                self.producer.publish(self.claim.begin());
            }
        }
    }

    #[inline(always)]
    pub(super) fn fill_and_commit(mut self, fill: impl FnOnce(&mut [u8])) {
        fill(&mut self);
        self.commit();
    }

    #[inline(always)]
    pub(super) fn copy_and_commit(mut self, payload: &[u8]) {
        self.copy(payload);
        self.commit();
    }

    /// Copies `payload` into the record, which is as long: word by word if it is short.
    #[inline(always)]
    pub(super) fn copy(&mut self, payload: &[u8]) {
        crash::point!("producer-in-fill", self[..payload.len() / 2].copy_from_slice(&payload[..payload.len() / 2]));
        if payload.len() <= WORDS_BYTES_MAX {
            let position = self.payload();
            self.memory_mut().copy_in(position, payload);
        } else {
            self.copy_from_slice(payload);
        }
    }

    /// The same to the bytes from `offset`, a multiple of 8, to the end of the record.
    #[inline(always)]
    pub(crate) fn copy_behind(&mut self, offset: usize, payload: &[u8]) {
        assert!(offset + payload.len() == self.len(), "{} bytes behind {offset} of {}", payload.len(), self.len());
        if payload.len() <= WORDS_BYTES_MAX {
            let position = self.payload() + offset as u64;
            self.memory_mut().copy_in(position, payload);
        } else {
            self.copy_to(offset, payload);
        }
    }

    /// The position after the record, if it is committed as long as it is now.
    pub(crate) fn end(&self) -> u64 {
        self.claim.end()
    }

    /// The position of the first payload byte.
    #[inline(always)]
    fn payload(&self) -> u64 {
        self.producer.publisher.writer.payload_of(&self.claim)
    }

    #[inline(always)]
    fn memory_mut(&mut self) -> &mut WritableLane {
        self.producer.publisher.writer.memory_mut()
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.producer.publisher.writer.memory().bytes(self.payload(), self.claim.len())
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (payload, len) = (self.payload(), self.claim.len());
        self.memory_mut().bytes_mut(payload, len)
    }
}

impl AsRef<[u8]> for Reservation<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Reservation<'_> {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}
