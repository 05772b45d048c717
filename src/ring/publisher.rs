//! A producer's steps between its ring and its roster: finding room, sleeping for it, publishing, ending the lane.
//!
//! The invariant: every consumer that could make room is waited for, and every one that waits is woken
//! (invariants 11 and 12).
//!
//! What this file does not do: it knows no limit of a sleep but to pass it on, never spins, and hands out no bytes.

use super::roster::{Gate, Roster, Seat, SeatPort};
use super::sleepers::{Snapshot, wake_sleepers};
use super::writer::{Claim, Room, Writer};
use super::{LaneWords, LaneWriter};
use crate::layout::{LaneState, SPACE_WAIT_BELL, SPACE_WAIT_FUTEX};
use crate::os::futex::{self, Limit};
use crate::sync::{AtomicU32, Ordering, fence};
use crate::terms::Barrier;
use std::sync::Arc;

/// What a producer needs room for: a record of that many payload bytes, and perhaps others after it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Need {
    pub(crate) len: u64,
    /// Where the last of them ends; `None` for one record alone.
    pub(crate) end: Option<u64>,
}

impl From<u64> for Need {
    fn from(len: u64) -> Self {
        Self { len, end: None }
    }
}

/// The writing end of a ring, and the seats it rings for.
#[derive(Debug)]
pub(crate) struct Publisher<W, P: SeatPort> {
    pub(crate) writer: Writer<W>,
    snapshot: Snapshot<P>,
    /// Whether its consumers are to ring for room: an announcement of [`arm_for_space`](Self::arm_for_space) stands.
    is_armed: bool,
}

impl<W: LaneWriter, P: SeatPort> Publisher<W, P> {
    /// `barrier` is the kind that the lane offers its consumers.
    pub(crate) fn new(writer: Writer<W>, barrier: Barrier) -> Self {
        Self { writer, snapshot: Snapshot::new(barrier), is_armed: false }
    }

    /// Publishes the record that was just committed, which begins at `last`, and wakes those who sleep.
    #[inline]
    pub(crate) fn publish(&mut self, roster: &Roster<P>, last: u64) {
        self.writer.publish(last);
        self.wake_sleepers(roster);
    }

    /// Takes back the room of a batch, publishes what it has committed, and wakes those who sleep.
    #[inline]
    pub(crate) fn publish_batch(&mut self, roster: &Roster<P>, room: Room) {
        self.writer.publish_batch(room);
        self.wake_sleepers(roster);
    }

    /// Publishes a record with descriptors, and wakes those who sleep. `serve` gives them to each of these seats that
    /// has not got them; `false` says that it is to be asked again, since seats may have changed. `commit` completes
    /// the record, which ends where it says, and tells consumers of it: with nothing between the last look at the seats
    /// and that, so that a consumer that joins gets the record and its descriptors, or neither.
    ///
    /// # Errors
    ///
    /// Those of `serve`: then nothing is published.
    pub(crate) fn publish_served<E>(
        &mut self,
        roster: &Roster<P>,
        mut serve: impl FnMut(&[Arc<Seat<P>>]) -> Result<bool, E>,
        commit: impl Fn(&mut Writer<W>) -> u64,
    ) -> Result<(), E> {
        loop {
            roster.update(&mut self.snapshot);
            let is_served = serve(&self.snapshot.seats)?;
            let Self { writer, snapshot, .. } = self;
            if is_served && roster.publish_unchanged(snapshot, || commit(writer)) {
                break;
            }
        }
        self.wake_sleepers(roster);
        Ok(())
    }

    /// Ends the lane, and wakes those who sleep.
    pub(crate) fn close(&mut self, roster: &Roster<P>, state: LaneState) {
        self.writer.close(state);
        self.wake_sleepers(roster);
    }

    #[inline]
    fn wake_sleepers(&mut self, roster: &Roster<P>) {
        let rung = wake_sleepers(roster, &mut self.snapshot);
        if rung != 0 {
            self.writer.count_rings(rung);
        }
    }

    /// Room for what is needed, of which the claim is the first record's, after [`Writer::claim`] has found that the
    /// ring is possibly full; or who holds the lane back. A batch that is longer than the ring is published in parts,
    /// whenever the ring is full.
    #[cold]
    pub(crate) fn find_room(&mut self, roster: &Roster<P>, need: impl Into<Need>) -> Result<Claim, Option<Gate>> {
        let need = need.into();
        let outcome = match self.look_for_room(roster, need) {
            Err(_) if self.writer.has_unpublished() => {
                self.publish_batch(roster, self.writer.room());
                self.look_for_room(roster, need)
            }
            outcome => outcome,
        };
        if self.is_armed && outcome.is_ok() {
            self.disarm();
        }
        outcome
    }

    fn look_for_room(&mut self, roster: &Roster<P>, need: Need) -> Result<Claim, Option<Gate>> {
        let Need { len, end } = need;
        let (end, published) = (end.unwrap_or_else(|| self.writer.end_of(len)), self.writer.published());
        let (mut limit, mut gate) = (self.writer.limit(), None);
        if end > limit {
            // Refresh: consumers may have released more since the last look.
            (limit, gate) = roster.refresh(self.writer.memory().lane(), published, end);
        }
        if !self.writer.raise_intent(end, limit) {
            // Really full.
            return Err(gate);
        }
        roster.remember_boundary(self.writer.memory().lane(), published);
        self.writer.claim(len).ok_or(gate)
    }

    /// Whether everything below `position` is released by all who gated it. `Err` if somebody who is here has not
    /// released it yet.
    pub(crate) fn is_released(&self, roster: &Roster<P>, position: u64) -> Result<bool, Option<Gate>> {
        let (released, gate) = roster.find_released(self.writer.memory().lane(), self.writer.published());
        if roster.was_left_unreleased(position) {
            return Ok(false);
        }
        if released < position { Err(gate) } else { Ok(true) }
    }

    /// Sleeps until the consumer that holds the lane back moves on, or the roster changes, or the limit is reached; the
    /// claim, if there is room then.
    pub(crate) fn sleep_for_space<'a>(
        &mut self,
        roster: &Roster<P>,
        need: impl Into<Need>,
        limit: impl Into<Limit<'a>>,
    ) -> Result<Claim, Option<Gate>> {
        let need = need.into();
        self.sleep_until(roster, limit, |publisher| publisher.find_room(roster, need))
    }

    /// Sleeps until the consumer that holds the lane back moves on, or the roster changes, or the limit is reached.
    /// Returns what `look` finds then. `look` says who holds the lane back if it finds nothing.
    pub(crate) fn sleep_until<'a, T>(
        &mut self,
        roster: &Roster<P>,
        limit: impl Into<Limit<'a>>,
        look: impl FnMut(&mut Self) -> Result<T, Option<Gate>>,
    ) -> Result<T, Option<Gate>> {
        self.announce(SPACE_WAIT_FUTEX);
        let outcome = self.sleep_while_held(roster, limit.into(), look);
        self.disarm();
        outcome
    }

    /// Announces that the producer waits in a loop of its own until a bell rings, or the roster changes, and looks
    /// again: the claim, if there is room, or who holds the lane back. Without room the announcement stands until there
    /// is some. Before this the caller takes the events that have come, and watches the bells of everybody who is on
    /// the roster, so that whatever happens from then on is an event.
    pub(crate) fn arm_for_space(&mut self, roster: &Roster<P>, need: impl Into<Need>) -> Result<Claim, Option<Gate>> {
        self.arm_for_release();
        self.is_armed = true;
        self.find_room(roster, need)
    }

    /// Announces that the producer waits in a loop of its own for whatever is released. Before this the caller watches
    /// the bells, as for [`arm_for_space`](Self::arm_for_space); after it, it looks at what is released. It stands
    /// until [`disarm`](Self::disarm), also if room is found meanwhile.
    pub(crate) fn arm_for_release(&mut self) {
        self.announce(SPACE_WAIT_BELL);
    }

    /// Says how consumers are to wake the producer once they release. After this it looks for room once more.
    fn announce(&mut self, space_wait: u32) {
        self.writer.store_counters();
        self.space_wait().store(space_wait, Ordering::Relaxed);
        // Pairs with the fence in `Holds::wake_producer`: it sees the announcement, or we see what it released.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    pub(crate) fn disarm(&mut self) {
        self.space_wait().store(0, Ordering::Relaxed);
        self.is_armed = false;
    }

    fn space_wait(&self) -> &AtomicU32 {
        self.writer.memory().lane().space_wait()
    }

    fn sleep_while_held<T>(
        &mut self,
        roster: &Roster<P>,
        limit: Limit<'_>,
        mut look: impl FnMut(&mut Self) -> Result<T, Option<Gate>>,
    ) -> Result<T, Option<Gate>> {
        let gate = match look(self) {
            Ok(found) => return Ok(found),
            Err(gate) => gate,
        };
        let changed = roster.capture_changed();
        let seat = gate.and_then(|gate| roster.seat(gate.seat_id));
        let seq = seat.as_ref().map(|seat| (seat.port().space_seq(), seat.port().space_seq().load(Ordering::Relaxed)));
        // Pairs with the release stores in `Holds::store_consumed`: with this `space_seq` comes the `consumed` before
        // it.
        fence(Ordering::Acquire);
        match look(self) {
            Ok(found) => return Ok(found),
            Err(now) if now.map(|gate| gate.seat_id) != gate.map(|gate| gate.seat_id) => return Err(now),
            Err(_) => {
                futex::wait(changed, seq, limit);
            }
        }
        look(self)
    }
}
