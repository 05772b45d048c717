//! The places of a lane that wants a number of consumers: who has one, and how much a vacant one keeps.
//!
//! The invariant: no more places are taken or vacant than the lane has. A vacant place keeps everything from a record
//! boundary on which its consumer, as far as its seat made sense, had not released.
//!
//! What this file does not do: it takes no lock. The roster calls it under its own.

use super::LaneWords;
use super::roster::{Seat, SeatPort};
use crate::layout::{HEADER_LEN_BYTES, RecordHeader, RecordKind};
use std::ops::Range;
use std::sync::Arc;

/// How many headers are looked at to find out whether a position is where a record begins.
const HEADERS_MAX: usize = 1 << 16;

/// The reason why a reader cannot begin where it wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The lane keeps no places.
    NotKept,
    /// Somebody has each of them, or had it as another user.
    AllTaken,
    /// The position that it names does not lie between the other two, from which and up to which everything is there,
    /// or no record begins at it.
    NotThere { position: u64, oldest: u64, published: u64 },
}

/// The place of a consumer that has gone.
#[derive(Debug)]
pub(crate) struct Vacancy<P> {
    /// The seat that it had.
    pub(crate) seat: Arc<Seat<P>>,
    /// Nothing from here on is overwritten.
    pub(crate) position: u64,
}

impl<P> Clone for Vacancy<P> {
    fn clone(&self) -> Self {
        Self { seat: Arc::clone(&self.seat), position: self.position }
    }
}

/// The places of a lane.
#[derive(Debug)]
pub(crate) struct Places<P> {
    wanted: usize,
    /// The seats of those who have one.
    taken: Vec<u64>,
    vacant: Vec<Vacancy<P>>,
}

impl<P: SeatPort> Places<P> {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, taken: Vec::new(), vacant: Vec::new() }
    }

    /// Whether the consumer in this seat has a place.
    pub(super) fn has(&self, seat_id: u64) -> bool {
        self.taken.contains(&seat_id)
    }

    /// Gives this seat a place that nobody has had; whether there was one.
    pub(super) fn take_new(&mut self, seat_id: u64) -> bool {
        let is_free = self.taken.len() + self.vacant.len() < self.wanted;
        if is_free {
            self.taken.push(seat_id);
        }
        is_free
    }

    /// Gives this seat the vacant place that keeps most, of those that `may_take` allows, or else a new one. The
    /// position that was kept, if the place was vacant.
    pub(super) fn resume(
        &mut self,
        seat_id: u64,
        may_take: impl Fn(&Vacancy<P>) -> bool,
    ) -> Result<Option<u64>, NoPlace> {
        let open = self.vacant.iter().enumerate().filter(|(_, vacancy)| may_take(vacancy));
        if let Some((index, _)) = open.min_by_key(|(_, vacancy)| vacancy.position) {
            self.taken.push(seat_id);
            return Ok(Some(self.vacant.remove(index).position));
        }
        if self.take_new(seat_id) { Ok(None) } else { Err(NoPlace::AllTaken) }
    }

    /// The consumer in this seat, which has a place, goes.
    pub(super) fn vacate(&mut self, seat: Arc<Seat<P>>, position: u64) {
        self.taken.retain(|id| *id != seat.id());
        self.vacant.push(Vacancy { seat, position });
    }

    /// Gives a vacant place up; the position that it kept.
    pub(super) fn give_up(&mut self, seat_id: u64) -> Option<u64> {
        let index = self.vacant.iter().position(|vacancy| vacancy.seat.id() == seat_id)?;
        Some(self.vacant.remove(index).position)
    }

    /// Keeps nothing below `position` any more, a record boundary, in the vacant place that this seat had; whether it
    /// is vacant.
    pub(super) fn pass_over(&mut self, seat_id: u64, position: u64) -> bool {
        let vacancy = self.vacant.iter_mut().find(|vacancy| vacancy.seat.id() == seat_id);
        vacancy.map(|vacancy| vacancy.position = position.max(vacancy.position)).is_some()
    }

    pub(super) fn vacant(&self) -> &[Vacancy<P>] {
        &self.vacant
    }

    /// The lowest position that a vacant place keeps, and whose it was.
    pub(super) fn slowest(&self) -> Option<(u64, u64)> {
        self.vacant.iter().map(|vacancy| (vacancy.position, vacancy.seat.id())).min()
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }
}

/// Whether a record, or the padding before one, can begin at the start of this range of what is published: headers
/// follow one another from there to one of the boundaries that are known, or to the end.
///
/// A consumer that keeps the protocol releases up to such a position only. One that does not is not followed into the
/// middle of a record.
pub(crate) fn begins_record(lane: &impl LaneWords, range: Range<u64>, is_boundary: impl Fn(u64) -> bool) -> bool {
    let geometry = lane.geometry();
    let Range { start: mut position, end } = range;
    if !position.is_multiple_of(geometry.record_align()) {
        return false;
    }
    for _ in 0..HEADERS_MAX {
        if position == end || is_boundary(position) {
            return true;
        }
        let room = geometry.room_to_end(position);
        let size = match RecordHeader::from_word(lane.header_word(position)) {
            Some(RecordHeader { kind: RecordKind::Data, len, .. }) => geometry.record_size(len.into()),
            Some(RecordHeader { len, .. }) if u64::from(len) + HEADER_LEN_BYTES == room => room,
            _ => return false,
        };
        if size > room || size > end - position {
            return false;
        }
        position += size;
    }
    true
}
