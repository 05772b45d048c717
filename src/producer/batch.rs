//! Records that are published together.
//!
//! The invariant: until it is committed, nobody hears of it, but for the parts that had to go out because the ring was
//! full. What this file does not do: it finds no room beyond what the producer last found.

use super::{Producer, Reservation, SendError, check_len};
use crate::crash;
use crate::deadline::Deadline;
use crate::ring::writer::Room;
use std::time::{Duration, Instant};

/// Records that are published together, by [`commit`](Self::commit). Dropping it discards them.
///
/// A batch that is longer than the ring is published in parts whenever the ring fills. Published parts stay, even if
/// the batch is then dropped.
#[derive(Debug)]
#[must_use = "a batch that is not committed is discarded"]
pub struct Batch<'a> {
    pub(super) producer: &'a mut Producer,
    /// Runs ahead of the producer's own until the batch is committed, or the ring is full.
    pub(super) room: Room,
}

impl Batch<'_> {
    /// Room for the batch's next record; waits while the ring is full.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::Never)
    }

    /// As [`reserve`](Self::reserve), but never waits. If the ring is full, what the batch holds has been published.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_reserve`].
    #[inline]
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::Now)
    }

    /// As [`reserve`](Self::reserve), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve_timeout`].
    pub fn reserve_timeout(&mut self, len: usize, timeout: Duration) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::after(timeout))
    }

    /// As [`reserve`](Self::reserve), but waits no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve_timeout`].
    pub fn reserve_deadline(&mut self, len: usize, deadline: Instant) -> Result<Reservation<'_>, SendError> {
        self.reserve_until(len, Deadline::At(deadline))
    }

    #[inline(always)]
    fn reserve_until(&mut self, len: usize, deadline: Deadline) -> Result<Reservation<'_>, SendError> {
        if self.producer.guard.is_child() {
            return Err(SendError::Forked);
        }
        check_len(&self.room, len)?;
        let claim = match self.room.claim(len as u64) {
            Some(claim) => claim,
            None => {
                let (claim, room) = self.producer.claim_beyond(self.room, len as u64, deadline)?;
                self.room = room;
                claim
            }
        };
        crash::point!("producer-reserved-in-batch");
        Ok(Reservation {
            producer: self.producer,
            batch: Some(&mut self.room),
            claim: claim.with_len(len as u64),
            tag: 0,
        })
    }

    /// Copies `payload` into the batch's next record; waits while the ring is full.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
    #[inline(always)]
    pub fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.reserve(payload.len())?.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), with a tag: an application-defined number that goes with the record.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// let mut batch = lane.batch()?;
    /// for (word, line) in [("one", 1), ("two", 1), ("three", 2)] {
    ///     batch.send_tagged(word.as_bytes(), line)?;
    /// }
    /// batch.commit();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
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
    /// As [`Producer::try_reserve`].
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.try_reserve(payload.len())?.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but waits no longer than `timeout`. If the ring is full, what the batch
    /// holds has been published.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("words")?;
    /// let mut batch = lane.batch()?;
    /// for word in ["one", "two", "three"] {
    ///     batch.send_timeout(word.as_bytes(), Duration::from_secs(1))?;
    /// }
    /// batch.commit();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve_timeout`].
    pub fn send_timeout(&mut self, payload: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.reserve_timeout(payload.len(), timeout)?.copy_and_commit(payload);
        Ok(())
    }

    /// As [`send`](Self::send), but waits no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve_timeout`].
    pub fn send_deadline(&mut self, payload: &[u8], deadline: Instant) -> Result<(), SendError> {
        self.reserve_deadline(payload.len(), deadline)?.copy_and_commit(payload);
        Ok(())
    }

    /// Publishes the records of the batch; returns the position after the last of them, which is then
    /// [`Producer::published`].
    #[inline]
    pub fn commit(self) -> u64 {
        self.producer.publisher.writer.resume(self.room);
        if self.producer.publisher.writer.has_unpublished() && !self.producer.guard.is_child() {
            self.producer.publish(self.room.last());
        }
        self.producer.published()
    }
}
