//! Telling the producer which bytes may be overwritten.
//!
//! The invariant: `consumed` never falls, and is never more than what was read (design invariants 1 and 4).
//! `read`, which goes with it, is never less.
//!
//! Reading and releasing are two things: a cursor passes a record when it is handed out, and its bytes are released
//! once the caller is done with it, by the next call on its consumer at the earliest.

use super::{LaneWords, SeatCounters, SeatWriter};
use crate::layout::{CONSUMED_LEFT_BIT, SPACE_WAIT_FUTEX};
use crate::os::futex;
use crate::sync::{Ordering, fence};

/// A reader releases in steps of this part of the ring, and all at once when it finds nothing more.
const RELEASES_PER_RING: u64 = 8;

/// What a consumer tells its producer through its seat.
#[derive(Debug)]
pub(crate) struct Release<S> {
    seat: S,
    /// The last position stored in `consumed`.
    released: u64,
    /// How far the cursor may run before it is stored again.
    due_at: u64,
    step: u64,
}

impl<S: SeatWriter> Release<S> {
    /// For a reader that begins at `start`, of a ring of `capacity` bytes.
    pub(super) fn new(seat: S, start: u64, capacity: u64) -> Self {
        let step = capacity / RELEASES_PER_RING;
        Self { seat, released: start, due_at: start.saturating_add(step), step }
    }

    pub(super) fn seat(&self) -> &S {
        &self.seat
    }

    /// How far a reader may run before the producer should know of it.
    #[inline(always)]
    pub(super) fn due_at(&self) -> u64 {
        self.due_at
    }

    pub(super) fn released(&self) -> u64 {
        self.released
    }

    /// Releases everything below `position`, all that was read, and wakes the producer if it sleeps for space.
    pub(super) fn release(&mut self, lane: &impl LaneWords, position: u64, counters: SeatCounters) {
        debug_assert!(self.released <= position);
        self.released = position;
        self.due_at = position.saturating_add(self.step);
        self.store(lane, position, position, counters);
    }

    /// Tells the producer that this consumer reads no more, has released everything below `released`, and has read
    /// everything below `read`.
    pub(super) fn leave(&mut self, lane: &impl LaneWords, released: u64, read: u64, counters: SeatCounters) {
        self.store(lane, released | CONSUMED_LEFT_BIT, read, counters);
    }

    fn store(&self, lane: &impl LaneWords, consumed: u64, read: u64, counters: SeatCounters) {
        self.seat.store_counters(counters);
        // First: who sees the `consumed` that comes next sees this `read`, which is no less, or a later one.
        self.seat.read().store(read, Ordering::Relaxed);
        // Pairs with the acquire fence in `Seat::look`: the producer overwrites these bytes after our loads from them.
        self.seat.consumed().store(consumed, Ordering::Release);
        // Pairs with the acquire fence in `Publisher::sleep_while_held`, between its load of this word and its look at
        // `consumed`.
        let seq = self.seat.space_seq().load(Ordering::Relaxed);
        self.seat.space_seq().store(seq.wrapping_add(1), Ordering::Release);
        // Pairs with the fence in `Publisher::sleep_for_space`: the producer sees this `space_seq`, or we see its 1.
        fence(Ordering::SeqCst);
        if lane.space_wait().load(Ordering::Relaxed) == SPACE_WAIT_FUTEX {
            futex::wake_shared(self.seat.space_seq());
        }
    }
}
