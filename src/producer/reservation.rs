//! Room in the ring for one record, as a slice to fill.
//!
//! The invariant: only [`Reservation::commit`] leaves anything behind.

use super::{Producer, ReservationWriter};
use crate::crash;
use crate::memory::WritableLane;
use crate::ring::writer::{Claim, Room};
use std::ops::{Deref, DerefMut};

/// Payloads up to this length, in bytes, are copied word by word. They are often values that the caller has just made.
const WORDS_BYTES_MAX: usize = 128;

/// Room in the ring for one record: a `&mut [u8]` to fill, then [`commit`](Self::commit). Dropping it discards it.
///
/// Before they are filled, the bytes are what the ring held there: older records of this lane, or zeros. What is
/// written and then discarded or truncated stays there until it is overwritten: a consumer maps the whole ring, and
/// sees up to a capacity of history, also one that attaches later as another user. A forked child must not touch the
/// bytes: the ring is not mapped there, and something else may be.
#[derive(Debug)]
#[must_use = "a reservation that is not committed is discarded"]
pub struct Reservation<'a> {
    pub(super) producer: &'a mut Producer,
    /// The room of the batch that it is part of, if it is.
    pub(super) batch: Option<&'a mut Room>,
    pub(super) claim: Claim,
    pub(super) tag: u16,
}

impl<'a> Reservation<'a> {
    /// Sets the tag, an application-defined number that goes with the record. Default: 0.
    #[inline]
    pub fn set_tag(&mut self, tag: u16) {
        self.tag = tag;
    }

    /// Shortens the payload to its first `len` bytes, for a reservation made before its length was known. No effect if
    /// it is already that short.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.producer.publisher.writer.room().truncate(&mut self.claim, len as u64);
    }

    /// A [`Write`](std::io::Write) into this reservation, for a payload whose length is known once it is written.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("log")?;
    /// let mut line = lane.reserve(80)?.writer();
    /// write!(line, "{} of {} done", 3, 7)?;
    /// line.commit(); // 11 bytes
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn writer(self) -> ReservationWriter<'a> {
        ReservationWriter::new(self)
    }

    /// Completes the record, and returns the position after it: bytes since the lane was made, headers and padding
    /// included. Made by a producer the record is published at once; made by a batch, with the batch. In a forked child
    /// nothing is published.
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
        let end = self.claim.end();
        if self.producer.guard.is_child() {
            return end;
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
                crash::point!("producer-after-header");
                self.producer.publish(self.claim.begin());
            }
        }
        end
    }

    #[inline(always)]
    pub(super) fn fill_and_commit(mut self, fill: impl FnOnce(&mut [u8])) {
        fill(&mut self);
        self.commit();
    }

    #[inline(always)]
    pub(super) fn copy_and_commit(mut self, payload: &[u8]) {
        crash::point!("producer-in-fill", self[..payload.len() / 2].copy_from_slice(&payload[..payload.len() / 2]));
        if payload.len() <= WORDS_BYTES_MAX {
            let position = self.claim.payload();
            self.memory_mut().copy_in(position, payload);
        } else {
            self.copy_from_slice(payload);
        }
        self.commit();
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
        self.producer.publisher.writer.memory().bytes(self.claim.payload(), self.claim.len())
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (payload, len) = (self.claim.payload(), self.claim.len());
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
