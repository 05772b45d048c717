//! A run of records that are published at once.
//!
//! The invariant: until it is committed, nobody hears of it, but for the parts that had to go out because the ring was
//! full. What this file does not do: it finds no room beyond what the producer last found.

use super::{Producer, Reservation, SendError, check_len};
use crate::crash;
use crate::ring::row::fill_row;
use crate::ring::writer::Room;
use crate::wake::Deadline;
use std::time::Duration;

/// A run of records that are published together, by [`commit`](Self::commit). Dropping it discards them.
///
/// A batch that does not fit the ring goes out in parts, each when the ring is full: what has gone out stays, and a
/// batch that waits for room has told consumers of all that it holds.
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

    /// As [`reserve`](Self::reserve), but never waits. Where the ring is full, what the batch holds has gone out.
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
        Ok(Reservation { producer: self.producer, batch: Some(&mut self.room), claim: claim.of(len as u64), tag: 0 })
    }

    /// Copies `payload` into the batch's next record; waits while the ring is full.
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
    #[inline(always)]
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

    /// Adds `count` records of `len` payload bytes each, which `fill` fills: it is called with the number of each, from
    /// 0, and its bytes in the ring itself. Waits while the ring is full. The quickest way to write many short records
    /// of one length; their tag is 0.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create(fdring::LaneOptions::new("prices"))?;
    /// let prices = [101.5, 101.25, 101.75_f64];
    ///
    /// let mut batch = lane.batch()?;
    /// batch.fill_each(prices.len(), 8, |index, price| price.copy_from_slice(&prices[index].to_le_bytes()))?;
    /// batch.commit();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What stands in the bytes before they are filled is as in a [`Reservation`].
    ///
    /// # Errors
    ///
    /// As [`Producer::reserve`].
    ///
    /// # Panics
    ///
    /// Where `fill` does. Which of the records before that one are part of the batch is then not said.
    #[inline]
    pub fn fill_each(
        &mut self,
        count: usize,
        len: usize,
        mut fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<(), SendError> {
        let guard = self.producer.guard;
        if guard.is_child() {
            return Err(SendError::Forked);
        }
        check_len(&self.room, len)?;
        let mut filled = 0;
        // Here, and not in the batch, which the compiler keeps in memory: 56 B take 1.65 ns so, and not 1.28.
        let mut room = self.room;
        loop {
            let row = room.row(len as u64, 0);
            let lane = self.producer.publisher.writer.ring_mut();
            let left = count - filled;
            let more = fill_row(lane, &row, left, || !guard.is_child(), |index, bytes| fill(filled + index, bytes));
            room.commit_row(&row, more);
            self.room = room;
            filled += more;
            if filled == count {
                return Ok(());
            }
            // The row is full, or `fill` has forked.
            if guard.is_child() {
                return Err(SendError::Forked);
            }
            let claim;
            (claim, room) = self.producer.claim_beyond(room, len as u64, Deadline::Never)?;
            let writer = &mut self.producer.publisher.writer;
            fill(filled, writer.ring_mut().payload_mut(room.payload_position(&claim), len as u64));
            if guard.is_child() {
                return Err(SendError::Forked);
            }
            writer.commit_in(&mut room, claim, 0);
            filled += 1;
        }
    }

    /// Publishes the records of the batch.
    #[inline]
    pub fn commit(self) {
        self.producer.publisher.writer.resume(self.room);
        if self.producer.publisher.writer.has_unpublished() && !self.producer.guard.is_child() {
            self.producer.publish();
        }
    }
}
