//! What the owner of a distributor sees of its slots, and does about it: takes new ones over, counts what is released,
//! takes back what nobody has come for, evicts who stands still, gives out again.
//!
//! The invariant: the plan knows of a record as soon as it is published, and until it was released, set aside, or
//! given to another slot.

use super::event::{DistributorStats, Event, NamedRecord};
use super::options::DistributorOptions;
use super::plan::{Plan, TakenBack, To};
use super::slots::{Occupation, RecordCopy, Slots};
use super::waits::{Demand, WaitSources};
use super::{Assignment, WorkerInfo};
use crate::crash;
use crate::error::{Error, Result};
use crate::info::ConsumerInfo;
use crate::lane::Lane;
use crate::producer::{Producer, Records, SendError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stands for a position that no worker has released.
const NOT_STILL: u64 = u64::MAX;

/// The most records that are given out by one look at what is released: each look takes a line of memory from every
/// worker, which writes it for each record.
const RECORDS_PER_LOOK: u64 = 256;
/// How long one look says well enough who has most room.
const LOOK_HOLDS: Duration = Duration::from_micros(20);

/// The slots as their owner has them, and what is in them.
#[derive(Debug)]
pub(super) struct OwnSlots {
    slots: Arc<Slots>,
    lanes: Vec<OwnLane>,
    /// How many of them make the waits end.
    watched: usize,
    plan: Plan<RecordCopy>,
    /// When all slots were looked at last, and nothing had to be done about any.
    looked_at: Option<Instant>,
    /// The number of records up to which no other look is needed.
    records_due: u64,
    take_back_after: Duration,
    evict_after: Option<Duration>,
    records: u64,
    /// Those of them that were released or set aside.
    released: u64,
}

/// The lane of a slot.
#[derive(Debug)]
pub(super) struct OwnLane {
    pub(super) producer: Producer,
    occupation: Occupation,
    /// The count of its roster's changes that `occupation` is no older than.
    seen: Option<u32>,
    /// Up to where its worker had released, and since when, if that is asked.
    still: (u64, Instant),
}

impl OwnLane {
    fn lane(&self) -> &Lane {
        self.producer.owned_lane()
    }

    /// Up to where it is known that everything was released or set aside.
    fn released(&self) -> Option<u64> {
        match &self.occupation {
            Occupation::Worker(seat) => Some(seat.standing(&*self.lane().map).0),
            Occupation::Vacant { released, .. } => Some(*released),
            Occupation::Nobody => None,
        }
    }

    /// Gives up a place that keeps nothing, so that a worker of any user can have the slot. Only the owner can do so:
    /// nobody gives it anything meanwhile.
    fn open_to_all(&mut self) {
        if let Occupation::Vacant { worker, released, .. } = &self.occupation
            && *released == self.producer.published()
        {
            self.producer.give_up(worker);
        }
    }

    /// The count of its roster's changes.
    #[inline]
    fn changes(&self) -> u32 {
        self.lane().roster.capture_changed().1
    }

    #[inline]
    fn has_room(&mut self, len: usize) -> bool {
        self.producer.has_room(len)
    }

    fn info(&self) -> Option<ConsumerInfo> {
        match &self.occupation {
            Occupation::Worker(seat) => Some(ConsumerInfo::new(seat, seat.behind_bytes(self.producer.published()))),
            Occupation::Vacant { worker, .. } => Some(worker.clone()),
            Occupation::Nobody => None,
        }
    }
}

impl OwnSlots {
    pub(super) fn new(slots: Arc<Slots>, options: &DistributorOptions) -> Self {
        Self {
            slots,
            lanes: Vec::new(),
            watched: 0,
            plan: Plan::new(options.records_max),
            looked_at: None,
            records_due: 0,
            take_back_after: options.take_back_after,
            evict_after: options.evict_after,
            records: 0,
            released: 0,
        }
    }

    /// Brings everything up to date.
    pub(super) fn settle(&mut self, waits: &WaitSources) -> Result<(), SendError> {
        if self.slots.has_new() || self.watched != self.lanes.len() {
            self.take_over(waits)?;
        }
        let mut keeps = false;
        for slot in 0..self.lanes.len() {
            keeps |= self.look_at(slot);
        }
        let now = Instant::now();
        let acts = keeps || self.evict_after.is_some();
        if acts {
            self.act(now)?;
        }
        self.give_out_again()?;
        // Where a worker has as many as it may have, at once: it may have released some.
        self.records_due = self.records + RECORDS_PER_LOOK.min(self.plan.least_room() as u64);
        self.looked_at = (!acts && self.plan.next_again().is_none()).then_some(now);
        Ok(())
    }

    /// Whether the last look is good enough to give out another record by: nobody has come or gone, nothing is to be
    /// given out again, and what was released since makes no difference, or happened a moment ago.
    #[inline]
    pub(super) fn may_go_by_last_look(&self, to: To) -> bool {
        let Some(looked_at) = self.looked_at.filter(|_| self.records < self.records_due) else { return false };
        let is_same = |lane: &OwnLane| lane.seen == Some(lane.changes());
        !self.slots.has_new()
            && self.watched == self.lanes.len()
            && self.lanes.iter().all(is_same)
            && (to != To::MostRoom || self.plan.worker_count() == 1 || looked_at.elapsed() < LOOK_HOLDS)
    }

    #[cold]
    fn take_over(&mut self, waits: &WaitSources) -> Result<(), SendError> {
        for producer in self.slots.take_new() {
            let still = (NOT_STILL, Instant::now());
            self.lanes.push(OwnLane { producer, occupation: Occupation::Nobody, seen: None, still });
            self.plan.add_slot();
        }
        while let Some(lane) = self.lanes.get(self.watched) {
            // If this fails, the next call tries again.
            waits.watch(&lane.producer, self.watched)?;
            self.watched += 1;
        }
        Ok(())
    }

    /// Looks who is there, if that has changed, and what is released; whether something is kept for a successor.
    fn look_at(&mut self, slot: usize) -> bool {
        let Self { slots, lanes, plan, released, .. } = self;
        let lane = &mut lanes[slot];
        let changes = lane.changes();
        if lane.seen != Some(changes) {
            lane.seen = Some(changes);
            lane.occupation = slots.look(slot);
            check_set_aside(slots, plan);
            lane.open_to_all();
            lane.still.0 = NOT_STILL;
            plan.set_worker(slot, matches!(lane.occupation, Occupation::Worker(_)));
        }
        let load = plan.load(slot);
        if load.records == 0 {
            return false;
        }
        if let Some(position) = lane.released() {
            *released += plan.note_released(slot, position) as u64;
        }
        matches!(lane.occupation, Occupation::Vacant { .. }) && plan.load(slot).records != 0
    }

    /// Does what time demands.
    fn act(&mut self, now: Instant) -> Result<(), SendError> {
        for slot in 0..self.lanes.len() {
            self.note_still(slot, now);
            match self.due_at(slot) {
                Some(at) if at <= now => match self.lanes[slot].occupation {
                    Occupation::Worker(_) => self.evict_from(slot),
                    _ => self.take_back(slot),
                },
                _ => {}
            }
        }
        Ok(())
    }

    /// When something is to be done about that slot.
    fn due_at(&self, slot: usize) -> Option<Instant> {
        let (load, lane) = (self.plan.load(slot), &self.lanes[slot]);
        let (since, after) = match &lane.occupation {
            _ if load.records == 0 => return None,
            Occupation::Vacant { since, .. } if self.plan.worker_count() != 0 => (*since, self.take_back_after),
            Occupation::Worker(seat) if !seat.port().occupant().reads_in_place => (lane.still.1, self.evict_after?),
            _ => return None,
        };
        since.checked_add(after)
    }

    /// When something is to be done about any.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (0..self.lanes.len()).filter_map(|slot| self.due_at(slot)).min()
    }

    /// Notes since when a worker that has records has released none.
    fn note_still(&mut self, slot: usize, now: Instant) {
        let lane = &mut self.lanes[slot];
        if let (Some(_), Some(released)) = (self.evict_after, lane.released())
            && (self.plan.load(slot).records == 0 || released != lane.still.0)
        {
            lane.still = (released, now);
        }
    }

    fn evict_from(&mut self, slot: usize) {
        if let Some(worker) = self.lanes[slot].info() {
            // It reads copies, and in a forked child nobody comes here.
            let _ = self.lanes[slot].producer.evict(&worker);
            self.look_at(slot);
        }
    }

    #[cold]
    fn take_back(&mut self, slot: usize) {
        let Self { slots, plan, .. } = self;
        let Some((position, copies)) = slots.take_back(slot, |named| plan.boundary_from(slot, named)) else {
            return;
        };
        check_set_aside(slots, plan);
        crash::point!("distributor-taken-back");
        self.released += self.plan.note_released(slot, position) as u64;
        let records = self.plan.take_back(slot, copies.into_iter().map(|copied| (copied.end, copied)));
        self.slots.with_events(|events| events.push(Event::TakenBack { slot, records }));
        self.look_at(slot);
    }

    /// Gives out again what was taken back, as far as there is room.
    fn give_out_again(&mut self) -> Result<(), SendError> {
        let Self { slots, lanes, plan, .. } = self;
        while let Some(TakenBack { record, .. }) = plan.next_again() {
            let len = record.payload.len();
            let Some(slot) = plan.choose_again(|slot| lanes[slot].has_room(len)) else { return Ok(()) };
            let mut reservation = lanes[slot].producer.try_reserve(len)?;
            if record.deaths != 0 {
                // First: its next death may be at any moment after the commit.
                slots.carry_deaths(slot, reservation.end(), record.deaths, plan.boundary(slot));
            }
            reservation.copy_from_slice(&record.payload);
            reservation.set_tag(record.tag);
            let end = reservation.commit();
            crash::point!("distributor-given-out-again");
            plan.note_sent_again(slot, end);
        }
        Ok(())
    }

    /// The slot for such a record, if one has room.
    #[inline(always)]
    pub(super) fn choose(&mut self, Demand { to, len }: Demand) -> Option<usize> {
        let first = self.plan.first_in_turn(to).filter(|slot| self.lanes[*slot].producer.has_clear_room(len));
        if first.is_some() { first } else { self.choose_among_all(to, len) }
    }

    /// As `choose`, by a look at all slots. A call of its own: what it puts on the stack waits in the store queue
    /// behind what is stored in the ring.
    #[inline(never)]
    fn choose_among_all(&mut self, to: To, len: usize) -> Option<usize> {
        let Self { plan, lanes, .. } = self;
        plan.choose(to, |slot| lanes[slot].has_room(len))
    }

    /// Room in a slot that has some.
    #[inline(always)]
    pub(super) fn assign(&mut self, slot: usize, Demand { to, len }: Demand) -> Result<Assignment<'_>, SendError> {
        let Self { plan, lanes, records, .. } = self;
        let reservation = lanes[slot].producer.try_reserve(len)?;
        Ok(Assignment { reservation, plan, records, slot, key: to.key() })
    }

    /// Gives up to `count` records to a slot that has room for one, all of them published at once; how many these are.
    pub(super) fn give_many(
        &mut self,
        slot: usize,
        Demand { to, len }: Demand,
        count: usize,
        mut fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, SendError> {
        let Self { plan, lanes, records, .. } = self;
        let producer = &mut lanes[slot].producer;
        let (size, clear) = producer.clear_records(len);
        let count = count.min(clear).min(plan.room_of(slot));
        if count < 2 {
            let mut assignment = self.assign(slot, Demand { to, len })?;
            fill(0, &mut assignment);
            assignment.commit();
            return Ok(1);
        }
        let begin = producer.published();
        let mut batch = producer.batch()?;
        batch.fill_many(Records { count, len }, fill)?;
        let end = batch.commit();
        debug_assert!(end == begin + count as u64 * size, "they lie side by side");
        plan.note_sent_many(slot, to.key(), begin, (size, count));
        *records += count as u64;
        Ok(count)
    }

    /// Has each release from now on, and each worker that comes or goes, end the waits. Evicts workers whose seat makes
    /// no sense, for which a wait would be in vain. Returns the number of lanes.
    pub(super) fn announce(&mut self) -> Result<usize, SendError> {
        for OwnLane { producer, .. } in &mut self.lanes {
            let lane = producer.owned_lane();
            lane.roster.find_released(&*lane.map, producer.published());
            producer.arm_for_release()?;
        }
        Ok(self.lanes.len())
    }

    /// Takes that back.
    pub(super) fn disarm(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.producer.disarm());
    }

    #[cfg(test)]
    pub(super) fn load(&self, slot: usize) -> super::plan::Load {
        self.plan.load(slot)
    }

    #[cfg(test)]
    pub(super) fn producer(&self, slot: usize) -> &Producer {
        &self.lanes[slot].producer
    }

    pub(super) fn slot_count(&self) -> usize {
        self.lanes.len()
    }

    #[inline]
    pub(super) fn worker_count(&self) -> usize {
        self.plan.worker_count()
    }

    pub(super) fn payload_max(&self) -> usize {
        self.lanes.first().map_or(0, |lane| lane.producer.lane().payload_max)
    }

    /// Whether all that was sent is released or set aside.
    pub(super) fn is_done(&self) -> bool {
        self.plan.is_done()
    }

    pub(super) fn workers(&self) -> Vec<WorkerInfo> {
        let worker_of = |(slot, lane): (usize, &OwnLane)| {
            let (consumer, unreleased_records) = (lane.info()?, self.plan.load(slot).records);
            let counts = !consumer.is_gone || unreleased_records != 0;
            counts.then_some(WorkerInfo { slot, unreleased_records, consumer })
        };
        self.lanes.iter().enumerate().filter_map(worker_of).collect()
    }

    pub(super) fn evict(&mut self, worker: &WorkerInfo) -> Result<bool> {
        let Some(lane) = self.lanes.get(worker.slot) else { return Ok(false) };
        lane.producer.evict(&worker.consumer)
    }

    pub(super) fn try_next_event(&mut self) -> Option<Event> {
        self.slots.with_events(|events| events.pop())
    }

    pub(super) fn has_events(&self) -> bool {
        self.slots.with_events(|events| !events.is_empty())
    }

    pub(super) fn stats(&self) -> DistributorStats {
        let stats = self.slots.with_events(|events| events.stats);
        DistributorStats { records: self.records, released: self.released.saturating_sub(stats.set_aside), ..stats }
    }

    /// Has nobody connect any more, and ends all lanes: in order, or in a panic as given up.
    pub(super) fn close(&mut self) {
        self.slots.close();
        self.lanes.clear();
    }
}

/// Has what was set aside reported, if it is a record of the plan's: before the plan counts it as released.
fn check_set_aside(slots: &Slots, plan: &Plan<RecordCopy>) {
    slots.with_events(|events| events.check(|NamedRecord { slot, from, end }| plan.is_record(slot, from, end)));
}

/// The error of a call that sends, as the error of setting up a distributor.
pub(super) fn of_setup(error: SendError) -> Error {
    match error {
        SendError::Wait(errno) => {
            Error::os("watch the lanes of a distributor")(rustix::io::Errno::from_raw_os_error(errno))
        }
        error => Error::Invalid(error.to_string()),
    }
}
