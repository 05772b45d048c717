//! A producer's steps between its ring and its roster: finding room, sleeping for it, publishing, ending the lane.
//!
//! The invariant: whoever could make room, or waits for what was published, is woken (design invariants 11 and 12).
//! Generic over where the words lie, so that the models in `tests/loom` run these very steps.
//!
//! What this file does not do: it knows no deadline but to pass it on, never spins, and hands out no bytes.

use crate::crash;
use crate::frame::Barrier;
use crate::layout::{LaneState, SPACE_WAIT_FUTEX};
use crate::ring::writer::{Claim, Writer};
use crate::ring::{LaneCounter, LaneWords, LaneWriter};
use crate::roster::{Gate, Roster, SeatPort, Snapshot};
use crate::sync::{AtomicU32, Ordering, fence};
use crate::wake::{self, Deadline};

/// The writing end of a ring, and the seats it rings for.
#[derive(Debug)]
pub(crate) struct Publisher<W, P> {
    pub(crate) writer: Writer<W>,
    snapshot: Snapshot<P>,
}

impl<W: LaneWriter, P: SeatPort> Publisher<W, P> {
    /// `barrier` is the kind that the lane offers its consumers.
    pub(crate) fn new(writer: Writer<W>, barrier: Barrier) -> Self {
        Self { writer, snapshot: Snapshot::new(barrier) }
    }

    /// Publishes what is committed, and wakes those who sleep.
    #[inline]
    pub(crate) fn publish(&mut self, roster: &Roster<P>) {
        self.writer.publish();
        self.ring_sleepers(roster);
    }

    /// Ends the lane, and wakes those who sleep.
    pub(crate) fn close(&mut self, roster: &Roster<P>, state: LaneState) {
        self.writer.close(state);
        self.ring_sleepers(roster);
    }

    #[inline]
    fn ring_sleepers(&mut self, roster: &Roster<P>) {
        let rung = roster.ring_sleepers(&mut self.snapshot);
        if rung != 0 {
            self.writer.ring_mut().count(LaneCounter::BellsRung, rung);
        }
    }

    /// Room for a record of `len` payload bytes, after a fresh look at the seats; or who holds the lane back.
    pub(crate) fn find_room(&mut self, roster: &Roster<P>, len: u64) -> Result<Claim, Option<Gate>> {
        let mut gate = None;
        for may_publish in [true, false] {
            let (end, published) = (self.writer.end_of(len), self.writer.published());
            let mut limit = self.writer.limit();
            if end > limit {
                (limit, gate) = roster.refresh(self.writer.ring().lane(), published, end);
            }
            if self.writer.raise_intent(end, limit) {
                roster.remember_boundary(published, self.writer.ring().lane().geometry().capacity());
                return self.writer.claim(len).ok_or(gate);
            }
            // A batch that is longer than the ring goes out in parts.
            if !may_publish || !self.writer.has_unpublished() {
                break;
            }
            crash::point!("producer-before-part-of-batch");
            self.publish(roster);
        }
        Err(gate)
    }

    /// Sleeps until the consumer that holds the lane back moves on, or the roster changes, or the deadline passes; the
    /// claim, if there is room then.
    pub(crate) fn sleep_for_space(
        &mut self,
        roster: &Roster<P>,
        len: u64,
        deadline: Deadline,
    ) -> Result<Claim, Option<Gate>> {
        self.space_wait().store(SPACE_WAIT_FUTEX, Ordering::Relaxed);
        // Pairs with the fence in `Reader::store_consumed`: it sees the 1, or we see what it gave back.
        fence(Ordering::SeqCst);
        crash::point!("producer-wait-announced");
        let outcome = self.sleep_while_held(roster, len, deadline);
        crash::point!("producer-woken");
        self.space_wait().store(0, Ordering::Relaxed);
        outcome
    }

    fn space_wait(&self) -> &AtomicU32 {
        self.writer.ring().lane().space_wait()
    }

    fn sleep_while_held(&mut self, roster: &Roster<P>, len: u64, deadline: Deadline) -> Result<Claim, Option<Gate>> {
        let gate = match self.find_room(roster, len) {
            Ok(claim) => return Ok(claim),
            Err(gate) => gate,
        };
        let changed = roster.capture_changed();
        let seat = gate.and_then(|gate| roster.seat(gate.seat_id));
        let seq = seat.as_ref().map(|seat| (seat.port().space_seq(), seat.port().space_seq().load(Ordering::Relaxed)));
        // Pairs with the release stores in `Reader::store_consumed`: with this `space_seq` comes the `consumed` before
        // it.
        fence(Ordering::Acquire);
        match self.find_room(roster, len) {
            Ok(claim) => return Ok(claim),
            Err(now) if now.map(|gate| gate.seat_id) != gate.map(|gate| gate.seat_id) => return Err(now),
            Err(_) => {
                crash::asleep!("producer-asleep");
                wake::sleep_on(changed, seq, deadline);
            }
        }
        self.find_room(roster, len)
    }
}
