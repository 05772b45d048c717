//! Many records of one length, written in one loop: the fast path of the writing side.
//!
//! [`Batch::fill_many`] looks once for the room of many records, and knows that they lie side by side. A record of 8 B
//! takes 0.6 ns instead of 1.2 with a reservation of its own. docs/performance.md has the figures.
//!
//! The invariant: as in [`ring::writer`](crate::ring::writer), no byte is written beyond the room, and a record has a
//! header only once its payload is filled.
//!
//! This file neither finds room nor publishes.

use super::{Batch, Producer, SendError, check_len};
use crate::crash;
use crate::deadline::Deadline;
use crate::layout::{HEADER_LEN_BYTES, RecordHeader};
use crate::memory::WritableLane;
use crate::ring::writer::Room;

/// Records of one length that fit side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Where the first of them begins.
    pub(crate) begin: u64,
    /// How many bytes there are for them.
    pub(crate) room_bytes: u64,
    /// From one to the next, in bytes.
    pub(crate) size: u64,
    /// From the beginning of a record to its payload, in bytes.
    pub(crate) payload_offset: u64,
    /// The payload of each, in bytes.
    pub(crate) len: u64,
    /// The header word of each.
    pub(crate) header: u64,
}

impl Row {
    /// Records of `len` payload bytes, as many as fit into `room` without a closer look.
    #[inline(always)]
    fn new(room: &Room, len: u64) -> Self {
        Self {
            begin: room.committed(),
            room_bytes: room.clear_bytes(),
            size: room.geometry().record_size(len),
            payload_offset: room.geometry().payload_offset(),
            len,
            header: RecordHeader::data(len as u32, 0).to_word(),
        }
    }

    /// Writes records side by side, at most `count` and only while there is room. Returns their number. `fill` is
    /// called with the index of each, from 0, and its payload.
    ///
    /// # Panics
    ///
    /// If the row would cross the end of the ring, or its records do not hold their payloads.
    #[inline(always)]
    pub(crate) fn write(&self, lane: &mut WritableLane, count: usize, mut fill: impl FnMut(usize, &mut [u8])) -> usize {
        let Self { begin, room_bytes, size, payload_offset, len, header } = *self;
        let holds_payload =
            HEADER_LEN_BYTES <= payload_offset && payload_offset <= size && len <= size - payload_offset;
        assert!(holds_payload, "payloads lie in records");
        let wanted = room_bytes.min(size.saturating_mul(count as u64));
        let (size, payload_offset, len) = (size as usize, payload_offset as usize, len as usize);
        let lines = lane.lines();
        let (mut rest, mut index) = (lane.bytes_mut(begin, wanted), 0);
        // Not by `chunks_exact_mut`, which divides.
        while let Some((record, beyond)) = rest.split_at_mut_checked(size) {
            let payload = &mut record[payload_offset..][..len];
            lines.take(payload);
            fill(index, payload);
            crash::point!("producer-in-row");
            record[..8].copy_from_slice(&header.to_ne_bytes());
            (rest, index) = (beyond, index + 1);
        }
        index
    }
}

/// The number and the length of the records that [`Batch::fill_many`] and
/// [`Distributor::fill_many`](crate::distribute::Distributor::fill_many) write.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut lane = fdring::Producer::create("samples")?;
/// use fdring::options::Records;
///
/// let mut batch = lane.batch()?;
/// batch.fill_many(Records { count: 100, len: 8 }, |index, bytes| bytes.copy_from_slice(&index.to_le_bytes()))?;
/// assert_eq!(batch.commit(), 100 * 16);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// The number of records.
    pub count: usize,
    /// The length of each payload, in bytes.
    pub len: usize,
}

impl Batch<'_> {
    /// Adds `records.count` records of `records.len` payload bytes each. Waits while the ring is full. This is the
    /// fastest way to write many short records; their tag is 0.
    ///
    /// `fill` is called with the index of each record, from 0, and its bytes in the ring itself. Before they are
    /// filled, the bytes are what the ring held there: older records of this lane, or zeros. If `fill` forks, it must
    /// not return in the child.
    ///
    /// There is no form with a time limit. [`reserve_deadline`](Self::reserve_deadline) in a loop is one, with the same
    /// deadline for each record; [`SlowConsumer::Fail`](crate::options::SlowConsumer::Fail) limits every wait of a
    /// lane.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("prices")?;
    /// use fdring::options::Records;
    ///
    /// let prices = [101.5, 101.25, 101.75_f64];
    ///
    /// let mut batch = lane.batch()?;
    /// let records = Records { count: prices.len(), len: 8 };
    /// batch.fill_many(records, |index, price| price.copy_from_slice(&prices[index].to_le_bytes()))?;
    /// assert_eq!(batch.commit(), 3 * 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::TooLong`] if `records.len` is more than
    ///   [`LaneInfo::payload_max`](crate::info::LaneInfo::payload_max)
    /// - [`SendError::TooSlow`] if a consumer has kept the ring full for longer than the lane's
    ///   [`SlowConsumer`](crate::options::SlowConsumer) allows
    /// - [`SendError::TooFewConsumers`] if the lane has fewer consumers than
    ///   [`NoConsumer::FailBelow`](crate::options::NoConsumer::FailBelow) requires
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`SendError::Forked`] in a forked child
    ///
    /// # Panics
    ///
    /// If `fill` panics; which of the earlier records stay in the batch is unspecified.
    #[inline]
    pub fn fill_many(&mut self, records: Records, mut fill: impl FnMut(usize, &mut [u8])) -> Result<(), SendError> {
        let Records { count, len } = records;
        if self.producer.shortcut.is_closed() {
            // As in `claim_in`, no call takes the address of the room.
            self.producer.publisher.writer.catch_up(self.room);
            let outcome = self.producer.fill_each(records, fill);
            self.room = self.producer.publisher.writer.room();
            return outcome;
        }
        check_len(&self.room, len)?;
        let (mut room, mut filled) = (self.room, 0);
        loop {
            let row = Row::new(&room, len as u64);
            let lane = self.producer.publisher.writer.memory_mut();
            let records = row.write(lane, count - filled, |index, payload| fill(filled + index, payload));
            room.advance(records as u64, len as u64);
            self.room = room;
            filled += records;
            if filled == count {
                return Ok(());
            }
            // The row is full: the next record needs padding, or more room.
            let claim = self.producer.claim_in(&mut room, len as u64, Deadline::Never)?;
            let writer = &mut self.producer.publisher.writer;
            let payload = writer.payload_of(&claim);
            fill(filled, writer.memory_mut().bytes_mut(payload, claim.len()));
            writer.commit_in(&mut room, claim, 0);
            self.room = room;
            filled += 1;
        }
    }
}

impl Producer {
    /// Like [`Batch::fill_many`], one by one, if there is no shortcut: goes on where the writer stands.
    #[cold]
    fn fill_each(&mut self, records: Records, mut fill: impl FnMut(usize, &mut [u8])) -> Result<(), SendError> {
        let Records { count, len } = records;
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        let mut batch = Batch { room: self.publisher.writer.room(), producer: self };
        let outcome = check_len(&batch.room, len).and_then(|()| {
            (0..count).try_for_each(|index| {
                batch.reserve(len)?.fill_and_commit(|payload| fill(index, payload));
                Ok(())
            })
        });
        let room = batch.room;
        self.publisher.writer.catch_up(room);
        outcome
    }
}
