//! Reading all that is published, in a loop of the consumer's own: quicker than record by record.
//!
//! The invariant: a record that was handed over counts as read, and gives its bytes back once the loop comes out of the
//! run that it lies in.

use super::{Consumer, Reading, ReceiveError, Record, evicted};
use crate::region::ForkGuard;
use crate::ring::known::{ALIKE, Found, Known};
use crate::ring::reader::Reader;
use crate::ring::{InPlace, LaneMap, LaneWords, Ring, SeatMap};
use crate::sync::Ordering;

impl Consumer {
    /// Hands every record that is published now to `each`, without waiting for more; how many there were, `None` at the
    /// end of the stream.
    ///
    /// # Errors
    ///
    /// Any [`ReceiveError`] but `Empty` and `TimedOut`; records before it have been handed over.
    pub fn drain(&mut self, mut each: impl FnMut(&Record<'_>)) -> Result<Option<usize>, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        // A bound only, and no further than an honest producer can be: what lies below it is checked record by record.
        let published = self.reader.lane().published().load(Ordering::Relaxed);
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
                self.reader.give_back();
                return Ok(Some(records));
            }
        }
    }

    /// Waits for a record, and hands it and those that are known to follow it to `each`; how many there were, `None` at
    /// the end of the stream. The quickest way to read a lane that is busy.
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
    /// Any [`ReceiveError`] but `Empty` and `TimedOut`; records before it have been handed over.
    #[inline]
    pub fn receive_each(&mut self, mut each: impl FnMut(&Record<'_>)) -> Result<Option<usize>, ReceiveError> {
        match self.receive()? {
            Some(record) => each(&record),
            None => return Ok(None),
        }
        let mut records = 1;
        loop {
            records += self.run_ahead(&mut each)?;
            match self.next_known() {
                Some(found) => each(&self.record(found)?),
                None => return Ok(Some(records)),
            }
            records += 1;
        }
    }

    /// Hands over the records that are known to follow, up to where the next bytes are given back, in a loop that keeps
    /// all it needs in registers; how many.
    #[inline]
    fn run_ahead(&mut self, each: &mut impl FnMut(&Record<'_>)) -> Result<usize, ReceiveError> {
        let Self { lane, reader, reading, guard, .. } = self;
        let (ring, guard) = (lane.ring(), *guard);
        let run = Run { known: reader.known(), reader };
        // One loop for each way of reading: a common one would have more to keep than there are registers.
        let handed_over = match reading {
            Reading::InPlace(trust) => Ok(run.in_place(ring, trust, guard, |found, payload| {
                each(&Record::new(found, payload, None));
            })),
            Reading::Copied(copies) => run.one_by_one(ring, guard, |found| {
                copies.copy(lane, ring, found).map(|copy| each(&Record::new(found, copy, None)))
            }),
        };
        match handed_over {
            Err(lost) => Err(evicted(&mut self.reader, lost.from)),
            Ok(_) if guard.is_child() => Err(ReceiveError::Forked),
            Ok(records) => Ok(records),
        }
    }
}

/// How far a run has come; its reader goes on from there, also where the run ends by a panic.
struct Run<'a> {
    known: Known,
    reader: &'a mut Reader<LaneMap, SeatMap>,
}

/// After records that are not alike so many are read one by one, so that to look costs those of all lengths next to
/// nothing.
const SINGLES: usize = 8;

// Whatever is called may be a fork: each loop looks after each record.
impl Run<'_> {
    /// Hands records to `hand`, with their payloads where they lie; how many.
    #[inline(always)]
    fn in_place<'a>(
        mut self,
        ring: Ring<'a>,
        trust: &InPlace,
        guard: ForkGuard,
        mut hand: impl FnMut(Found, &'a [u8]),
    ) -> usize {
        let mut records = 0;
        loop {
            records += self.alike(ring, trust, guard, &mut hand);
            for _ in 0..SINGLES {
                if guard.is_child() {
                    return records;
                }
                let Some(found) = self.known.next(&ring) else { return records };
                hand(found, ring.payload(trust, found.payload, found.len));
                records += 1;
            }
        }
    }

    /// Hands records to `hand` as long as many are alike; how many.
    #[inline(always)]
    fn alike<'a>(
        &mut self,
        ring: Ring<'a>,
        trust: &InPlace,
        guard: ForkGuard,
        hand: &mut impl FnMut(Found, &'a [u8]),
    ) -> usize {
        let mut records = 0;
        let mut next = if guard.is_child() { None } else { self.known.alike(&ring) };
        while let Some(alike) = next {
            let payloads = ring.payloads::<ALIKE>(trust, alike.payload, alike.size, alike.len);
            for (word, payload) in alike.words.into_iter().zip(payloads) {
                hand(self.known.next_alike(&alike, word), payload);
                records += 1;
                if guard.is_child() {
                    return records;
                }
            }
            next = self.known.more_alike(&ring, &alike);
        }
        records
    }

    /// Hands records to `hand`, which may fail to read one; how many, or the one that it failed to read.
    #[inline(always)]
    fn one_by_one(
        mut self,
        ring: Ring<'_>,
        guard: ForkGuard,
        mut hand: impl FnMut(Found) -> Option<()>,
    ) -> Result<usize, Found> {
        let mut records = 0;
        while !guard.is_child()
            && let Some(found) = self.known.next(&ring)
        {
            hand(found).ok_or(found)?;
            records += 1;
        }
        Ok(records)
    }
}

impl Drop for Run<'_> {
    #[inline]
    fn drop(&mut self) {
        self.reader.resume(self.known);
    }
}
