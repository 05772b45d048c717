//! Whose turn is next: as long as records come, by looks alone; when none do, by a spin, and then asleep.
//!
//! The invariant: no lane waits for more than one turn of each other, and only one that is about to sleep arms those
//! that bring records, so that the producers of a busy collector do not ring.

use super::Collector;
use super::endpoint::{CollectedLane, Endpoint};
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::select::Key;
use std::time::Duration;

/// The number of turns after which descriptors are looked at: for producers that come. If a lane is armed, they are
/// looked at after each turn, so that one that rings waits for no more than a turn of each other.
const TURNS_PER_LOOK: u64 = 16;
/// More lanes than this at once are not looked at again and again: that would take longer than waking up.
const SPUN_LANES_MAX: usize = 64;
/// How many glances of a spinning wait go with a look at descriptors.
const GLANCES_PER_LOOK: u32 = 64;
/// The number of looks in vain after which a lane is armed, and looked at no more: they have cost about as much as
/// being woken.
pub(super) const VAIN_LOOKS_MAX: u32 = 256;

/// A lane whose turn it is. Nothing is counted for a record but what its consumer counts.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) key: Key,
    pub(super) lane: Box<CollectedLane>,
    begin: Reached,
    pub(super) end: Reached,
}

/// How far a lane was read: the number of its records, and up to which position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) records: u64,
    pub(super) position: u64,
}

impl Turn {
    #[inline(always)]
    pub(super) fn reached(&self) -> Reached {
        Reached { records: self.lane.consumer.records_read(), position: self.lane.consumer.position() }
    }

    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        let Reached { records, position } = self.reached();
        records >= self.end.records || position >= self.end.position
    }
}

impl Collector {
    /// Gives an endpoint its turn: that of a lane goes on until it is [ended](Self::end_turn).
    pub(super) fn begin_turn(&mut self, key: Key) -> Result<(), ReceiveError> {
        self.last = Some(key);
        match self.selector.get_mut(key) {
            Some(Endpoint::Lane(lane)) => {
                if let Some(lane) = lane.take() {
                    let begin = Reached { records: lane.consumer.records_read(), position: lane.consumer.position() };
                    let end = Reached {
                        records: begin.records.saturating_add(self.turn_records),
                        position: begin.position.saturating_add(self.turn_bytes),
                    };
                    self.turn = Some(Turn { key, lane, begin, end });
                }
                Ok(())
            }
            Some(Endpoint::Listener(_)) => self.accept(),
            Some(Endpoint::Attached(_)) => self.take_attached(),
            None => Ok(()),
        }
    }

    /// Ends the turn, if there is one: its lane goes back to where it is waited for.
    pub(super) fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let reached = turn.reached();
        let Turn { key, lane, begin, .. } = turn;
        self.records_since += reached.records.saturating_sub(begin.records);
        self.bytes_since += reached.position.saturating_sub(begin.position);
        if let Some(Endpoint::Lane(place)) = self.selector.get_mut(key) {
            *place = Some(lane);
        }
    }

    /// Whose turn is next: of those that are not armed, by a glance if that finds one.
    pub(super) fn next_turn(&mut self, deadline: Deadline) -> Result<Key, ReceiveError> {
        let is_due = self.is_look_due();
        if is_due {
            self.take_events()?;
        }
        // Behind those that something has happened to meanwhile.
        if let Some(last) = self.last.take() {
            self.selector.pass_on(last);
        }
        if !is_due {
            if let Some(key) = self.selector.glance() {
                return Ok(key);
            }
            self.take_events()?;
        }
        match self.selector.poll(Some(VAIN_LOOKS_MAX)) {
            Err(ReceiveError::Empty) if deadline != Deadline::Now => match self.spin(deadline) {
                Some(found) => found,
                None => self.wait(deadline),
            },
            found => found,
        }
    }

    /// Whether so much was taken that something else should be looked at than lanes that are not armed.
    fn is_look_due(&self) -> bool {
        let notices = [self.listener, self.attached].into_iter().filter(|notice| self.selector.is_armed(*notice));
        let turns = if self.selector.armed_count() > notices.count() { 1 } else { TURNS_PER_LOOK };
        self.records_since >= turns.saturating_mul(self.turn_records)
            || self.bytes_since >= turns.saturating_mul(self.turn_bytes)
    }

    fn take_events(&mut self) -> Result<(), ReceiveError> {
        (self.records_since, self.bytes_since) = (0, 0);
        self.selector.take_events()
    }

    /// Looks again and again for a moment.
    fn spin(&mut self, deadline: Deadline) -> Option<Result<Key, ReceiveError>> {
        let Self { selector, spins, spin, .. } = self;
        // Those that are armed ring.
        let spin = if (1..=SPUN_LANES_MAX).contains(&selector.queue_len()) { *spin } else { Duration::ZERO };
        spins.spin_until(spin, deadline, |glances| {
            if glances % GLANCES_PER_LOOK != GLANCES_PER_LOOK - 1 {
                return selector.glance().map(Ok);
            }
            match selector.take_events().and_then(|()| selector.poll(None)) {
                Err(ReceiveError::Empty) => None,
                found => Some(found),
            }
        })
    }

    fn wait(&mut self, deadline: Deadline) -> Result<Key, ReceiveError> {
        match deadline {
            Deadline::Now => self.selector.try_wait(),
            Deadline::Never => self.selector.wait(),
            Deadline::At(deadline) => self.selector.wait_deadline(deadline),
        }
    }
}
