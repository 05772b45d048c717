//! Many records read in one loop: the door behind which the reading side keeps its speed.
//!
//! [`Consumer::receive_each`] and [`Consumer::drain`] read runs of records with a cursor that the compiler keeps in
//! registers. In place, short records of one length are found eight at a time, with two loads in a row instead of
//! eight: 8 B take 0.7 ns each, where one by one they take 1.3. docs/performance.md has the figures.
//!
//! The invariant: a record counts as read once it is handed over, and its bytes are released after the run.

use super::payloads::Payloads;
use super::{Consumer, ReceiveError, Record};
use crate::layout::RecordHeader;
use crate::memory::{InPlace, LaneMap, RingBytes, SeatMap};
use crate::ring::LaneWords;
use crate::ring::cursor::{Cursor, Found, InView};
use crate::ring::reader::Reader;
use crate::sync::Ordering;

impl Consumer {
    /// Hands every record that is published now to `each`, without waiting for more; how many there were, `None` at the
    /// end of the stream.
    ///
    /// If `each` forks, it must not return in the child.
    ///
    /// # Errors
    ///
    /// As [`try_receive`](Self::try_receive), but for `Empty`; records before the error have been handed over.
    pub fn drain(&mut self, mut each: impl FnMut(&Record<'_>)) -> Result<Option<usize>, ReceiveError> {
        // A bound only, and no further than an honest producer can be: what lies below it is checked record by record.
        let published = match self.guard.is_child() {
            true => return Err(ReceiveError::Forked),
            false => self.reader.lane().published().load(Ordering::Relaxed),
        };
        let end = published.min(self.position().saturating_add(self.capacity()));
        let mut records = 0;
        loop {
            match self.try_receive() {
                Ok(Some(record)) => each(&record),
                Ok(None) if records == 0 => return Ok(None),
                Ok(None) | Err(ReceiveError::Empty) => return Ok(Some(records)),
                Err(error) => return Err(error),
            }
            records += 1 + self.run_ahead(&mut each)?;
            if self.position() >= end {
                self.reader.release_all();
                return Ok(Some(records));
            }
        }
    }

    /// Waits for a record, and hands it and all that are already visible after it to `each`; how many there were,
    /// `None` at the end of the stream. The quickest way to read a lane that is busy.
    ///
    /// If `each` forks, it must not return in the child.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = fdring::Session::connect("/run/ticks.sock", Default::default())?.attach_one()?;
    /// let mut bytes = 0;
    /// while ticks.receive_each(|record| bytes += record.len())?.is_some() {}
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); records before the error have been handed over.
    #[inline]
    pub fn receive_each(&mut self, mut each: impl FnMut(&Record<'_>)) -> Result<Option<usize>, ReceiveError> {
        match self.receive()? {
            Some(record) => each(&record),
            None => return Ok(None),
        }
        let mut records = 1;
        loop {
            records += self.run_ahead(&mut each)?;
            match self.next_in_view() {
                Some(found) => each(&self.record(found)?),
                None => return Ok(Some(records)),
            }
            records += 1;
        }
    }

    /// Hands over the records in view, up to where the next release is due; how many.
    #[inline]
    fn run_ahead(&mut self, each: &mut impl FnMut(&Record<'_>)) -> Result<usize, ReceiveError> {
        let Self { reader, payloads, .. } = self;
        // One loop for each way of reading: a common one would have more to keep than there are registers.
        match payloads {
            Payloads::InPlace(trust) => {
                let mut run = Run::new(reader);
                Ok(run.in_place(trust, |found, payload| each(&Record::new(found, payload))))
            }
            Payloads::Copied(copies) => {
                let mut run = Run::new(reader);
                let outcome = run.one_by_one(|reader, ring, found| {
                    copies.copy(reader, ring, found).map(|copy| each(&Record::new(found, copy)))
                });
                drop(run);
                outcome.map_err(|lost| reader.evicted_at(lost.from).into())
            }
        }
    }
}

/// A cursor that runs ahead; its reader goes on from there, also if the run ends by a panic.
struct Run<'a> {
    cursor: Cursor,
    reader: &'a mut Reader<LaneMap, SeatMap>,
}

/// How many records are looked at together.
pub(super) const EQUAL: usize = 8;
/// Longer ones are not, in bytes with their headers: lines that are fetched out of their order come later than the
/// processor would bring them by itself (256 B each: 30 ns instead of 7).
const EQUAL_SIZE_MAX_BYTES: u64 = 128;
/// After records of different lengths, this many are read one by one, so that the look costs those next to nothing.
const SINGLES: usize = 8;

/// [`EQUAL`] records of one length, side by side and in view.
#[derive(Clone, Copy, Debug)]
pub(super) struct EqualRun {
    /// Their header words, in order.
    pub(super) words: [u64; EQUAL],
    /// The position of the first payload byte of the first.
    pub(super) payload: u64,
    /// The payload of each, in bytes.
    pub(super) len: u32,
    /// From one to the next, in bytes.
    pub(super) size: u32,
}

impl EqualRun {
    /// The next records of `cursor`, if all are as long as the first: that is known after two loads in a row.
    #[inline(always)]
    pub(super) fn find(cursor: &Cursor, ring: RingBytes<'_>) -> Option<Self> {
        let InView { word, len, end } = cursor.header_in_view(&ring)?;
        let size = end - cursor.position();
        if size > EQUAL_SIZE_MAX_BYTES {
            return None;
        }
        Self::like(cursor, ring, word, len as u32, size as u32)
    }

    /// The records after this run, if all are as long: that is known after one load.
    #[inline(always)]
    pub(super) fn next(&self, cursor: &Cursor, ring: RingBytes<'_>) -> Option<Self> {
        Self::like(cursor, ring, self.words[0], self.len, self.size)
    }

    #[inline(always)]
    fn like(cursor: &Cursor, ring: RingBytes<'_>, word: u64, len: u32, size: u32) -> Option<Self> {
        if EQUAL as u64 * u64::from(size) > cursor.unread_clear() {
            return None;
        }
        let words = ring.header_words::<EQUAL>(cursor.position(), size);
        // Without a branch for each.
        let are_equal = words.iter().fold(true, |equal, other| equal & RecordHeader::are_alike(*other, word));
        let payload = cursor.position() + cursor.geometry().payload_offset();
        are_equal.then_some(Self { words, payload, len, size })
    }

    /// The next of the records, which has this header word: the cursor moves on past it.
    #[inline(always)]
    pub(super) fn take(&self, cursor: &mut Cursor, word: u64) -> Found {
        let found = cursor.found(cursor.position(), u64::from(self.len), RecordHeader::tag_of(word));
        cursor.advance(u64::from(self.size));
        found
    }
}

impl<'a> Run<'a> {
    fn new(reader: &'a mut Reader<LaneMap, SeatMap>) -> Self {
        Self { cursor: reader.cursor(), reader }
    }

    /// Hands records to `hand`, with their payloads in the ring; how many.
    #[inline(always)]
    fn in_place(&mut self, trust: &InPlace, mut hand: impl FnMut(Found, &[u8])) -> usize {
        let Self { cursor, reader } = self;
        let ring = reader.lane().ring();
        let mut records = 0;
        loop {
            let mut equal = EqualRun::find(cursor, ring);
            while let Some(run) = equal {
                let payloads = ring.in_place_each::<EQUAL>(trust, run.payload, run.size, run.len);
                for (word, payload) in run.words.into_iter().zip(payloads) {
                    hand(run.take(cursor, word), payload);
                }
                records += EQUAL;
                equal = run.next(cursor, ring);
            }
            for _ in 0..SINGLES {
                let Some(found) = cursor.next_in_view(&ring) else { return records };
                hand(found, ring.in_place(trust, found.payload, found.len));
                records += 1;
            }
        }
    }

    /// Hands records to `hand`, which may fail to read one; how many, or the one that it failed to read.
    #[inline(always)]
    fn one_by_one(
        &mut self,
        mut hand: impl FnMut(&Reader<LaneMap, SeatMap>, RingBytes<'_>, Found) -> Option<()>,
    ) -> Result<usize, Found> {
        let Self { cursor, reader } = self;
        let ring = reader.lane().ring();
        let mut records = 0;
        while let Some(found) = cursor.next_in_view(&ring) {
            hand(reader, ring, found).ok_or(found)?;
            records += 1;
        }
        Ok(records)
    }
}

impl Drop for Run<'_> {
    #[inline]
    fn drop(&mut self) {
        self.reader.resume(self.cursor);
    }
}
