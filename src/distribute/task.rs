//! A distributor in a task: what it does without a wait, and what its descriptor becomes readable for.
//!
//! The invariant: nothing here waits, and what a look in vain was for makes the descriptor readable once it is there.

use super::waits::Demand;
use super::{Assignment, Distributor, Event, TooFewWorkers};
use crate::producer::SendError;

impl Distributor {
    /// What `look` finds. `None` says that the descriptor becomes readable once it may find something, and that it was
    /// armed for nothing else: events that wait to be returned do not count.
    pub(crate) fn find_or_arm<T>(
        &mut self,
        look: impl FnMut(&mut Self) -> Result<Option<T>, SendError>,
    ) -> Result<Option<T>, SendError> {
        self.check_fork()?;
        let found = self.announce_and_look(look);
        match found {
            Ok(None) => self.set_timer().map(|()| None),
            found => {
                self.disarm();
                found
            }
        }
    }

    /// The slot for such a record, if one has room and enough workers are there.
    pub(crate) fn look_for_room(&mut self, demand: Demand) -> Result<Option<usize>, SendError> {
        self.check_len(demand)?;
        match self.find_room(demand)? {
            None if self.is_short() && self.too_few_workers == TooFewWorkers::Fail => Err(self.too_few()),
            found => Ok(found),
        }
    }

    pub(crate) fn look_for_event(&mut self) -> Result<Option<Event>, SendError> {
        self.own_slots.settle(&self.waits)?;
        Ok(self.own_slots.try_next_event())
    }

    /// Room in a slot that was found to have some.
    pub(crate) fn assign(&mut self, slot: usize, demand: Demand) -> Result<Assignment<'_>, SendError> {
        self.demand = None;
        self.own_slots.assign(slot, demand)
    }

    /// Gives up to `count` records to a slot that was found to have room for one; how many these are.
    pub(crate) fn give_many(
        &mut self,
        slot: usize,
        demand: Demand,
        count: usize,
        fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        self.demand = None;
        self.own_slots.give_many(slot, demand, count, fill)
    }
}
